//! The rule of a hook: what its author or the release's owner decided before it runs. It is frozen
//! with the plan; rules that are edited during an operation count from the next one.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    journal::{Failure, HookPhase, HookStatus},
    plan::PlannedHook,
    reason::Reason,
};

/// The most retries of a hook in one operation.
pub const MOST_RETRIES: i32 = 20;

/// The place of a rule that a hook has by its annotations.
pub const ANNOTATIONS: &str = "annotations";

/// The effective rule of one hook. A hook without a rule has the default, which is Helm's meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The place of the rule, such as `spec.hooks.rules[0]`; `None` if the hook has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The time that the hook may take, in seconds; `None` means that of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    /// The number of attempts after the first; `None` means none or, in a deletion, as many as
    /// `spec.deletion.timeout` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i32>,
    /// The number of further attempts after one that failed not by the hook's own doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_infrastructure: Option<i32>,
    /// The time in which something of the hook has to start, in seconds; `None` means its timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_fast_seconds: Option<i64>,
    /// The effect of the hook's failure.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub on_failure: OnFailure,
    /// True if neither a newer spec nor a cancellation stops the running hook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uninterruptible: bool,
    /// True if the hook runs side by side with its neighbours of the same weight that say so too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parallel: bool,
    /// The number of log lines that are kept; `None` means `spec.hooks.logLines`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<i32>,
    /// The times at which the hook runs at its events.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub run: Run,
    /// The state of an object of another kind than Job and Pod at which the hook has succeeded.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub readiness: Readiness,
    /// The digest of what the hook would run, if that decides whether it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The reason why the hook does not run in this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Failure>,
}

impl Rule {
    /// Returns whether the hook has no rule.
    pub fn is_default(&self) -> bool {
        crate::is_default(self)
    }

    /// Returns whether the operation continues after the hook has failed.
    pub fn ignores_failure(&self) -> bool {
        self.on_failure == OnFailure::Ignore
    }

    /// The field that sets the hook's timeout, in words.
    pub(crate) fn timeout_field(&self) -> String {
        match self.timeout_seconds {
            Some(_) => self.field("timeout"),
            None => "spec.timeout".to_owned(),
        }
    }

    /// The field of this name of the rule, in words.
    pub(crate) fn field(&self, name: &str) -> String {
        match self.from.as_deref() {
            None | Some(ANNOTATIONS) => format!("{name} in the hook's annotations"),
            Some(from) => format!("{from}.{name}"),
        }
    }

    /// The beginning of a sentence that quotes the rule.
    pub(crate) fn says(&self) -> String {
        match self.from.as_deref() {
            None | Some(ANNOTATIONS) => "the hook's annotations say".to_owned(),
            Some(from) => format!("{from} says"),
        }
    }
}

/// Effect of a hook's failure on its operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OnHookFailure")]
#[allow(missing_docs)]
pub enum OnFailure {
    #[default]
    Fail,
    Ignore,
}

/// Decides when a hook runs at its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Run {
    #[default]
    Always,
    WhenChanged,
    Once,
    Never,
}

/// State of a hook's object of another kind than Job and Pod at which the hook has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HookReadiness")]
#[allow(missing_docs)]
pub enum Readiness {
    #[default]
    Created,
    Ready,
}

/// Run of a hook that succeeded, of a hook whose rule runs it `WhenChanged` or `Once`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookRun {
    /// Kind of the hook's object.
    pub kind: String,
    /// Namespace of the hook's object. Absent for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the hook's object.
    pub name: String,
    /// Digest of the hook's manifest and, with `WhenChanged`, of the data that it names.
    pub digest: String,
    /// Time at which the operator saw that the run had succeeded.
    pub succeeded_at: Timestamp,
    /// True if the hook was started again since, and has not succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

/// The most runs that are remembered for one release.
const MOST_RUNS: usize = 50;

impl HookRun {
    fn is_of(&self, kind: &str, namespace: Option<&str>, name: &str) -> bool {
        self.kind == kind && self.namespace.as_deref() == namespace && self.name == name
    }
}

/// Notes in `runs` what became of `hooks`. If there are too many, those of other hooks are forgotten,
/// oldest first: these run again.
pub fn remember(runs: &mut Vec<HookRun>, hooks: &[HookStatus]) {
    for hook in hooks {
        let is_it = |run: &HookRun| run.is_of(&hook.kind, hook.namespace.as_deref(), &hook.name);
        let known = runs.iter().position(is_it);
        match (hook.phase, hook.completed_at, &hook.digest) {
            (HookPhase::Pending | HookPhase::Skipped, ..) => {}
            (HookPhase::Succeeded, Some(succeeded_at), Some(digest)) => {
                // Several entries of status may be of one object: the last run counts.
                let known = known.map(|place| runs.remove(place));
                let is_later = known.as_ref().is_none_or(|run| run.succeeded_at <= succeeded_at);
                runs.push(match known {
                    Some(run) if !is_later => run,
                    _ => HookRun {
                        kind: hook.kind.clone(),
                        namespace: hook.namespace.clone(),
                        name: hook.name.clone(),
                        digest: digest.clone(),
                        succeeded_at,
                        outdated: false,
                    },
                });
            }
            // Without a digest it is unknown what it has done.
            _ => {
                if let Some(run) = known.and_then(|place| runs.get_mut(place)) {
                    run.outdated = true;
                }
            }
        }
    }
    if runs.len() > MOST_RUNS {
        let own: HashSet<_> =
            hooks.iter().map(|it| (&*it.kind, it.namespace.as_deref(), &*it.name)).collect();
        runs.sort_by_key(|run| {
            let is_own = own.contains(&(&*run.kind, run.namespace.as_deref(), &*run.name));
            (is_own, run.succeeded_at)
        });
        runs.drain(..runs.len().saturating_sub(MOST_RUNS));
    }
    runs.sort_by_key(|run| run.succeeded_at);
}

/// Notes in the hook's rule if the hook is left out. `runs` are the runs that may stand for this one.
pub fn leave_out(hook: &mut PlannedHook, runs: &[HookRun]) {
    let says = hook.rule.says();
    let object = &hook.object;
    let is_it = |run: &&HookRun| run.is_of(&object.kind, object.namespace.as_deref(), &object.name);
    let run = runs.iter().find(is_it);
    let is_same = |run: &&HookRun| !run.outdated && hook.rule.digest.as_ref() == Some(&run.digest);
    let skip = match hook.rule.run {
        Run::Always => None,
        Run::Never => Some(Failure::new(Reason::RunNever, format!("{says} run: Never"))),
        Run::Once => run.map(|HookRun { succeeded_at, .. }| {
            let message = format!("{says} run: Once, and it succeeded at {succeeded_at:.0}");
            Failure::new(Reason::AlreadyRun, message)
        }),
        Run::WhenChanged => run.filter(is_same).map(|HookRun { succeeded_at, .. }| {
            let message = format!(
                "{says} run: WhenChanged, and it succeeded at {succeeded_at:.0} with the same digest"
            );
            Failure::new(Reason::Unchanged, message)
        }),
    };
    hook.rule.skip = skip;
}

/// Returns whether this reason of a failure, of Kubernetes or of ours, is none of the hook's own doing:
/// of a Pod's disruption (`DisruptionTarget` in k8s.io/api/core/v1), of the kubelet when it takes a
/// Pod or ends it, or of ours when nothing of the hook could start.
pub fn is_infrastructure(reason: &str) -> bool {
    const WORDS: [&str; 14] = [
        "Evicted",
        "EvictionByEvictionAPI",
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "DeletionByPodGC",
        "TerminationByKubelet",
        "NodeLost",
        "NodeShutdown",
        "Terminated",
        "Shutdown",
        "NodeAffinity",
        "Preempting",
        "TopologyAffinityError",
        "UnexpectedAdmissionError",
    ];
    WORDS.contains(&reason) || reason.starts_with("OutOf") || reason == Reason::NotStarted.as_str()
}

/// The time between a failed attempt and the next one: it doubles from five seconds to five
/// minutes. `attempt` counts from 1.
pub(crate) fn backoff(attempt: i32) -> SignedDuration {
    const FIRST: i64 = 5;
    const LONGEST: i64 = 300;
    let doublings = attempt.saturating_sub(1).clamp(0, 9);
    SignedDuration::from_secs((FIRST << doublings).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, HookEvent},
        journal::pending,
        plan::Plan,
        testing,
    };

    #[test]
    fn the_time_between_attempts_doubles_to_five_minutes() {
        let seconds: Vec<_> = (0..10).map(|attempt| backoff(attempt).as_secs()).collect();
        assert_eq!(seconds, [5, 5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff(i32::MAX).as_secs(), 300);
        assert_eq!(backoff(i32::MIN).as_secs(), 5);
    }

    /// The hook `Job/migrate` as a journal has it.
    fn ran(phase: HookPhase, digest: &str, at: i64) -> HookStatus {
        let hook = planned(Run::Always, digest);
        let plan = Plan { hooks: vec![hook], ..testing::plan(Event::Upgrade) };
        let mut status = pending(&plan).remove(0);
        status.phase = phase;
        status.completed_at = Some(Timestamp::from_second(at).unwrap());
        status
    }

    fn planned(run: Run, digest: &str) -> PlannedHook {
        let mut hook = testing::hook(HookEvent::PreUpgrade, testing::object("Job", "migrate"));
        hook.rule = Rule {
            from: Some("spec.hooks.rules[0]".to_owned()),
            run,
            digest: Some(digest.to_owned()),
            ..Rule::default()
        };
        hook
    }

    /// The reason why the hook with the digest `d1` is left out, after these entries of journals.
    fn left_out(run: Run, journals: &[&[HookStatus]]) -> Option<String> {
        let mut runs = Vec::new();
        for hooks in journals {
            remember(&mut runs, hooks);
        }
        let mut hook = planned(run, "d1");
        leave_out(&mut hook, &runs);
        hook.rule.skip.map(|skip| skip.reason)
    }

    #[test]
    fn a_hook_that_is_unchanged_since_its_last_success_is_left_out() {
        use HookPhase::{Failed, Pending, Running, Skipped, Succeeded, Unknown};
        let check = |journals: &[&[HookStatus]]| left_out(Run::WhenChanged, journals);
        let good: &[_] = &[ran(Succeeded, "d1", 1)];
        let unchanged = Some("Unchanged".to_owned());
        assert_eq!(check(&[]), None);
        assert_eq!(check(&[good]), unchanged);
        assert_eq!(check(&[&[ran(Succeeded, "d2", 1)]]), None);
        for phase in [Running, Failed, Unknown] {
            assert_eq!(check(&[&[ran(phase, "d1", 1)]]), None, "{phase:?}");
            // It may have changed anything since.
            assert_eq!(check(&[good, &[ran(phase, "d2", 2)]]), None, "{phase:?}");
            let again: &[_] = &[ran(Succeeded, "d1", 3)];
            assert_eq!(check(&[good, &[ran(phase, "d2", 2)], again]), unchanged, "{phase:?}");
        }
        for phase in [Pending, Skipped] {
            assert_eq!(check(&[&[ran(phase, "d1", 1)]]), None, "{phase:?}");
            assert_eq!(check(&[good, &[ran(phase, "d1", 2)]]), unchanged, "{phase:?}");
        }
        assert_eq!(check(&[good, &[ran(Succeeded, "d2", 2)]]), None, "the last run counts");
        assert_eq!(check(&[&[ran(Succeeded, "d2", 2), ran(Succeeded, "d1", 1)]]), None);
        let other = HookStatus { name: "other".to_owned(), ..ran(Succeeded, "d1", 1) };
        assert_eq!(check(&[&[other]]), None);
        let without_rule = HookStatus { digest: None, ..ran(Succeeded, "d1", 1) };
        assert_eq!(
            check(&[std::slice::from_ref(&without_rule)]),
            None,
            "nothing is known of what it ran"
        );
        assert_eq!(check(&[good, &[without_rule]]), None, "nor of what it ran since");
    }

    #[test]
    fn a_hook_that_runs_once_runs_until_it_has_succeeded() {
        use HookPhase::{Failed, Succeeded};
        assert_eq!(left_out(Run::Once, &[]), None);
        assert_eq!(left_out(Run::Once, &[&[ran(Failed, "d1", 1)]]), None);
        let journals: &[&[_]] = &[&[ran(Succeeded, "d0", 1)], &[ran(Failed, "d1", 2)]];
        assert_eq!(left_out(Run::Once, journals).as_deref(), Some("AlreadyRun"));
        assert_eq!(left_out(Run::Never, &[]).as_deref(), Some("RunNever"));
        assert_eq!(left_out(Run::Always, journals), None);
    }

    #[test]
    fn the_runs_that_are_remembered_have_a_bound() {
        let mut runs = Vec::new();
        for number in 0..200 {
            let name = format!("hook-{number}");
            remember(&mut runs, &[HookStatus { name, ..ran(HookPhase::Succeeded, "d1", number) }]);
        }
        assert_eq!(runs.len(), MOST_RUNS);
        assert_eq!(runs[0].name, "hook-150", "the oldest are forgotten");
        // But not what the present operation has.
        let own = HookStatus { name: "hook-150".to_owned(), ..ran(HookPhase::Skipped, "d1", 0) };
        remember(&mut runs, &[own, ran(HookPhase::Succeeded, "d1", 500)]);
        assert_eq!((runs.len(), &*runs[0].name), (MOST_RUNS, "hook-150"));
    }

    #[test]
    fn no_rule_is_frozen_as_nothing() {
        assert_eq!(serde_json::to_value(Rule::default()).unwrap(), serde_json::json!({}));
        let none: Rule = serde_json::from_value(serde_json::json!({})).unwrap();
        assert!(none.is_default());
    }
}
