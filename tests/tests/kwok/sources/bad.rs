use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

use super::{from, put, put_text, text};

#[tokio::test]
async fn what_is_wrong_with_a_source_is_said_with_its_place() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad-source").await?;
    let controller = namespace.controller()?;
    let hook = job("hook").hook("pre-install");
    let good = text(&[hook.clone(), config_map("a", "1")]);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  password: \
                  'hunter2\n";
    let twins = text(&[config_map("a", "1"), config_map("a", "1")]);
    let unknown = text(&[job("hook").hook("pre-instal")]);
    let all = |key: &str| json!([{"kind": "Secret", "name": "all", "key": key}]);
    let nothing = "apiVersion: v1\nkind: List\nitems: []\n";
    for (key, content) in [
        ("good", &*good),
        ("broken", &format!("{good}---\n{secret}")),
        ("twins", &twins),
        ("unknown", &unknown),
        ("empty", "# nothing yet\n"),
        ("list", "- a\n- b\n"),
        ("nothing", nothing),
    ] {
        put_text(&namespace, "Secret", key, vec![(key.to_owned(), content.to_owned())]).await?;
    }
    let one = |name: &str| json!([{"kind": "Secret", "name": name}]);
    let cases: [(Value, &str, &[&str]); 8] = [
        (
            all("a"),
            "SourceNotFound",
            &["spec.source.objectsFrom[0] (Secret/all key a): Secret/all does not exist"],
        ),
        (
            json!([{"kind": "Secret", "name": "good", "key": "bad"}]),
            "SourceNotFound",
            &["(Secret/good key bad): Secret/good has no key bad in its data (there: good)"],
        ),
        (
            one("broken"),
            "InvalidSource",
            &["objectsFrom[0]: Secret/broken key broken: document 3 (line 33, "],
        ),
        (
            one("twins"),
            "InvalidSource",
            &["Secret/twins key twins line 9 (ConfigMap/a): the same object is already at \
               Secret/twins key twins line 2"],
        ),
        (
            one("unknown"),
            "InvalidSource",
            &[
                "Secret/unknown key unknown line 2 (Job/hook): annotation helm.sh/hook: unknown hook \
               event \"…\" in \"…\"; use one of pre-install",
            ],
        ),
        (one("empty"), "InvalidSource", &["there is no object in what it names"]),
        (one("nothing"), "InvalidSource", &["spec.source: there is no object in it"]),
        (one("list"), "InvalidSource", &["Secret/list key list: document 1 (line 1 ", "is a list"]),
    ];
    for (index, (references, expected, parts)) in cases.into_iter().enumerate() {
        let name = format!("case-{index}");
        namespace.release(&name, &[], from(references)).await?;
        let release = namespace.wait_stalled(&name, &controller).await?;
        assert_eq!(reason(&release), expected, "{}", message(&release));
        for part in parts {
            assert!(message(&release).contains(part), "{part:?} is not in {:?}", message(&release));
        }
        assert!(!message(&release).contains("hunter2"), "{}", message(&release));
    }
    assert_eq!(namespace.tenant_did("create")?, [""; 0], "no hook ran");
    assert!(!controller.log()?.contains("hunter2"));
    Ok(())
}

/// An empty source would remove all that the release has.
#[tokio::test]
async fn an_empty_source_is_refused_and_removes_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "empty-source").await?;
    let controller = namespace.controller()?;
    let refused = async |name: &str| -> Result<()> {
        let is = |release: &_| reason(release) == "InvalidSource";
        let release = namespace.wait(name, &controller, "refused", is).await?;
        let text = "spec.source.objects: there is no object in it; put the objects there, or delete \
                    this ReleaseLifecycle to remove the release";
        assert_eq!(message(&release), text);
        Ok(())
    };
    namespace.release("new", &[], json!({})).await?;
    refused("new").await?;
    namespace.release("shop", &[config_map("a", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &[], json!({})).await?;
    refused("shop").await?;
    let patch =
        json!([{"target": {"name": "a"}, "patch": "$patch: delete\nmetadata: {name: a}\n"}]);
    namespace.release("shop", &[config_map("a", "1")], json!({"patches": patch})).await?;
    let is = |release: &_| message(release).starts_with("spec.source: there is no object in it");
    namespace.wait("shop", &controller, "refused", is).await?;
    assert!(namespace.object("ConfigMap", "a").await?.is_some());
    namespace.release("shop", &[config_map("a", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_may_not_read_its_source_is_told_which_right_is_missing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "source-rights").await?;
    let controller = namespace.controller()?;
    namespace.kubectl(&["create", "serviceaccount", "poor"])?;
    let records = ["create", "role", "poor", "--resource=secrets", "--verb=get,list,create,update"];
    namespace.kubectl(&records)?;
    let account = format!("--serviceaccount={}:poor", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "poor", "--role=poor", &account])?;
    put(&namespace, "ConfigMap", "all", &[("all", &[config_map("a", "1")])]).await?;
    let mut spec = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    spec["serviceAccountName"] = "poor".into();
    namespace.release("shop", &[], spec).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Forbidden");
    let wanted = format!(
        "\"system:serviceaccount:{}:poor\" cannot get resource \"configmaps\"",
        namespace.name
    );
    assert!(message(&release).contains(&wanted), "{}", message(&release));
    assert!(message(&release).contains("--clusterrole=releaselifecycle-deployer"));
    Ok(())
}

#[tokio::test]
async fn a_release_too_large_for_its_record_is_refused_before_anything_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "large").await?;
    let controller = namespace.controller()?;
    // What cannot be compressed: the record is.
    let noise = |length: usize| {
        let mut noise = String::new();
        while noise.len() < length {
            noise.push_str(&uuid::Uuid::new_v4().simple().to_string());
        }
        noise
    };
    for part in ["one", "two"] {
        let objects = [config_map(&format!("part-{part}"), &noise(900_000))];
        put(&namespace, "ConfigMap", part, &[("all", &objects)]).await?;
    }
    put(&namespace, "ConfigMap", "hook", &[("hook", &[job("hook").hook("pre-install")])]).await?;
    let names = ["one", "two", "hook"];
    let references = names.map(|name| json!({"kind": "ConfigMap", "name": name}));
    namespace.release("shop", &[], from(json!(references))).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "RecordTooLarge", "{}", message(&release));
    let secret = format!("Secret {}/sh.helm.release.v1.shop.v1", namespace.name);
    for part in [&*secret, "Kubernetes allows 1048576", "manifest ", "plan ", "split the release"] {
        assert!(message(&release).contains(part), "{part:?} is not in {}", message(&release));
    }
    assert_eq!(namespace.tenant_did("create")?, [""; 0], "no hook ran");
    assert_eq!(namespace.object("ConfigMap", "part-one").await?, None);
    Ok(())
}

#[tokio::test]
async fn large_inline_objects_point_to_other_ways() -> Result<()> {
    let namespace = Namespace::new(kwok(), "inline").await?;
    let controller = namespace.controller()?;
    let text = "x".repeat(130 * 1024);
    namespace.release("shop", &[config_map("a", &text)], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let about = ["get", "events", "--field-selector", "reason=LargeSource", "-o", "yaml"];
    let told = namespace.kubectl(&about)?;
    assert!(told.contains("spec.source.objects is 130 KiB"), "{told}");
    assert!(told.contains("spec.source.objectsFrom"), "{told}");
    Ok(())
}

#[tokio::test]
async fn the_schema_refuses_what_it_can() -> Result<()> {
    let namespace = Namespace::new(kwok(), "source-schema").await?;
    let reference = json!([{"kind": "ConfigMap", "name": "all"}]);
    let one = "spec.source takes exactly one of objects, objectsFrom, chart and sourceRef";
    let cases = [
        (json!({"source": {"objects": [], "objectsFrom": reference}}), one),
        (json!({"source": {"objectsFrom": []}}), "should have at least 1 items"),
        (json!({"source": {"objectsFrom": [{"kind": "Pod", "name": "a"}]}}), "Unsupported value"),
        (
            json!({"source": {"objectsFrom": [{"kind": "Secret", "name": "a", "namespace": "b"}]}}),
            "objectsFrom[0].namespace: field not declared in schema",
        ),
        (json!({"interval": "10ms"}), "spec.interval must be between 1s and 8760h"),
        (json!({"maxHistory": -1}), "spec.maxHistory"),
        (json!({"dependsOn": [{"name": "shop"}]}), "spec.dependsOn names this object itself"),
        (
            json!({"dependsOn": [{"name": "db", "namespace": "b"}]}),
            "dependsOn[0].namespace: field not declared in schema",
        ),
    ];
    for (more, expect) in cases {
        let answer = namespace.release("shop", &[], more.clone()).await;
        let text = answer.map_or_else(|error| format!("{error:#}"), |()| "accepted".to_owned());
        assert!(text.contains(expect), "{more}: {expect:?} is not in {text}");
    }
    Ok(())
}

/// Returns what is small for its author takes neither a gigabyte nor a stack from everybody else.
#[tokio::test]
async fn what_would_exhaust_the_operator_is_refused() -> Result<()> {
    let namespace = Namespace::new(kwok(), "exhausting").await?;
    let controller = namespace.controller()?;
    let maps = |count: usize| format!("a: [{}]\n", "{a: 0},".repeat(count));
    let aliases = format!("a: &a [{}]\nb: [{}]\n", "{a: 0},".repeat(100), "*a,".repeat(30));
    for (name, content) in
        [("aliases", format!("{aliases}---\n").repeat(25)), ("maps", maps(60_000))]
    {
        put_text(&namespace, "ConfigMap", name, vec![(name.to_owned(), content)]).await?;
    }
    let copies = (0..11)
        .map(|n| format!("- {{op: copy, from: '', path: {}}}\n", "/".repeat(2_usize.pow(n + 1))));
    let copies: String =
        std::iter::once("- {op: add, path: /, value: {}}\n".to_owned()).chain(copies).collect();
    let deep = (0..70).fold(json!("1"), |inner, _| json!({ "a": inner }));
    let one = |name: &str| from(json!([{"kind": "ConfigMap", "name": name}]));
    for (name, objects, spec, expected, part) in [
        (
            "aliases",
            vec![],
            one("aliases"),
            "SourceTooLarge",
            "spec.source.objectsFrom[0]: ConfigMap/aliases key aliases: document ",
        ),
        ("maps", vec![], one("maps"), "SourceTooLarge", "more than the 32 MiB of memory"),
        (
            "copies",
            vec![config_map("a", "1")],
            json!({"patches": [{"target": {"kind": "ConfigMap"}, "patch": copies}]}),
            "InvalidPatch",
            "spec.patches[0]: on ConfigMap/a (spec.source.objects[0]): the result would be nested \
             deeper than 64 levels",
        ),
        (
            "deep",
            vec![config_map("a", "1").set("/data", deep)],
            json!({}),
            "InvalidSource",
            "spec.source.objects[0]: the object is nested deeper than 64 levels",
        ),
    ] {
        namespace.release(name, &objects, spec).await?;
        let release = namespace.wait_stalled(name, &controller).await?;
        assert_eq!(reason(&release), expected, "{}", message(&release));
        assert!(message(&release).contains(part), "{part:?} is not in {:?}", message(&release));
    }
    namespace.release("good", &[config_map("b", "1")], json!({})).await?;
    namespace.wait_ready("good", &controller).await?;
    // `deploy/` grants 256 MiB.
    let status = std::fs::read_to_string(format!("/proc/{}/status", controller.pid()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
    assert!(peak.is_some_and(|peak| peak < 256 << 10), "{peak:?} KiB");
    Ok(())
}

/// The API server takes it, but no reader of JSON goes so deep.
#[tokio::test]
async fn an_object_that_is_too_deep_to_be_read_holds_up_no_other() -> Result<()> {
    let namespace = Namespace::new(kwok(), "too-deep").await?;
    let data = format!("{}1{}", r#"{"a":"#.repeat(140), "}".repeat(140));
    let deep = format!(
        r#"{{"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {{"name": "deep"}},
            "spec": {{"serviceAccountName": "deployer", "source": {{"objects": [
                {{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "a"}},
                  "data": {data}}}]}}}}}}"#
    );
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), deep)?;
    let path = file.path().display().to_string();
    namespace.kubectl(&["create", "-f", &path])?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("b", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let stalled = ["wait", "rl/deep", "--for=condition=Stalled", "--timeout=60s"];
    namespace.kubectl(&stalled)?;
    let says = ["get", "rl", "deep", "-o", "jsonpath={.status.conditions[0].message}"];
    let says = namespace.kubectl(&says)?;
    assert_eq!(says, "spec.source.objects[0]: the object is nested deeper than 64 levels");
    namespace.kubectl(&["delete", "rl", "deep", "--timeout=60s"])?;
    Ok(())
}
