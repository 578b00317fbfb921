use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn patch(text: &str) -> Patch {
    Patch { target: None, patch: text.to_owned() }
}

fn on(kind: &str, text: &str) -> Patch {
    Patch {
        target: Some(Target { kind: Some(kind.to_owned()), ..Target::default() }),
        ..patch(text)
    }
}

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "annotations": {"helm.sh/hook": "pre-upgrade"}},
        "spec": {"backoffLimit": 3, "template": {"spec": {
            "containers": [
                {"name": "a", "image": "x:1", "env": [{"name": "A", "value": "1"}]},
                {"name": "b", "image": "y:1"},
            ],
            "tolerations": [{"key": "t"}],
        }}},
    })
}

fn apply_to(objects: &[Value], patches: &[Patch]) -> Result<Vec<Value>, String> {
    match apply(patches, Placed::inline(objects)) {
        Ok(objects) => Ok(objects.into_iter().map(|placed| placed.manifest).collect()),
        Err(errors) => Err(errors.iter().map(|it| format!("{it}\n")).collect()),
    }
}

fn one(object: Value, patch: Patch) -> Value {
    apply_to(&[object], &[patch]).unwrap().remove(0)
}

#[test]
fn a_hook_is_patched_like_anything_else() {
    let patched = one(
        job(),
        patch(
            r#"
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook-weight: "-5"}
spec:
  backoffLimit: null
  template:
    spec:
      containers:
      - {name: b, image: y:2}
      - {name: c, image: z:1}
"#,
        ),
    );
    assert_eq!(
        patched,
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "migrate", "annotations": {
                "helm.sh/hook": "pre-upgrade", "helm.sh/hook-weight": "-5"}},
            "spec": {"template": {"spec": {
                "containers": [
                    {"name": "b", "image": "y:2"},
                    {"name": "c", "image": "z:1"},
                    {"name": "a", "image": "x:1", "env": [{"name": "A", "value": "1"}]},
                ],
                "tolerations": [{"key": "t"}],
            }}},
        })
    );
}

#[test]
fn operations_are_done_in_turn() {
    let patched = one(
        job(),
        on(
            "Job",
            "- {op: test, path: /spec/backoffLimit, value: 3}\n\
             - {op: add, path: /metadata/annotations/helm.sh~1hook-weight, value: \"1\"}\n\
             - {op: remove, path: /spec/template/spec/tolerations/0}\n\
             - {op: copy, from: /spec/backoffLimit, path: /spec/parallelism}\n",
        ),
    );
    assert_eq!(patched["metadata"]["annotations"]["helm.sh/hook-weight"], "1");
    assert_eq!(patched["spec"]["template"]["spec"]["tolerations"], json!([]));
    assert_eq!(patched["spec"]["parallelism"], 3);
}

#[test]
fn json_is_read_with_tabs_too() {
    let patched = one(job(), on("Job", "[\n\t{\"op\": \"remove\",\n\t\"path\": \"/spec\"}\n]"));
    assert_eq!(patched.get("spec"), None);
}

#[test]
fn a_target_is_of_everything_that_is_set() {
    let object = |api_version: &str, kind: &str, name: &str, extra: Value| {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": extra});
        object["metadata"]["name"] = name.into();
        object
    };
    let objects = [
        object("v1", "ConfigMap", "shop", json!({"labels": {"app": "shop"}})),
        object("v1", "ConfigMap", "shop-db", json!({"namespace": "db", "labels": {"app": "db"}})),
        object("apps/v1", "Deployment", "shop", json!({"annotations": {"a": "b"}})),
        object("batch/v1", "Job", "shop", json!({})),
    ];
    let some = |text: &str| Some(text.to_owned());
    let any = Target::default;
    for (target, expected) in [
        (any(), "0123"),
        (Target { kind: some("ConfigMap|Job"), ..any() }, "013"),
        (Target { kind: some("Config"), ..any() }, ""),
        (Target { kind: some(""), ..any() }, "0123"),
        (Target { name: some("shop-.*"), ..any() }, "1"),
        (Target { group: some("apps"), ..any() }, "2"),
        (Target { group: some("^$"), ..any() }, "01"),
        (Target { version: some("v1"), group: some("batch|apps"), ..any() }, "23"),
        (Target { namespace: some("d."), ..any() }, "1"),
        (Target { label_selector: some("app in (shop,x)"), ..any() }, "0"),
        (Target { label_selector: some("app!=shop"), ..any() }, "123"),
        (Target { annotation_selector: some("a"), ..any() }, "2"),
        (Target { kind: some("ConfigMap"), name: some("shop"), ..any() }, "0"),
    ] {
        let shown = format!("{target:?}");
        let patch = Patch { target: Some(target), ..patch("{x: 1}") };
        match apply_to(&objects, &[patch]) {
            Ok(objects) => {
                let patched = objects.iter().enumerate().filter(|(_, it)| it["x"] == 1);
                let patched: String = patched.map(|(index, _)| index.to_string()).collect();
                assert_eq!(patched, expected, "{shown}");
            }
            Err(error) => assert!(expected.is_empty(), "{shown}: {error}"),
        }
    }
}

#[test]
fn of_a_list_the_items_are_patched() {
    let mut other = job();
    other["metadata"]["name"] = "other".into();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [job(), other]});
    let delete = "{apiVersion: batch/v1, kind: Job, metadata: {name: other}, $patch: delete}";
    let objects = apply_to(
        std::slice::from_ref(&list),
        &[on("Job", "spec: {backoffLimit: 0}"), patch(delete)],
    )
    .unwrap();
    assert_eq!(objects[0]["items"].as_array().unwrap().len(), 1);
    assert_eq!(objects[0]["items"][0]["spec"]["backoffLimit"], 0);
    assert_eq!(apply_to(&[list], &[on("Job", "$patch: delete")]), Ok(vec![]));
}

#[test]
fn with_a_target_a_patch_may_call_itself_anything() {
    for text in [
        "{apiVersion: v9, kind: Any, metadata: {name: any, namespace: any}, x: 1}",
        "{metadata: {$patch: replace, annotations: {helm.sh/hook: pre-upgrade}}, x: 1}",
        "{kind: null, x: 1}",
    ] {
        let mut expected = job();
        expected["x"] = 1.into();
        assert_eq!(one(job(), on("Job", text)), expected, "{text}");
    }
    let patched = one(job(), on("Job", "metadata: null"));
    assert_eq!(patched["metadata"], json!({"name": "migrate"}));
    let unnamed = json!({"kind": "Job", "metadata": {"generateName": "x-"}});
    assert_eq!(one(unnamed.clone(), on("Job", "metadata: {name: any}")), unnamed);
}

#[test]
fn the_lists_of_custom_resources_are_replaced() {
    let object = |kind: &str, list: Value| {
        json!({"apiVersion": "x.io/v1", "kind": kind, "metadata": {"name": "a"},
               "spec": {"containers": list}})
    };
    let patched =
        one(object("Pod", json!([{"name": "a"}])), on("Pod", "spec: {containers: [{name: b}]}"));
    assert_eq!(patched, object("Pod", json!([{"name": "b"}])));
}

#[test]
fn a_missing_protocol_is_tcp() {
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
               "spec": {"ports": ports}})
    };
    let live = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]);
    let patched = one(service(live), on("Service", "spec: {ports: [{port: 53, name: dns}]}"));
    let expected =
        json!([{"port": 53, "protocol": "TCP", "name": "dns"}, {"port": 53, "protocol": "UDP"}]);
    assert_eq!(patched, service(expected));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let container = |item: &str| format!("spec: {{template: {{spec: {{containers: [{item}]}}}}}}");
    let job_named = "{apiVersion: batch/v1, kind: Job, metadata: {name: x}}";
    let in_target = |target: Target| Patch { target: Some(target), ..patch("{}") };
    let some = |text: &str| Some(text.to_owned());
    for (patch, expected) in [
        (patch("a: b\nc: [\n"), "spec.patches[0]: patch is not readable, line 2, column 4: "),
        (patch("# nothing"), "patch is empty; write"),
        (patch("text"), "patch is a text; write a mapping"),
        (patch("[]"), "target is missing; a list of JSON patch operations needs it"),
        (on("Job", "{}\n---\n{}"), "patch has 2 documents, which only"),
        (patch("[]\n---\n[]"), "patch has 2 documents, which only"),
        (patch("{kind: Job}"), "patch has no apiVersion; add it, or give the patch a target"),
        (
            patch(job_named),
            "no object of the source is Job/x (batch/v1) without metadata.namespace; correct",
        ),
        (on("Jobs", "{}"), "no object of the source is of kind \"Jobs\"; correct what"),
        (
            in_target(Target { name: some("a("), ..Target::default() }),
            "target.name is \"a(\": it is not a regular expression: unclosed group",
        ),
        (
            in_target(Target { name: some("a)|(b"), ..Target::default() }),
            "target.name is \"a)|(b\": it is not a regular expression: unopened group",
        ),
        (
            in_target(Target { kind: some("(\\w{99}){99}"), ..Target::default() }),
            "target.kind is \"(\\\\w{99}){99}\": it is too large; use smaller repetitions",
        ),
        (
            in_target(Target { label_selector: some("a=="), ..Target::default() }),
            "no object of the source is of labelSelector \"a==\"",
        ),
        (
            in_target(Target { annotation_selector: some("a b"), ..Target::default() }),
            "target.annotationSelector is \"a b\": \"b\" is no operator",
        ),
        (on("Job", "[{path: /a}]"), "patch[0] has no op; write add"),
        (on("Job", "[{op: put, path: /a}]"), "patch[0] has op \"put\"; write add"),
        (on("Job", "[{op: add, path: /a}]"), "patch[0] has no value, which add needs"),
        (on("Job", "[{op: remove, path: a}]"), "patch[0] has path \"a\", which is no JSON pointer"),
        (on("Job", "[1]"), "patch[0] is a number, not an operation"),
        (
            on("Job", "[{op: test, path: /kind, value: Job}, {op: remove, path: /spec/a/b}]"),
            "spec.patches[0]: on Job/migrate (spec.source.objects[0]): patch[1] (remove /spec/a/b) \
             found nothing there",
        ),
        (on("Job", "[{op: add, path: /x/y, value: 1}]"), "(add /x/y) found nothing to put it into"),
        (on("Job", "[{op: replace, path: /x, value: 1}]"), "(replace /x) found nothing there; add"),
        (on("Job", "[{op: test, path: /kind, value: SeCrEt}]"), "(test /kind) found another value"),
        (
            on("Job", "[{op: replace, path: /metadata/name, value: x}]"),
            "it changes metadata.name, by which the object is known",
        ),
        (on("Job", "[{op: add, path: '', value: 1}]"), "it changes apiVersion"),
        (on("Job", "spec: x"), "spec is a mapping in the object and a text in the patch"),
        (
            on("Job", &container("{image: x}")),
            "spec.template.spec.containers has an item without \"name\" in the patch",
        ),
        (
            on("Job", &container("{name: a}, {name: a}")),
            "spec.template.spec.containers[name=a] stands in the patch more than once",
        ),
        (
            on("Job", &container("{name: a, $patch: replace}")),
            "spec.template.spec.containers[name=a] has $patch: replace among other fields",
        ),
        (on("Job", &container("{name: a, $patch: x}")), "has a $patch that is not delete"),
        (
            on("Job", "spec: {template: {spec: {tolerations: [{$patch: delete}]}}}"),
            "spec.template.spec.tolerations is replaced as a whole",
        ),
        (on("Job", "spec: {$retainKeys: [a]}"), "spec has $retainKeys, which kustomize does not"),
    ] {
        let error = apply_to(&[job()], &[patch]).unwrap_err();
        assert!(error.contains(expected), "{expected}\nis not in\n{error}");
        assert!(!error.contains("SeCrEt"), "{error}");
    }
}

#[test]
fn every_patch_that_is_wrong_is_said() {
    let error = apply_to(&[job()], &[patch("x"), on("Job", "{}"), patch("y")]).unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
    // The third depends on the result of the second.
    let patches =
        [on("A", "{}"), on("Job", "spec: 1"), on("Job", "[{op: test, path: /spec, value: 1}]")];
    let error = apply_to(&[job()], &patches).unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn neither_aliases_nor_copies_grow_beyond_bounds() {
    let doubled = |line: fn(usize) -> String| (1..30).map(line).collect::<String>();
    let aliases = "a0: &a0 [x, x, x, x]\n".to_owned()
        + &doubled(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
    let error = apply_to(&[job()], &[on("Job", &aliases)]).unwrap_err();
    assert!(error.contains("too large: too many nodes, aliases"), "{error}");

    let copies = doubled(|n| format!("- {{op: copy, from: /spec, path: /spec/x{n}}}\n"));
    let error = apply_to(&[job()], &[on("Job", &copies)]).unwrap_err();
    assert!(error.contains("add too much in all"), "{error}");

    let wrap = "- {op: add, path: /n, value: {}}\n- {op: move, from: /x, path: /n/x}\n\
                - {op: move, from: /n, path: /x}\n";
    let deep = "- {op: add, path: /x, value: 1}\n".to_owned() + &wrap.repeat(600);
    let error = apply_to(&[job()], &[on("Job", &deep)]).unwrap_err();
    assert!(error.contains("nested deeper than 64 levels"), "{error}");

    let many: Vec<_> = std::iter::repeat_with(job).take(300).collect();
    let large = format!("data: {:?}", "x".repeat(60_000));
    let error = apply_to(&many, &[on("Job", &large)]).unwrap_err();
    assert!(error.contains("add too much in all"), "{error}");
    // A name that is added may be no larger than a value.
    let large = format!("[{{op: add, path: /{}, value: 1}}]", "x".repeat(60_000));
    let error = apply_to(&many, &[on("Job", &large)]).unwrap_err();
    assert!(error.contains("add too much in all"), "{error}");

    let scalars = format!("a: &a {}\nb: [{}]", "x".repeat(30_000), "*a, ".repeat(5_000));
    let error = apply_to(&[job()], &[on("Job", &scalars)]).unwrap_err();
    assert!(error.contains("too large: too many nodes, aliases"), "{error}");
}

/// The drop of a value recurses, so the depth must not be exceeded even for a moment.
#[test]
fn no_operation_makes_an_object_too_deep() {
    let doubling = |times: usize| {
        let copy = |n: u32| format!("- {{op: copy, from: '', path: {}}}\n", "/".repeat(1 << n));
        let copies: String = (1..).take(times).map(copy).collect();
        on("Job", &format!("- {{op: add, path: /, value: {{}}}}\n{copies}"))
    };
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "": inner }));
    // In two steps, since operations, too, cannot be nested deeper.
    let chain = |levels: usize, more: &str| {
        let (half, rest) = (deep(30), deep(levels - 31));
        let (middle, end) = ("/".repeat(31), "/".repeat(levels));
        let more = more.replace('P', &end);
        on(
            "Job",
            &format!(
                "[{{op: add, path: /, value: {half}}}, \
                 {{op: add, path: {middle}, value: {rest}}}, {more}]"
            ),
        )
    };
    for patch in [
        doubling(11),
        // Sixty-four levels are the most, those of the object included.
        chain(64, "{op: add, path: P, value: {}}"),
        chain(64, "{op: replace, path: P, value: []}"),
        chain(64, "{op: copy, from: /spec, path: P}"),
        chain(64, "{op: move, from: /spec, path: P}"),
        chain(65, ""),
        chain(60, &"{op: copy, from: '', path: P},".repeat(650)),
    ] {
        let error = apply_to(&[job()], std::slice::from_ref(&patch)).unwrap_err();
        assert!(error.contains("the result would be nested deeper than 64"), "{error}");
    }
    for patch in [
        doubling(3),
        chain(64, "{op: add, path: P, value: 2}"),
        chain(64, ""),
        chain(60, &"{op: copy, from: /spec/template/spec/containers/0, path: P},".repeat(650)),
        on("Job", &deep(64).to_string()),
    ] {
        assert!(apply_to(&[job()], std::slice::from_ref(&patch)).is_ok(), "{}", patch.patch);
    }
    // A list's items are two levels down.
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [job()]});
    for patch in [on("Job", &deep(63).to_string()), chain(63, "")] {
        let error = apply_to(std::slice::from_ref(&list), &[patch]).unwrap_err();
        assert!(error.contains("the result would be nested deeper than 64"), "{error}");
    }
}

/// As large as objects and patches can be.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is the time that matters")]
fn long_lists_are_merged_in_no_time() {
    let mut long = job();
    let env = (0..38_000).map(|n| json!({"name": format!("n{n}"), "value": "1"}));
    long["spec"]["template"]["spec"]["containers"][0]["env"] = env.collect::<Vec<_>>().into();
    let items = (0..4_300).rev().map(|n| match n % 2 {
        0 => format!("{{name: n{n}}},"),
        _ => format!("{{name: n{n}, $patch: delete}},"),
    });
    let items: String = items.collect();
    let patch =
        format!("spec: {{template: {{spec: {{containers: [{{name: a, env: [{items}]}}]}}}}}}");
    let begun = std::time::Instant::now();
    let merged = one(long, on("Job", &patch));
    let took = begun.elapsed();
    let env = &merged["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env.as_array().map(Vec::len), Some(38_000 - 2_150));
    assert_eq!(env[0], json!({"name": "n4298", "value": "1"}));
    // A search of the list for each item takes minutes.
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn of_items_with_one_name_the_first_is_merged_and_all_are_deleted() {
    let env = json!([{"name": "X", "value": "1"}, {"name": "Y"}, {"name": "X", "value": "2"}]);
    let with = |env: Value| {
        let mut job = job();
        job["spec"]["template"]["spec"]["containers"] = json!([{"name": "a", "env": env}]);
        job
    };
    let patch = |item: &str| {
        let patch =
            format!("spec: {{template: {{spec: {{containers: [{{name: a, env: [{item}]}}]}}}}}}");
        on("Job", &patch)
    };
    assert_eq!(
        one(with(env.clone()), patch("{name: X, value: '3'}")),
        with(json!([{"name": "X", "value": "3"}, {"name": "Y"}, {"name": "X", "value": "2"}])),
    );
    assert_eq!(one(with(env), patch("{name: X, $patch: delete}")), with(json!([{"name": "Y"}])),);
}

/// Any JSON, with the words that have a meaning in patches among the keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..90_i64).prop_map(Value::from),
        "a|b|delete|replace|merge|/spec|/metadata/name|add|copy|test".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let key = "spec|template|containers|env|ports|name|containerPort|metadata|finalizers|\
                   \\$patch|kind|op|path|from|value|a";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(object in any_json(), change in any_json(), text in ".{0,40}") {
        let target = |patch| Patch { target: Some(Target::default()), patch };
        let _ = apply_to(std::slice::from_ref(&object), &[target(change.to_string())]);
        let _ = apply_to(&[object], &[target(text)]);
    }

    #[test]
    fn a_merge_patch_done_twice_is_done_once(live in any_json(), change in any_json()) {
        let object = |spec: &Value| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
        };
        let change = on("Pod", &json!({"spec": change}).to_string());
        let object = object(&live);
        if let Ok(once) = apply_to(&[object], std::slice::from_ref(&change)) {
            prop_assert_eq!(apply_to(&once, &[change]), Ok(once));
        }
    }

    #[test]
    fn operations_never_rename(
        object in any_json(),
        path in "(/metadata|/name|/kind|/a){0,3}",
        value in any_json(),
    ) {
        let mut object = json!({"kind": "A", "metadata": {"name": "a"}, "a": object});
        object["apiVersion"] = "v1".into();
        let change = json!([{"op": "add", "path": path, "value": value}]).to_string();
        if let Ok(patched) = apply_to(&[object], &[on("A", &change)]) {
            prop_assert_eq!(&patched[0]["kind"], "A");
            prop_assert_eq!(&patched[0]["metadata"]["name"], "a");
        }
    }
}
