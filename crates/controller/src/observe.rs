//! What a hook's object and its Pods say. Pure: JSON in, observation out.

use api::names;
use helm::ownership;
use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    decide::{Evidence, Gate, HookObservation, Verdict},
    plan::{HookKind, Plan, PlannedHook},
};
use serde_json::Value;

/// Reasons of a waiting container that no waiting cures.
const STUCK: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// How long before the author's own deadline evidence is taken: the Job controller deletes the Pod
/// before it says `Failed`.
const BEFORE_DEADLINE: SignedDuration = SignedDuration::from_secs(2);

/// What `object`, which has the name of `hook`, says of itself.
pub(crate) fn hook(
    plan: &Plan,
    hook: &PlannedHook,
    object: &Value,
    release: &str,
    namespace: &str,
) -> HookObservation {
    let annotation = |name: &str| {
        object.pointer("/metadata/annotations")?.get(name)?.as_str().map(str::to_owned)
    };
    let gate = match annotation(names::GATE_ANNOTATION).as_deref() {
        Some(names::HELD) => Gate::Held,
        Some(names::OPEN) => Gate::Open,
        _ => Gate::None,
    };
    let terminating = object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    let finalizers = names_of(object.pointer("/metadata/finalizers"));
    let owner = format!("{namespace}/{}", plan.owner.name);
    // An object of the release that became a hook has the marks of Helm alone.
    let of_release = ownership::check(object, release, namespace).is_ok();
    HookObservation {
        uid: text(object, "/metadata/uid").to_owned(),
        run: annotation(names::RUN_ANNOTATION),
        gate,
        foreign: foreign(annotation(names::OWNER_ANNOTATION).as_deref(), &owner)
            .filter(|_| !of_release),
        terminating,
        stopping: object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64) == Some(1),
        verdict: match hook.kind() {
            HookKind::Job => job_verdict(object),
            HookKind::Pod => pod_verdict(object),
            HookKind::Crd => {
                condition(object, "Established", "True").map(|_| Verdict::Succeeded)
            }
            HookKind::Other => Some(Verdict::Succeeded),
        },
        waiting: (terminating && !finalizers.is_empty())
            .then(|| format!("it is being deleted and held by finalizer {finalizers}")),
        evidence: Evidence::default(),
        look_again_at: own_deadline(object),
    }
}

fn foreign(found: Option<&str>, owner: &str) -> Option<String> {
    match found {
        Some(found) if found == owner => None,
        Some(found) => Some(format!("annotation {} is {found}", names::OWNER_ANNOTATION)),
        None => Some(format!("it has no annotation {}", names::OWNER_ANNOTATION)),
    }
}

/// Helm's `jobConditions`: only `Complete` and `Failed` count.
fn job_verdict(job: &Value) -> Option<Verdict> {
    if let Some(failed) = condition(job, "Failed", "True") {
        return Some(Verdict::Failed {
            reason: non_empty(text(failed, "/reason"), "JobFailed"),
            message: text(failed, "/message").to_owned(),
        });
    }
    condition(job, "Complete", "True").map(|_| Verdict::Succeeded)
}

/// Helm's `podConditions`.
fn pod_verdict(pod: &Value) -> Option<Verdict> {
    match text(pod, "/status/phase") {
        "Succeeded" => Some(Verdict::Succeeded),
        "Failed" => Some(Verdict::Failed {
            reason: non_empty(text(pod, "/status/reason"), "PodFailed"),
            message: non_empty(text(pod, "/status/message"), "a container of the Pod failed"),
        }),
        _ => None,
    }
}

fn own_deadline(object: &Value) -> Option<Timestamp> {
    let seconds = object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64)?;
    let started: Timestamp = text(object, "/status/startTime").parse().ok()?;
    let at = started.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    at.checked_sub(BEFORE_DEADLINE).ok()
}

/// Whether the Job controller is about to delete the Pods, or the author's deadline is near.
pub(crate) fn evidence_fades(object: &Value, now: Timestamp) -> bool {
    condition(object, "FailureTarget", "True").is_some()
        || own_deadline(object).is_some_and(|at| now >= at)
}

/// A container whose log is evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Culprit {
    pub(crate) pod: String,
    pub(crate) container: String,
    /// Absent for one that still runs.
    pub(crate) exit_code: Option<i32>,
    /// Whether the log is that of the run before the present one.
    pub(crate) previous: bool,
    /// Tells one failure from the next; empty for one that still runs.
    pub(crate) finished_at: String,
}

/// The container that failed last, in any of `pods`.
pub(crate) fn failed_container(pods: &[Value]) -> Option<Culprit> {
    containers(pods)
        .flat_map(|(pod, status)| {
            [("/state/terminated", false), ("/lastState/terminated", true)].into_iter().filter_map(
                move |(path, previous)| Some((pod, status, status.pointer(path)?, previous)),
            )
        })
        .filter_map(|(pod, status, terminated, previous)| {
            let exit_code = i32::try_from(terminated.get("exitCode")?.as_i64()?).ok()?;
            (exit_code != 0).then(|| Culprit {
                pod: text(pod, "/metadata/name").to_owned(),
                container: text(status, "/name").to_owned(),
                exit_code: Some(exit_code),
                previous,
                finished_at: text(terminated, "/finishedAt").to_owned(),
            })
        })
        .max_by(|a, b| a.finished_at.cmp(&b.finished_at))
}

/// A container that runs, for a hook whose time is running out.
pub(crate) fn running_container(pods: &[Value]) -> Option<Culprit> {
    containers(pods).find(|(_, status)| status.pointer("/state/running").is_some()).map(
        |(pod, status)| Culprit {
            pod: text(pod, "/metadata/name").to_owned(),
            container: text(status, "/name").to_owned(),
            exit_code: None,
            previous: false,
            finished_at: String::new(),
        },
    )
}

/// What holds the Pods up, named at once and not at the timeout.
pub(crate) fn stuck(pods: &[Value]) -> Option<String> {
    let container = containers(pods).find_map(|(pod, status)| {
        let waiting = status.pointer("/state/waiting")?;
        let reason = text(waiting, "/reason");
        STUCK.contains(&reason).then(|| {
            let reason = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
            let message = text(waiting, "/message");
            let colon = if message.is_empty() { "" } else { ": " };
            format!(
                "pod {} container {} {reason}{colon}{}",
                text(pod, "/metadata/name"),
                text(status, "/name"),
                steady(message)
            )
        })
    });
    container.or_else(|| {
        pods.iter().find_map(|pod| {
            let condition = condition(pod, "PodScheduled", "False")?;
            let reason = text(condition, "/reason");
            (reason == "Unschedulable").then(|| {
                format!(
                    "pod {} {reason}: {}",
                    text(pod, "/metadata/name"),
                    text(condition, "/message")
                )
            })
        })
    })
}

/// The kubelet counts up its back-off in the message (`back-off 20s restarting …`), and takes turns
/// between a failed pull and the back-off from it; a message of ours changes only when its cause
/// does.
fn steady(message: &str) -> &str {
    let message = message.split_once("ErrImagePull: ").map_or(message, |(_, cause)| cause);
    message
        .strip_prefix("back-off ")
        .and_then(|rest| rest.split_once(' '))
        .map_or(message, |(_, rest)| rest)
}

fn containers(pods: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    pods.iter().flat_map(|pod| {
        ["/status/initContainerStatuses", "/status/containerStatuses"]
            .into_iter()
            .filter_map(|path| pod.pointer(path)?.as_array())
            .flatten()
            .map(move |status| (pod, status))
    })
}

fn condition<'a>(object: &'a Value, type_: &str, status: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| text(condition, "/type") == type_ && text(condition, "/status") == status)
}

fn names_of(list: Option<&Value>) -> String {
    let items = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(", ")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn non_empty(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_is_judged_by_complete_and_failed_alone() {
        let job = |type_: &str| {
            json!({"status": {"conditions": [
                {"type": type_, "status": "True", "reason": "BackoffLimitExceeded", "message": "m"},
            ]}})
        };
        assert_eq!(job_verdict(&job("Complete")), Some(Verdict::Succeeded));
        assert_eq!(job_verdict(&job("SuccessCriteriaMet")), None);
        assert_eq!(job_verdict(&job("FailureTarget")), None);
        assert!(matches!(job_verdict(&job("Failed")), Some(Verdict::Failed { .. })));
    }

    #[test]
    fn the_container_that_failed_last_is_the_culprit() {
        let pods = [json!({
            "metadata": {"name": "p"},
            "status": {"containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:01Z"}}},
                {"name": "b", "state": {"running": {}},
                 "lastState": {"terminated": {"exitCode": 7, "finishedAt": "2026-01-01T00:00:02Z"}}},
                {"name": "c", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:00:03Z"}}},
            ]},
        })];
        let culprit = failed_container(&pods).unwrap();
        assert_eq!(
            (culprit.container.as_str(), culprit.exit_code, culprit.previous),
            ("b", Some(7), true)
        );
        assert_eq!(running_container(&pods).unwrap().container, "b");
    }

    #[test]
    fn what_holds_a_pod_up_is_named_without_a_ticking_count() {
        let pod = |message: &str| {
            json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
                {"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": message}}},
            ]}})
        };
        let one = stuck(&[pod("back-off 20s restarting failed container=a")]);
        assert_eq!(one, stuck(&[pod("back-off 40s restarting failed container=a")]));
        assert_eq!(
            one.unwrap(),
            "pod p container a CrashLoopBackOff: restarting failed container=a"
        );
    }
}
