//! Questions about a release's status. Pure.

use api::{ReleaseLifecycle, ReleaseLifecycleStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use lifecycle::{
    approval::PendingPlan,
    conditions,
    event::Event,
    journal::{HookCursor, HookStatus, HookStep, Journal, LastAttempt, Operation},
    reason::Reason,
};

#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) object: &'a ReleaseLifecycle,
    status: Option<&'a ReleaseLifecycleStatus>,
}

impl<'a> State<'a> {
    pub(crate) fn new(object: &'a ReleaseLifecycle) -> Self {
        Self { object, status: object.status.as_ref() }
    }

    /// Returns `namespace/name`.
    pub(crate) fn title(self) -> String {
        format!("{}/{}", self.namespace(), self.object.name_any())
    }

    pub(crate) fn namespace(self) -> &'a str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn generation(self) -> i64 {
        self.object.metadata.generation.unwrap_or_default()
    }

    /// Returns the generation that the controller has reconciled; -1 if none.
    pub(crate) fn observed(self) -> i64 {
        self.status.and_then(|status| status.observed_generation).unwrap_or(-1)
    }

    pub(crate) fn is_being_deleted(self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Returns whether the release is gone, and only the object is still there.
    pub(crate) fn has_been_deleted(self) -> bool {
        // The remediation of a failed install is not an answer to a request.
        let of_deletion =
            |last: &&Operation| last.event == Event::Delete && last.remedies.is_none();
        let last = self.operation().filter(of_deletion);
        last.is_some_and(|last| last.completed_at.is_some() && last.failure.is_none())
    }

    /// Returns the last install, upgrade or rollback that failed, until one succeeds.
    pub(crate) fn last_attempt(self) -> Option<&'a LastAttempt> {
        self.status?.last_attempt.as_ref()
    }

    /// Returns the running or the last operation.
    pub(crate) fn operation(self) -> Option<&'a Operation> {
        self.status?.operation.as_ref()
    }

    pub(crate) fn running(self) -> Option<&'a Operation> {
        self.operation().filter(|operation| operation.completed_at.is_none())
    }

    /// Returns those of the running or the last operation, in order.
    pub(crate) fn hooks(self) -> impl Iterator<Item = &'a HookStatus> {
        let event = self.operation().map(|operation| operation.event);
        let all = self.status.into_iter().flat_map(|status| &status.hooks);
        all.filter(move |hook| Some(hook.event.operation()) == event)
    }

    /// Returns the hooks that are at work.
    fn cursors(self) -> impl Iterator<Item = &'a HookCursor> {
        self.running().into_iter().flat_map(Operation::cursors)
    }

    /// Returns where the hook is, if it is at work.
    pub(crate) fn cursor_of(self, hook: &HookStatus) -> Option<&'a HookCursor> {
        self.cursors().find(|cursor| cursor.index == hook.index)
    }

    pub(crate) fn condition(self, type_: &str) -> Option<&'a Condition> {
        self.status?.conditions.iter().find(|condition| condition.type_ == type_)
    }

    pub(crate) fn ready(self) -> Option<&'a Condition> {
        self.condition(conditions::READY)
    }

    /// Returns the condition that the release's objects have drifted, or that this is unknown.
    pub(crate) fn drift(self) -> Option<&'a Condition> {
        self.condition(conditions::DRIFTED).filter(|drifted| drifted.status != "False")
    }

    /// Returns the findings about the last operation from before it began.
    pub(crate) fn warning(self) -> Option<&'a Condition> {
        let passed = self.condition(conditions::PREFLIGHT_PASSED)?;
        // `Ready` has the same message while nothing begins.
        (passed.status == "False" && passed.reason != Reason::PreflightFailed).then_some(passed)
    }

    /// Returns whether nothing continues until somebody changes something.
    pub(crate) fn is_stalled(self) -> bool {
        self.condition(conditions::STALLED).is_some_and(|stalled| stalled.status == "True")
    }

    /// Returns whether one more attempt makes a difference: it failed, is blocked, or its newest
    /// spec was not reconciled yet.
    pub(crate) fn can_be_retried(self) -> bool {
        if self.running().is_some() {
            return self.is_stalled() || self.is_blocked() || self.pauses_until().is_some();
        }
        self.ready_status() != "True" || self.observed() < self.generation()
    }

    /// Returns when the next attempt at a hook begins, while it is waited for.
    pub(crate) fn pauses_until(self) -> Option<Timestamp> {
        self.cursors().filter_map(|cursor| cursor.not_before).min()
    }

    /// Returns whether a person has to decide how to continue with a hook at which the operation
    /// is blocked.
    pub(crate) fn is_blocked(self) -> bool {
        self.cursors().any(|cursor| cursor.step == HookStep::Blocked)
    }

    /// Returns `True`, `False` or `Unknown`.
    pub(crate) fn ready_status(self) -> &'a str {
        self.ready().map_or("Unknown", |ready| &ready.status)
    }

    /// Returns a text such as `Ready=True UpgradeSucceeded`.
    pub(crate) fn ready_words(self) -> String {
        match self.ready() {
            Some(ready) => format!("Ready={} {}", ready.status, ready.reason),
            None => "Ready=Unknown".to_owned(),
        }
    }

    /// Returns whether the controller is done with `generation`, so that nothing more happens by
    /// itself.
    pub(crate) fn is_settled(self, generation: i64) -> bool {
        if self.running().is_some() && self.is_suspended() {
            // The generation does not matter: that of the conditions is the operation's, which
            // began before.
            return true;
        }
        let ended = self.running().is_none()
            && matches!(self.ready_status(), "True" | "False")
            // A release that waits for others is not Ready, but continues by itself.
            && self.condition(conditions::RECONCILING).is_none();
        self.observed() >= generation && (ended || self.needs_somebody())
    }

    /// Returns whether nothing continues until somebody changes something, as far as the controller
    /// has reconciled: it is stalled, perhaps in the middle of an operation, suspended, or its plan
    /// waits for an approval.
    pub(crate) fn needs_somebody(self) -> bool {
        self.is_stalled() || self.is_suspended() || self.is_unapproved()
    }

    /// Returns whether a plan waits for an approval that nobody has given.
    fn is_unapproved(self) -> bool {
        let waits = self.ready().is_some_and(|ready| ready.reason == Reason::ApprovalPending);
        let plan = self.pending_plan();
        waits && plan.is_some_and(|plan| self.object.approved_plan() != Some(&*plan.digest))
    }

    /// Returns the plan that waits for an approval.
    pub(crate) fn pending_plan(self) -> Option<&'a PendingPlan> {
        self.status?.plan.as_ref().filter(|_| self.running().is_none())
    }

    /// Returns whether `spec.suspend` holds something back.
    fn is_suspended(self) -> bool {
        let held_back = self.ready().is_some_and(|ready| ready.reason == Reason::Suspended);
        // The condition alone may be from before it was resumed.
        held_back && self.object.suspended()
    }

    /// Returns the message of `Ready` on a running operation beyond what the journal says: what it
    /// waits for, or what went wrong and is tried again.
    pub(crate) fn waiting(self) -> Option<String> {
        self.running()?;
        let commands = self.object.commands();
        let message = conditions::flat(&self.ready()?.message);
        // That is about the release, not about a step.
        let newer = conditions::flat(&conditions::newer_spec(self.generation(), &commands));
        let message = message.strip_suffix(&*newer).unwrap_or(&message);
        let mut journal: Journal = self.status?.journal()?;
        let of_hooks: Vec<_> =
            journal.hooks.iter_mut().filter_map(|hook| hook.message.take()).collect();
        let known = conditions::of(&journal, None, &commands).into_iter().next();
        let known = known.map(|known| conditions::flat(&known.message)).unwrap_or_default();
        match message.strip_prefix(&known) {
            Some("") => None,
            Some(more) => {
                let more = more.strip_prefix(": ").unwrap_or(more);
                // The hook's own line says it.
                let said = of_hooks.iter().any(|message| conditions::flat(message) == more);
                (!said).then(|| more.to_owned())
            }
            // A controller of another version words it differently.
            None => Some(message.to_owned()),
        }
    }

    /// Returns how the last operation ended, if `Ready` does not say it: `TestSuccess=True
    /// TestSucceeded`, and its message.
    pub(crate) fn verdict_of_tests(self) -> Option<(String, &'a str)> {
        let last = self.operation()?;
        let ended = last.event == Event::Test && last.completed_at.is_some();
        let verdict = self.condition(conditions::TEST_SUCCESS).filter(|_| ended)?;
        let words = format!("{}={} {}", verdict.type_, verdict.status, verdict.reason);
        Some((words, &verdict.message))
    }
}
