//! The step rule. [`decide`] reads the plan, the journal, the observation and the time, and answers
//! with the next journal and at most one effect. The caller writes the journal before it executes
//! the effect; every effect is idempotent and harmless when it comes late. So a crash, a repeated
//! request, a stale read and a second leader are one case: observe again, decide again.

mod cleanup;
mod controls;
mod deletion;
mod hook;
mod hooks;
mod presume;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::{
    effect::Effect,
    event::{HookEvent, Work},
    journal::{self, Failure, HookCursor, HookStep, Journal, Phase},
    observation::{Observation, Query},
    plan::Plan,
    reason::Reason,
    step::{Hold, POLL, POLL_WATCHED, Step, after},
};

pub use controls::{Controls, Deletion, OnTimeout};
pub use presume::presume;

/// The query whose answer [`decide`] needs for `journal`.
pub fn query(journal: &Journal) -> Query {
    match journal.operation.phase {
        Phase::Recording => Query::Record,
        Phase::PreHooks | Phase::PostHooks => {
            let is_at_work = |cursor: &HookCursor| cursor.step != HookStep::Blocked;
            if journal.operation.cursors().any(is_at_work) { Query::Hooks } else { Query::Nothing }
        }
        Phase::WaitingForReady => Query::Readiness,
        Phase::WaitingForDeletion => Query::Remaining,
        Phase::PreCleanup
        | Phase::Applying
        | Phase::Deleting
        | Phase::PostCleanup
        | Phase::Closing
        | Phase::Done => Query::Nothing,
    }
}

/// Decides the next step of the operation.
pub fn decide(
    plan: &Plan,
    journal: &Journal,
    observation: &Observation,
    controls: &Controls,
    now: Timestamp,
) -> Step {
    let journal = controls::apply(plan, journal, controls);
    let turn = Turn { plan, journal: &journal, controls, now };
    let step = turn.step(observation);
    let starts = step.effect.as_ref().is_some_and(|effect| match effect {
        // A cancelled operation ends with a record, whether or not it may begin anything.
        Effect::CreateRecord | Effect::ReopenRecord => journal.operation.cancel.is_none(),
        effect => effect.starts_something(),
    });
    if controls.suspend && starts {
        // The observation is journalled anyway: it may be gone when the operation continues.
        let wake_at = Some(after(now, POLL_WATCHED));
        let hold = Some(Hold::Suspended);
        return Step { journal: step.journal, effect: None, wake_at, hold };
    }
    step
}

/// One decision: its inputs.
#[derive(Clone, Copy)]
struct Turn<'a> {
    plan: &'a Plan,
    journal: &'a Journal,
    controls: &'a Controls,
    now: Timestamp,
}

impl<'a> Turn<'a> {
    fn with<'b>(self, journal: &'b Journal) -> Turn<'b>
    where
        'a: 'b,
    {
        Turn { journal, ..self }
    }

    fn step(self, observation: &Observation) -> Step {
        let journal = self.journal;
        let phase = journal.operation.phase;
        match phase {
            Phase::Applying | Phase::WaitingForReady if journal.operation.cancel.is_some() => {
                self.cancelled()
            }
            // An operation cancelled here ends with a record: a request for one may be under way,
            // and would leave it pending.
            Phase::Recording => self.record(observation),
            Phase::PreHooks | Phase::PostHooks => self.at_hooks(observation),
            Phase::PreCleanup | Phase::PostCleanup => match observation {
                Observation::Executed | Observation::Refused(_) => self.after_cleanup(),
                _ => {
                    let items = cleanup::items(self.plan, journal, hook_event(self.plan, phase));
                    Step::go(journal.clone(), Some(Effect::CleanUp(items)))
                }
            },
            Phase::Applying => match observation {
                // The answers to the apply already contain it: one phase less if all is ready at
                // once.
                Observation::Readiness { waiting, .. } if waiting.is_empty() => {
                    self.enter(Phase::PostHooks)
                }
                Observation::Readiness { .. } => {
                    let entered = self.enter(Phase::WaitingForReady);
                    match entered.journal.operation.phase {
                        Phase::WaitingForReady => self.with(&entered.journal).ready(observation),
                        _ => entered,
                    }
                }
                Observation::Refused(failure) => self.fail(failure.clone()),
                _ => Step::go(journal.clone(), Some(Effect::Apply)),
            },
            Phase::WaitingForReady => self.ready(observation),
            Phase::Deleting => self.deleting(observation),
            Phase::WaitingForDeletion => self.gone(observation),
            Phase::Closing => match observation {
                Observation::Executed => self.done(journal.clone()),
                Observation::Refused(failure) if !self.plan.event.ends_on_failure() => {
                    self.refused_deletion(failure)
                }
                // The record now belongs to another client.
                Observation::Refused(failure) => {
                    let mut journal = journal.clone();
                    journal.operation.failure.get_or_insert_with(|| failure.clone());
                    self.done(journal)
                }
                _ => close(journal.clone()),
            },
            Phase::Done => Step::go(journal.clone(), None),
        }
    }

    fn record(self, observation: &Observation) -> Step {
        let journal = self.journal;
        match observation {
            Observation::Recorded { open: false, .. } => {
                Step::go(journal.clone(), Some(Effect::ReopenRecord))
            }
            Observation::Recorded { plan_digest, open: true } => {
                let mut journal = journal.clone();
                let operation = &mut journal.operation;
                operation.plan_digest = Some(plan_digest.clone());
                operation.chart.clone_from(&self.plan.chart);
                let phase = match operation.failed_in.take() {
                    Some(Phase::Applying | Phase::WaitingForReady) => Phase::Applying,
                    Some(phase) if phase >= Phase::PostHooks => Phase::PostHooks,
                    _ => Phase::PreHooks,
                };
                if journal.hooks.is_empty() {
                    journal.hooks = journal::pending(self.plan);
                }
                self.with(&journal).enter(phase)
            }
            // Nothing was recorded, so there is no record to close.
            Observation::ForeignRecord { message } => {
                let mut journal = journal.clone();
                journal.operation.failure = Some(Failure::new(Reason::ForeignRelease, message));
                self.done(journal)
            }
            Observation::Refused(failure) if !self.plan.event.ends_on_failure() => {
                self.refused_deletion(failure)
            }
            // An earlier request, or another process, may have made it anyway: it is closed.
            Observation::Refused(failure) => self.fail(failure.clone()),
            _ => Step::go(journal.clone(), Some(Effect::CreateRecord)),
        }
    }

    fn ready(self, observation: &Observation) -> Step {
        let deadline = self.journal.operation.deadline.unwrap_or(self.now);
        match observation {
            Observation::Readiness { waiting, .. } if waiting.is_empty() => {
                // Closing is journalled too if no post hook comes before it: otherwise one process
                // could close the record as deployed while another journals that the time ran out.
                self.enter(Phase::PostHooks)
            }
            // What it says at first may be of the revision before.
            Observation::Readiness { failed: Some(failed), .. }
                if self.now >= after(deadline, self.plan.until_believed()) =>
            {
                self.fail(Failure::new(Reason::ObjectFailed, failed))
            }
            Observation::Readiness { waiting, .. } if self.now >= deadline => {
                let message = format!(
                    "the release's objects were not ready within {} s (spec.timeout): {}{}",
                    self.plan.ready_timeout().as_secs(),
                    several(waiting),
                    self.and_post_hooks()
                );
                self.fail(Failure::new(Reason::ReadyTimeout, message))
            }
            Observation::Readiness { waiting, .. } => {
                let wake_at = deadline.min(after(self.now, POLL));
                Step::wait(self.journal.clone(), wake_at, Some(several(waiting)))
            }
            _ => Step::wait(self.journal.clone(), self.now, None),
        }
    }

    /// The hooks that run after the objects are ready: these may have waited for them.
    fn and_post_hooks(&self) -> String {
        let event = self.plan.event;
        let post = event.post().into_iter().flat_map(|post| self.plan.hooks_of(post)).next();
        let Some(hook) = post.and_then(|index| self.plan.hooks.get(index)) else {
            return String::new();
        };
        format!(
            "; hook {} ({}) runs only after that: if they wait for it, make it a {} hook, or set \
             spec.wait: false",
            hook.object,
            hook.event,
            event.pre()
        )
    }

    /// Enters `phase`, or the first one after it that has work to do.
    fn enter(self, phase: Phase) -> Step {
        let mut journal = self.journal.clone();
        let from = journal.operation.phase;
        let operation = &mut journal.operation;
        operation.phase = phase;
        operation.leave_all_hooks();
        operation.deadline = None;
        let starts = matches!(
            phase,
            Phase::PreHooks | Phase::Applying | Phase::WaitingForReady | Phase::PostHooks
        );
        if starts && operation.cancel.is_some() && operation.failure.is_none() {
            operation.phase = from;
            return self.with(&journal).cancelled();
        }
        match phase {
            Phase::Recording | Phase::Done => Step::go(journal, None),
            Phase::PreHooks => self.with(&journal).hooks(Phase::PreCleanup),
            Phase::PostHooks => self.with(&journal).hooks(Phase::PostCleanup),
            Phase::PreCleanup | Phase::PostCleanup => {
                let items = cleanup::items(self.plan, &journal, hook_event(self.plan, phase));
                if items.is_empty() {
                    self.with(&journal).after_cleanup()
                } else {
                    Step::go(journal, Some(Effect::CleanUp(items)))
                }
            }
            Phase::Applying => match self.plan.event.facts().work {
                Work::Nothing => self.with(&journal).enter(Phase::Closing),
                Work::Delete => self.with(&journal).enter(Phase::Deleting),
                Work::Apply if self.plan.objects.is_empty() && self.plan.prune.is_empty() => {
                    self.with(&journal).enter(Phase::PostHooks)
                }
                Work::Apply => Step::go(journal, Some(Effect::Apply)),
            },
            Phase::WaitingForReady => {
                if self.plan.wait && !self.plan.objects.is_empty() {
                    operation.deadline = Some(after(self.now, self.plan.ready_timeout()));
                    Step::go(journal, None)
                } else {
                    self.with(&journal).enter(Phase::PostHooks)
                }
            }
            Phase::Deleting if self.plan.prune.is_empty() => {
                self.with(&journal).enter(Phase::PostHooks)
            }
            Phase::Deleting => Step::go(journal, Some(Effect::DeleteObjects)),
            Phase::WaitingForDeletion if self.plan.wait => {
                operation.deadline = Some(after(self.now, self.controls.deletion.timeout));
                Step::go(journal, None)
            }
            Phase::WaitingForDeletion => self.with(&journal).enter(Phase::PostHooks),
            Phase::Closing => close(journal),
        }
    }

    fn after_cleanup(self) -> Step {
        let operation = &self.journal.operation;
        let next = match operation.phase {
            Phase::PreCleanup if operation.failure.is_none() => Phase::Applying,
            _ => Phase::Closing,
        };
        self.enter(next)
    }

    /// Ends the operation: it fails with the reason of its cancellation.
    fn cancelled(self) -> Step {
        self.fail(why_cancelled(self.journal))
    }

    /// Fails the operation outside of a hook: nothing is deleted, the record is closed. A deletion
    /// ends as it is, with its records.
    fn fail(self, failure: Failure) -> Step {
        let mut journal = self.journal.clone();
        let operation = &mut journal.operation;
        operation.failed_in = Some(operation.phase);
        operation.failure = Some(failure);
        if !self.plan.event.ends_on_failure() {
            return self.done(journal);
        }
        operation.phase = Phase::Closing;
        operation.leave_all_hooks();
        operation.deadline = None;
        close(journal)
    }

    fn done(self, journal: Journal) -> Step {
        Step::go(journal.ended(self.now), None)
    }
}

fn why_cancelled(journal: &Journal) -> Failure {
    let cancel = journal.operation.cancel.as_ref();
    let failure = cancel.map(|cancel| cancel.failure.clone());
    failure.unwrap_or_else(|| Failure::new(Reason::Cancelled, "it was cancelled"))
}

fn close(journal: Journal) -> Step {
    let deployed = journal.operation.failure.is_none();
    Step::go(journal, Some(Effect::Close { deployed }))
}

/// The first few, since status is small, without repetitions.
fn several(waiting: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut said = BTreeSet::new();
    let waiting: Vec<_> = waiting.iter().filter(|it| said.insert(it.as_str())).collect();
    let shown: Vec<_> = waiting.iter().take(SHOWN).map(|it| it.as_str()).collect();
    let more = waiting.len().saturating_sub(SHOWN);
    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{rest}", shown.join("; "))
}

fn hook_event(plan: &Plan, phase: Phase) -> Option<HookEvent> {
    match phase {
        Phase::PreHooks | Phase::PreCleanup => Some(plan.event.pre()),
        _ => plan.event.post(),
    }
}
