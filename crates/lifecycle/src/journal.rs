//! The journal: the progress of an operation. The custom resource's status keeps it, written with
//! its resourceVersion before each effect that does not already follow from it.

mod hook;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use self::hook::pending;
pub use self::hook::{HookAttempt, HookPhase, HookStatus};

use crate::{
    event::{Event, HookEvent},
    plan::{Begin, Chart, run_id},
    reason::Reason,
    rule::backoff,
    step::after,
};

/// The length to which a failure's message is cut.
const MESSAGE_BYTES: usize = 1024;

/// The running or the last operation, and the state of its hooks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Journal {
    /// `status.operation`.
    pub operation: Operation,
    /// The entries of `status.hooks` that belong to the operation, in the order of the plan.
    pub hooks: Vec<HookStatus>,
    /// `status.lastHandled…At`: the requests that need no answer any more.
    pub handled: Requests,
}

/// The requests of people by annotations `releaselifecycle.dev/…At`. Any value that differs from
/// the one handled last is a request; a time is customary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// Resumes where the last operation failed: the same revision, one more attempt at its hook.
    pub retry: Option<String>,
    /// Begins again from the start: a new revision, every hook.
    pub restart: Option<String>,
    /// Runs the tests.
    pub test: Option<String>,
    /// Stops the running operation.
    pub cancel: Option<String>,
    /// Skips the hook at which the operation is blocked; in a deletion, all that remain.
    pub skip: Option<String>,
}

impl Requests {
    /// Returns these requests. If one is absent, it is the one that was `handled` last, so that it
    /// requests nothing: `GitOps` tools remove what `kubectl annotate` wrote.
    #[must_use]
    pub fn or_handled(self, handled: Self) -> Self {
        Self {
            retry: self.retry.or(handled.retry),
            restart: self.restart.or(handled.restart),
            test: self.test.or(handled.test),
            cancel: self.cancel.or(handled.cancel),
            skip: self.skip.or(handled.skip),
        }
    }
}

/// Operation: one run of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// ID of the operation, which is also in its record and in the run ID of each of its hooks.
    pub id: String,
    /// Event of the operation.
    pub event: Event,
    /// Revision that the operation creates, as `helm history` shows it; in a deletion and a test,
    /// the existing one.
    pub revision: i32,
    /// Generation of the spec that the operation applies.
    pub generation: i64,
    /// Revision to which a rollback goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<i32>,
    /// Revision whose failure the operation remediates, by `spec.install.onFailure` or
    /// `spec.upgrade.onFailure`. Absent if the operation is no remediation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedies: Option<i32>,
    /// User who has approved the plan. Absent if it needed no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Chart of the revision. Absent until the record has the plan, and if the source has no chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,
    /// Leader that began the operation, by the `leaseTransitions` of the operator's Lease.
    #[serde(default)]
    pub leader: i32,
    /// Digest of the desired configuration. A newer spec has another digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config_digest: String,
    /// Digest of the frozen plan. Absent until the record has the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// Phase that the operation has reached.
    pub phase: Phase,
    /// Time at which the operation began.
    pub started_at: Timestamp,
    /// Time at which the operation ended. Absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Deadline for the release's objects to be ready (phase `WaitingForReady`) or deleted
    /// (phase `WaitingForDeletion`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Current hook of the operation (phases `PreHooks` and `PostHooks`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookCursor>,
    /// Hooks that run beside the current one, since their rules say `parallel`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<HookCursor>,
    /// Cancellation of the operation. Absent if it was not cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Reason for skipping the hooks that have not ended. Only in a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Failure>,
    /// Objects that still existed when the deletion continued without them, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Failure of the operation. Set as soon as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Phase in which the operation failed. A retry resumes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_in: Option<Phase>,
}

/// Cancellation of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// Stops the running hook. If false, the operation ends after that hook.
    pub now: bool,
    /// Failure with which the operation then ends.
    #[serde(flatten)]
    pub failure: Failure,
}

/// Phase of an operation; the values are in order. A deletion has `Deleting` and `WaitingForDeletion`
/// instead of `Applying` and `WaitingForReady`; a test has only its hooks. A phase with nothing to do
/// is skipped. `Ready` and `Gone` are the names of the same phases in earlier versions.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(transform = with_former_names)]
pub enum Phase {
    /// The record of the revision is being written, with the frozen plan.
    Recording,
    /// The pre hooks run; in a test, the test hooks.
    PreHooks,
    /// Pre hooks are deleted as their policies say.
    PreCleanup,
    /// The release's objects are applied, and those that the plan lacks are pruned.
    Applying,
    /// The release's objects are becoming ready.
    #[serde(alias = "Ready")]
    WaitingForReady,
    /// The release's objects are being deleted.
    Deleting,
    /// The release's objects are terminating: finalizers are at work.
    #[serde(alias = "Gone")]
    WaitingForDeletion,
    /// The post hooks run.
    PostHooks,
    /// Post hooks are deleted as their policies say.
    PostCleanup,
    /// The record is being closed; in a deletion, all records are removed.
    Closing,
    /// The operation has ended.
    Done,
}

/// Keeps statuses valid that an earlier version wrote, and lets it write until it is replaced.
fn with_former_names(schema: &mut Schema) {
    if let Some(Value::Array(phases)) = schema.get_mut("oneOf") {
        phases.extend(["Ready", "Gone"].map(|name| json!({"type": "string", "const": name})));
    }
}

/// Current hook of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookCursor {
    /// Index of the hook in the plan.
    pub index: usize,
    /// Number of the attempt, from 1. Each attempt has an object of its own.
    pub attempt: i32,
    /// Step of the hook.
    pub step: HookStep,
    /// UID of the object created for this attempt, from the step `Run` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// UID of a leftover object that is deleted first (step `Create`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leftover: Option<String>,
    /// Time at which the step began.
    pub started_at: Timestamp,
    /// Deadline of the step.
    pub deadline: Timestamp,
    /// Time before which the object is not created (step `Create`), since an earlier attempt has
    /// failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Number of attempts that have failed before this one and were retried as the hook's rule says.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub retried: i32,
    /// Number of attempts that have failed before this one, not by the hook's own doing, and were
    /// retried as `retryInfrastructure` of the hook's rule says.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub retried_infrastructure: i32,
    /// Reason why nothing of the hook has started in the time that `failFast` of its rule allows (step
    /// `Stop`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstarted: Option<String>,
}

/// Step of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HookStep {
    /// A leftover is deleted, and the object is created but not started.
    Create,
    /// The object is started, and watched until it ends.
    Run,
    /// The hook has reached its timeout or its failFast, or the operation was cancelled: it is being
    /// stopped for good.
    Stop,
    /// The operation is blocked until a retry or a skip of the hook is requested.
    Blocked,
}

/// Failure of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Reason of the failure in `CamelCase`, which is also that of the conditions.
    pub reason: String,
    /// Human-readable message that names the object and the cause.
    pub message: String,
}

impl Failure {
    /// Makes a failure. The message is cut to 1 KiB: status and the record are small.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self::with_word(reason.as_str(), message)
    }

    /// Does the same as [`Self::new`], with `what` and then `way_out`, which is never cut.
    pub fn with_way_out(reason: Reason, what: &str, way_out: &str) -> Self {
        Self { reason: reason.into(), message: cut(what, way_out) }
    }

    /// Does the same as [`Self::new`], with a word that may be Kubernetes' own, or an older
    /// version's.
    pub fn with_word(word: &str, message: impl Into<String>) -> Self {
        Self { reason: word.to_owned(), message: cut(&message.into(), "") }
    }
}

/// Returns as much of `what` as fits into a failure's message before `way_out`.
pub(crate) fn cut(what: &str, way_out: &str) -> String {
    let most = MESSAGE_BYTES.saturating_sub(way_out.len());
    match what.split_at_checked(what.floor_char_boundary(most)) {
        Some((head, cut)) if !cut.is_empty() => format!("{head}…{way_out}"),
        _ => format!("{what}{way_out}"),
    }
}

/// Last install, upgrade or rollback that failed. After the retries that the spec allows, its
/// configuration is not attempted again until the object changes or a retry is requested.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    /// Digest of the desired configuration.
    pub config_digest: String,
    /// Generation of the spec that was attempted.
    pub generation: i64,
    /// Event of the attempt.
    pub event: Event,
    /// Revision that the attempt created.
    pub revision: i32,
    /// Number of consecutive failures of this configuration.
    pub failures: i32,
    /// Time at which the attempt failed. Absent if it is not retried: it was cancelled, it failed before
    /// it began, its progress was lost, or its remediation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// Failure of the attempt.
    #[serde(flatten)]
    pub failure: Failure,
}

/// Number of attempts after the first at a configuration that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// At most so many.
    AtMost(i32),
    /// As many as it takes.
    Unbounded,
}

impl LastAttempt {
    /// Returns the time of the next attempt, if there is one.
    pub fn next_at(&self, retries: Retries) -> Option<Timestamp> {
        let is_left = match retries {
            Retries::AtMost(most) => self.failures <= most,
            Retries::Unbounded => true,
        };
        let failed_at = self.failed_at.filter(|_| is_left)?;
        Some(after(failed_at, backoff(self.failures)))
    }
}

impl Operation {
    /// The hooks at work: the current one, and those beside it.
    pub fn cursors(&self) -> impl Iterator<Item = &HookCursor> {
        self.hook.iter().chain(&self.beside)
    }

    /// The cursor of the hook at `index`, if it is at work.
    pub fn cursor_of(&self, index: usize) -> Option<&HookCursor> {
        self.cursors().find(|cursor| cursor.index == index)
    }

    /// Makes the hook at `index` the current one, if it is at work.
    pub(crate) fn turn_to(&mut self, index: usize) -> Option<&HookCursor> {
        self.beside.extend(self.hook.take());
        self.beside.sort_by_key(|cursor| cursor.index);
        let place = self.beside.iter().position(|cursor| cursor.index == index);
        let place = place.or((!self.beside.is_empty()).then_some(0))?;
        self.hook = Some(self.beside.remove(place));
        self.hook.as_ref().filter(|cursor| cursor.index == index)
    }

    /// The current hook is no longer at work; one beside it becomes the current one.
    pub(crate) fn leave_hook(&mut self) {
        self.hook = (!self.beside.is_empty()).then(|| self.beside.remove(0));
    }

    pub(crate) fn leave_all_hooks(&mut self) {
        self.hook = None;
        self.beside.clear();
    }

    /// Returns whether another attempt may follow its failure: it failed at work, and its progress was
    /// known to the end.
    pub fn is_to_be_retried(&self) -> bool {
        const UNKNOWN: [Reason; 4] =
            [Reason::PlanLost, Reason::JournalLost, Reason::RecordLost, Reason::Overtaken];
        let is_known = |failure: &Failure| UNKNOWN.iter().all(|it| it.as_str() != failure.reason);
        self.has_failed_at_work() && self.failure.as_ref().is_some_and(is_known)
    }

    /// Returns whether it failed by itself, after some work: nobody cancelled it, and it has a
    /// record.
    pub fn has_failed_at_work(&self) -> bool {
        self.completed_at.is_some()
            && self.failure.is_some()
            && self.cancel.is_none()
            && self.plan_digest.is_some()
    }
}

impl Journal {
    /// The journal of an operation that was just decided on. `handled` are the requests that it
    /// answers, or makes obsolete.
    pub fn begin(begin: Begin, config_digest: String, handled: Requests, now: Timestamp) -> Self {
        let Begin { id, event, revision, target, remedies, generation } = begin;
        Self {
            operation: Operation {
                id,
                event,
                revision,
                generation,
                target,
                remedies,
                approved_by: None,
                chart: None,
                leader: 0,
                config_digest,
                plan_digest: None,
                phase: Phase::Recording,
                started_at: now,
                completed_at: None,
                deadline: None,
                hook: None,
                beside: Vec::new(),
                cancel: None,
                skip: None,
                left: Vec::new(),
                failure: None,
                failed_in: None,
            },
            hooks: Vec::new(),
            handled,
        }
    }

    /// The journal of a failed operation that is resumed: its successes are kept.
    #[must_use]
    pub fn reopened(&self, generation: i64, config_digest: String, handled: Requests) -> Self {
        let mut journal = self.clone();
        let operation = &mut journal.operation;
        operation.generation = generation;
        operation.config_digest = config_digest;
        operation.phase = Phase::Recording;
        operation.completed_at = None;
        operation.cancel = None;
        operation.failure = None;
        journal.handled = handled;
        journal
    }

    /// Ends an operation that cannot continue as it is. Hooks that still run are left alone.
    #[must_use]
    pub fn abandon(&self, failure: Failure, now: Timestamp) -> Self {
        let mut journal = self.clone();
        journal.operation.failure = Some(failure);
        journal.ended(now)
    }

    /// Removes the plan: the last remaining part of the operation was done.
    #[must_use]
    pub fn concluded(&self, now: Timestamp) -> Self {
        self.clone().ended(now)
    }

    /// The journal of the operation at its end.
    pub(crate) fn ended(mut self, now: Timestamp) -> Self {
        self.operation.phase = Phase::Done;
        self.operation.completed_at = Some(now);
        self.operation.leave_all_hooks();
        self.operation.deadline = None;
        self
    }

    /// Returns the hook at work that has this run id, if one has.
    pub fn cursor_of_run(&self, run: &str) -> Option<&HookCursor> {
        let id = &self.operation.id;
        let mut cursors = self.operation.cursors();
        cursors.find(|cursor| run_id(id, cursor.index, cursor.attempt) == run)
    }

    /// Notes that the hook at `index` failed.
    pub(crate) fn note_failure(&mut self, index: usize, failure: &Failure, now: Timestamp) {
        if let Some(hook) = self.hooks.get_mut(index) {
            hook.phase = HookPhase::Failed;
            hook.completed_at = Some(now);
            hook.reason = Some(failure.reason.clone());
            hook.message = Some(failure.message.clone());
        }
    }

    /// The first hook of `event` for which something is left to do.
    pub(crate) fn unfinished(&self, event: HookEvent) -> Option<&HookStatus> {
        self.hooks.iter().find(|hook| hook.event == event && !hook.is_over())
    }

    /// Returns what the operation went without, to be read after its name: hooks that were skipped or
    /// failed, and objects that are still there. Empty if there is nothing of the kind.
    pub fn without(&self) -> String {
        let Operation { event, skip, left, .. } = &self.operation;
        let mut parts = Vec::new();
        let named = |is_it: fn(&HookStatus) -> bool| -> Vec<_> {
            let hooks = self.hooks.iter().filter(|hook| is_it(hook));
            hooks.map(|hook| format!("{}/{} ({})", hook.kind, hook.name, hook.event)).collect()
        };
        if *event == Event::Delete && skip.is_some() {
            let hooks = named(|hook| {
                hook.phase != HookPhase::Succeeded && !hook.ignored && !hook.is_left_out()
            });
            if !hooks.is_empty() {
                parts.push(format!("skipped: hook {}", first_of(&hooks)));
            }
        }
        let ignored = named(|hook| hook.ignored);
        if !ignored.is_empty() {
            parts.push(format!("failed and ignored: hook {}", first_of(&ignored)));
        }
        if !left.is_empty() {
            parts.push(format!("left behind: {}", first_of(left)));
        }
        parts.iter().map(|part| format!("; {part}")).collect()
    }

    /// Returns whether the operation has ended.
    pub fn is_done(&self) -> bool {
        self.operation.phase == Phase::Done
    }
}

/// As many of `things` as a sentence takes.
pub fn first_of(things: &[String]) -> String {
    const BYTES: usize = 700;
    let mut text = String::new();
    for (index, thing) in things.iter().enumerate() {
        if index > 0 && text.len().saturating_add(thing.len()) > BYTES {
            return format!("{text}; and {} more", things.len().saturating_sub(index));
        }
        let link = if index == 0 { "" } else { "; " };
        text = format!("{text}{link}{thing}");
    }
    text
}
