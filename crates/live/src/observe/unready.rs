//! The cause by the report of an object that is not ready, and which of the objects that it made
//! say more. Pure.

use lifecycle::terminal;
use serde_json::Value;

use super::{
    clip, condition, event_objects, gating, is_terminating,
    pods::{self, Culprit},
    text,
};

/// The longest sentence of an explanation: several are in one message.
const SENTENCE_BYTES: usize = 400;
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";

/// The way in which the objects of a kind become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Makes `ReplicaSets`, which make Pods.
    Deployment,
    /// Makes Pods.
    Maker,
    Pod,
    Claim,
    /// Any other kind reports it by conditions.
    Other,
}

impl Kind {
    pub fn of(object: &Value) -> Self {
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

/// Returns whether the controller has observed the object in its present state: what it made before
/// explains nothing.
pub fn is_observed(object: &Value) -> bool {
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64);
    match (number("/status/observedGeneration"), number("/metadata/generation")) {
        (Some(observed), Some(generation)) => observed >= generation,
        _ => true,
    }
}

/// The cause by the object's own report.
pub fn own_words(object: &Value) -> Option<String> {
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
            stuck.or_else(|| gating::suspended(object, lifecycle::observation::Gate::None))?
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

/// The label selector of the Pods of `object`, as a query; `None` if it selects nothing.
pub fn selector(object: &Value) -> Option<String> {
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

/// Returns the `ReplicaSet` for the present spec of `deployment`, among those that its selector
/// finds.
pub fn current<'a>(deployment: &Value, sets: &'a [Value]) -> Option<&'a Value> {
    let own = sets.iter().filter(|set| is_made_by(set, deployment));
    let revision = text(deployment, REVISION);
    own.max_by_key(|set| {
        let number: i64 = text(set, REVISION).parse().unwrap_or_default();
        (text(set, REVISION) == revision, number)
    })
}

/// Returns those of `pods` that `maker` made and that are not ready, the newest of them first.
pub fn unready(maker: &Value, mut pods: Vec<Value>) -> Vec<Value> {
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

/// The known facts about Pods that are not ready.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing else is known.
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
pub struct Probed {
    pub pod: String,
    pub container: String,
    pub since: Option<jiff::Timestamp>,
}

/// The reason why none of `pods` is ready.
pub fn finding(pods: &[Value]) -> Option<Finding> {
    if let Some(said) = pods::stuck_container(pods) {
        return Some(Finding::Said(shorten(&said)));
    }
    if let Some((pod, said)) = pods.iter().find_map(|pod| Some((pod, pods::unschedulable(pod)?))) {
        return Some(Finding::Unscheduled { said: shorten(&said), claims: claims(pod) });
    }
    if let Some(said) = pods.iter().find_map(pods::gated) {
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

/// The claims that a Pod names, the first few of them.
fn claims(pod: &Value) -> Vec<String> {
    const MOST: usize = 3;
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    let named = volumes.map(|volume| text(volume, "/persistentVolumeClaim/claimName"));
    named.filter(|name| !name.is_empty()).take(MOST).map(str::to_owned).collect()
}

/// Reports an init container that the others wait for.
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

/// Reports a Pod whose containers run, and that is not ready anyway.
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

/// Shortens the text to at most `SENTENCE_BYTES`: the beginning, which names the thing, and the
/// end, which has the innermost cause of a chain of errors.
pub fn shorten(said: &str) -> String {
    const END: usize = SENTENCE_BYTES / 2;
    if said.len() <= SENTENCE_BYTES {
        return said.to_owned();
    }
    let end = said.split_at(said.ceil_char_boundary(said.len() - END)).1;
    format!("{} {end}", clip(said.to_owned(), SENTENCE_BYTES - END))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
               "metadata": {"name": name, "uid": format!("uid-{name}"),
                            "ownerReferences": [{"uid": "set"}]},
               "spec": {"restartPolicy": "Always", "nodeName": "node",
                        "containers": [{"name": "web"}]},
               "status": status})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"phase": "Pending", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": reason, "message": message}}}]})
    }

    fn said(pods: &[Value]) -> String {
        match finding(pods).expect("something is known") {
            Finding::Said(said)
            | Finding::Container(_, said)
            | Finding::Unscheduled { said, .. }
            | Finding::Events { otherwise: Some(said), .. } => said,
            Finding::Events { uid, .. } => format!("events of {uid}"),
        }
    }

    #[test]
    fn each_reason_of_a_pod_is_named() {
        let running = json!({"startedAt": "2026-01-01T00:00:09Z"});
        for (status, expected) in [
            (
                waiting("ErrImagePull", "failed to pull: busybox:nope: not found"),
                "pod p container web ImagePullBackOff: failed to pull: busybox:nope: not found",
            ),
            (
                waiting("CreateContainerConfigError", "configmap \"settings\" not found"),
                "pod p container web CreateContainerConfigError: configmap \"settings\" not found",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [
                    {"name": "web", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                     "lastState": {"terminated": {"exitCode": 3, "finishedAt": "t"}}}]}),
                "pod p container web CrashLoopBackOff: 5 tries failed, last: exit code 3",
            ),
            (
                json!({"phase": "Pending", "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                     "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
                "pod p Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.",
            ),
            (
                json!({"phase": "Pending",
                       "initContainerStatuses": [{"name": "wait-db", "state": {"running": running}}],
                       "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
                "pod p waits for its init container wait-db",
            ),
            (
                json!({"phase": "Pending",
                       "initContainerStatuses": [{"name": "wait-db", "restartCount": 1,
                           "state": {"running": running},
                           "lastState": {"terminated": {"exitCode": 1, "finishedAt": "t"}}}],
                       "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
                "pod p container wait-db: 1 try failed, last: exit code 1",
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
                "pod p Evicted: low on memory",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [
                    {"name": "web", "ready": false, "state": {"running": running}}]}),
                "pod p container web runs but is not ready",
            ),
            (
                json!({"phase": "Pending", "containerStatuses": [
                    {"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}}]}),
                "events of uid-p",
            ),
        ] {
            assert_eq!(said(&[pod("p", &status)]), expected, "{status}");
        }
        assert_eq!(finding(&[]), None);
        let mut gated = pod(
            "p",
            &json!({"phase": "Running", "containerStatuses": [
            {"name": "web", "ready": true, "state": {"running": running}}]}),
        );
        gated["spec"]["readinessGates"] = json!([{"conditionType": "example.com/registered"}]);
        assert_eq!(said(&[gated]), "pod p waits for its readiness gate example.com/registered");
    }

    #[test]
    fn the_claims_of_a_pod_without_a_node_may_say_more() {
        let mut pod = pod(
            "p",
            &json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m"}]}),
        );
        let claims =
            (0..9).map(|n| json!({"persistentVolumeClaim": {"claimName": format!("c{n}")}}));
        pod["spec"]["volumes"] = claims.collect();
        let Some(Finding::Unscheduled { claims, .. }) = finding(&[pod]) else { panic!() };
        assert_eq!(claims, ["c0", "c1", "c2"], "a few of them");
    }

    #[test]
    fn the_object_says_itself_why_it_makes_no_pods() {
        let refused = "pods \"web-5d-\" is forbidden: exceeded quota: counts, requested: pods=1";
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web"},
            "status": {"conditions": [{"type": "ReplicaFailure", "status": "True",
                                       "reason": "FailedCreate", "message": refused}]}});
        assert_eq!(
            own_words(&deployment).unwrap(),
            "no Pod can be made: exceeded quota: counts, requested: pods=1"
        );
        let other = json!({"apiVersion": "example.com/v1", "kind": "Database",
            "metadata": {"name": "web"},
            "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NoDisk",
                                       "message": "no disk of 10Gi\nis left"}]}});
        assert_eq!(own_words(&other).unwrap(), "no disk of 10Gi is left");
        let late = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "status": {"conditions": [{"type": "Progressing", "status": "False",
                                       "reason": "ProgressDeadlineExceeded", "message": "m"}]}});
        assert_eq!(own_words(&late), None, "that is what kstatus says already");
    }

    #[test]
    fn pods_of_an_older_replica_set_say_nothing() {
        let set = |name: &str, owner: &str, revision: &str| {
            json!({"metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": owner}],
                "annotations": {"deployment.kubernetes.io/revision": revision}}})
        };
        let deployment = |revision: &str| {
            json!({"metadata": {"uid": "deployment",
                                "annotations": {"deployment.kubernetes.io/revision": revision}}})
        };
        let sets = [
            set("old", "deployment", "9"),
            set("new", "deployment", "10"),
            set("other", "another", "11"),
        ];
        let name = |revision: &str| {
            current(&deployment(revision), &sets).map(|it| text(it, "/metadata/name"))
        };
        assert_eq!(name("10"), Some("new"));
        assert_eq!(name("9"), Some("old"), "what it says counts");
        assert_eq!(name(""), Some("new"));
        assert_eq!(current(&deployment("1"), &[]), None);

        let maker = json!({"metadata": {"uid": "set"}, "status": {"updateRevision": "b"}});
        let mut foreign = pod("a", &json!({}));
        foreign["metadata"]["ownerReferences"] = json!([{"uid": "old"}]);
        let mut going = pod("b", &json!({}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let ready = pod("c", &json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        let mut new = pod("e", &json!({}));
        new["metadata"]["labels"] = json!({"controller-revision-hash": "b"});
        let pods = unready(&maker, vec![foreign, going, ready, pod("d", &json!({})), new]);
        let names: Vec<_> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
        assert_eq!(names, ["e", "d"], "the newest first");
        let nobody = json!({"metadata": {}});
        assert_eq!(
            unready(&nobody, vec![json!({"metadata": {"ownerReferences": [{}]}})]),
            [Value::Null; 0]
        );
    }

    #[test]
    fn selectors_are_written_as_queries() {
        let of = |kind: &str, by: Value| {
            let version = if kind == "ReplicationController" { "v1" } else { "apps/v1" };
            selector(&json!({"apiVersion": version, "kind": kind, "spec": {"selector": by}}))
        };
        let expressions = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"}]});
        assert_eq!(of("Deployment", expressions).unwrap(), "app=web,tier in (a,b),!old");
        assert_eq!(of("ReplicationController", json!({"app": "web"})).unwrap(), "app=web");
        assert_eq!(of("Deployment", json!({})), None, "never all Pods of a namespace");
    }

    #[test]
    fn what_is_shortened_keeps_its_end() {
        let chain = format!("pod p: {}: not found", "x".repeat(2000));
        let short = shorten(&chain);
        assert!(short.starts_with("pod p: ") && short.ends_with(": not found"), "{short}");
        assert!(short.len() < SENTENCE_BYTES + 10);
        assert!(shorten(&"é".repeat(900)).len() < SENTENCE_BYTES + 10);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zA-Z]{0,9}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(
                    prop::sample::select(vec![
                        "metadata",
                        "name",
                        "uid",
                        "status",
                        "spec",
                        "state",
                        "waiting",
                        "reason",
                        "terminated",
                        "lastState",
                        "exitCode",
                        "restartCount",
                        "containerStatuses",
                        "conditions",
                        "type",
                        "volumes",
                        "selector",
                        "matchLabels",
                        "ownerReferences",
                        "running",
                        "failed",
                        "backoffLimit"
                    ]),
                    inner,
                    0..5
                )
                .prop_map(|map| map
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_shape_of_an_object_is_a_fault(objects in prop::collection::vec(any_json(), 1..4)) {
            for object in &objects {
                let _ = (own_words(object), selector(object), is_observed(object));
                let _ = (current(object, &objects), unready(object, objects.clone()));
                let _ = (pods::tries(object, &objects, None), pods::deleted(object, &objects));
            }
            let _ = (finding(&objects), pods::orphan(&objects));
            let _ = (event_objects::unbound(&objects), event_objects::unhealthy(&objects, "a", None));
        }
    }
}
