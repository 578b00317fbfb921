//! What an object that is not ready says of the cause, and which of the objects that it made say
//! more. Pure.

use lifecycle::terminal;
use serde_json::Value;

use super::{
    clip, condition, event_objects, forms, is_terminating,
    pods::{self, Culprit},
    text,
};

/// A sentence of an explanation is at most this long: several stand in one message.
const SENTENCE_BYTES: usize = 400;
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// How the objects of a kind come to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Makes ReplicaSets, which make Pods.
    Deployment,
    /// Makes Pods.
    Maker,
    Pod,
    Claim,
    /// Whatever else says so by conditions.
    Other,
}

impl Kind {
    pub(crate) fn of(object: &Value) -> Self {
        match (text(object, "/apiVersion"), text(object, "/kind")) {
            ("apps/v1", "Deployment") => Self::Deployment,
            ("apps/v1", "ReplicaSet" | "StatefulSet" | "DaemonSet")
            | ("batch/v1", "Job")
            | ("v1", "ReplicationController") => Self::Maker,
            ("v1", "Pod") => Self::Pod,
            ("v1", "PersistentVolumeClaim") => Self::Claim,
            _ => Self::Other,
        }
    }
}

/// Whether the controller has seen the object as it is: what it made before explains nothing.
pub(crate) fn is_observed(object: &Value) -> bool {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
    match (number("/status/observedGeneration"), number("/metadata/generation")) {
        (Some(observed), Some(generation)) => observed >= generation,
        _ => true,
    }
}

/// What the object itself says of the cause.
pub(crate) fn own_words(object: &Value) -> Option<String> {
    let said = match Kind::of(object) {
        Kind::Deployment | Kind::Maker => {
            if let Some(failure) = condition(object, "ReplicaFailure", "True") {
                let message = text(failure, "/message");
                return Some(shorten(&match text(failure, "/reason") {
                    "FailedCreate" => event_objects::no_pod(name(object), message),
                    reason => format!("{reason}: {}", terminal::sentence(message)),
                }));
            }
            let stuck = condition(object, "Progressing", "False")
                .filter(|it| text(it, "/reason") != "ProgressDeadlineExceeded")
                .map(|it| format!("{}: {}", text(it, "/reason"), text(it, "/message")));
            stuck.or_else(|| forms::suspended(object, lifecycle::decide::Gate::None))?
        }
        Kind::Pod | Kind::Claim => return None,
        Kind::Other => {
            let ready = condition(object, "Ready", "False")
                .or_else(|| condition(object, "Ready", "Unknown"))?;
            text(ready, "/message").to_owned()
        }
    };
    let said = pods::steady_ids(&terminal::sentence(&said));
    (!said.is_empty()).then(|| shorten(&said))
}

/// The label selector of the Pods of `object`, as a query; `None` where it selects nothing.
pub(crate) fn selector(object: &Value) -> Option<String> {
    let selector = object.pointer("/spec/selector")?;
    let labels = match Kind::of(object) {
        Kind::Maker if text(object, "/kind") == "ReplicationController" => Some(selector),
        _ => selector.get("matchLabels"),
    };
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let mut parts: Vec<_> =
        labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = text(expression, "/key");
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<_> = values.filter_map(Value::as_str).collect();
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

/// The ReplicaSet of what `deployment` asks for now, among those that its selector finds.
pub(crate) fn current<'a>(deployment: &Value, sets: &'a [Value]) -> Option<&'a Value> {
    let own = sets.iter().filter(|set| is_made_by(set, deployment));
    let revision = text(deployment, REVISION);
    own.max_by_key(|set| {
        let number: i64 = text(set, REVISION).parse().unwrap_or_default();
        (text(set, REVISION) == revision, number)
    })
}

/// Of `pods`, those that `maker` made and that are not ready, the newest of them first.
pub(crate) fn unready(maker: &Value, mut pods: Vec<Value>) -> Vec<Value> {
    let newest = text(maker, "/status/updateRevision").to_owned();
    pods.retain(|pod| is_made_by(pod, maker) && !is_terminating(pod) && !is_ready(pod));
    pods.sort_by_cached_key(|pod| {
        let revision = text(pod, "/metadata/labels/controller-revision-hash");
        (revision != newest, text(pod, "/metadata/name").to_owned())
    });
    pods
}

fn is_made_by(object: &Value, maker: &Value) -> bool {
    let uid = text(maker, "/metadata/uid");
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    !uid.is_empty() && owners.into_iter().flatten().any(|owner| text(owner, "/uid") == uid)
}

fn is_ready(pod: &Value) -> bool {
    text(pod, "/status/phase") == "Succeeded" || condition(pod, "Ready", "True").is_some()
}

/// What is known of Pods that are not ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// That is all.
    Said(String),
    /// The last line that the container wrote says more.
    Container(Culprit, String),
    /// No node is found; the claims that it names may say more.
    Unscheduled { said: String, claims: Vec<String> },
    /// Only the Event objects about the Pod of this UID may say more: `probed` are its containers
    /// that run and are not ready, with their starts.
    Events { uid: String, probed: Vec<Probed>, otherwise: Option<String> },
}

/// A container that runs and is not ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Probed {
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) since: Option<jiff::Timestamp>,
}

/// Why `pods`, none of which is ready, are not.
pub(crate) fn finding(pods: &[Value]) -> Option<Finding> {
    if let Some(pod) = pods.iter().find(|pod| is_unscheduled(pod))
        && let Some(said) = pods::stuck(pods).filter(|said| said.contains(" Unschedulable"))
    {
        return Some(Finding::Unscheduled { said: shorten(&said), claims: claims(pod) });
    }
    if let Some(said) = pods::stuck(pods) {
        return Some(Finding::Said(shorten(&said)));
    }
    if let Some((culprit, said)) = pods::restarting(pods) {
        return Some(Finding::Container(culprit, shorten(&said)));
    }
    let failed = pods::failed_container(pods);
    if let Some(cause) = pods::cause(pods, failed.as_ref()) {
        let said = shorten(&cause.message);
        return Some(match failed {
            Some(culprit) => Finding::Container(culprit, said),
            None => Finding::Said(said),
        });
    }
    if let Some((culprit, said)) = pods.iter().find_map(initializing) {
        return Some(Finding::Container(culprit, said));
    }
    if let Some(pod) = pods::unstarted(pods) {
        let uid = text(pod, "/metadata/uid").to_owned();
        return Some(Finding::Events { uid, probed: Vec::new(), otherwise: None });
    }
    pods.iter().find_map(running)
}

fn is_unscheduled(pod: &Value) -> bool {
    condition(pod, "PodScheduled", "False").is_some_and(|it| text(it, "/reason") == "Unschedulable")
}

/// The claims that a Pod names, the first few of them.
fn claims(pod: &Value) -> Vec<String> {
    const MOST: usize = 3;
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let named = volumes.map(|volume| text(volume, "/persistentVolumeClaim/claimName"));
    named.filter(|name| !name.is_empty()).take(MOST).map(str::to_owned).collect()
}

/// An init container that the others wait for.
fn initializing(pod: &Value) -> Option<(Culprit, String)> {
    let statuses = pod.pointer("/status/initContainerStatuses")?.as_array()?;
    let sidecar = |status: &Value| pods::is_sidecar(pod, text(status, "/name"));
    let waits = statuses.iter().find(|status| !sidecar(status) && pods::runs(status))?;
    let culprit = Culprit {
        pod: name(pod).to_owned(),
        container: text(waits, "/name").to_owned(),
        exit_code: None,
        reason: String::new(),
        message: String::new(),
        previous: false,
        finished_at: String::new(),
    };
    let said = format!("pod {} waits for its init container {}", culprit.pod, culprit.container);
    Some((culprit, said))
}

/// A Pod whose containers run, and that is not ready all the same.
fn running(pod: &Value) -> Option<Finding> {
    let pod_name = name(pod);
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = statuses.into_iter().filter_map(|path| pod.pointer(path)?.as_array()).flatten();
    let unready = statuses
        .filter(|status| pods::runs(status) && status.get("ready") != Some(&Value::Bool(true)));
    let probed: Vec<_> = unready
        .map(|status| Probed {
            pod: pod_name.to_owned(),
            container: text(status, "/name").to_owned(),
            since: text(status, "/state/running/startedAt").parse().ok(),
        })
        .collect();
    if let Some(first) = probed.first() {
        let otherwise =
            format!("pod {pod_name} container {} runs but is not ready", first.container);
        let uid = text(pod, "/metadata/uid").to_owned();
        return Some(Finding::Events { uid, probed, otherwise: Some(otherwise) });
    }
    let gates = pod.pointer("/spec/readinessGates").and_then(Value::as_array)?;
    let missing = gates
        .iter()
        .map(|gate| text(gate, "/conditionType"))
        .find(|type_| condition(pod, type_, "True").is_none())?;
    Some(Finding::Said(format!("pod {pod_name} waits for its readiness gate {missing}")))
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// At most [`SENTENCE_BYTES`] long: the beginning, which names the thing, and the end, where the
/// innermost cause of a chain of errors stands.
pub(crate) fn shorten(said: &str) -> String {
    const END: usize = SENTENCE_BYTES / 2;
    if said.len() <= SENTENCE_BYTES {
        return said.to_owned();
    }
    let end = said.split_at(said.ceil_char_boundary(said.len() - END)).1;
    format!("{} {end}", clip(said.to_owned(), SENTENCE_BYTES - END))
}
