//! The hooks at work in a phase: one or, where their rules say `parallel`, some side by side. Each
//! goes through the steps of [`hook`]; together they have one journal and one effect at a time.

use super::{Turn, hook, hook_event};
use crate::{
    journal::{Failure, HookPhase, HookStatus, Journal, Phase},
    observation::{HookObservation, Observation},
    reason::Reason,
    step::{Hold, Step},
};

/// The most hooks that run side by side: each is looked at when one of them changes.
const MOST_AT_ONCE: usize = 10;

impl Turn<'_> {
    pub(super) fn at_hooks(self, observation: &Observation) -> Step {
        let operation = &self.journal.operation;
        let Some(cursor) = &operation.hook else {
            // Only an edited status lacks it.
            return self
                .fail(Failure::new(Reason::JournalLost, "status.operation.hook is missing"));
        };
        match observation {
            Observation::Hooks(seen) => match seen.as_slice() {
                [(_, object)] if operation.beside.is_empty() => {
                    hook::step(self, cursor, &Observation::Hook(object.clone()))
                }
                seen => self.each(seen),
            },
            // All of them are blocked.
            Observation::Nothing if !operation.beside.is_empty() => {
                let seen: Vec<_> = operation.cursors().map(|it| (it.index, None)).collect();
                self.each(&seen)
            }
            answer => {
                let step = hook::step(self, cursor, answer);
                // The others are looked at before anything is waited for.
                let waits = step.wake_at.is_some() && !step.journal.operation.beside.is_empty();
                if waits { Step::go(step.journal, None) } else { step }
            }
        }
    }

    /// Notes first what was seen of each hook, so that no outcome is missed, and a failure is known
    /// before another hook starts. Then comes one effect at most.
    fn each(self, seen: &[(usize, Option<HookObservation>)]) -> Step {
        let noted = self.pass(seen, false);
        let step = self.with(&noted.journal).pass(seen, true);
        let has_moved = noted.wake_at.is_none() || step.wake_at.is_none();
        if step.effect.is_none() && has_moved { Step::go(step.journal, None) } else { step }
    }

    /// Goes once through the hooks. With `acts`, it ends with the first effect; otherwise the steps of
    /// hooks that need one are left for later.
    fn pass(self, seen: &[(usize, Option<HookObservation>)], acts: bool) -> Step {
        let mut all = Step { wake_at: None, ..Step::go(self.journal.clone(), None) };
        let mut has_moved = false;
        for (index, object) in seen {
            let mut journal = all.journal.clone();
            let Some(cursor) = journal.operation.turn_to(*index).cloned() else { continue };
            let step = hook::step(self.with(&journal), &cursor, &Observation::Hook(object.clone()));
            match step.effect {
                Some(_) if acts => return step,
                Some(_) => continue,
                None => {}
            }
            has_moved |= step.wake_at.is_none();
            all = Step {
                wake_at: [all.wake_at, step.wake_at].into_iter().flatten().min(),
                hold: both(all.hold, step.hold),
                ..step
            };
        }
        // In one order, or the journal would be written anew each time.
        let first = all.journal.operation.cursors().map(|cursor| cursor.index).min();
        if let Some(first) = first {
            all.journal.operation.turn_to(first);
        }
        all.wake_at = all.wake_at.filter(|_| !has_moved);
        all
    }

    /// Goes to the hooks of the phase that come next, or on to `cleanup`. An operation that is ending
    /// starts no more of them, and waits for those at work.
    pub(super) fn hooks(self, cleanup: Phase) -> Step {
        let mut journal = self.journal.clone();
        let event = hook_event(self.plan, journal.operation.phase);
        let is_ending = journal.operation.failure.is_some() || journal.operation.skip.is_some();
        if is_ending && journal.operation.hook.is_some() {
            return Step::go(journal, None);
        }
        if let Some(why) = &journal.operation.skip {
            let open = journal.hooks.iter_mut().filter(|hook| {
                Some(hook.event) == event
                    && matches!(hook.phase, HookPhase::Pending | HookPhase::Unknown)
            });
            for hook in open {
                hook.phase = HookPhase::Skipped;
                hook.reason = Some(why.reason.clone());
                hook.message = Some(why.message.clone());
            }
        }
        if !is_ending && let Some(first) = event.and_then(|event| journal.unfinished(event)) {
            for hook in self.next(&journal, first) {
                journal.operation.beside.push(hook::cursor(self.plan, &hook, self.now));
            }
            let first = journal.operation.cursors().map(|cursor| cursor.index).min();
            journal.operation.turn_to(first.unwrap_or_default());
        }
        if journal.operation.hook.is_none() {
            return self.with(&journal).enter(cleanup);
        }
        Step::go(journal, None)
    }

    /// The hooks that begin now: `first`, the first one that has not ended, and those that run beside
    /// it, if they are not at work already.
    fn next(self, journal: &Journal, first: &HookStatus) -> Vec<HookStatus> {
        let at_work = journal.operation.cursors().count();
        let beside = journal.hooks.get(self.plan.side_by_side(first.index)).unwrap_or_default();
        let is_next = |hook: &&HookStatus| {
            !hook.is_over() && journal.operation.cursor_of(hook.index).is_none()
        };
        let most = MOST_AT_ONCE.saturating_sub(at_work);
        beside.iter().filter(is_next).take(most).cloned().collect()
    }
}

/// The reasons of two hooks for which the operation waits: first what only a person ends.
fn both(one: Option<Hold>, other: Option<Hold>) -> Option<Hold> {
    match (one, other) {
        (Some(Hold::Waiting(one)), Some(Hold::Waiting(other))) => {
            Some(Hold::Waiting(format!("{one}; {other}")))
        }
        (Some(Hold::Waiting(_)) | None, Some(other)) => Some(other),
        (one, _) => one,
    }
}
