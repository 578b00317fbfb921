//! Another attempt at a hook: after a while, when somebody requests it, or not at all.

use jiff::{SignedDuration, Timestamp};

use super::HookTurn;
use crate::{
    decide::OnTimeout,
    journal::{Failure, HookCursor, HookPhase, HookStatus, HookStep, Journal},
    reason::Reason,
    step::{Step, after},
};

impl HookTurn<'_> {
    /// Blocks the hook: somebody has to decide how to continue.
    pub(super) fn blocked(&self) -> Step {
        let index = self.cursor.index;
        let mut journal = self.turn.journal.clone();
        let requests = &self.turn.controls.requests;
        let deletion = !self.turn.plan.event.ends_on_failure();
        let skips = deletion && self.turn.controls.deletion.on_timeout == OnTimeout::SkipHooks;
        let outlived = skips.then(|| self.turn.deletion_deadline());
        if self.operation().skip.is_some() || outlived.is_some_and(|at| self.now() >= at) {
            journal.operation.skip.get_or_insert_with(timed_out);
            return self.turn.with(&journal).hooks(self.cleanup_phase());
        }
        if self.operation().cancel.is_some() {
            return self.cancelled(journal);
        }
        if requests.retry != journal.handled.retry {
            journal.handled.retry.clone_from(&requests.retry);
            journal.operation.hook = Some(self.next_attempt(None));
            return Step::go(journal, None);
        }
        if requests.skip != journal.handled.skip {
            journal.handled.skip.clone_from(&requests.skip);
            if let Some(status) = journal.hooks.get_mut(index) {
                status.phase = HookPhase::Skipped;
            }
            return self.turn.with(&journal).hooks(self.cleanup_phase());
        }
        let status = self.status();
        let text = |of: fn(&HookStatus) -> &Option<String>| {
            status.and_then(|status| of(status).as_deref()).unwrap_or_default()
        };
        let (reason, what, skip) = match status.map(|status| status.phase) {
            Some(HookPhase::Unknown) => (
                Reason::JournalLost,
                format!("it is unknown whether it has run, {}", text(|status| &status.message)),
                "to continue as if it had",
            ),
            _ => (
                Reason::HookFailed,
                format!("{}: {}", text(|status| &status.reason), text(|status| &status.message)),
                "to skip the hooks that remain",
            ),
        };
        let commands = &self.turn.controls.commands;
        let way_out =
            format!(". To run the hook again: {}; {skip}: {}", commands.retry(), commands.skip());
        let failure = Failure::with_way_out(reason, &what, &way_out);
        let stalled = Step::stall(journal, self.now(), failure);
        let wake_at = [stalled.wake_at, outlived].into_iter().flatten().min();
        Step { wake_at, ..stalled }
    }

    fn next_attempt(&self, not_before: Option<Timestamp>) -> HookCursor {
        HookCursor {
            attempt: self.cursor.attempt.saturating_add(1),
            step: HookStep::Create,
            uid: None,
            leftover: None,
            started_at: self.now(),
            deadline: after(not_before.unwrap_or(self.now()), self.turn.plan.hook_timeout()),
            not_before,
            ..self.cursor.clone()
        }
    }

    /// Waits for the next attempt at a failed hook of a deletion; somebody may not want to wait.
    pub(super) fn wait_for_the_next_attempt(&self, until: Timestamp) -> Step {
        let mut journal = self.turn.journal.clone();
        let requests = &self.turn.controls.requests;
        if requests.retry != journal.handled.retry {
            journal.handled.retry.clone_from(&requests.retry);
            journal.operation.hook = Some(HookCursor { not_before: None, ..self.cursor.clone() });
            return Step::go(journal, None);
        }
        let failure = self.status().and_then(|status| status.message.as_deref());
        let text = format!(
            "attempt {} failed, the next begins at {until:.0}: {}",
            self.cursor.attempt.saturating_sub(1),
            failure.unwrap_or_default()
        );
        Step::wait(journal, until, Some(text))
    }

    /// Handles a failed hook of a deletion. It blocks the deletion, because it may be the backup:
    /// it is tried again for as long as the deletion may take.
    pub(super) fn deletion_failed(&self, mut journal: Journal) -> Step {
        let again = after(self.now(), backoff(self.cursor.attempt));
        if journal.operation.skip.is_some() {
            return self.turn.with(&journal).hooks(self.cleanup_phase());
        }
        if again < self.turn.deletion_deadline() {
            journal.operation.hook = Some(self.next_attempt(Some(again)));
            return Step::go(journal, None);
        }
        let step = HookStep::Blocked;
        journal.operation.hook = Some(HookCursor { step, ..self.cursor.clone() });
        Step::go(journal, None)
    }
}

fn timed_out() -> Failure {
    Failure::new(
        Reason::DeletionTimeout,
        "spec.deletion.timeout has passed, and onTimeout is SkipHooks",
    )
}

/// The time that a failed hook of a deletion waits for its next attempt.
fn backoff(attempt: i32) -> SignedDuration {
    const FIRST: i64 = 5;
    const LONGEST: i64 = 300;
    let doublings = attempt.saturating_sub(1).clamp(0, 9);
    SignedDuration::from_secs((FIRST << doublings).min(LONGEST))
}
