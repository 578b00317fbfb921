//! The state of one hook in the journal.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{event::HookEvent, plan::Plan, reason::Reason};

/// State of one hook, which is kept until the next operation of its event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Index of the hook in the plan of its operation.
    pub index: usize,
    /// Hook event, as in the annotation helm.sh/hook.
    pub event: HookEvent,
    /// Kind of the hook's object.
    pub kind: String,
    /// Namespace of the hook's object. Absent for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the hook's object.
    pub name: String,
    /// Weight of the hook. Hooks with a lower weight run first.
    pub weight: i64,
    /// Phase of the hook.
    pub phase: HookPhase,
    /// Number of attempts, each with an object of its own; 0 before the first.
    pub attempt: i32,
    /// UID of the hook's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Time at which the hook's object had been created. The timeout counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Time at which the operator saw that the hook had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Exit code of the container that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Reason of the failure, in `CamelCase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Human-readable message with the cause of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Last log lines of a failed hook, at most `spec.hooks.logLines` or `logLines` of its rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Rule of the hook: `spec.hooks.rules[N]`, or `annotations` if the hook itself has it. Absent if
    /// it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Digest of the hook's manifest and, with `WhenChanged`, of the data that it names. Only if its
    /// rule runs it `WhenChanged` or `Once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// True if the hook has failed, and its rule says that the operation continues.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
    /// Earlier attempts in the same operation, each of which failed; at most the last 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<HookAttempt>,
}

/// Failed attempt of a hook that was retried.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookAttempt {
    /// Number of the attempt.
    pub attempt: i32,
    /// Time at which its object had been created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Time at which the operator saw that it had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Exit code of the container that failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Reason of the failure, in `CamelCase`.
    pub reason: String,
    /// Human-readable message with the cause of the failure.
    pub message: String,
    /// Last log lines of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// Begins the message of a hook that reports the attempt before.
const BEFORE: &str = "attempt ";

impl HookStatus {
    /// Returns the message of a hook that runs again, until it has one of its own.
    pub(crate) fn attempt_before(attempt: i32, reason: &str, message: &str) -> String {
        format!("{BEFORE}{attempt} failed: {reason}: {message}")
    }

    /// Returns the last report of the present attempt.
    pub fn last_seen(&self) -> Option<&str> {
        self.message.as_deref().filter(|message| !message.starts_with(BEFORE))
    }

    /// Returns the exit code, unless the message names it: most of them do.
    pub fn exit_code_apart(&self) -> Option<i32> {
        let names = |code: i32| {
            let named = format!("exit code {code}");
            self.message.as_deref().is_some_and(|message| message.contains(&named))
        };
        self.exit_code.filter(|code| !names(*code))
    }

    /// Returns whether the operation has nothing to do for the hook any more.
    pub fn is_over(&self) -> bool {
        match self.phase {
            HookPhase::Succeeded | HookPhase::Skipped => true,
            HookPhase::Failed => self.ignored,
            HookPhase::Pending | HookPhase::Running | HookPhase::Unknown => false,
        }
    }

    /// Returns whether it was skipped because its rule says so.
    pub fn is_left_out(&self) -> bool {
        const OF_RULE: [Reason; 3] = [Reason::RunNever, Reason::Unchanged, Reason::AlreadyRun];
        let is_of_rule =
            |reason: &str| OF_RULE.into_iter().any(|of_rule| of_rule.as_str() == reason);
        self.phase == HookPhase::Skipped && self.reason.as_deref().is_some_and(is_of_rule)
    }

    /// Returns whether the hook failed, and its operation with it.
    pub fn has_failed(&self) -> bool {
        self.phase == HookPhase::Failed && !self.ignored
    }

    /// Keeps the failure of the present attempt beside the next one.
    pub(crate) fn keep_attempt(&mut self) {
        const KEPT: usize = 5;
        let is_kept = self.attempts.last().is_some_and(|last| last.attempt == self.attempt);
        if self.phase != HookPhase::Failed || self.attempt == 0 || is_kept {
            return;
        }
        if self.attempts.len() >= KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(HookAttempt {
            attempt: self.attempt,
            started_at: self.started_at,
            completed_at: self.completed_at,
            exit_code: self.exit_code,
            reason: self.reason.clone().unwrap_or_default(),
            message: self.message.clone().unwrap_or_default(),
            log: self.log.clone(),
        });
    }
}

/// Phase of a hook: Helm's `release.HookPhase`, with `Pending` for its empty value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum HookPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
    /// It was skipped.
    Skipped,
    /// Unknown whether it has run: the journal was lost.
    Unknown,
}

/// Every hook of `plan`, none of them run; those that its rules leave out are skipped.
pub(crate) fn pending(plan: &Plan) -> Vec<HookStatus> {
    plan.hooks
        .iter()
        .enumerate()
        .map(|(index, hook)| HookStatus {
            rule: hook.rule.from.clone(),
            digest: hook.rule.digest.clone(),
            ignored: false,
            attempts: Vec::new(),
            index,
            event: hook.event,
            kind: hook.object.kind.clone(),
            namespace: hook.object.namespace.clone(),
            name: hook.object.name.clone(),
            weight: hook.weight,
            phase: match &hook.rule.skip {
                Some(_) => HookPhase::Skipped,
                None => HookPhase::Pending,
            },
            attempt: 0,
            uid: None,
            started_at: None,
            completed_at: None,
            exit_code: None,
            reason: hook.rule.skip.as_ref().map(|skip| skip.reason.clone()),
            message: hook.rule.skip.as_ref().map(|skip| skip.message.clone()),
            log: None,
        })
        .collect()
}
