#![expect(clippy::needless_pass_by_value, reason = "cases are written as literals")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Checks one line: the state, and the message if there is one.
fn check(object: Value, expected: &str) {
    let found = readiness(&object);
    let state = match found {
        Readiness::Current => "Current",
        Readiness::InProgress { .. } => "InProgress",
        Readiness::Failed { .. } => "Failed",
        Readiness::Terminating { .. } => "Terminating",
        Readiness::Unknown { .. } => "Unknown",
    };
    let line = match found.message() {
        None => state.to_owned(),
        Some(message) => format!("{state}: {message}"),
    };
    assert_eq!(line, expected, "{object}");
}

fn check_status(api_version: &str, kind: &str, spec: Value, status: Value, expected: &str) {
    let metadata = json!({"name": "test", "generation": 1});
    let object = json!({
        "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec,
        "status": status,
    });
    check(object, expected);
}

#[test]
fn generic_rules_come_before_those_of_the_kind() {
    let with = |metadata: Value, conditions: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
            "status": {"observedGeneration": 1, "conditions": conditions},
        })
    };
    let reconciling =
        json!([{"type": "Reconciling", "status": "True", "reason": "Busy", "message": "3 s left"}]);
    let stalled = json!([{"type": "Stalled", "status": "True", "reason": "NoSource", "message": "source not\nfound"}]);
    let both =
        json!([{"type": "Stalled", "status": "True"}, {"type": "Reconciling", "status": "True"}]);
    let neither = json!([{"type": "Stalled", "status": "False"}, {"type": "Reconciling", "status": "Unknown"}]);

    check(with(json!({"generation": 1}), json!([])), "Current");
    check(with(json!({}), neither), "Current");
    check(
        with(json!({"generation": 2}), stalled.clone()),
        "InProgress: its controller has seen generation 1, not 2 yet",
    );
    check(with(json!({}), reconciling), "InProgress: condition Reconciling is True: Busy");
    check(
        with(json!({}), stalled.clone()),
        "Failed: condition Stalled is True: NoSource: source not found",
    );
    check(with(json!({}), both), "Failed: condition Stalled is True");
    check(
        with(json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "generation": 2}), stalled),
        "Terminating: it is being deleted",
    );
}

#[test]
fn what_cannot_be_read_is_unknown() {
    check(json!(null), "Unknown: it is not a JSON object");
    check(json!({}), "Current");
    check(
        json!({"metadata": {"deletionTimestamp": null}}),
        "Unknown: `metadata.deletionTimestamp` is not a string",
    );
    check(
        json!({"metadata": {"generation": 1.0}}),
        "Unknown: `metadata.generation` is not an integer",
    );
    check(
        json!({"metadata": "x"}),
        "Unknown: a parent of `metadata.deletionTimestamp` is not an object",
    );
    check(json!({"status": []}), "Unknown: a parent of `status.conditions` is not an object");
    check(json!({"status": {"conditions": {}}}), "Unknown: `status.conditions` is not a list");
    check(
        json!({"status": {"conditions": [{"type": "Ready", "status": true}]}}),
        "Unknown: a condition's status is not a string",
    );
    // A terminating object is terminating whatever else is in it.
    check(
        json!({"metadata": {"deletionTimestamp": "x"}, "status": 1}),
        "Terminating: it is being deleted",
    );
}

#[test]
fn kinds_without_a_rule_go_by_the_ready_condition() {
    let check = |status: Value, expected: &str| {
        check_status("example.com/v1", "Thing", json!({}), status, expected);
    };
    check(json!(null), "Current");
    check(json!({"conditions": [{"type": "Other", "status": "False"}]}), "Current");
    check(json!({"conditions": [{"type": "Ready", "status": "True"}]}), "Current");
    check(json!({"conditions": [{"type": "Ready"}]}), "Current");
    check(
        json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Issuing", "message": "12 s"}]}),
        "InProgress: condition Ready is False: Issuing",
    );
    check(
        json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}),
        "InProgress: condition Ready is Unknown",
    );
    check(
        json!({"conditions": [{"type": "Ready", "status": ""}, {"type": "Ready", "status": "False"}]}),
        "InProgress: condition Ready is False",
    );
}

#[test]
fn a_rule_is_of_a_group_and_kind() {
    let pending = json!({"phase": "Pending"});
    let check = |version: &str, kind: &str, expected: &str| {
        check_status(version, kind, json!({}), pending.clone(), expected);
    };
    check("v1", "Pod", "InProgress: the pod's phase is Pending");
    check("/v1", "Pod", "InProgress: the pod's phase is Pending");
    check("metrics.k8s.io/v1", "Pod", "Current");
    check("a/b/c", "Pod", "Current");
    check("extensions/v1beta1", "Deployment", "InProgress: 0 of 1 replicas created");
    check("extensions/v1beta1", "StatefulSet", "Current");
    for (version, kind) in [
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("batch/v1", "CronJob"),
        ("policy/v1", "PodDisruptionBudget"),
    ] {
        let not_ready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        check_status(version, kind, json!({}), not_ready, "Current");
    }
}

#[test]
fn deployment() {
    let check = |spec: Value, counts: [i64; 4], conditions: Value, expected: &str| {
        let [replicas, updated, available, ready] = counts;
        let status = json!({
            "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available,
            "readyReplicas": ready, "conditions": conditions,
        });
        check_status("apps/v1", "Deployment", spec, status, expected);
    };
    let three = json!({"replicas": 3});
    let timed = json!({"replicas": 3, "progressDeadlineSeconds": 600});
    let available = json!([{"type": "Available", "status": "True"}]);
    let complete = json!([
        {"type": "Available", "status": "True"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]);
    let exceeded = json!([{
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"test-1\" has timed out progressing.",
    }]);

    check(three.clone(), [3, 3, 3, 3], available.clone(), "Current");
    check(timed.clone(), [3, 3, 3, 3], complete.clone(), "Current");
    check(json!({"replicas": 0}), [0, 0, 0, 0], complete.clone(), "Current");
    check(json!({"progressDeadlineSeconds": i32::MAX}), [1, 1, 1, 1], available.clone(), "Current");
    check(three.clone(), [2, 2, 2, 2], json!([]), "InProgress: 2 of 3 replicas created");
    check(three.clone(), [3, 1, 3, 3], json!([]), "InProgress: 1 of 3 replicas updated");
    check(three.clone(), [4, 3, 3, 3], json!([]), "InProgress: 4 replicas, more than the 3 wanted");
    check(three.clone(), [3, 3, 1, 3], json!([]), "InProgress: 1 of 3 updated replicas available");
    check(three.clone(), [3, 3, 3, 2], json!([]), "InProgress: 2 of 3 replicas ready");
    check(
        timed.clone(),
        [3, 3, 3, 3],
        available,
        "InProgress: condition Progressing is not True: NewReplicaSetAvailable",
    );
    check(three, [3, 3, 3, 3], json!([]), "InProgress: condition Available is not True");
    check(
        timed,
        [3, 3, 3, 3],
        exceeded,
        "Failed: condition Progressing is False: ProgressDeadlineExceeded: \
         ReplicaSet \"test-1\" has timed out progressing.",
    );
}

#[test]
fn replica_set() {
    let check = |counts: [i64; 4], conditions: Value, expected: &str| {
        let [labelled, available, ready, replicas] = counts;
        let status = json!({
            "replicas": replicas, "fullyLabeledReplicas": labelled, "readyReplicas": ready,
            "availableReplicas": available, "conditions": conditions,
        });
        check_status("apps/v1", "ReplicaSet", json!({"replicas": 2}), status, expected);
    };
    check([2, 2, 2, 2], json!([{"type": "ReplicaFailure", "status": "False"}]), "Current");
    check([1, 0, 0, 1], json!([]), "InProgress: 1 of 2 replicas labelled");
    check([2, 1, 0, 1], json!([]), "InProgress: 1 of 2 replicas available");
    check([2, 2, 0, 1], json!([]), "InProgress: 0 of 2 replicas ready");
    check([2, 2, 2, 3], json!([]), "InProgress: 3 replicas, more than the 2 wanted");
    check(
        [2, 2, 2, 2],
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "test-x7k2p"}]),
        "InProgress: condition ReplicaFailure is True: FailedCreate",
    );
}

#[test]
fn stateful_set() {
    let check = |strategy: Value, status: Value, expected: &str| {
        let spec = json!({"replicas": 3, "updateStrategy": strategy});
        check_status("apps/v1", "StatefulSet", spec, status, expected);
    };
    let partition = |at: i64| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": at}});
    let updated =
        |updated: i64| json!({"replicas": 3, "readyReplicas": 3, "updatedReplicas": updated});
    let revision = |current: i64, update: &str| {
        json!({
            "replicas": 3, "readyReplicas": 3, "currentReplicas": current,
            "currentRevision": "test-1", "updateRevision": update,
        })
    };

    check(json!({"type": "OnDelete"}), json!(null), "Current");
    check(json!(null), json!({"replicas": 1}), "InProgress: 1 of 3 replicas created");
    check(
        json!(null),
        json!({"replicas": 3, "readyReplicas": 2}),
        "InProgress: 2 of 3 replicas ready",
    );
    check(
        json!(null),
        json!({"replicas": 4, "readyReplicas": 3}),
        "InProgress: 4 replicas, more than the 3 wanted",
    );
    check(partition(0), updated(3), "Current");
    check(partition(0), updated(1), "InProgress: 1 of 3 replicas updated");
    check(partition(2), updated(1), "Current");
    check(partition(2), updated(0), "InProgress: 0 of 1 replicas updated");
    check(partition(9), updated(0), "Current");
    check(json!(null), revision(3, "test-1"), "Current");
    check(
        json!(null),
        revision(2, "test-1"),
        "InProgress: 2 of 3 replicas at the current revision",
    );
    check(
        json!(null),
        revision(3, "test-2"),
        "InProgress: the current revision is `test-1`, not yet `test-2`",
    );
}

#[test]
fn daemon_set() {
    let counted = |counts: [i64; 4], expected: &str| {
        let [current, updated, available, ready] = counts;
        let status = json!({
            "observedGeneration": 1, "desiredNumberScheduled": 4, "currentNumberScheduled": current,
            "updatedNumberScheduled": updated, "numberAvailable": available, "numberReady": ready,
        });
        check_status("apps/v1", "DaemonSet", json!({}), status, expected);
    };
    counted([4, 4, 4, 4], "Current");
    counted([3, 4, 4, 4], "InProgress: 3 of 4 pods created");
    counted([4, 3, 4, 4], "InProgress: 3 of 4 pods updated");
    counted([4, 4, 2, 4], "InProgress: 2 of 4 pods available");
    counted([4, 4, 4, 2], "InProgress: 2 of 4 pods ready");

    let bare = |metadata: Value, status: Value, expected: &str| {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "status": status,
        });
        check(object, expected);
    };
    bare(json!({}), json!({}), "InProgress: `metadata.generation` is not set yet");
    bare(
        json!({"generation": 1}),
        json!({}),
        "InProgress: `status.observedGeneration` is not set yet",
    );
    bare(
        json!({"generation": 1}),
        json!({"observedGeneration": 1}),
        "InProgress: `status.desiredNumberScheduled` is not set yet",
    );
}

#[test]
fn pod() {
    let check = |status: Value, expected: &str| {
        check_status("v1", "Pod", json!({}), status, expected);
    };
    let waiting =
        |name: &str, reason: &str| json!({"name": name, "state": {"waiting": {"reason": reason}}});
    check(json!(null), "InProgress: the pod has no phase yet");
    check(json!({"phase": "Succeeded"}), "Current");
    check(json!({"phase": "Failed"}), "Current");
    check(json!({"phase": "Pending"}), "InProgress: the pod's phase is Pending");
    check(json!({"phase": "Lost"}), "Unknown: the pod's phase is `Lost`");
    check(
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        "Current",
    );
    check(json!({"phase": "Running"}), "InProgress: the pod runs but is not ready");
    check(
        json!({"phase": "Running", "containerStatuses": [waiting("web", "ImagePullBackOff"), 1, {}]}),
        "InProgress: the pod runs but is not ready",
    );
    check(
        json!({"phase": "Running", "containerStatuses": [
            waiting("web", "CrashLoopBackOff"), waiting("log", "CrashLoopBackOff"),
        ]}),
        "Failed: container web, log in CrashLoopBackOff",
    );
    check(
        json!({"phase": "Running", "containerStatuses": null}),
        "Unknown: `status.containerStatuses` is not a list",
    );
    check(
        json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes",
        }]}),
        "InProgress: condition PodScheduled is False: Unschedulable",
    );
}

#[test]
fn job() {
    let check = |status: Value, expected: &str| {
        check_status("batch/v1", "Job", json!({}), status, expected);
    };
    check(json!(null), "InProgress: the job has not started");
    check(json!({"startTime": "2026-01-01T00:00:00Z", "active": 1}), "Current");
    check(json!({"conditions": [{"type": "Complete", "status": "True"}]}), "Current");
    check(
        json!({"startTime": "2026-01-01T00:00:00Z", "conditions": [
            {"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "False"},
        ]}),
        "Current",
    );
    check(
        json!({"conditions": [{
            "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded",
            "message": "Job has reached the specified backoff limit",
        }]}),
        "Failed: condition Failed is True: BackoffLimitExceeded: \
         Job has reached the specified backoff limit",
    );
}

#[test]
fn storage_network_and_definitions() {
    let claim = |status: Value, expected: &str| {
        check_status("v1", "PersistentVolumeClaim", json!({}), status, expected);
    };
    claim(json!({"phase": "Bound"}), "Current");
    claim(json!({"phase": "Pending"}), "InProgress: the claim's phase is Pending, not Bound");
    claim(json!(null), "InProgress: the claim's phase is not set, not Bound");

    let service = |spec: Value, expected: &str| {
        check_status("v1", "Service", spec, json!({"loadBalancer": {}}), expected);
    };
    service(json!({}), "Current");
    service(json!({"type": "ExternalName"}), "Current");
    service(json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), "Current");
    service(
        json!({"type": "LoadBalancer"}),
        "InProgress: a LoadBalancer service without a clusterIP",
    );

    let definition = |conditions: Value, expected: &str| {
        let status = json!({"conditions": conditions});
        let kind = "CustomResourceDefinition";
        check_status("apiextensions.k8s.io/v1", kind, json!({}), status, expected);
    };
    definition(json!([]), "InProgress: condition Established is not True");
    definition(
        json!([
            {"type": "NamesAccepted", "status": "True"},
            {"type": "Established", "status": "False", "reason": "Installing"},
        ]),
        "InProgress: condition Established is not True",
    );
    definition(json!([{"type": "Established", "status": "True"}]), "Current");
    definition(
        json!([{"type": "Established", "status": "False", "reason": "NotAccepted", "message": "taken"}]),
        "Failed: condition Established is False: NotAccepted: taken",
    );
    definition(
        json!([{"type": "NamesAccepted", "status": "False", "reason": "PluralConflict"}]),
        "Failed: condition NamesAccepted is False: PluralConflict",
    );
}

#[test]
fn paused_deployments_are_not_waited_for() {
    let object = |api_version: &str, kind: &str, paused: Value| json!({"apiVersion": api_version, "kind": kind, "spec": {"paused": paused}});
    assert!(!is_waited_for(&object("apps/v1", "Deployment", json!(true))));
    assert!(is_waited_for(&object("apps/v1", "Deployment", json!(false))));
    assert!(is_waited_for(&object("apps/v1", "Deployment", json!("true"))));
    assert!(is_waited_for(&object("apps/v1", "StatefulSet", json!(true))));
    assert!(is_waited_for(&object("example.com/v1", "Deployment", json!(true))));
    assert!(is_waited_for(&json!(null)));
}

#[test]
fn foreign_text_is_clipped_to_one_short_line() {
    let long = "é\n".repeat(1000);
    let status = json!({"conditions": [{"type": "Stalled", "status": "True", "message": long}]});
    let found = readiness(&json!({"status": status}));
    let message = found.message().unwrap();
    assert!(message.chars().count() < 300, "{message}");
    assert!(message.ends_with("é …") && !message.contains('\n'), "{message}");
}

/// Every string that the rules know, and everything that JSON can hold in its place.
fn leaf() -> impl Strategy<Value = Value> {
    let words = vec![
        "True",
        "False",
        "Unknown",
        "",
        "Ready",
        "Available",
        "Progressing",
        "Failed",
        "Complete",
        "Stalled",
        "Reconciling",
        "PodScheduled",
        "Unschedulable",
        "Established",
        "NamesAccepted",
        "ProgressDeadlineExceeded",
        "NewReplicaSetAvailable",
        "Running",
        "Pending",
        "Bound",
        "CrashLoopBackOff",
        "OnDelete",
        "LoadBalancer",
        "v1",
        "a/b/c",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_i64..4).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "type",
        "status",
        "reason",
        "message",
        "name",
        "state",
        "waiting",
        "conditions",
        "phase",
        "containerStatuses",
        "replicas",
        "readyReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "generation",
        "deletionTimestamp",
        "updateStrategy",
        "rollingUpdate",
        "partition",
        "desiredNumberScheduled",
        "clusterIP",
        "paused",
        "startTime",
    ]);
    leaf().prop_recursive(4, 48, 6, move |inner| {
        let map = prop::collection::btree_map(keys.clone(), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            map.prop_map(|map| {
                Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics(object in anything()) {
        let _ = (readiness(&object), is_waited_for(&object));
    }

    #[test]
    fn arbitrary_content_of_a_known_kind_never_panics(
        (api_version, kind) in prop::sample::select(vec![
            ("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"), ("batch/v1", "Job"), ("v1", "Pod"), ("v1", "Service"),
            ("v1", "PersistentVolumeClaim"), ("example.com/v1", "Thing"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ]),
        metadata in anything(),
        spec in anything(),
        status in anything(),
    ) {
        let object = json!({
            "apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec,
            "status": status,
        });
        let found = readiness(&object);
        prop_assert_eq!(&found, &readiness(&object));
        // A message that ends up in another object's status stays small.
        prop_assert!(found.message().is_none_or(|message| message.len() < 4096));
    }
}
