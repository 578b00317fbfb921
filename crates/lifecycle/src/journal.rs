//! The journal: the progress of an operation. The custom resource's status keeps it, written with
//! its resourceVersion before each effect that does not already follow from it.

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{Event, HookEvent},
    plan::{Begin, Chart, Plan, run_id},
    reason::Reason,
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

/// One run of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Names the operation in its record and in the run id of each of its hooks.
    pub id: String,
    /// What the operation does.
    pub event: Event,
    /// The revision that the operation makes, as `helm history` shows it.
    pub revision: i32,
    /// The generation of the object that the operation serves.
    pub generation: i64,
    /// The revision that a rollback goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<i32>,
    /// The revision whose failure the operation makes up for, as `spec.install.onFailure` or
    /// `spec.upgrade.onFailure` says; absent where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedies: Option<i32>,
    /// The chart of the revision; absent until the record holds the plan, and where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,
    /// The leader under which the operation began, by the `leaseTransitions` of the operator's
    /// Lease.
    #[serde(default)]
    pub leader: i32,
    /// The digest of what the operation was asked for; another one is a newer spec.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config_digest: String,
    /// The digest of the frozen plan; absent until the record holds the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// How far the operation got.
    pub phase: Phase,
    /// When the operation was decided on.
    pub started_at: Timestamp,
    /// When it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Until when the release's objects may take to become ready, or to be deleted (phases
    /// `WaitingForReady` and `WaitingForDeletion`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The hook at which the operation stands (phases `PreHooks` and `PostHooks`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookCursor>,
    /// Why the operation goes no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Why its hooks that have not ended are done without; only in a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Failure>,
    /// What a deletion went on without, although it was still there: objects, each with what holds
    /// it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Why the operation failed; set as soon as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The phase in which it failed: there a retry goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_in: Option<Phase>,
}

/// Why an operation goes no further, and how soon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// Whether a running hook is stopped; otherwise the operation ends after it.
    pub now: bool,
    /// What the operation then fails with.
    #[serde(flatten)]
    pub failure: Failure,
}

/// The phases of an operation, in order. A deletion has `Deleting` and `WaitingForDeletion` in the
/// place of `Applying` and `WaitingForReady`; a test has only its hooks. One with nothing to do is
/// passed over. `Ready` and `Gone` are the names that earlier versions wrote.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(transform = with_former_names)]
pub enum Phase {
    /// The record of the revision, with the frozen plan, is being written.
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
    /// They are terminating: finalizers are at work.
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
    if let Some(Value::Array(names)) = schema.get_mut("enum") {
        names.extend(["Ready", "Gone"].map(Value::from));
    }
}

/// The hook at which an operation stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookCursor {
    /// Its index in the plan.
    pub index: usize,
    /// Counts the objects made for this hook, from 1.
    pub attempt: i32,
    /// What is being done.
    pub step: HookStep,
    /// The UID of the object made for this attempt, from the step `Run` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The UID of the leftover that is removed first (step `Create`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leftover: Option<String>,
    /// When the step began.
    pub started_at: Timestamp,
    /// Until when the step may take.
    pub deadline: Timestamp,
    /// Before this, nothing is created (step `Create`): an attempt before has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// The steps of one hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HookStep {
    /// A leftover is removed and the object created, held back.
    Create,
    /// The object is started and its verdict awaited.
    Run,
    /// Its time ran out, or the operation was cancelled: it is being stopped for good.
    Stop,
    /// Somebody has to say how to go on: again, or without it.
    Blocked,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// One word in `PascalCase`, the reason of the conditions.
    pub reason: String,
    /// A sentence that names the object and what was seen.
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

/// The last install, upgrade or rollback that failed: its configuration is given up until the
/// object changes or somebody asks for another attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    /// The digest of what was asked for.
    pub config_digest: String,
    /// The generation of the object that asked for it.
    pub generation: i64,
    /// What was attempted.
    pub event: Event,
    /// The revision that it made.
    pub revision: i32,
    /// How often this configuration has failed in a row.
    pub failures: i32,
    /// With what it failed.
    #[serde(flatten)]
    pub failure: Failure,
}

/// The state of one hook, kept until the next operation of its event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Its index in the plan of its operation.
    pub index: usize,
    /// The hook event it runs at.
    pub event: HookEvent,
    /// The kind of its object.
    pub kind: String,
    /// The namespace of its object; absent for kinds without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of its object.
    pub name: String,
    /// Its weight; lower runs first.
    pub weight: i64,
    /// How it stands.
    pub phase: HookPhase,
    /// Counts the objects made for it, from 1; 0 before the first.
    pub attempt: i32,
    /// The UID of its object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When its object had been created and its clock began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its verdict was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The exit code of its container that ended last and failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// One word: why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence: what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines that a failed hook wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// How a hook stands. Helm's `release.HookPhase` with `Pending` for its empty value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum HookPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
    /// Done without.
    Skipped,
    /// Whether it has run cannot be told: the journal was lost.
    Unknown,
}

impl Operation {
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
                chart: None,
                leader: 0,
                config_digest,
                plan_digest: None,
                phase: Phase::Recording,
                started_at: now,
                completed_at: None,
                deadline: None,
                hook: None,
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
        self.operation.hook = None;
        self.operation.deadline = None;
        self
    }

    /// The run id of the attempt at which the operation is, if it is at a hook.
    pub fn present_run(&self) -> Option<String> {
        let cursor = self.operation.hook.as_ref()?;
        Some(run_id(&self.operation.id, cursor.index, cursor.attempt))
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

    /// The first hook of `event` that has neither succeeded nor been skipped.
    pub(crate) fn unfinished(&self, event: HookEvent) -> Option<&HookStatus> {
        self.hooks.iter().find(|hook| {
            hook.event == event && !matches!(hook.phase, HookPhase::Succeeded | HookPhase::Skipped)
        })
    }

    /// Returns what the operation has skipped, to be read after its name: hooks that did not end
    /// well, and objects that are still there. Empty if there is nothing of the kind.
    pub fn without(&self) -> String {
        let Operation { event, skip, left, .. } = &self.operation;
        let mut parts = Vec::new();
        if *event == Event::Delete && skip.is_some() {
            let hooks = self.hooks.iter().filter(|hook| hook.phase != HookPhase::Succeeded);
            let hooks: Vec<_> =
                hooks.map(|hook| format!("{}/{} ({})", hook.kind, hook.name, hook.event)).collect();
            if !hooks.is_empty() {
                parts.push(format!("skipped: hook {}", first_of(&hooks)));
            }
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

/// Every hook of `plan`, none of them run.
pub(crate) fn pending(plan: &Plan) -> Vec<HookStatus> {
    plan.hooks
        .iter()
        .enumerate()
        .map(|(index, hook)| HookStatus {
            index,
            event: hook.event,
            kind: hook.object.kind.clone(),
            namespace: hook.object.namespace.clone(),
            name: hook.object.name.clone(),
            weight: hook.weight,
            phase: HookPhase::Pending,
            attempt: 0,
            uid: None,
            started_at: None,
            completed_at: None,
            exit_code: None,
            reason: None,
            message: None,
            log: None,
        })
        .collect()
}
