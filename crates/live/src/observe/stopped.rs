//! A check whether the Pods of a hook ended by themselves. One that was ordered to stop has not
//! succeeded, whatever its exit code: a backup that is interrupted may well exit with 0.

use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    journal::HookStatus,
    observation::{Cause, Verdict},
    reason::Reason,
};
use serde_json::Value;

use super::{condition, is_terminating, pods, text};

/// The known part of the cause, in any case.
const STOPPED: &str = "it was stopped before it had ended, so its exit code does not count";

/// The time when the Pod was ordered to stop. A later deletion with a shorter grace period does not
/// move it (`BeforeDelete` in k8s.io/apiserver/pkg/registry/rest/delete.go).
fn told_at(pod: &Value) -> Option<Timestamp> {
    let at: Timestamp = text(pod, "/metadata/deletionTimestamp").parse().ok()?;
    let grace = pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    at.checked_sub(SignedDuration::from_secs(grace.unwrap_or_default())).ok()
}

/// Returns whether all containers of the Pod ended before it was ordered to stop. Sidecars do not
/// count: they are stopped because the others have ended.
pub(super) fn ended_by_itself(pod: &Value) -> bool {
    if !is_terminating(pod) {
        return true;
    }
    // Its containers are restarted until it is ordered to stop.
    if text(pod, "/spec/restartPolicy") == "Always" {
        return false;
    }
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).map(Vec::as_slice);
    let statuses = list("/status/containerStatuses").unwrap_or_default();
    let containers = list("/spec/containers").unwrap_or_default();
    !statuses.is_empty()
        && statuses.len() >= containers.len()
        && told_at(pod).is_some_and(|told| statuses.iter().all(|status| ended_before(status, told)))
}

/// Returns whether a container of the Pod failed before it was ordered to stop.
fn failed_by_itself(pod: &Value) -> bool {
    let failed = |status: &Value| {
        status.pointer("/state/terminated/exitCode").and_then(Value::as_i64).unwrap_or_default()
            != 0
    };
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|path| pod.pointer(path)?.as_array())
        .flatten()
        .any(|status| failed(status) && told_at(pod).is_none_or(|told| ended_before(status, told)))
}

/// Returns whether it ended before that. Both times have whole seconds: an end within the second of
/// the order does not count.
fn ended_before(status: &Value, told: Timestamp) -> bool {
    let at = text(status, "/state/terminated/finishedAt");
    at.parse::<Timestamp>().is_ok_and(|at| at < told)
}

/// The reason why a Pod that ended, but not by itself, counts as failed: one word and a sentence.
pub(super) fn stop_of(pod: &Value) -> Option<(String, String)> {
    if ended_by_itself(pod) || failed_by_itself(pod) {
        return None;
    }
    Some(match pods::befell(pod) {
        Some((reason, message)) if message.is_empty() => (reason, STOPPED.to_owned()),
        Some((reason, message)) => (reason, format!("{message}; {STOPPED}")),
        None => (Reason::Vanished.into(), STOPPED.to_owned()),
    })
}

/// Returns the cause of a Pod of a running Job that was ordered to stop, other than by the Job's
/// controller, which does so once the Job has failed or succeeded. Its controller may count it as a
/// success (`isPodFailed` in pkg/controller/job) and then releases it, so this is journalled.
pub fn pod_of_job(job: &Value, pods: &[Value]) -> Option<Cause> {
    let ends = ["FailureTarget", "SuccessCriteriaMet", "Failed", "Complete"];
    if ends.into_iter().any(|type_| condition(job, type_, "True").is_some()) {
        return None;
    }
    pods.iter().find_map(stopped_pod)
}

fn stopped_pod(pod: &Value) -> Option<Cause> {
    let (reason, message) = stop_of(pod)?;
    let message = match pods::befell(pod) {
        Some(_) => format!("pod {} {reason}: {message}", text(pod, "/metadata/name")),
        None => pods::was_deleted(pod),
    };
    Some(Cause { reason: Some(reason), message })
}

/// The verdict on a Job that is `Complete` only because a Pod that was ordered to stop counts as
/// succeeded. `known` is the journal's cause for the hook: such a Pod is gone once it was counted.
/// If nothing shows that one was stopped, the Job's own report counts.
pub fn job_verdict(job: &Value, pods: &[Value], known: Option<&HookStatus>) -> Option<Verdict> {
    if job.pointer("/spec/successPolicy").is_some_and(|policy| !policy.is_null()) {
        return None;
    }
    let number = |path: &str| job.pointer(path).and_then(Value::as_u64);
    let succeeded = number("/status/succeeded").unwrap_or_default();
    let needed = number("/spec/completions").unwrap_or(1).min(succeeded);
    let is_in = |phase: &'static str| move |pod: &&Value| text(pod, "/status/phase") == phase;
    let is_success = is_in("Succeeded");
    let by_themselves = pods.iter().filter(is_success).filter(|pod| ended_by_itself(pod)).count();
    if u64::try_from(by_themselves).is_ok_and(|number| number >= needed) {
        return None;
    }
    // If more Pods have failed than are there, the one that was stopped may be among them, and
    // another one has succeeded.
    let failed = pods.iter().filter(is_in("Failed")).count();
    let is_counted = || number("/status/failed").unwrap_or_default() > failed as u64;
    let noted = || {
        let known = known.filter(|_| !is_counted())?;
        Some(Cause { reason: Some(known.reason.clone()?), message: known.message.clone()? })
    };
    let cause = pods.iter().filter(is_success).find_map(stopped_pod).or_else(noted);
    let cause = cause.or_else(|| deleted_with_its_pods(job))?;
    let reason = cause.reason.unwrap_or_else(|| Reason::Vanished.into());
    Some(Verdict::Failed { reason, message: cause.message })
}

/// Reports a Job in foreground deletion: its Pods are deleted first, while the Job itself continues
/// counting.
fn deleted_with_its_pods(job: &Value) -> Option<Cause> {
    let finalizers = job.pointer("/metadata/finalizers").and_then(Value::as_array);
    let foreground =
        finalizers.is_some_and(|list| list.iter().any(|it| it == "foregroundDeletion"));
    let completed: Timestamp = text(job, "/status/completionTime").parse().ok()?;
    (foreground && told_at(job).is_some_and(|told| completed >= told)).then(|| Cause {
        reason: Some(Reason::Vanished.into()),
        message: "it was deleted, with its Pods, before it had ended".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A Pod that was ordered to stop at 00:00:10.
    fn told(phase: &str, ends: &[(i64, &str)]) -> Value {
        let names: Vec<_> =
            (0..ends.len()).map(|place| json!({"name": format!("c{place}")})).collect();
        let statuses: Vec<_> = ends
            .iter()
            .map(|(code, at)| {
                json!({"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": at}}})
            })
            .collect();
        json!({
            "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:40Z",
                         "deletionGracePeriodSeconds": 30},
            "spec": {"containers": names},
            "status": {"phase": phase, "containerStatuses": statuses},
        })
    }

    const BEFORE: &str = "2026-01-01T00:00:09Z";
    const SAME_SECOND: &str = "2026-01-01T00:00:10Z";
    const AFTER: &str = "2026-01-01T00:00:12Z";

    #[test]
    fn only_what_ended_before_it_was_told_to_ended_by_itself() {
        assert!(ended_by_itself(&json!({"status": {"phase": "Succeeded"}})));
        for (ends, by_itself) in [
            (&[(0, BEFORE)][..], true),
            (&[(0, BEFORE), (0, BEFORE)], true),
            (&[(0, SAME_SECOND)], false),
            (&[(0, AFTER)], false),
            (&[(0, BEFORE), (0, AFTER)], false),
            (&[(0, "soon")], false),
            (&[], false),
        ] {
            assert_eq!(ended_by_itself(&told("Succeeded", ends)), by_itself, "{ends:?}");
        }
        let mut pod = told("Succeeded", &[(0, BEFORE)]);
        pod["spec"]["containers"] = json!([{"name": "c0"}, {"name": "c1"}]);
        assert!(!ended_by_itself(&pod), "a container never ran");
        let mut pod = told("Succeeded", &[(0, BEFORE)]);
        pod["status"]["initContainerStatuses"] = json!([{"name": "proxy", "state": {"terminated": {"exitCode": 0, "finishedAt": AFTER}}}]);
        assert!(ended_by_itself(&pod), "a sidecar ends after the others");
        let mut pod = told("Succeeded", &[(0, BEFORE)]);
        pod["spec"]["restartPolicy"] = json!("Always");
        assert!(!ended_by_itself(&pod), "it waited to be started again");
        let mut pod = told("Succeeded", &[(0, BEFORE)]);
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(i64::MAX);
        assert!(!ended_by_itself(&pod), "no time at all is none before which it ended");
    }

    #[test]
    fn the_reason_is_what_befell_the_pod() {
        assert_eq!(stop_of(&told("Succeeded", &[(0, BEFORE)])), None);
        let (reason, message) = stop_of(&told("Succeeded", &[(0, AFTER)])).unwrap();
        assert_eq!(reason, "Vanished");
        assert!(message.contains("its exit code does not count"), "{message}");
        assert_eq!(stop_of(&told("Failed", &[(143, AFTER)])).unwrap().0, "Vanished");
        assert_eq!(
            stop_of(&told("Failed", &[(1, BEFORE), (143, AFTER)])),
            None,
            "it failed before"
        );
        let mut evicted = told("Succeeded", &[(0, AFTER)]);
        evicted["status"]["conditions"] = json!([
            {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
             "message": "Eviction API: evicting"}]);
        let (reason, message) = stop_of(&evicted).unwrap();
        assert_eq!(reason, "Evicted");
        assert!(message.starts_with("Eviction API: evicting; it was stopped"), "{message}");
    }

    fn job(completions: u64, succeeded: u64) -> Value {
        json!({"metadata": {"name": "j"}, "spec": {"completions": completions},
               "status": {"succeeded": succeeded, "completionTime": AFTER,
                          "conditions": [{"type": "Complete", "status": "True"}]}})
    }

    fn well() -> Value {
        json!({"metadata": {"name": "q"}, "status": {"phase": "Succeeded"}})
    }

    #[test]
    fn a_job_is_not_complete_by_a_pod_that_was_stopped() {
        let stopped = told("Succeeded", &[(0, AFTER)]);
        let verdict = |job: &Value, pods: &[Value]| job_verdict(job, pods, None);
        assert_eq!(verdict(&job(1, 1), &[well()]), None);
        assert_eq!(verdict(&job(1, 1), &[]), None, "the tenant may not look at Pods");
        assert!(verdict(&job(1, 1), std::slice::from_ref(&stopped)).is_some());
        assert_eq!(verdict(&job(1, 1), &[stopped.clone(), well()]), None, "another one did it");
        assert!(verdict(&job(2, 2), &[stopped.clone(), well()]).is_some());
        // One more than was needed, which the Job's controller stopped.
        assert_eq!(verdict(&job(1, 2), &[stopped.clone(), well()]), None);
        let mut policy = job(2, 2);
        policy["spec"]["successPolicy"] = json!({"rules": [{"succeededCount": 1}]});
        assert_eq!(verdict(&policy, &[stopped, well()]), None);
    }

    #[test]
    fn a_pod_that_was_stopped_and_is_gone_is_known_by_the_journal() {
        let noted = HookStatus {
            reason: Some("Evicted".to_owned()),
            message: Some("pod p Evicted: Eviction API: evicting".to_owned()),
            ..serde_json::from_value(json!({"index": 0, "event": "pre-install", "kind": "Job",
                "name": "j", "weight": 0, "phase": "Running", "attempt": 1}))
            .unwrap()
        };
        let verdict = job_verdict(&job(1, 1), &[], Some(&noted)).unwrap();
        assert!(matches!(verdict, Verdict::Failed { reason, .. } if reason == "Evicted"));
        assert_eq!(job_verdict(&job(1, 1), &[well()], Some(&noted)), None, "it was replaced");
        let mut replaced = job(1, 1);
        replaced["status"]["failed"] = json!(1);
        assert_eq!(job_verdict(&replaced, &[], Some(&noted)), None, "it was counted as failed");
        let other = json!({"metadata": {"name": "q"}, "status": {"phase": "Failed"}});
        assert!(job_verdict(&replaced, &[other], Some(&noted)).is_some(), "another one was");
        let failed = HookStatus { reason: None, ..noted };
        assert_eq!(
            job_verdict(&job(1, 1), &[], Some(&failed)),
            None,
            "a container failed, no more"
        );
    }

    #[test]
    fn a_job_that_was_deleted_with_its_pods_is_not_complete() {
        let mut deleted = job(1, 1);
        deleted["metadata"]["deletionTimestamp"] = json!(SAME_SECOND);
        deleted["metadata"]["finalizers"] = json!(["example.com/keep"]);
        assert_eq!(job_verdict(&deleted, &[], None), None, "its Pods ran on");
        deleted["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        assert!(job_verdict(&deleted, &[], None).is_some());
        deleted["status"]["completionTime"] = json!(BEFORE);
        assert_eq!(job_verdict(&deleted, &[], None), None);
    }

    #[test]
    fn what_the_jobs_controller_stops_is_no_news() {
        let pods = [told("Running", &[(0, AFTER)])];
        let running = json!({"status": {}});
        let cause = pod_of_job(&running, &pods).unwrap();
        assert_eq!(cause.reason.as_deref(), Some("Vanished"));
        let failed = json!({"status": {"conditions": [
            {"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}]}});
        let later = pods::deleted(&failed, &pods).unwrap();
        assert_eq!(cause.message, later.message, "whichever of the two is seen");
        let failing =
            json!({"status": {"conditions": [{"type": "FailureTarget", "status": "True"}]}});
        assert_eq!(pod_of_job(&failing, &pods), None);
    }
}
