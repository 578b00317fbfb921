//! The end of a watch, and how it is judged. Pure.

use api::{ReleaseLifecycle, ReleaseLifecycleStatus};
use lifecycle::{
    conditions,
    journal::{Operation, Requests},
    reason::Reason,
};

use crate::{Outcome, state::State};

/// The end of a watch, and how it is judged.
pub(crate) struct Goal {
    /// The generation that the controller must be done with.
    generation: i64,
    wants: Wants,
    /// True if the object may be deleted.
    pub(super) may_go: bool,
}

enum Wants {
    /// `Ready` is True.
    Ready,
    /// A request is answered, and then `Ready` is True.
    Answer { request: Request, asked: ReleaseLifecycle },
    /// Like `Answer`, but `TestSuccess` counts.
    Tests { request: Request, asked: ReleaseLifecycle },
    /// This operation is cancelled.
    Cancelled { operation: Operation },
}

/// One of the annotations that make a request.
pub(crate) struct Request {
    /// Its value.
    pub(crate) value: String,
    /// Finds it among those that were answered.
    pub(crate) handled: fn(&Requests) -> &Option<String>,
}

impl Request {
    fn is_answered(&self, object: &ReleaseLifecycle) -> bool {
        let handled = object.status.as_ref().map(ReleaseLifecycleStatus::handled);
        handled.is_some_and(|handled| (self.handled)(&handled).as_ref() == Some(&self.value))
    }
}

impl Goal {
    /// Makes the goal that the present object becomes Ready.
    pub(crate) fn ready(object: &ReleaseLifecycle) -> Self {
        Self::new(object, Wants::Ready)
    }

    /// Makes the goal that the present object becomes Ready or, if it is being deleted, is gone.
    pub(crate) fn ready_or_gone(object: &ReleaseLifecycle) -> Self {
        Self { may_go: State::new(object).is_being_deleted(), ..Self::ready(object) }
    }

    /// Makes the goal that the request of `asked` is done.
    pub(crate) fn answer(asked: &ReleaseLifecycle, request: Request) -> Self {
        let goal = Self::new(asked, Wants::Answer { request, asked: asked.clone() });
        Self { may_go: State::new(asked).is_being_deleted(), ..goal }
    }

    /// Makes the goal that the tests that `asked` requests succeed.
    pub(crate) fn tests(asked: &ReleaseLifecycle, request: Request) -> Self {
        Self::new(asked, Wants::Tests { request, asked: asked.clone() })
    }

    /// Makes the goal that the operation is cancelled.
    pub(crate) fn cancelled(asked: &ReleaseLifecycle, running: &Operation) -> Self {
        Self::new(asked, Wants::Cancelled { operation: running.clone() })
    }

    fn new(object: &ReleaseLifecycle, wants: Wants) -> Self {
        Self { generation: object.metadata.generation.unwrap_or(0), wants, may_go: false }
    }

    pub(crate) fn is_reached(&self, object: &ReleaseLifecycle) -> bool {
        let state = State::new(object);
        match &self.wants {
            Wants::Ready => state.is_settled(self.generation),
            Wants::Answer { request, asked } | Wants::Tests { request, asked } => {
                // A request that cannot begin is not answered; the conditions say why. Those of an
                // operation that is blocked may have changed for another reason.
                let refused = object.status != asked.status
                    && state.running().is_none()
                    && state.is_stalled();
                (request.is_answered(object) || refused) && state.is_settled(self.generation)
            }
            Wants::Cancelled { operation } => {
                state.running().is_none_or(|running| running.id != operation.id)
            }
        }
    }

    /// Returns whether it is not reached and, unless something changes soon, never will be.
    pub(crate) fn is_blocked(&self, object: &ReleaseLifecycle) -> bool {
        let state = State::new(object);
        match &self.wants {
            // If nothing runs, the controller records the generation that it has reconciled,
            // however long it takes to come to that.
            Wants::Ready => state.running().is_some() && state.needs_somebody(),
            Wants::Answer { .. } | Wants::Tests { .. } | Wants::Cancelled { .. } => {
                state.needs_somebody()
            }
        }
    }

    pub(crate) fn judge(&self, object: &ReleaseLifecycle) -> Outcome {
        let state = State::new(object);
        let good = match &self.wants {
            // While it is being deleted, it never becomes Ready again.
            Wants::Answer { .. } | Wants::Ready if self.may_go && state.has_been_deleted() => true,
            Wants::Ready | Wants::Answer { .. } => state.ready_status() == "True",
            Wants::Tests { request, .. } => {
                let verdict = state.condition(conditions::TEST_SUCCESS);
                // Until they have ended, the condition is that of earlier ones.
                let have_ended = request.is_answered(object) && state.running().is_none();
                have_ended && verdict.is_some_and(|verdict| verdict.status == "True")
            }
            Wants::Cancelled { operation } => was_cancelled(state, operation),
        };
        if good { Outcome::Good } else { Outcome::Failed }
    }

    /// Returns what neither the timeline nor the conditions say of an end that is not good.
    pub(crate) fn missed(&self, object: &ReleaseLifecycle) -> Option<String> {
        match &self.wants {
            Wants::Cancelled { operation } if self.judge(object) == Outcome::Failed => {
                Some(too_late(operation))
            }
            _ => None,
        }
    }
}

/// Returns whether `operation`, which no longer runs, was cancelled.
fn was_cancelled(state: State<'_>, operation: &Operation) -> bool {
    let last = state.operation().filter(|last| last.id == operation.id);
    if let Some(last) = last {
        return last.failure.as_ref().is_some_and(|failure| failure.reason == Reason::Cancelled);
    }
    // Another operation has replaced it in status; the last failed attempt is kept.
    state.last_attempt().is_some_and(|attempt| {
        (attempt.event, attempt.revision) == (operation.event, operation.revision)
            && attempt.failure.reason == Reason::Cancelled
    })
}

/// Returns the answer if an operation ended before a request reached it.
pub(crate) fn too_late(operation: &Operation) -> String {
    let Operation { event, revision, .. } = operation;
    format!("the {event} of revision {revision} ended before it could be cancelled")
}
