//! The reason why a hook failed, in words that are complete by themselves.

use super::HookTurn;
use crate::{
    journal::{Failure, HookPhase, HookStatus, Journal},
    observation::{Evidence, HookObservation},
    plan::HookKind,
    reason::Reason,
};

impl HookTurn<'_> {
    /// The failure by the hook's own verdict. A Job knows little of its Pods; a Pod's own report is
    /// in its message already.
    pub(super) fn failed(&self, reason: &str, message: &str, evidence: &Evidence) -> Failure {
        let seen = evidence.cause.as_ref().map(|cause| &*cause.message);
        let why = seen.or(self.last_seen()).filter(|_| self.hook.kind() == HookKind::Job);
        // The verdict may rest on this evidence, and then contains it.
        let why = why.filter(|why| !message.contains(why));
        let parts = [message, why.unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
        Failure::with_word(reason, parts.collect::<Vec<_>>().join("; "))
    }

    /// The failure of a hook whose object is gone; the last known state may explain it.
    pub(super) fn vanished(&self) -> Failure {
        let reason = self.status().and_then(|status| status.reason.as_deref());
        let message =
            format!("{} was deleted before its end was seen{}", self.object(), self.and_seen());
        Failure::with_word(reason.unwrap_or(Reason::Vanished.as_str()), message)
    }

    /// The failure of a hook that was stopped, or could not be, with its last known state.
    pub(super) fn stopped(&self, was_stopped: bool) -> Failure {
        let how = if was_stopped { "was stopped" } else { "could not be stopped" };
        let (name, seen) = (self.object(), self.and_seen());
        let operation = self.operation();
        let order = operation.cancel.as_ref().map(|cancel| &cancel.failure);
        if let Some(order) = order.or(operation.skip.as_ref()) {
            let message = format!("{name} {how}: {}{seen}", order.message);
            return Failure::with_word(&order.reason, message);
        }
        if let (Some(why), Some(_)) = (&self.cursor.unstarted, &operation.failure) {
            let message = format!("{name} {how} before it had started: {why}");
            return Failure::new(Reason::NotStarted, message);
        }
        if let Some(why) = &self.cursor.unstarted {
            let limit = self.hook.rule.fail_fast_seconds.unwrap_or_default();
            let field = self.hook.rule.field("failFast");
            let message = format!(
                "no container of {name} could start for {limit} s ({field}), and it {how}: {why}"
            );
            return Failure::new(Reason::NotStarted, message);
        }
        let (limit, field) = (self.timeout().as_secs(), self.hook.rule.timeout_field());
        let link = if was_stopped { " and" } else { ", and" };
        let message = format!("{name} did not end within {limit} s ({field}){link} {how}{seen}");
        Failure::new(Reason::Timeout, message)
    }

    /// The failure of a hook whose object is no longer awaited, and stays as it is.
    pub(super) fn not_ready(&self, object: &HookObservation) -> Failure {
        let why = object.waiting.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let name = self.object();
        let operation = self.operation();
        // One that lets the hook end is no reason why it was given up.
        let cancel = operation.cancel.as_ref().filter(|cancel| self.is_stopped_by(cancel));
        let order = cancel.map(|cancel| &cancel.failure);
        if let Some(order) = order.or(operation.skip.as_ref()) {
            let seen = if why.is_empty() { why } else { format!("; last seen{why}") };
            let message = format!("{name} is no longer awaited: {}{seen}", order.message);
            return Failure::with_word(&order.reason, message);
        }
        let (limit, field) = (self.timeout().as_secs(), self.hook.rule.timeout_field());
        let message = format!("{name} was not ready within {limit} s ({field}){why}");
        Failure::new(Reason::Timeout, message)
    }

    fn and_seen(&self) -> String {
        self.last_seen().map_or(String::new(), |seen| format!("; last seen: {seen}"))
    }

    /// The failure of the attempt before; it is known while the next one runs.
    pub(super) fn attempt_before(&self) -> Option<String> {
        let HookStatus { attempt, phase, reason, message, .. } = self.status()?;
        let (reason, message) = (reason.as_deref()?, message.as_deref()?);
        let failed = *phase == HookPhase::Failed && *attempt < self.cursor.attempt;
        failed.then(|| HookStatus::attempt_before(*attempt, reason, message))
    }

    fn last_seen(&self) -> Option<&str> {
        self.status()?.last_seen()
    }
}

/// Keeps the evidence: it is not forgotten when it is gone from the cluster.
pub(super) fn note(journal: &mut Journal, index: usize, evidence: &Evidence) {
    if let Some(status) = journal.hooks.get_mut(index) {
        status.exit_code = evidence.exit_code.or(status.exit_code);
        if let Some(cause) = &evidence.cause {
            // The verdict of a Job depends on whether one of its Pods was stopped.
            if cause.reason.is_some() {
                status.reason.clone_from(&cause.reason);
            }
            status.message = Some(cause.message.clone());
        }
        status.log = evidence.log.clone().or_else(|| status.log.take());
    }
}
