//! The step rule. [`decide`] looks at the plan, the journal, what was observed and the time, and
//! answers with the next journal and at most one effect. The caller writes the journal before it
//! executes the effect; every effect is idempotent and harmless when it comes late. So a crash, a
//! repeated request, a stale read and a second leader are one case: look again, decide again.

mod hook;

use jiff::{SignedDuration, Timestamp};

use crate::{
    hooks::{DeletePolicy, HookEvent},
    journal::{self, Failure, HookPhase, Journal, Phase},
    plan::Plan,
};

pub use hook::{Cause, Evidence, Gate, HookObservation, Verdict};

/// How often what no watch reports is looked at again.
const POLL: SignedDuration = SignedDuration::from_secs(1);
/// How often what a watch reports is looked at all the same: an event may be lost.
const POLL_WATCHED: SignedDuration = SignedDuration::from_mins(1);

/// What [`decide`] needs to see next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// The record of the operation's revision.
    Record,
    /// The object of the hook at this index, by its name.
    Hook(usize),
    /// The readiness of the release's objects.
    Readiness,
    /// Nothing: the next effect follows from the journal.
    Nothing,
}

/// What was seen, by reads that no cache answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// The answer to [`Query::Nothing`].
    Nothing,
    /// No record of the revision exists.
    NoRecord,
    /// The record of this operation exists; the digest is that of its plan.
    Recorded {
        /// Of the frozen plan.
        plan_digest: String,
    },
    /// A record of the revision exists, but of somebody else.
    ForeignRecord {
        /// A sentence that says whose.
        message: String,
    },
    /// The object of the hook asked for; `None` where there is none of its name.
    Hook(Option<HookObservation>),
    /// Which objects are not ready yet, each with the reason. [`Effect::Apply`] answers with it too.
    Readiness {
        /// `Kind/name: reason`, in install order.
        waiting: Vec<String>,
    },
    /// The effect decided on last was executed.
    Executed,
    /// The effect decided on last was refused for good: nothing but a change by a user helps.
    Refused(Failure),
}

/// What is done to the cluster. Each is idempotent, names UIDs where it changes or removes
/// anything, and follows from the journal that was written before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// POST the record with the frozen plan.
    CreateRecord,
    /// DELETE a leftover of the hook's name.
    DeleteLeftover {
        /// The hook's index.
        hook: usize,
        /// The UID of the leftover.
        uid: String,
    },
    /// POST the hook's object, held back.
    CreateHook {
        /// The hook's index.
        hook: usize,
        /// The attempt, part of the run id.
        attempt: i32,
    },
    /// Open the gate of the hook's object, if it is held and of this UID.
    StartHook {
        /// The hook's index.
        hook: usize,
        /// The UID of its object.
        uid: String,
    },
    /// Stop the hook's object for good.
    StopHook {
        /// The hook's index.
        hook: usize,
        /// The UID of its object.
        uid: String,
    },
    /// Delete hook objects and give Jobs their time to live, in this order.
    CleanUp(Vec<CleanUp>),
    /// Apply the release's objects in order, then prune.
    Apply,
    /// Close the record and, where it is deployed, supersede older ones.
    Close {
        /// Whether the operation succeeded.
        deployed: bool,
    },
}

/// One part of [`Effect::CleanUp`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CleanUp {
    /// The hook's index.
    pub hook: usize,
    /// The UID of its object.
    pub uid: String,
    /// What is done to it.
    pub action: CleanUpAction,
}

/// What [`CleanUp`] does to a hook's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CleanUpAction {
    /// DELETE by UID.
    Delete,
    /// Give the Job the `ttlSecondsAfterFinished` that was held back.
    SetTtl(i64),
}

/// The outcome of [`decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// To be written, where it differs, before the effect is executed.
    pub journal: Journal,
    /// To be executed then.
    pub effect: Option<Effect>,
    /// When to decide again, if nothing reports a change before.
    pub wake_at: Option<Timestamp>,
    /// What is waited for beyond what the journal says, such as `pod x ImagePullBackOff`.
    pub waiting: Option<String>,
}

impl Step {
    fn go(journal: Journal, effect: Option<Effect>) -> Self {
        Self { journal, effect, wake_at: None, waiting: None }
    }

    fn wait(journal: Journal, wake_at: Timestamp, waiting: Option<String>) -> Self {
        Self { journal, effect: None, wake_at: Some(wake_at), waiting }
    }
}

/// What [`decide`] needs to see for `journal`.
pub fn query(journal: &Journal) -> Query {
    match journal.operation.phase {
        Phase::Recording => Query::Record,
        Phase::PreHooks | Phase::PostHooks => {
            journal.operation.hook.as_ref().map_or(Query::Nothing, |hook| Query::Hook(hook.index))
        }
        Phase::Ready => Query::Readiness,
        Phase::PreCleanup | Phase::Applying | Phase::PostCleanup | Phase::Closing | Phase::Done => {
            Query::Nothing
        }
    }
}

/// Decides the next step of the operation.
pub fn decide(plan: &Plan, journal: &Journal, observation: &Observation, now: Timestamp) -> Step {
    let operation = &journal.operation;
    match operation.phase {
        Phase::Recording => record(plan, journal, observation, now),
        Phase::PreHooks | Phase::PostHooks => match &operation.hook {
            Some(cursor) => hook::step(plan, journal, cursor, observation, now),
            // Only an edited status lacks the cursor.
            None => fail(journal, Failure::new("JournalLost", "status.operation.hook is missing")),
        },
        Phase::PreCleanup | Phase::PostCleanup => match observation {
            Observation::Executed | Observation::Refused(_) => after_cleanup(plan, journal, now),
            _ => {
                let items = cleanup(plan, journal, hook_event(plan, operation.phase));
                Step::go(journal.clone(), Some(Effect::CleanUp(items)))
            }
        },
        Phase::Applying => match observation {
            // The answers to the apply say it already: a phase less where all is ready at once.
            Observation::Readiness { waiting } if waiting.is_empty() => {
                enter(plan, journal.clone(), Phase::PostHooks, now)
            }
            Observation::Readiness { .. } => {
                let entered = enter(plan, journal.clone(), Phase::Ready, now);
                match entered.journal.operation.phase {
                    Phase::Ready => ready(plan, &entered.journal, observation, now),
                    _ => entered,
                }
            }
            Observation::Refused(failure) => fail(journal, failure.clone()),
            _ => Step::go(journal.clone(), Some(Effect::Apply)),
        },
        Phase::Ready => ready(plan, journal, observation, now),
        Phase::Closing => match observation {
            Observation::Executed => done(journal.clone(), now),
            // The record is another client's by now.
            Observation::Refused(failure) => {
                let mut journal = journal.clone();
                journal.operation.failure.get_or_insert_with(|| failure.clone());
                done(journal, now)
            }
            _ => close(journal.clone()),
        },
        Phase::Done => Step::go(journal.clone(), None),
    }
}

fn record(plan: &Plan, journal: &Journal, observation: &Observation, now: Timestamp) -> Step {
    match observation {
        Observation::Recorded { plan_digest } => {
            let mut journal = journal.clone();
            journal.operation.plan_digest = Some(plan_digest.clone());
            journal.hooks = journal::pending(plan);
            enter(plan, journal, Phase::PreHooks, now)
        }
        // Nothing was recorded, so there is no record to close.
        Observation::ForeignRecord { message } => {
            let mut journal = journal.clone();
            journal.operation.failure = Some(Failure::new("ForeignRelease", message));
            done(journal, now)
        }
        // An earlier request, or another process, may have made it all the same: it is closed.
        Observation::Refused(failure) => fail(journal, failure.clone()),
        _ => Step::go(journal.clone(), Some(Effect::CreateRecord)),
    }
}

fn ready(plan: &Plan, journal: &Journal, observation: &Observation, now: Timestamp) -> Step {
    let deadline = journal.operation.deadline.unwrap_or(now);
    match observation {
        Observation::Readiness { waiting } if waiting.is_empty() => {
            // Closing is journalled too where no post hook comes before: otherwise one process
            // could close the record as deployed while another one journals that time ran out.
            enter(plan, journal.clone(), Phase::PostHooks, now)
        }
        Observation::Readiness { waiting } if now >= deadline => {
            let message = format!(
                "the release's objects were not ready within {} s: {}",
                plan.timeout_seconds,
                several(waiting)
            );
            fail(journal, Failure::new("ReadyTimeout", message))
        }
        Observation::Readiness { waiting } => {
            Step::wait(journal.clone(), deadline.min(after(now, POLL)), Some(several(waiting)))
        }
        _ => Step::wait(journal.clone(), now, None),
    }
}

/// Enters `phase`, or the first one after it in which there is something to do.
fn enter(plan: &Plan, mut journal: Journal, phase: Phase, now: Timestamp) -> Step {
    let operation = &mut journal.operation;
    operation.phase = phase;
    operation.hook = None;
    operation.deadline = None;
    match phase {
        Phase::Recording | Phase::Done => Step::go(journal, None),
        Phase::PreHooks | Phase::PostHooks => {
            let event = hook_event(plan, phase);
            match plan.hooks_of(event).next() {
                Some(first) => {
                    operation.hook = Some(hook::cursor(plan, first, now));
                    Step::go(journal, None)
                }
                None if phase == Phase::PreHooks => enter(plan, journal, Phase::Applying, now),
                None => enter(plan, journal, Phase::Closing, now),
            }
        }
        Phase::PreCleanup | Phase::PostCleanup => {
            let items = cleanup(plan, &journal, hook_event(plan, phase));
            if items.is_empty() {
                after_cleanup(plan, &journal, now)
            } else {
                Step::go(journal, Some(Effect::CleanUp(items)))
            }
        }
        Phase::Applying => {
            if plan.objects.is_empty() && plan.prune.is_empty() {
                enter(plan, journal, Phase::PostHooks, now)
            } else {
                Step::go(journal, Some(Effect::Apply))
            }
        }
        Phase::Ready => {
            if plan.wait && !plan.objects.is_empty() {
                operation.deadline = Some(after(now, timeout(plan)));
                Step::go(journal, None)
            } else {
                enter(plan, journal, Phase::PostHooks, now)
            }
        }
        Phase::Closing => close(journal),
    }
}

fn after_cleanup(plan: &Plan, journal: &Journal, now: Timestamp) -> Step {
    let next = match journal.operation.phase {
        Phase::PreCleanup if journal.operation.failure.is_none() => Phase::Applying,
        _ => Phase::Closing,
    };
    enter(plan, journal.clone(), next, now)
}

/// Fails the operation outside of a hook: nothing is deleted, the record is closed.
fn fail(journal: &Journal, failure: Failure) -> Step {
    let mut journal = journal.clone();
    journal.operation.failure = Some(failure);
    journal.operation.phase = Phase::Closing;
    journal.operation.hook = None;
    journal.operation.deadline = None;
    close(journal)
}

fn close(journal: Journal) -> Step {
    let deployed = journal.operation.failure.is_none();
    Step::go(journal, Some(Effect::Close { deployed }))
}

fn done(journal: Journal, now: Timestamp) -> Step {
    Step::go(journal.ended(now), None)
}

/// The first few, since status is small.
fn several(waiting: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<_> = waiting.iter().take(SHOWN).map(String::as_str).collect();
    let more = waiting.len().saturating_sub(SHOWN);
    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{rest}", shown.join("; "))
}

fn hook_event(plan: &Plan, phase: Phase) -> HookEvent {
    match phase {
        Phase::PreHooks | Phase::PreCleanup => plan.event.pre(),
        _ => plan.event.post(),
    }
}

/// The end of time where there is no such time.
fn after(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

fn timeout(plan: &Plan) -> SignedDuration {
    SignedDuration::from_secs(plan.timeout_seconds)
}

/// What happens to the hooks of `event` that have ended (Helm's `execHook`): after success
/// `hook-succeeded` in reverse; after a failure the failed one if `hook-failed`, then the
/// succeeded ones if `hook-succeeded`. A Job that stays gets its time to live back.
fn cleanup(plan: &Plan, journal: &Journal, event: HookEvent) -> Vec<CleanUp> {
    let ended = |phase: HookPhase| {
        move |index: &usize| journal.hooks.get(*index).is_some_and(|hook| hook.phase == phase)
    };
    let failed = plan.hooks_of(event).filter(ended(HookPhase::Failed));
    let succeeded = plan.hooks_of(event).filter(ended(HookPhase::Succeeded));
    let order: Vec<(usize, DeletePolicy)> = if journal.operation.failure.is_some() {
        failed
            .map(|index| (index, DeletePolicy::HookFailed))
            .chain(succeeded.map(|index| (index, DeletePolicy::HookSucceeded)))
            .collect()
    } else {
        succeeded.rev().map(|index| (index, DeletePolicy::HookSucceeded)).collect()
    };
    order
        .into_iter()
        .filter_map(|(index, policy)| {
            let hook = plan.hooks.get(index)?;
            let action = if hook.has(policy) {
                CleanUpAction::Delete
            } else {
                CleanUpAction::SetTtl(hook.ttl_seconds()?)
            };
            let uid = journal.hooks.get(index)?.uid.clone()?;
            Some(CleanUp { hook: index, uid, action })
        })
        .collect()
}
