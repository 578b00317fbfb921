use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use lifecycle::{
    approval::PendingPlan,
    conditions,
    drift::Baseline,
    event::Event,
    evidence,
    journal::{HookStatus, Journal, LastAttempt, Operation, Requests},
    known::{KnownPlan, KnownPlans},
    object::{ObjectRef, ObjectSet},
    plan::Chart,
    rule::{self, HookRun},
    test_run::TestRun,
};
use serde::{Deserialize, Serialize};

/// Observed state of a release.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseLifecycleStatus {
    /// Generation of the spec to which the conditions apply; -1 until the operator has observed the
    /// object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions of the release. Ready is their summary. Reconciling and Stalled are present only
    /// while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Deployed revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i32>,

    /// Chart of the deployed revision. Absent if its source has no chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,

    /// State with which the release's objects are compared to detect drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,

    /// Objects that the release has created outside of its namespace, at most 100. They are not
    /// deleted together with the namespace. Absent if they are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Vec<ObjectRef>>,

    /// Journal of the running operation, or of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,

    /// Plan of the next operation, which waits for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PendingPlan>,

    /// Plans that the operator has made for the revisions that are kept. A plan in a record whose
    /// digest is not here is not executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<KnownPlan>,

    /// Last install, upgrade or rollback that failed. Absent once one has succeeded; a remediation
    /// does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<LastAttempt>,

    /// Hooks of the last operation of each event, in the order in which they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["event".into(), "index".into()]))]
    pub hooks: Vec<HookStatus>,

    /// Last successful runs of hooks whose rule runs them `WhenChanged` or `Once`, oldest first; at
    /// most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hook_runs: Vec<HookRun>,

    /// Last runs of the tests, oldest first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestRun>,

    /// Time at which drift of the deployed revision was corrected last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected_at: Option<Timestamp>,

    /// Revision that was tested last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested_revision: Option<i32>,

    /// Last value of the annotation `releaselifecycle.dev/retryAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_retry_at: Option<String>,

    /// Last value of the annotation `releaselifecycle.dev/restartAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_restart_at: Option<String>,

    /// Last value of the annotation `releaselifecycle.dev/testAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_test_at: Option<String>,

    /// Last value of the annotation `releaselifecycle.dev/cancelAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_cancel_at: Option<String>,

    /// Last value of the annotation `releaselifecycle.dev/skipAt` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_skip_at: Option<String>,
}

/// The most hooks of earlier operations that are kept beside those of the last one.
const MOST_OLDER_HOOKS: usize = 50;

/// The most objects outside of the release's namespace that are kept in status.
pub const MOST_OUTSIDE: usize = 100;

impl ReleaseLifecycleStatus {
    /// Stores the objects that an operation creates outside of the release's namespace. Earlier
    /// ones stay until it has succeeded.
    pub fn set_outside(&mut self, made: &[ObjectRef], succeeded: bool) {
        let before = self.outside.take().filter(|_| !succeeded).unwrap_or_default();
        let mut outside = made.to_vec();
        let known: ObjectSet = made.iter().collect();
        let is_new = |object: &ObjectRef| !known.contains(object);
        outside.extend(before.into_iter().filter(is_new));
        outside.truncate(MOST_OUTSIDE);
        self.outside = Some(outside);
    }

    /// Returns the journal, if there ever was an operation.
    pub fn journal(&self) -> Option<Journal> {
        let operation = self.operation.clone()?;
        let hooks = self.hooks.iter().filter(|hook| hook.event.operation() == operation.event);
        Some(Journal { hooks: hooks.cloned().collect(), operation, handled: self.handled() })
    }

    /// Stores `journal`, with the runs of its hooks that are remembered, and the hooks of other events
    /// unless they are too many. The evidence of all of them has a bound.
    pub fn set_journal(&mut self, journal: Journal) {
        let Journal { operation, mut hooks, handled } = journal;
        let mut older = std::mem::take(&mut self.hooks);
        older.retain(|hook| hook.event.operation() != operation.event);
        if older.len() > MOST_OLDER_HOOKS {
            older.clear();
        }
        rule::remember(&mut self.hook_runs, &hooks);
        let is_gone = operation.event == Event::Delete
            && operation.completed_at.is_some()
            && operation.failure.is_none();
        // It has no revision before, whoever removed what there was.
        let begins_anew =
            operation.event == Event::Install && operation.revision == 1 && hooks.is_empty();
        if is_gone || begins_anew {
            self.hook_runs.clear();
            self.tests.clear();
        }
        let at_work: Vec<_> = operation.cursors().map(|cursor| cursor.index).collect();
        evidence::bound(&mut older, &mut hooks, &at_work);
        self.hooks = hooks;
        self.hooks.append(&mut older);
        self.operation = Some(operation);
        self.set_handled(handled);
    }

    /// Returns the plans that may be executed: those in status, and that of the last operation,
    /// which is all that earlier versions noted. An operation that began under a former object, and
    /// was only to be ended, serves no generation.
    pub fn known_plans(&self) -> KnownPlans {
        let last = self.operation.as_ref();
        let last = last.filter(|it| it.generation != 0 || it.completed_at.is_none());
        let of_last = last.and_then(|last| {
            let digest = last.plan_digest.clone()?;
            Some(KnownPlan { revision: last.revision, event: last.event, digest })
        });
        self.plans.iter().cloned().chain(of_last).collect()
    }

    /// Returns true if nothing is known of any operation: the object is new, or its status was
    /// lost.
    pub fn knows_nothing(&self) -> bool {
        self.operation.is_none() && self.plans.is_empty()
    }

    /// Returns the requests that were handled last.
    pub fn handled(&self) -> Requests {
        Requests {
            retry: self.last_handled_retry_at.clone(),
            restart: self.last_handled_restart_at.clone(),
            test: self.last_handled_test_at.clone(),
            cancel: self.last_handled_cancel_at.clone(),
            skip: self.last_handled_skip_at.clone(),
        }
    }

    /// Stores the requests that were handled.
    pub fn set_handled(&mut self, handled: Requests) {
        let Requests { retry, restart, test, cancel, skip } = handled;
        self.last_handled_retry_at = retry;
        self.last_handled_restart_at = restart;
        self.last_handled_test_at = test;
        self.last_handled_cancel_at = cancel;
        self.last_handled_skip_at = skip;
    }
}

/// Replaces the conditions by `wanted`. A transition time changes only with the status. `Released`,
/// `TestSuccess`, `Remediated`, `Drifted` and `PreflightPassed` stay as they were if `wanted` lacks them.
pub fn set_conditions(
    current: &mut Vec<Condition>,
    wanted: Vec<conditions::Condition>,
    generation: i64,
    now: Timestamp,
) {
    let old = std::mem::take(current);
    let find = |type_: &str| old.iter().find(|condition| condition.type_ == type_);
    let lasting = [
        conditions::RELEASED,
        conditions::TEST_SUCCESS,
        conditions::REMEDIATED,
        conditions::DRIFTED,
        conditions::PREFLIGHT_PASSED,
    ];
    for lasting in lasting {
        if !wanted.iter().any(|condition| condition.type_ == lasting) {
            current.extend(find(lasting).cloned());
        }
    }
    for condition in wanted {
        let since = find(condition.type_)
            .filter(|before| before.status == condition.status)
            .map_or(Time(now), |before| before.last_transition_time.clone());
        current.push(Condition {
            type_: condition.type_.to_owned(),
            status: condition.status.to_owned(),
            reason: condition.reason,
            message: truncate(condition.message),
            observed_generation: Some(generation),
            last_transition_time: since,
        });
    }
    current.sort_by_key(|condition| rank(&condition.type_));
}

/// Cuts a message, which is to be read. Kubernetes accepts 32768 characters.
fn truncate(mut message: String) -> String {
    const LIMIT: usize = 4096;
    if message.len() > LIMIT {
        message.truncate(message.floor_char_boundary(LIMIT));
        message.push('…');
    }
    message
}

fn rank(type_: &str) -> usize {
    let order = [
        conditions::READY,
        conditions::RECONCILING,
        conditions::STALLED,
        conditions::RELEASED,
        conditions::TEST_SUCCESS,
        conditions::REMEDIATED,
        conditions::DRIFTED,
        conditions::PREFLIGHT_PASSED,
    ];
    order.iter().position(|known| *known == type_).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(type_: &'static str, status: &'static str) -> conditions::Condition {
        conditions::Condition {
            type_,
            status,
            reason: "Reason".to_owned(),
            message: "A message.".to_owned(),
        }
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut current = Vec::new();
        set_conditions(&mut current, vec![wanted("Ready", "Unknown")], 1, at(1));
        set_conditions(&mut current, vec![wanted("Ready", "Unknown")], 2, at(2));
        assert_eq!(current[0].last_transition_time, Time(at(1)));
        assert_eq!(current[0].observed_generation, Some(2));
        set_conditions(&mut current, vec![wanted("Ready", "True")], 2, at(3));
        assert_eq!(current[0].last_transition_time, Time(at(3)));
    }

    #[test]
    fn what_is_outside_is_kept_until_an_operation_has_succeeded_without_it() {
        let object = |name: String| ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            namespace: None,
            name,
        };
        let [a, b] = ["a", "b"].map(|name| object(name.to_owned()));
        let mut status = ReleaseLifecycleStatus::default();
        status.set_outside(std::slice::from_ref(&a), true);
        status.set_outside(std::slice::from_ref(&b), false);
        assert_eq!(status.outside, Some(vec![b.clone(), a]));
        status.set_outside(std::slice::from_ref(&b), true);
        assert_eq!(status.outside, Some(vec![b]));
        let many: Vec<_> = (0..500).map(|number| object(number.to_string())).collect();
        status.set_outside(&many, false);
        assert_eq!(status.outside.unwrap().len(), MOST_OUTSIDE);
    }

    #[test]
    fn released_stays_until_it_is_spoken_of() {
        let mut current = Vec::new();
        let now = Timestamp::UNIX_EPOCH;
        set_conditions(
            &mut current,
            vec![wanted("Released", "True"), wanted("Stalled", "True")],
            1,
            now,
        );
        set_conditions(&mut current, vec![wanted("Ready", "Unknown")], 2, now);
        let types: Vec<_> = current.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Ready", "Released"]);
    }
}
