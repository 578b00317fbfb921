//! What the Pods of a hook say: which container failed, what befell them, what holds them up.

use api::names;
use jiff::Timestamp;
use lifecycle::{decide::Cause, terminal};
use serde_json::Value;

use super::{clip, condition, is_terminating, text};

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

/// A container whose log is evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Culprit {
    pub(crate) pod: String,
    pub(crate) container: String,
    /// Absent for one that still runs.
    pub(crate) exit_code: Option<i32>,
    /// The kubelet's word for the end, such as `OOMKilled`, with its message.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Whether the log is that of the run before the present one.
    pub(crate) previous: bool,
    /// Tells one failure from the next; empty for one that still runs.
    pub(crate) finished_at: String,
}

impl Culprit {
    /// `container main ended with exit code 137 (OOMKilled)`.
    fn ending(&self) -> String {
        format!("container {} ended with {}{}", self.container, self.code(), self.said())
    }

    /// `exit code 137 (OOMKilled)`.
    fn code(&self) -> String {
        let code = self.exit_code.unwrap_or_default();
        match self.reason.as_str() {
            // What the code says already.
            "" | "Error" | "Completed" => format!("exit code {code}"),
            reason => format!("exit code {code} ({reason})"),
        }
    }

    fn said(&self) -> String {
        let said = terminal::sentence(&self.message);
        let colon = if said.is_empty() { "" } else { ": " };
        format!("{colon}{}", clip(steady_ids(&said), 300))
    }
}

/// The container that failed last, in any of `pods`. One that ended because its Pod was told to go,
/// and a sidecar, which ends after the others, are only taken where there is nothing else.
pub(crate) fn failed_container(pods: &[Value]) -> Option<Culprit> {
    containers(pods)
        .flat_map(|(pod, status)| {
            [("/state/terminated", false), ("/lastState/terminated", true)].into_iter().filter_map(
                move |(path, previous)| Some((pod, status, status.pointer(path)?, previous)),
            )
        })
        .filter_map(|(pod, status, terminated, previous)| {
            let culprit = ended(pod, status, terminated, previous)?;
            let by_itself = !is_terminating(pod) && !is_sidecar(pod, &culprit.container);
            (culprit.exit_code != Some(0)).then_some((by_itself, culprit))
        })
        .max_by(|(a, one), (b, other)| (a, &one.finished_at).cmp(&(b, &other.finished_at)))
        .map(|(_, culprit)| culprit)
}

fn ended(pod: &Value, status: &Value, terminated: &Value, previous: bool) -> Option<Culprit> {
    Some(Culprit {
        pod: text(pod, "/metadata/name").to_owned(),
        container: text(status, "/name").to_owned(),
        exit_code: Some(i32::try_from(terminated.get("exitCode")?.as_i64()?).ok()?),
        reason: text(terminated, "/reason").to_owned(),
        message: text(terminated, "/message").to_owned(),
        previous,
        finished_at: text(terminated, "/finishedAt").to_owned(),
    })
}

/// The container that is started again each time it ends, and how often it did: the last of them in
/// any of `pods`. That it runs just now, or waits for its next start, makes no difference.
pub(crate) fn restarting(pods: &[Value]) -> Option<(Culprit, String)> {
    containers(pods)
        .filter_map(|(pod, status)| {
            let running = runs(status);
            let (terminated, previous) = match status.pointer("/state/terminated") {
                Some(terminated) => (terminated, false),
                None => (status.pointer("/lastState/terminated")?, true),
            };
            let culprit = ended(pod, status, terminated, previous)?;
            let restarts = status.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
            let tries = restarts.saturating_add(i64::from(!running)).max(1);
            let good = culprit.exit_code == Some(0);
            let again = previous || restarts > 0 || is_always_restarted(pod, &culprit.container);
            // One that has ended well is started again where it never is to end.
            (again && (!good || tries > 1)).then_some((tries, culprit))
        })
        .max_by(|(_, one), (_, other)| one.finished_at.cmp(&other.finished_at))
        .map(|(tries, culprit)| {
            let looping = if tries > 1 { " CrashLoopBackOff" } else { "" };
            let (code, said) = (culprit.code(), culprit.said());
            let text = format!(
                "pod {} container {}{looping}: {}, last: {code}{said}",
                culprit.pod,
                culprit.container,
                failed_tries(tries, None)
            );
            (culprit, text)
        })
}

/// `2 of 7 tries failed`.
fn failed_tries(failed: i64, of: Option<i64>) -> String {
    match of {
        Some(most) => format!("{failed} of {most} tries failed"),
        None if failed == 1 => "1 try failed".to_owned(),
        None => format!("{failed} tries failed"),
    }
}

/// How many tries of a hook have failed, and how the last one did, while another one is under way.
/// `cause` is that of the last one, as it is seen now or was before.
pub(crate) fn tries(object: &Value, pods: &[Value], cause: Option<&Cause>) -> Option<String> {
    if let Some((_, text)) = restarting(pods) {
        return Some(text);
    }
    let failed = object.pointer("/status/failed").and_then(Value::as_i64).filter(|it| *it > 0)?;
    let most = object.pointer("/spec/backoffLimit").and_then(Value::as_i64);
    // An index has tries of its own.
    let most = most.filter(|_| object.pointer("/spec/backoffLimitPerIndex").is_none());
    let most = most.map(|most| most.saturating_add(1));
    if most.is_some_and(|most| failed >= most) {
        return None;
    }
    let tries = failed_tries(failed, most);
    let last = match (failed_container(pods), cause) {
        (_, Some(Cause { reason: Some(_), message })) => message.clone(),
        (Some(culprit), _) => {
            let Culprit { pod, container, .. } = &culprit;
            format!("{} in pod {pod} container {container}{}", culprit.code(), culprit.said())
        }
        (None, Some(cause)) => cause.message.clone(),
        (None, None) => return Some(tries),
    };
    Some(clip(format!("{tries}, last: {last}"), 700))
}

/// A Pod of a Job that somebody deletes, which counts as a failure of the Job. The Job's controller
/// deletes Pods itself, but of one that failed for its tries only those that run beside.
pub(crate) fn deleted(job: &Value, pods: &[Value]) -> Option<Cause> {
    let ending = ["FailureTarget", "Failed", "SuccessCriteriaMet", "Complete"];
    let ended = ending.iter().find_map(|type_| condition(job, type_, "True"));
    let by_tries = ended.is_none_or(|ended| text(ended, "/reason") == "BackoffLimitExceeded");
    let suspended = job.pointer("/spec/suspend") == Some(&Value::Bool(true));
    if !by_tries || suspended || pods.iter().any(has_failed_by_itself) {
        return None;
    }
    let pod = pods.iter().find(|pod| is_terminating(pod) && befell(pod).is_none())?;
    let message = format!("pod {} was deleted before it had ended", text(pod, "/metadata/name"));
    Some(Cause { reason: None, message })
}

fn has_failed_by_itself(pod: &Value) -> bool {
    let failed = failed_container(std::slice::from_ref(pod));
    // It may have failed before, and be started again.
    failed.is_some_and(|failed| failed.previous || !is_terminating(pod))
}

/// A Pod of an earlier Job of the same name, which was deleted without it (`--cascade=orphan`).
pub(crate) fn orphan(pods: &[Value]) -> Option<String> {
    let pod = pods.iter().find(|pod| {
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.is_none_or(Vec::is_empty) && !none_active(std::slice::from_ref(*pod))
    })?;
    let (name, namespace) = (text(pod, "/metadata/name"), text(pod, "/metadata/namespace"));
    Some(format!(
        "pod {name} of an earlier Job of this name still runs beside it; remove it with kubectl \
         delete pod {name} -n {namespace}"
    ))
}

/// A container that runs, for a hook whose time is running out.
pub(crate) fn running_container(pods: &[Value]) -> Option<Culprit> {
    containers(pods)
        .filter(|(_, status)| runs(status))
        .min_by_key(|(pod, status)| is_sidecar(pod, text(status, "/name")))
        .map(|(pod, status)| Culprit {
            pod: text(pod, "/metadata/name").to_owned(),
            container: text(status, "/name").to_owned(),
            exit_code: None,
            reason: String::new(),
            message: String::new(),
            previous: false,
            finished_at: String::new(),
        })
}

/// What befell a Pod from outside of its containers, such as an eviction: one word and a sentence.
pub(super) fn befell(pod: &Value) -> Option<(String, String)> {
    let failed = text(pod, "/status/phase") == "Failed";
    let (reason, message) = (text(pod, "/status/reason"), text(pod, "/status/message"));
    if failed && !reason.is_empty() {
        return Some((reason.to_owned(), message.trim().to_owned()));
    }
    let target = condition(pod, "DisruptionTarget", "True")?;
    let reason = match text(target, "/reason") {
        "EvictionByEvictionAPI" => "Evicted",
        other => other,
    };
    Some((reason.to_owned(), text(target, "/message").trim().to_owned()))
}

/// Why the last of `pods` failed, where `failed` is the container that failed last.
pub(crate) fn cause(pods: &[Value], failed: Option<&Culprit>) -> Option<Cause> {
    let befallen = pods
        .iter()
        .filter_map(|pod| Some((befell_at(pod), pod, befell(pod)?)))
        .max_by(|(a, ..), (b, ..)| a.cmp(b));
    let cause = match (befallen, failed) {
        (Some((at, pod, _)), Some(failed))
            if text(pod, "/metadata/name") != failed.pod && *failed.finished_at >= *at =>
        {
            of_container(failed)
        }
        (Some((_, pod, (reason, message))), failed) => {
            let name = text(pod, "/metadata/name");
            let code = failed.filter(|failed| failed.pod == name);
            let code = code.map_or(String::new(), |failed| format!("; {}", failed.ending()));
            let message = format!("pod {name} {}{code}", joined(&reason, &message));
            Cause { reason: Some(reason), message }
        }
        (None, failed) => of_container(failed?),
    };
    Some(Cause { message: clip(cause.message, 700), ..cause })
}

fn of_container(failed: &Culprit) -> Cause {
    Cause { reason: None, message: format!("pod {} {}", failed.pod, failed.ending()) }
}

/// The reason and the message of a Pod that failed.
pub(super) fn failure(pod: &Value) -> (String, String) {
    let failed = failed_container(std::slice::from_ref(pod));
    let ending = failed.as_ref().map(Culprit::ending);
    match (befell(pod), ending) {
        (Some((reason, message)), ending) => {
            let parts = [Some(message).filter(|it| !it.is_empty()), ending];
            (reason, parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
        }
        (None, Some(ending)) => {
            let killed = failed.is_some_and(|failed| failed.reason == "OOMKilled");
            (if killed { "OOMKilled" } else { "PodFailed" }.to_owned(), ending)
        }
        (None, None) => {
            let message = text(pod, "/status/message").trim();
            let message =
                if message.is_empty() { "a container of the Pod failed" } else { message };
            ("PodFailed".to_owned(), message.to_owned())
        }
    }
}

fn befell_at(pod: &Value) -> &str {
    let target = condition(pod, "DisruptionTarget", "True");
    let at = target.map_or("", |target| text(target, "/lastTransitionTime"));
    let times = [at, text(pod, "/status/startTime"), text(pod, "/metadata/creationTimestamp")];
    times.into_iter().find(|at| !at.is_empty()).unwrap_or_default()
}

/// What holds the Pods up, named at once and not at the timeout.
pub(crate) fn stuck(pods: &[Value]) -> Option<String> {
    let container = containers(pods).find_map(|(pod, status)| {
        let waiting = status.pointer("/state/waiting")?;
        let reason = text(waiting, "/reason");
        // How it ended says more, see [`restarting`].
        let told =
            reason == "CrashLoopBackOff" && status.pointer("/lastState/terminated").is_some();
        (STUCK.contains(&reason) && !told).then(|| {
            let reason = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
            format!(
                "pod {} container {} {}",
                text(pod, "/metadata/name"),
                text(status, "/name"),
                joined(reason, &steady(text(waiting, "/message")))
            )
        })
    });
    container.or_else(|| pods.iter().find_map(unscheduled))
}

fn unscheduled(pod: &Value) -> Option<String> {
    let name = text(pod, "/metadata/name");
    let condition = condition(pod, "PodScheduled", "False")?;
    match text(condition, "/reason") {
        "Unschedulable" => {
            Some(format!("pod {name} {}", joined("Unschedulable", text(condition, "/message"))))
        }
        "SchedulingGated" => {
            let gates = pod.pointer("/spec/schedulingGates")?.as_array()?;
            let gates = gates.iter().map(|gate| text(gate, "/name"));
            let gates: Vec<_> = gates.filter(|gate| *gate != names::SCHEDULING_GATE).collect();
            (!gates.is_empty())
                .then(|| format!("pod {name} is held back by scheduling gate {}", gates.join(", ")))
        }
        _ => None,
    }
}

/// A Pod that goes on only because of a container that does not end with the others: a sidecar that
/// is none to the cluster, or a restart policy that lets nothing end.
pub(crate) fn lingering(pods: &[Value]) -> Option<String> {
    pods.iter().find_map(|pod| {
        let statuses = pod.pointer("/status/containerStatuses")?.as_array()?;
        let ended = statuses.iter().find_map(|status| {
            let code = status.pointer("/state/terminated/exitCode")?.as_i64()?;
            Some(format!("container {} ended with exit code {code}", text(status, "/name")))
        })?;
        let running: Vec<_> =
            statuses.iter().filter(|it| runs(it)).map(|it| text(it, "/name")).collect();
        let name = text(pod, "/metadata/name");
        match running.as_slice() {
            [] => None,
            [one] => Some(format!("pod {name} {ended}, container {one} still runs")),
            more => Some(format!("pod {name} {ended}, containers {} still run", more.join(", "))),
        }
    })
}

/// Whether nothing of `pods` runs or is about to.
pub(crate) fn none_active(pods: &[Value]) -> bool {
    pods.iter().all(|pod| {
        is_terminating(pod) || ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
    })
}

/// When the last of their containers ended, in whole seconds.
pub(super) fn last_ended(pods: &[Value]) -> Option<Timestamp> {
    let ended = containers(pods).map(|(_, status)| text(status, "/state/terminated/finishedAt"));
    ended.filter_map(|at| at.parse().ok()).max()
}

/// A Pod that is on its node, and none of whose containers has ever run.
pub(crate) fn unstarted(pods: &[Value]) -> Option<&Value> {
    let started = containers(pods).any(|(_, status)| {
        ["/state/running", "/state/terminated", "/lastState/terminated"]
            .into_iter()
            .any(|path| status.pointer(path).is_some())
    });
    pods.iter().filter(|_| !started).find(|pod| {
        text(pod, "/status/phase") == "Pending"
            && !text(pod, "/spec/nodeName").is_empty()
            && !is_terminating(pod)
    })
}

/// The kubelet counts up its back-off in the message (`back-off 20s restarting …`), and takes turns
/// between a failed pull and the back-off from it; a message of ours changes only when its cause
/// does.
fn steady(message: &str) -> String {
    let message = message.split_once("ErrImagePull: ").map_or(message, |(_, cause)| cause);
    let message = message
        .strip_prefix("back-off ")
        .and_then(|rest| rest.split_once(' '))
        .map_or(message, |(_, rest)| rest);
    clip(steady_ids(message), 500)
}

/// Without the ids that a container runtime makes anew at each try: runs of hexadecimal digits as
/// long as no word is.
pub(crate) fn steady_ids(message: &str) -> String {
    const ID: usize = 32;
    let mut steady = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let run = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (id, after) = rest.split_at(run);
        steady.push_str(if id.len() >= ID { "…" } else { id });
        let other = after.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(after.len());
        let (other, after) = after.split_at(other);
        steady.push_str(other);
        rest = after;
    }
    steady
}

/// Whether a container is about to be started again, however it has ended.
fn is_always_restarted(pod: &Value, container: &str) -> bool {
    let list = pod.pointer("/spec/containers").and_then(Value::as_array);
    text(pod, "/spec/restartPolicy") == "Always"
        && list.into_iter().flatten().any(|it| text(it, "/name") == container)
}

fn joined(reason: &str, message: &str) -> String {
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{reason}{colon}{message}")
}

pub(super) fn runs(status: &Value) -> bool {
    status.pointer("/state/running").is_some()
}

/// An init container that runs beside the others, and is ended after them.
pub(super) fn is_sidecar(pod: &Value, container: &str) -> bool {
    let containers = pod.pointer("/spec/initContainers").and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .any(|it| text(it, "/name") == container && text(it, "/restartPolicy") == "Always")
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ended(name: &str, code: i32, second: u32) -> Value {
        json!({"name": name, "state": {"terminated": {
            "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
            "finishedAt": format!("2026-01-01T00:00:{second:02}Z")}}})
    }

    fn failed(name: &str, statuses: &Value) -> Value {
        json!({"metadata": {"name": name},
               "status": {"phase": "Failed", "containerStatuses": statuses}})
    }

    fn message(pods: &[Value]) -> String {
        cause(pods, failed_container(pods).as_ref()).unwrap().message
    }

    #[test]
    fn the_container_that_failed_last_is_the_culprit() {
        let pods = [json!({
            "metadata": {"name": "p"},
            "status": {"containerStatuses": [
                ended("a", 1, 1),
                {"name": "b", "state": {"running": {}},
                 "lastState": {"terminated": {"exitCode": 7, "finishedAt": "2026-01-01T00:00:02Z"}}},
                ended("c", 0, 3),
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
    fn of_an_indexed_job_it_is_the_last_in_any_pod_and_init_containers_count() {
        let init = json!({"metadata": {"name": "p-1"}, "status": {
            "initContainerStatuses": [ended("prepare", 4, 30)],
            "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}],
        }});
        let pods = [failed("p-0", &json!([ended("main", 3, 20)])), init];
        assert_eq!(message(&pods), "pod p-1 container prepare ended with exit code 4");
        // One that was killed because the Job had failed already is none of its causes.
        let mut killed = failed("p-2", &json!([ended("main", 137, 40)]));
        killed["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:39Z");
        let pods = [pods[0].clone(), killed];
        assert_eq!(message(&pods), "pod p-0 container main ended with exit code 3");
    }

    #[test]
    fn a_sidecar_that_is_ended_with_its_pod_is_not_the_culprit() {
        let mut pod = failed("p", &json!([ended("main", 3, 20)]));
        pod["spec"]["initContainers"] = json!([{"name": "proxy", "restartPolicy": "Always"}]);
        pod["status"]["initContainerStatuses"] = json!([ended("proxy", 143, 21)]);
        assert_eq!(message(&[pod]), "pod p container main ended with exit code 3");
    }

    #[test]
    fn what_befell_a_pod_is_named_before_its_exit_code() {
        let mut pod = failed("p", &json!([ended("main", 137, 20)]));
        pod["status"]["reason"] = json!("Evicted");
        pod["status"]["message"] = json!("The node was low on resource: memory. ");
        let pods = [pod];
        assert_eq!(
            message(&pods),
            "pod p Evicted: The node was low on resource: memory.; container main ended with exit \
             code 137"
        );
        assert_eq!(
            failure(&pods[0]),
            (
                "Evicted".to_owned(),
                "The node was low on resource: memory.; container main ended with exit code 137"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_disruption_is_known_by_its_condition_while_the_pod_still_runs() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
             "message": "Eviction API: evicting", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
        let pods = [pod];
        let found = cause(&pods, None).unwrap();
        assert_eq!(found.reason.as_deref(), Some("Evicted"));
        assert_eq!(found.message, "pod p Evicted: Eviction API: evicting");
        // A later Pod failed by itself, and that is why the Job failed.
        let pods = [pods[0].clone(), failed("q", &json!([ended("main", 3, 20)]))];
        assert_eq!(message(&pods), "pod q container main ended with exit code 3");
    }

    #[test]
    fn running_out_of_memory_is_named() {
        let killed = json!([{"name": "main", "state": {"terminated": {
            "exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:01Z"}}}]);
        let pod = failed("p", &killed);
        let (reason, message) = failure(&pod);
        assert_eq!(reason, "OOMKilled");
        assert_eq!(message, "container main ended with exit code 137 (OOMKilled)");
        let other = failure(&failed("p", &json!([ended("main", 3, 1)])));
        assert_eq!(other.0, "PodFailed");
        assert_eq!(other.1, "container main ended with exit code 3");
        assert_eq!(failure(&json!({})).1, "a container of the Pod failed");
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

    fn crashing(state: &Value, code: i32, restarts: i64) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Always",
               "containers": [{"name": "a"}]},
               "status": {"phase": "Running", "containerStatuses": [
            {"name": "a", "restartCount": restarts, "state": state,
             "lastState": {"terminated": {"exitCode": code, "reason": "Error",
                                          "finishedAt": "2026-01-01T00:00:01Z"}}}]}})
    }

    #[test]
    fn the_last_end_of_a_container_stays_while_it_runs_again() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff",
                                         "message": "back-off 20s restarting failed container=a"}});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:09Z"}});
        let said = |state: &Value, restarts| {
            let pods = [crashing(state, 3, restarts)];
            assert_eq!(stuck(&pods), None, "it is said once");
            restarting(&pods).unwrap().1
        };
        let text = "pod p container a CrashLoopBackOff: 3 tries failed, last: exit code 3";
        assert_eq!(said(&waiting, 2), text);
        assert_eq!(said(&running, 3), text, "nothing has ended since");
        let first = "pod p container a: 1 try failed, last: exit code 3";
        assert_eq!(said(&running, 1), first);
        // Before the kubelet has decided what follows.
        let mut ended = crashing(
            &crashing(&running, 3, 0)["status"]["containerStatuses"][0]["lastState"],
            3,
            0,
        );
        ended["status"]["containerStatuses"][0]["lastState"] = json!({});
        assert_eq!(restarting(std::slice::from_ref(&ended)).unwrap().1, first);
        ended["spec"]["restartPolicy"] = json!("Never");
        assert_eq!(restarting(&[ended]), None);
        // One that ends well is never to end either, but for its first time.
        let well = restarting(&[crashing(&waiting, 0, 2)]).unwrap().1;
        assert_eq!(well, "pod p container a CrashLoopBackOff: 3 tries failed, last: exit code 0");
        assert_eq!(restarting(&[crashing(&running, 0, 1)]), None);
    }

    #[test]
    fn the_tries_of_a_job_are_counted_while_the_next_one_runs() {
        let job = |limit: Value, failed: i64| json!({"spec": {"backoffLimit": limit}, "status": {"failed": failed}});
        let next = json!({"metadata": {"name": "q"}, "status": {"phase": "Running",
            "containerStatuses": [{"name": "main", "state": {"running": {}}}]}});
        let pods = [failed("p", &json!([ended("main", 1, 20)])), next.clone()];
        assert_eq!(
            tries(&job(json!(6), 2), &pods, None).unwrap(),
            "2 of 7 tries failed, last: exit code 1 in pod p container main"
        );
        // Its Pod is gone, and what was noted of it stays.
        let noted = |reason: Option<&str>, message: &str| Cause {
            reason: reason.map(str::to_owned),
            message: message.to_owned(),
        };
        let before = noted(None, "pod p container main ended with exit code 1");
        assert_eq!(
            tries(&job(json!(6), 2), std::slice::from_ref(&next), Some(&before)).unwrap(),
            "2 of 7 tries failed, last: pod p container main ended with exit code 1"
        );
        let evicted = noted(Some("Evicted"), "pod p Evicted: memory");
        assert_eq!(
            tries(&job(Value::Null, 1), &pods, Some(&evicted)).unwrap(),
            "1 try failed, last: pod p Evicted: memory"
        );
        assert_eq!(tries(&job(json!(6), 1), &[next], None).unwrap(), "1 of 7 tries failed");
        assert_eq!(tries(&job(json!(0), 1), &pods, None), None, "no other comes after it");
        assert_eq!(tries(&job(json!(i64::MAX), 0), &pods, None), None);
        assert_eq!(tries(&json!({}), &[], None), None);
    }

    #[test]
    fn a_pod_of_a_job_that_somebody_deleted_is_named() {
        let job = |conditions: Value| json!({"status": {"conditions": conditions}});
        let target = |reason: &str| {
            job(json!([{"type": "FailureTarget", "status": "True", "reason": reason}]))
        };
        let mut pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:39Z"},
                             "status": {"phase": "Running"}});
        let said = "pod p was deleted before it had ended";
        let found = |job: &Value, pod: &Value| {
            deleted(job, std::slice::from_ref(pod)).map(|cause| cause.message)
        };
        assert_eq!(found(&job(json!([])), &pod).unwrap(), said);
        assert_eq!(found(&target("BackoffLimitExceeded"), &pod).unwrap(), said);
        for reason in ["DeadlineExceeded", "PodFailurePolicy", "SuccessPolicy"] {
            assert_eq!(found(&target(reason), &pod), None, "the Job's controller did it: {reason}");
        }
        // Killed once it was deleted.
        pod["status"]["containerStatuses"] = json!([ended("main", 137, 50)]);
        assert_eq!(found(&target("BackoffLimitExceeded"), &pod).unwrap(), said);
        pod["status"]["conditions"] = json!([
            {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
        assert_eq!(found(&job(json!([])), &pod), None, "that is named otherwise");
        // Another one has failed, and this one is only cleared away.
        let pods = [crashing(&json!({"running": {}}), 3, 1), pod];
        assert_eq!(deleted(&target("BackoffLimitExceeded"), &pods), None);
        assert_eq!(deleted(&json!({"spec": {"suspend": true}}), &pods[1..]), None);
    }

    #[test]
    fn a_pod_that_outlived_its_job_is_named() {
        let pod = |owners: Value, phase: &str| {
            [json!({"metadata": {"name": "p", "namespace": "prod", "ownerReferences": owners},
                    "status": {"phase": phase}})]
        };
        let said = orphan(&pod(Value::Null, "Running")).unwrap();
        assert!(said.ends_with("remove it with kubectl delete pod p -n prod"), "{said}");
        assert_eq!(orphan(&pod(json!([{"uid": "u"}]), "Running")), None, "it is being removed");
        assert_eq!(orphan(&pod(json!([]), "Succeeded")), None);
    }

    #[test]
    fn a_scheduling_gate_of_somebody_else_is_named() {
        let pod = |gates: Value| {
            json!({"metadata": {"name": "p"}, "spec": {"schedulingGates": gates},
                   "status": {"conditions": [
                       {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}})
        };
        let other = json!({"name": "example.com/later"});
        assert_eq!(
            stuck(&[pod(json!([other]))]).unwrap(),
            "pod p is held back by scheduling gate example.com/later"
        );
        assert_eq!(stuck(&[pod(json!([{"name": names::SCHEDULING_GATE}]))]), None);
    }

    #[test]
    fn a_sidecar_that_keeps_the_pod_from_ending_is_named() {
        let running = json!({"name": "proxy", "state": {"running": {}}});
        let pod = |statuses: Value| {
            [json!({"metadata": {"name": "p"},
                    "status": {"phase": "Running", "containerStatuses": statuses}})]
        };
        assert_eq!(
            lingering(&pod(json!([ended("main", 0, 1), running]))).unwrap(),
            "pod p container main ended with exit code 0, container proxy still runs"
        );
        assert_eq!(lingering(&pod(json!([running]))), None);
        assert_eq!(lingering(&pod(json!([ended("main", 0, 1)]))), None);
    }

    #[test]
    fn ids_of_a_runtime_are_left_out_and_words_are_not() {
        let id = "3f0e".repeat(16);
        assert_eq!(
            steady_ids(&format!("sandbox \"{id}\": bad decade faced")),
            "sandbox \"…\": bad decade faced"
        );
        assert_eq!(steady_ids("schön: é"), "schön: é");
    }
}
