use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

fn work() -> Work {
    Work { deployed_at: Some(at("10:00:00.5")), last: Some((at("11:00:00"), at("11:00:10"))) }
}

/// An object with two containers and some labels, with these writes besides Helm's.
fn deployment(writes: &[Value]) -> Value {
    let helm = json!({"manager": "helm", "operation": "Apply", "time": "2026-01-01T09:59:00Z",
    "fieldsV1": {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:containers": {
                "k:{\"name\":\"main\"}": {
                    ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                        {".": {}, "f:containerPort": {}, "f:name": {}}},
                },
            },
            "f:finalizers": {".": {}, "v:\"a\"": {}},
        },
    }});
    let status = json!({"manager": "kube-controller-manager", "operation": "Update",
        "subresource": "status", "time": "2026-01-01T23:00:00Z",
        "fieldsV1": {"f:status": {"f:ready": {}}}});
    let managed: Vec<_> = [helm, status].iter().chain(writes).cloned().collect();
    json!({
        "metadata": {"name": "web", "resourceVersion": "1", "labels": {"app": "web"},
                     "managedFields": managed},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "containers": [
                {"name": "injected", "image": "proxy"},
                {"name": "main", "image": "web:1", "args": ["a", "b"],
                 "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]},
            ],
            "finalizers": ["a", "b"],
        },
        "status": {"ready": 1},
    })
}

fn write(time: &str, fields: Value) -> Value {
    json!({"manager": "kubectl-edit", "operation": "Update",
           "time": format!("2026-01-01T{time}Z"), "fieldsV1": fields})
}

fn set(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).unwrap() = value;
    object
}

/// The pointers of the differences.
fn pointers(live: &Value, wanted: &Value) -> Vec<String> {
    differences(live, wanted).iter().map(|path| path.pointer(live, wanted)).collect()
}

#[test]
fn fields_are_compared_and_what_is_the_servers_is_not() {
    let live = deployment(&[]);
    let mut wanted = set(deployment(&[]), "/spec/replicas", json!(2));
    wanted["metadata"]["resourceVersion"] = json!("2");
    wanted["metadata"]["generation"] = json!(7);
    wanted["status"] = json!({});
    assert_eq!(pointers(&live, &wanted), ["/spec/replicas"]);
    wanted["metadata"]["labels"]["a/b~c"] = json!("new");
    assert_eq!(pointers(&live, &wanted), ["/metadata/labels/a~1b~0c", "/spec/replicas"]);
    assert_eq!(pointers(&live, &deployment(&[])), [""; 0]);
}

#[test]
fn items_of_lists_are_known_by_their_keys_wherever_they_stand() {
    let wanted = deployment(&[]);
    let live = set(deployment(&[]), "/spec/containers/1/image", json!("web:2"));
    let mut swapped = live.clone();
    swapped["spec"]["containers"].as_array_mut().unwrap().reverse();
    assert_eq!(pointers(&live, &wanted), ["/spec/containers/1/image"]);
    assert_eq!(pointers(&swapped, &wanted), ["/spec/containers/0/image"]);
    swapped["spec"]["containers"][0]["image"] = json!("web:1");
    assert_eq!(pointers(&swapped, &wanted), [""; 0], "only the order differs");
    let port = set(live.clone(), "/spec/containers/1/ports/0/name", json!("web"));
    assert_eq!(
        pointers(&port, &wanted),
        ["/spec/containers/1/image", "/spec/containers/1/ports/0/name"]
    );
    let mut gone = live;
    gone["spec"]["containers"].as_array_mut().unwrap().remove(1);
    assert_eq!(pointers(&gone, &wanted), ["/spec/containers/1"]);
}

#[test]
fn what_is_owned_as_a_whole_differs_as_a_whole() {
    let wanted = deployment(&[]);
    let live = set(deployment(&[]), "/spec/containers/1/args/0", json!("x"));
    assert_eq!(pointers(&live, &wanted), ["/spec/containers/1/args"]);
    let live = set(deployment(&[]), "/spec/selector/matchLabels/app", json!("x"));
    assert_eq!(pointers(&live, &wanted), ["/spec/selector"]);
    let live = set(deployment(&[]), "/spec/finalizers", json!(["b"]));
    assert_eq!(pointers(&live, &wanted), ["/spec/finalizers"]);
}

/// The origin of the one difference, where `fields` are written at `time`.
fn origin_of(time: &str, pointer: &str, fields: Value) -> Origin {
    let wanted = deployment(&[]);
    let live = set(deployment(&[write(time, fields)]), pointer, json!("changed"));
    let paths = differences(&live, &wanted);
    assert_eq!(paths.len(), 1, "{paths:?}");
    origin(&live, &paths[0], &work(), "helm")
}

#[test]
fn a_write_while_an_operation_ran_is_its_own_and_a_later_one_is_not() {
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    for (time, expect) in [
        ("09:59:30", Origin::Work),
        ("10:00:00", Origin::Work),
        ("10:00:01", Origin::Later),
        ("11:00:00", Origin::Work),
        ("11:00:10", Origin::Work),
        ("11:00:11", Origin::Later),
    ] {
        assert_eq!(origin_of(time, "/spec/replicas", replicas.clone()), expect, "{time}");
    }
}

#[test]
fn whoever_writes_another_field_later_does_not_make_drift_of_a_hooks_write() {
    let image = json!({"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {"f:image": {}}}}});
    assert_eq!(origin_of("10:00:00", "/spec/containers/1/image", image.clone()), Origin::Work);
    let wanted = deployment(&[]);
    let hook = write("10:00:00", image);
    let mut later = write("12:00:00", json!({"f:spec": {"f:replicas": {}}}));
    later["manager"] = json!("kubectl-scale");
    let live = set(deployment(&[hook, later]), "/spec/containers/1/image", json!("web:2"));
    let live = set(live, "/spec/replicas", json!(5));
    let origins: Vec<_> = differences(&live, &wanted)
        .iter()
        .map(|path| (path.pointer(&live, &wanted), origin(&live, path, &work(), "helm")))
        .collect();
    assert_eq!(
        origins,
        [
            ("/spec/containers/1/image".to_owned(), Origin::Work),
            ("/spec/replicas".to_owned(), Origin::Later),
        ]
    );
}

#[test]
fn a_field_within_one_that_is_owned_as_a_whole_is_its_owners() {
    let selector = json!({"f:spec": {"f:selector": {}}});
    assert_eq!(origin_of("12:00:00", "/spec/selector/matchLabels/app", selector), Origin::Later);
    let list = json!({"f:spec": {"f:finalizers": {"v:\"c\"": {}}}});
    let wanted = deployment(&[]);
    let live = set(deployment(&[write("12:00:00", list)]), "/spec/finalizers", json!(["c"]));
    let paths = differences(&live, &wanted);
    assert_eq!(origin(&live, &paths[0], &work(), "helm"), Origin::Later);
}

#[test]
fn what_was_removed_has_no_owner() {
    let wanted = deployment(&[]);
    let mut live = deployment(&[write("12:00:00", json!({"f:data": {}}))]);
    live["spec"].as_object_mut().unwrap().remove("replicas");
    let helm = &mut live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    helm.as_object_mut().unwrap().remove("f:replicas");
    let paths = differences(&live, &wanted);
    assert_eq!(paths[0].pointer(&live, &wanted), "/spec/replicas");
    assert_eq!(origin(&live, &paths[0], &work(), "helm"), Origin::Removed);
}

#[test]
fn what_the_operator_has_kept_of_somebody_elses_write_remains_theirs() {
    let image = json!({"f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {"f:image": {}}}}});
    let wanted = deployment(&[]);
    let live = deployment(&[write("10:00:00", image)]);
    // A correction of another field has applied the whole object.
    let live = set(live, "/metadata/managedFields/0/time", json!("2026-01-01T12:00:00Z"));
    let live = set(live, "/spec/containers/1/image", json!("web:2"));
    let paths = differences(&live, &wanted);
    assert_eq!(origin(&live, &paths[0], &work(), "helm"), Origin::Work);
}

#[test]
fn a_path_is_kept_in_a_manifest_whose_lists_stand_otherwise() {
    let live = set(deployment(&[]), "/spec/containers/1/ports/0/name", json!("web"));
    let paths = differences(&live, &deployment(&[]));
    let mut body = json!({"spec": {"containers": [{"name": "main", "ports": [
        {"containerPort": 81}, {"containerPort": 80, "name": "http"},
    ]}]}});
    paths[0].keep(&mut body, &live);
    let ports = json!([{"containerPort": 81}, {"containerPort": 80, "name": "web"}]);
    assert_eq!(body["spec"]["containers"][0]["ports"], ports);
}

fn rules(paths: &[&str], target: Option<Target>) -> Result<Rules, String> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    Rules::read(&[Ignore { paths, target }])
}

#[test]
fn an_ignored_field_keeps_its_live_value() {
    let live = json!({"data": {"a/b": "live", "list": [1, 2]}, "spec": {"deep": {"er": 1}}});
    let rules =
        rules(&["/data/a~1b", "/data/list/1", "/data/gone", "/spec/deep/er"], None).unwrap();
    let mut body = json!({"data": {"a/b": "mine", "list": [1, 3, 4], "gone": "x"}});
    for pointer in rules.of(&body.clone()) {
        pointer.keep(&mut body, &live);
    }
    assert_eq!(
        body,
        json!({"data": {"a/b": "live", "list": [1, 2, 4]}, "spec": {"deep": {"er": 1}}})
    );
    let pointer = Pointer::read("/data/a").unwrap();
    assert!(pointer.covers("/data/a") && pointer.covers("/data/a/b"));
    assert!(!pointer.covers("/data/ab") && !pointer.covers("/data"));
    assert!(Pointer::read("").unwrap().is_whole());
}

#[test]
fn a_rule_is_for_its_target_alone() {
    let target =
        Target { kind: Some("ConfigMap".into()), name: Some("a.*".into()), ..Target::default() };
    let rules = rules(&["/data"], Some(target)).unwrap();
    let named = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
    assert_eq!(rules.of(&named("ConfigMap", "ab")).len(), 1);
    assert_eq!(rules.of(&named("ConfigMap", "b")).len(), 0);
    assert_eq!(rules.of(&named("Secret", "a")).len(), 0);
}

#[test]
fn a_rule_that_cannot_be_read_is_named() {
    let error = |paths: &[&str], target| rules(paths, target).err().unwrap();
    assert!(
        error(&["/a", "b"], None).starts_with("spec.driftDetection.ignore[0].paths[1] is \"b\"")
    );
    assert!(error(&["/a~2"], None).contains("~1 for /"));
    let target = Target { kind: Some("(".into()), ..Target::default() };
    let text = error(&[], Some(target));
    assert!(text.starts_with("spec.driftDetection.ignore[0].target.kind is \"(\""), "{text}");
}

#[test]
fn messages_are_bounded_and_do_not_depend_on_the_order() {
    let finding = |name: u32| Finding {
        object: format!("ConfigMap/{name}"),
        what: What::Differs(["/d", "/c", "/b", "/a"].map(str::to_owned).to_vec()),
    };
    let mut findings: Vec<_> = (1..=7).map(finding).collect();
    let text = named(&findings);
    assert!(text.starts_with("ConfigMap/1: /a, /b, /c, and 1 more; ConfigMap/2:"), "{text}");
    assert!(text.ends_with("; and 2 more") && !text.contains("ConfigMap/6"), "{text}");
    findings.reverse();
    assert_eq!(named(&findings), text);
    let long = What::Unknown("ä".repeat(400)).text();
    assert!(long.len() <= MOST_WORDS + 3 && long.ends_with('…'));
}

#[test]
fn the_condition_tells_drift_from_what_could_not_be_seen() {
    let of = |object: &str, what| Finding { object: object.to_owned(), what };
    let (gone, unknown) = (of("A/a", What::Missing), of("B/b", What::Unknown("forbidden".into())));
    let told = |condition: Condition| (condition.status, condition.reason);
    assert_eq!(told(found(1, &[])), ("False", "NoDrift".into()));
    assert_eq!(told(found(1, std::slice::from_ref(&unknown))), ("Unknown", "DriftUnknown".into()));
    let both = found(1, &[unknown.clone(), gone.clone()]);
    assert!(both.message.contains("A/a: is missing. These could not be compared: B/b: forbidden"));
    assert_eq!(told(both), ("True", "DriftDetected".into()));
    let now = at("12:00:00");
    let done = [gone.clone()];
    assert_eq!(told(corrected(1, &done, &[], now)), ("False", "DriftCorrected".into()));
    assert_eq!(told(corrected(1, &[], &done, now)), ("True", "DriftNotCorrected".into()));
    assert_eq!(told(corrected(1, &done, &[unknown], now)), ("Unknown", "DriftUnknown".into()));
}
