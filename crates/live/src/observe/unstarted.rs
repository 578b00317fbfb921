//! A hook of which nothing can start: by its object and its Pods alone. Event objects, which anybody
//! may write who may write them in the namespace, decide nothing.

use jiff::Timestamp;
use lifecycle::observation::Unstarted;
use serde_json::Value;

use super::{clip, is_terminating, pods, text};

/// Returns why no container of the hook's `pods`, or of the Job that makes them, has started; `None` if
/// one has, or nothing is known to prevent it.
pub fn of(object: &Value, pods: &[Value]) -> Option<Unstarted> {
    if pods::any_started(pods) {
        return None;
    }
    let started = text(object, "/status/startTime");
    let waiting: Vec<_> = pods.iter().filter(|pod| !is_terminating(pod)).collect();
    let made = waiting.iter().map(|pod| text(pod, "/metadata/creationTimestamp"));
    let times = made.chain([started]).filter_map(|at| at.parse::<Timestamp>().ok());
    let since = times.max()?;
    let message = match pods::unable(pods) {
        Some(why) => clip(why, 700),
        None if has_no_pod(object, pods) => "no Pod of it could be created".to_owned(),
        None => return None,
    };
    Some(Unstarted { since, message })
}

/// Returns whether a Job that was started has made no Pod yet: a quota or admission refuses it.
fn has_no_pod(object: &Value, pods: &[Value]) -> bool {
    let counts = ["active", "succeeded", "failed", "terminating"];
    let none = |count: &str| object["status"][count].as_i64().unwrap_or_default() == 0;
    text(object, "/kind") == "Job"
        && object.pointer("/spec/suspend") != Some(&Value::Bool(true))
        && pods.is_empty()
        && counts.into_iter().all(none)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const START: &str = "2026-01-01T00:00:00Z";
    const LATER: &str = "2026-01-01T00:30:00Z";

    fn job(status: Value) -> Value {
        let mut job = json!({"kind": "Job", "status": {"startTime": START}});
        for (key, value) in status.as_object().unwrap() {
            job["status"][key] = value.clone();
        }
        job
    }

    fn pod(created: &str, state: Value) -> Value {
        json!({"metadata": {"name": "p", "creationTimestamp": created},
               "spec": {"containers": [{"name": "main"}]},
               "status": {"phase": "Pending",
                          "containerStatuses": [{"name": "main", "state": state}]}})
    }

    fn check(object: &Value, pods: &[Value]) -> Option<(String, String)> {
        of(object, pods).map(|found| (found.since.to_string(), found.message))
    }

    #[test]
    fn what_holds_its_first_container_back_is_known_by_its_pods() {
        let image = json!({"waiting": {"reason": "ErrImagePull", "message": "no such tag"}});
        let active = job(json!({"active": 1}));
        let said = "pod p container main ImagePullBackOff: no such tag".to_owned();
        let stuck = pod(START, image.clone());
        assert_eq!(check(&active, &[stuck]), Some((START.to_owned(), said.clone())));
        // One that replaces another waits since it was made.
        let next = pod(LATER, image.clone());
        assert_eq!(check(&active, &[next]), Some((LATER.to_owned(), said)));
        let creating = pod(START, json!({"waiting": {"reason": "ContainerCreating"}}));
        assert_eq!(check(&active, &[creating]), None, "it comes");
        let ran = pod(START, json!({"running": {}}));
        assert_eq!(check(&active, &[ran, pod(LATER, image)]), None);
    }

    #[test]
    fn a_pod_without_a_place_waits_and_one_in_a_queue_is_left_alone() {
        let waits = |reason: &str| {
            let mut pod = pod(START, json!({"waiting": {}}));
            pod["spec"]["schedulingGates"] = json!([{"name": "example.com/queue"}]);
            pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "reason": reason, "message": "m"}]);
            pod
        };
        let job = job(json!({"active": 1}));
        let said = check(&job, &[waits("Unschedulable")]).unwrap().1;
        assert_eq!(said, "pod p Unschedulable: m");
        assert_eq!(check(&job, &[waits("SchedulingGated")]), None);
    }

    #[test]
    fn a_job_that_can_make_no_pod_waits_since_it_was_started() {
        let said = "no Pod of it could be created".to_owned();
        assert_eq!(check(&job(json!({})), &[]), Some((START.to_owned(), said)));
        for count in ["active", "succeeded", "failed", "terminating"] {
            assert_eq!(check(&job(json!({count: 1})), &[]), None, "{count}");
        }
        let mut queued = job(json!({}));
        queued["spec"]["suspend"] = json!(true);
        assert_eq!(check(&queued, &[]), None);
        assert_eq!(check(&json!({"kind": "Job", "status": {}}), &[]), None, "it was not started");
    }
}
