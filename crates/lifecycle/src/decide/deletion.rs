//! The part of a deletion that no other event has: it deletes, waits until all is gone, and never
//! fails.

use jiff::Timestamp;

use super::{OnTimeout, Turn, several};
use crate::{
    effect::Effect,
    journal::{Failure, Phase, cut},
    observation::Observation,
    reason::Reason,
    step::{POLL, POLL_STALLED, Step, after},
};

impl Turn<'_> {
    pub(super) fn deleting(self, observation: &Observation) -> Step {
        match observation {
            Observation::Remaining { waiting, .. } if waiting.is_empty() => {
                self.enter(Phase::PostHooks)
            }
            Observation::Remaining { .. } => self.enter(Phase::WaitingForDeletion),
            Observation::Refused(failure) => self.refused_deletion(failure),
            _ => Step::go(self.journal.clone(), Some(Effect::DeleteObjects)),
        }
    }

    pub(super) fn gone(self, observation: &Observation) -> Step {
        let journal = self.journal.clone();
        let deadline = journal.operation.deadline.unwrap_or(self.now);
        match observation {
            Observation::Remaining { waiting, .. } if waiting.is_empty() => {
                self.enter(Phase::PostHooks)
            }
            Observation::Remaining { waiting, .. } if self.now >= deadline => {
                let text = format!(
                    "the release's objects are not gone within {} s (spec.deletion.timeout): {}",
                    self.controls.deletion.timeout.as_secs(),
                    several(waiting)
                );
                let skips = self.controls.deletion.on_timeout == OnTimeout::SkipHooks;
                if skips || journal.operation.skip.is_some() {
                    let mut journal = journal;
                    journal.operation.left = left(waiting);
                    let why = Failure::new(Reason::DeletionTimeout, text);
                    journal.operation.skip.get_or_insert(why);
                    return self.with(&journal).enter(Phase::PostHooks);
                }
                let way_out = format!(
                    ". Remove what holds them, or leave them behind: {}",
                    self.controls.commands.skip()
                );
                let failure = Failure::with_way_out(Reason::DeletionTimeout, &text, &way_out);
                // No watch reports the objects that are deleted in the end.
                let wake_at = Some(after(self.now, POLL_STALLED));
                Step { wake_at, ..Step::stall(journal, self.now, failure) }
            }
            // A request was lost, or somebody created the object again.
            Observation::Remaining { untouched: true, .. } => {
                Step::go(journal, Some(Effect::DeleteObjects))
            }
            Observation::Remaining { waiting, .. } => {
                let wake_at = deadline.min(after(self.now, POLL));
                Step::wait(journal, wake_at, Some(several(waiting)))
            }
            Observation::Refused(failure) => self.refused_deletion(failure),
            _ => Step::wait(journal, self.now, None),
        }
    }

    /// A deletion never fails: it waits for the permission that it lacks. A terminating namespace
    /// deletes all that is in it, and nobody may have a permission there any more.
    pub(super) fn refused_deletion(self, failure: &Failure) -> Step {
        if !self.controls.deletion.namespace_goes {
            return Step::stall(self.journal.clone(), self.now, failure.clone());
        }
        match self.journal.operation.phase {
            Phase::Closing => self.done(self.journal.clone()),
            _ => self.enter(Phase::Closing),
        }
    }

    pub(super) fn deletion_deadline(self) -> Timestamp {
        after(self.journal.operation.started_at, self.controls.deletion.timeout)
    }
}

/// The objects left behind, as many of them as status takes.
fn left(waiting: &[String]) -> Vec<String> {
    const MOST: usize = 50;
    let more = waiting.len().saturating_sub(MOST);
    let named = waiting.iter().take(MOST).map(|object| cut(object, ""));
    named.chain((more > 0).then(|| format!("and {more} more"))).collect()
}
