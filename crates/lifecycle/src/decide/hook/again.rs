//! Another attempt at a hook: after a while, when somebody requests it, or not at all.

use jiff::{SignedDuration, Timestamp};

use super::HookTurn;
use crate::{
    decide::OnTimeout,
    journal::{Failure, HookCursor, HookPhase, HookStatus, HookStep, Journal, Operation},
    reason::Reason,
    rule::backoff,
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
            return self.leave(journal);
        }
        if self.is_ending() {
            return self.end(journal);
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
            return self.leave(journal);
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
            deadline: after(not_before.unwrap_or(self.now()), self.timeout()),
            not_before,
            retried: 0,
            retried_infrastructure: 0,
            unstarted: None,
            ..self.cursor.clone()
        }
    }

    /// Waits for the next attempt at a failed hook; somebody may not want to wait.
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

    /// Continues after a failed attempt as the hook's rule says: with the next attempt, or without
    /// the hook. Returns `None` if the operation fails with the hook. `infrastructure`: true if the
    /// failure was none of the hook's own doing.
    pub(super) fn after_failure(&self, journal: &Journal, infrastructure: bool) -> Option<Step> {
        let Operation { cancel, skip, failure, .. } = self.operation();
        if failure.is_some() {
            return None;
        }
        let ignores = self.hook.rule.ignores_failure();
        let ends_on_failure = self.turn.plan.event.ends_on_failure();
        let (retried, uncounted) = (self.cursor.retried, self.cursor.retried_infrastructure);
        let journal = journal.clone();
        match (cancel, skip) {
            (None, None) if infrastructure && self.may_retry_infrastructure() => {
                Some(self.retry(journal, retried, uncounted.saturating_add(1)))
            }
            (None, None) if self.may_retry() => {
                Some(self.retry(journal, retried.saturating_add(1), uncounted))
            }
            (None, None) if ignores => Some(self.ignored(journal)),
            // It ends anyway, and not because of the hook.
            (Some(_), _) if ignores => Some(self.end(journal)),
            _ if ends_on_failure => None,
            _ => Some(self.deletion_failed(journal)),
        }
    }

    /// Returns whether the rule has another attempt. In a deletion there are as many as there is
    /// time for, if the rule does not say how many; the failed hook may be the backup.
    fn may_retry(&self) -> bool {
        let is_deletion = !self.turn.plan.event.ends_on_failure();
        self.is_in_time()
            && match self.hook.rule.retries {
                Some(most) => self.cursor.retried < most,
                None => is_deletion && !self.hook.rule.ignores_failure(),
            }
    }

    fn may_retry_infrastructure(&self) -> bool {
        let most = self.hook.rule.retry_infrastructure.unwrap_or_default();
        self.cursor.retried_infrastructure < most && self.is_in_time()
    }

    /// Returns whether the next attempt begins in the time that a deletion may take.
    fn is_in_time(&self) -> bool {
        let again = after(self.now(), self.pause());
        self.turn.plan.event.ends_on_failure() || again < self.turn.deletion_deadline()
    }

    fn retry(&self, mut journal: Journal, retried: i32, retried_infrastructure: i32) -> Step {
        if let Some(status) = journal.hooks.get_mut(self.cursor.index) {
            status.keep_attempt();
        }
        let again = after(self.now(), self.pause());
        let next = self.next_attempt(Some(again));
        journal.operation.hook = Some(HookCursor { retried, retried_infrastructure, ..next });
        Step::go(journal, None)
    }

    /// The time until the next attempt. Attempts that a person asked for do not lengthen it.
    fn pause(&self) -> SignedDuration {
        let before = self.cursor.retried.saturating_add(self.cursor.retried_infrastructure);
        backoff(before.saturating_add(1))
    }

    fn ignored(&self, mut journal: Journal) -> Step {
        if let Some(status) = journal.hooks.get_mut(self.cursor.index) {
            status.ignored = true;
        }
        self.leave(journal)
    }

    /// Blocks a deletion after the last attempt at a hook, or skips the hook.
    fn deletion_failed(&self, mut journal: Journal) -> Step {
        if journal.operation.skip.is_some() {
            return self.leave(journal);
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
