//! The state of a hook's Pods: the container that failed, external causes, the reasons why they are
//! blocked.

use api::names;
use jiff::Timestamp;
use lifecycle::{observation::Cause, reason::Reason, terminal};
use serde_json::Value;

use super::{clip, condition, is_terminating, text};

/// The reasons of a waiting container that do not pass by waiting.
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
pub struct Culprit {
    pub pod: String,
    pub container: String,
    /// Absent for one that still runs.
    pub exit_code: Option<i32>,
    /// The kubelet's word for the end, such as `OOMKilled`, with its message.
    pub reason: String,
    pub message: String,
    /// True if the log is that of the run before the present one.
    pub previous: bool,
    /// Distinguishes one failure from the next; empty for one that still runs.
    pub finished_at: String,
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
            // The code already says it.
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

/// Returns the container that failed last, in any of `pods`. One that ended because its Pod was
/// ordered to stop, and a sidecar, which ends after the others, are only taken if there is no
/// other.
pub fn failed_container(pods: &[Value]) -> Option<Culprit> {
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

/// Returns the container that is restarted each time it ends, and how often it was: the last of
/// them in any of `pods`. It makes no difference that it runs at the moment, or waits for its next
/// start.
pub fn restarting(pods: &[Value]) -> Option<(Culprit, String)> {
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
            // One that ended well is restarted if it is never to end.
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

/// Returns how many attempts of a hook have failed, and how the last one did, while another one is
/// under way. `cause` is that of the last one, as observed now or before.
pub fn tries(object: &Value, pods: &[Value], cause: Option<&Cause>) -> Option<String> {
    if let Some((_, text)) = restarting(pods) {
        return Some(text);
    }
    let failed = object.pointer("/status/failed").and_then(Value::as_i64).filter(|it| *it > 0)?;
    let most = object.pointer("/spec/backoffLimit").and_then(Value::as_i64);
    // An index has attempts of its own.
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

/// Returns the cause of a Pod of a Job that somebody deletes, which counts as a failure of the Job.
/// The Job's controller deletes Pods itself; in a Job that failed by its own attempts, only those
/// that still run.
pub fn deleted(job: &Value, pods: &[Value]) -> Option<Cause> {
    let ending = ["FailureTarget", "Failed", "SuccessCriteriaMet", "Complete"];
    let ended = ending.iter().find_map(|type_| condition(job, type_, "True"));
    let by_tries = ended.is_none_or(|ended| text(ended, "/reason") == "BackoffLimitExceeded");
    let suspended = job.pointer("/spec/suspend") == Some(&Value::Bool(true));
    if !by_tries || suspended || pods.iter().any(has_failed_by_itself) {
        return None;
    }
    let pod = pods.iter().find(|pod| is_terminating(pod) && befell(pod).is_none())?;
    Some(Cause { reason: None, message: was_deleted(pod) })
}

/// The end of a Pod that nothing but a person or a program deleted: the same words whether its
/// containers or its Job ended first.
pub(super) fn was_deleted(pod: &Value) -> String {
    format!("pod {} was deleted before it had ended", text(pod, "/metadata/name"))
}

fn has_failed_by_itself(pod: &Value) -> bool {
    let failed = failed_container(std::slice::from_ref(pod));
    // It may have failed before, and be restarted.
    failed.is_some_and(|failed| failed.previous || !is_terminating(pod))
}

/// Reports a Pod of an earlier Job of the same name, which was deleted without it
/// (`--cascade=orphan`).
pub fn orphan(pods: &[Value]) -> Option<String> {
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

/// Returns a container that runs, for a hook whose time is running out.
pub fn running_container(pods: &[Value]) -> Option<Culprit> {
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

/// The cause from outside of a Pod's containers, such as an eviction: one word and a sentence.
pub(super) fn befell(pod: &Value) -> Option<(String, String)> {
    let failed = text(pod, "/status/phase") == "Failed";
    let (reason, message) = (text(pod, "/status/reason"), text(pod, "/status/message"));
    if failed && !reason.is_empty() {
        return Some((reason.to_owned(), message.trim().to_owned()));
    }
    let target = condition(pod, "DisruptionTarget", "True")?;
    let reason = match text(target, "/reason") {
        "EvictionByEvictionAPI" => Reason::Evicted.as_str(),
        other => other,
    };
    Some((reason.to_owned(), text(target, "/message").trim().to_owned()))
}

/// The reason why the last of `pods` failed; `failed` is the container that failed last.
pub fn cause(pods: &[Value], failed: Option<&Culprit>) -> Option<Cause> {
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
            let killed = failed.is_some_and(|failed| failed.reason == Reason::OOMKilled);
            (if killed { Reason::OOMKilled } else { Reason::PodFailed }.into(), ending)
        }
        (None, None) => {
            let message = text(pod, "/status/message").trim();
            let message =
                if message.is_empty() { "a container of the Pod failed" } else { message };
            (Reason::PodFailed.into(), message.to_owned())
        }
    }
}

fn befell_at(pod: &Value) -> &str {
    let target = condition(pod, "DisruptionTarget", "True");
    let at = target.map_or("", |target| text(target, "/lastTransitionTime"));
    let times = [at, text(pod, "/status/startTime"), text(pod, "/metadata/creationTimestamp")];
    times.into_iter().find(|at| !at.is_empty()).unwrap_or_default()
}

/// The reason why the Pods are blocked, named at once and not at the timeout.
pub fn stuck(pods: &[Value]) -> Option<String> {
    stuck_container(pods).or_else(|| pods.iter().find_map(unscheduled))
}

/// Does the same without Pods that somebody holds back on purpose, by a scheduling gate.
pub(super) fn unable(pods: &[Value]) -> Option<String> {
    stuck_container(pods).or_else(|| pods.iter().find_map(unschedulable))
}

pub(super) fn stuck_container(pods: &[Value]) -> Option<String> {
    containers(pods).find_map(|(pod, status)| {
        let waiting = status.pointer("/state/waiting")?;
        // Its last end says more, see [`restarting`].
        let told = text(waiting, "/reason") == "CrashLoopBackOff"
            && status.pointer("/lastState/terminated").is_some();
        let why = stuck_for(waiting).filter(|_| !told)?;
        let (pod, container) = (text(pod, "/metadata/name"), text(status, "/name"));
        Some(format!("pod {pod} container {container} {why}"))
    })
}

/// The reason of a waiting container that does not pass by waiting, and its message.
pub(super) fn stuck_for(waiting: &Value) -> Option<String> {
    let reason = text(waiting, "/reason");
    STUCK.contains(&reason).then(|| {
        let reason = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
        joined(reason, &steady(text(waiting, "/message")))
    })
}

pub(super) fn unscheduled(pod: &Value) -> Option<String> {
    unschedulable(pod).or_else(|| gated(pod))
}

/// Reports a Pod that somebody else holds back by a scheduling gate.
pub(super) fn gated(pod: &Value) -> Option<String> {
    let condition = condition(pod, "PodScheduled", "False")?;
    if text(condition, "/reason") != "SchedulingGated" {
        return None;
    }
    let gates = pod.pointer("/spec/schedulingGates")?.as_array()?;
    let gates = gates.iter().map(|gate| text(gate, "/name"));
    let gates: Vec<_> = gates.filter(|gate| *gate != names::SCHEDULING_GATE).collect();
    let name = text(pod, "/metadata/name");
    (!gates.is_empty())
        .then(|| format!("pod {name} is held back by scheduling gate {}", gates.join(", ")))
}

pub(super) fn unschedulable(pod: &Value) -> Option<String> {
    let condition = condition(pod, "PodScheduled", "False")?;
    let (name, message) = (text(pod, "/metadata/name"), text(condition, "/message"));
    (text(condition, "/reason") == "Unschedulable")
        .then(|| format!("pod {name} {}", joined("Unschedulable", message)))
}

/// Reports a Pod that continues only because of a container that does not end with the others: a
/// sidecar that is not one to the cluster, or a restart policy under which nothing ends.
pub fn lingering(pods: &[Value]) -> Option<String> {
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

/// Returns whether nothing of `pods` runs or is about to.
pub fn none_active(pods: &[Value]) -> bool {
    pods.iter().all(|pod| {
        is_terminating(pod) || ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
    })
}

/// The time when the last of their containers ended, in whole seconds.
pub(super) fn last_ended(pods: &[Value]) -> Option<Timestamp> {
    let ended = containers(pods).map(|(_, status)| text(status, "/state/terminated/finishedAt"));
    ended.filter_map(|at| at.parse().ok()).max()
}

/// Returns whether one of `pods` waits, and nothing of any has run yet.
pub fn none_started(pods: &[Value]) -> bool {
    let waits = |pod: &Value| text(pod, "/status/phase") == "Pending" && !is_terminating(pod);
    pods.iter().any(waits) && !any_started(pods)
}

/// Returns whether a container of `pods` has ever run.
pub fn any_started(pods: &[Value]) -> bool {
    containers(pods).any(|(_, status)| {
        ["/state/running", "/state/terminated", "/lastState/terminated"]
            .into_iter()
            .any(|path| status.pointer(path).is_some())
    })
}

/// Returns a Pod that is on its node, and none of whose containers has ever run.
pub fn unstarted(pods: &[Value]) -> Option<&Value> {
    let started = any_started(pods);
    pods.iter().filter(|_| !started).find(|pod| {
        text(pod, "/status/phase") == "Pending"
            && !text(pod, "/spec/nodeName").is_empty()
            && !is_terminating(pod)
    })
}

/// Returns the message without changing parts. The kubelet counts up its back-off in the message
/// (`back-off 20s restarting …`), and alternates between a failed pull and the back-off from it; a
/// message of ours changes only when its cause does.
fn steady(message: &str) -> String {
    let message = message.split_once("ErrImagePull: ").map_or(message, |(_, cause)| cause);
    let message = message
        .strip_prefix("back-off ")
        .and_then(|rest| rest.split_once(' '))
        .map_or(message, |(_, rest)| rest);
    clip(steady_ids(message), 500)
}

/// Returns the message without the ids that a container runtime makes anew at each attempt: runs of
/// hexadecimal digits longer than any word.
pub fn steady_ids(message: &str) -> String {
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

/// Returns whether a container is about to be restarted, however it has ended.
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

/// Returns whether it is an init container that runs beside the others, and is ended after them.
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
mod tests;
