//! The client that starts a Job or a Pod if it is not the operator, and the consequences of its
//! form.

use api::names;
use lifecycle::observation::Gate;
use serde_json::Value;

use super::text;

const QUEUE: &str = "/metadata/labels/kueue.x-k8s.io~1queue-name";
const MANAGED_BY: &str = "/spec/managedBy";
/// The default of `managedBy`.
const JOB_CONTROLLER: &str = "kubernetes.io/job-controller";

/// The JSON pointers of the fields by which another controller starts a Job, see `queue` and
/// `manager`.
pub const STARTED_BY_OTHERS: [&str; 2] = [QUEUE, MANAGED_BY];

/// The queue of Kueue, which admits the Job by ending its suspension.
fn queue(job: &Value) -> Option<&str> {
    job.pointer(QUEUE)?.as_str()
}

/// The controller that runs the Job in place of the cluster's own.
fn manager(job: &Value) -> Option<&str> {
    job.pointer(MANAGED_BY)?.as_str().filter(|by| *by != JOB_CONTROLLER)
}

/// Returns whether another controller decides when the Job starts.
pub fn is_started_by_others(job: &Value) -> bool {
    queue(job).is_some() || manager(job).is_some()
}

/// The reason why a Job that was released from its gate does not start, and who has to do what.
pub(super) fn suspended(job: &Value, gate: Gate) -> Option<String> {
    if gate == Gate::Held || job.pointer("/spec/suspend") != Some(&Value::Bool(true)) {
        return None;
    }
    if let Some(queue) = queue(job) {
        return Some(format!("it is queued (kueue.x-k8s.io/queue-name {queue}), not admitted yet"));
    }
    if let Some(manager) = manager(job) {
        return Some(format!("it is managed by {manager}, which has not resumed it yet"));
    }
    let by = if gate == Gate::None { " by its author" } else { "" };
    Some(format!(
        "it is suspended{by}: resume it with kubectl patch job {} -n {} --type=merge \
         -p '{{\"spec\":{{\"suspend\":false}}}}'",
        text(job, "/metadata/name"),
        text(job, "/metadata/namespace")
    ))
}

/// Other facts worth knowing about a hook that still runs; the last part of its message.
pub fn remark(object: &Value, gate: Gate) -> Option<String> {
    let is = |path: &str| object.pointer(path).is_some_and(|value| !value.is_null());
    if let Some(manager) = manager(object) {
        return Some(format!("it is managed by {manager}"));
    }
    if text(object, "/kind") == "Pod" {
        let node = text(object, "/spec/nodeName");
        return if text(object, "/spec/restartPolicy") == "Always" {
            Some("its restartPolicy is Always: it ends by its timeout alone".to_owned())
        } else if gate == Gate::None && !node.is_empty() {
            Some(format!("it names its node {node}, so that it was not held back"))
        } else {
            None
        };
    }
    (is("/spec/ttlSecondsAfterFinished") && gate == Gate::Open).then(|| {
        "an admission webhook gives it ttlSecondsAfterFinished: it may be gone before its outcome \
         is seen"
            .to_owned()
    })
}

/// The index of the operator's own scheduling gate; webhooks may add theirs.
pub fn own_gate(pod: &Value) -> Option<usize> {
    let gates = pod.pointer("/spec/schedulingGates")?.as_array()?;
    gates.iter().position(|gate| text(gate, "/name") == names::SCHEDULING_GATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_has_to_resume_a_job_is_named() {
        let mut job = json!({"kind": "Job", "metadata": {"name": "hook", "namespace": "prod"},
                             "spec": {"suspend": true}});
        assert_eq!(
            suspended(&job, Gate::None).unwrap(),
            "it is suspended by its author: resume it with kubectl patch job hook -n prod \
             --type=merge -p '{\"spec\":{\"suspend\":false}}'"
        );
        assert!(
            suspended(&job, Gate::Open).unwrap().starts_with("it is suspended: resume it with ")
        );
        assert_eq!(suspended(&job, Gate::Held), None, "that is the operator's own doing");
        job["spec"]["managedBy"] = json!(JOB_CONTROLLER);
        assert!(!is_started_by_others(&job));
        job["spec"]["managedBy"] = json!("example.com/x");
        assert!(suspended(&job, Gate::None).unwrap().contains("managed by example.com/x"));
        assert!(is_started_by_others(&job));
        job["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "night"});
        let queued = suspended(&job, Gate::Open).unwrap();
        assert_eq!(queued, "it is queued (kueue.x-k8s.io/queue-name night), not admitted yet");
        job["spec"]["suspend"] = json!(false);
        assert_eq!(suspended(&job, Gate::None), None, "it was admitted");
    }

    #[test]
    fn what_a_form_leads_to_is_said() {
        let pod = |spec: Value| json!({"kind": "Pod", "spec": spec});
        let always = pod(json!({"restartPolicy": "Always", "nodeName": "node"}));
        assert!(remark(&always, Gate::Open).unwrap().contains("restartPolicy is Always"));
        let bound = pod(json!({"restartPolicy": "Never", "nodeName": "node-1"}));
        assert!(remark(&bound, Gate::None).unwrap().contains("names its node node-1"));
        assert_eq!(remark(&bound, Gate::Open), None, "the scheduler chose it");
        let job = |spec: Value| json!({"kind": "Job", "spec": spec});
        assert_eq!(remark(&job(json!({})), Gate::Open), None);
        let ttl = remark(&job(json!({"ttlSecondsAfterFinished": 0})), Gate::Open).unwrap();
        assert!(ttl.contains("may be gone before"), "{ttl}");
    }
}
