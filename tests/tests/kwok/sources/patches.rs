use anyhow::{Context, Result};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, deployment, job},
    message, reason,
};
use serde_json::{Value, json};

use super::{from, put};

fn objects() -> [Value; 3] {
    [
        config_map("a", "1"),
        deployment("shop").set("/metadata/labels", json!({"app": "shop"})),
        job("migrate").hook("pre-install,pre-upgrade"),
    ]
}

#[tokio::test]
async fn patches_change_objects_and_hooks_before_the_plan_is_frozen() -> Result<()> {
    let namespace = Namespace::new(kwok(), "patches").await?;
    let controller = namespace.controller()?;
    put(&namespace, "ConfigMap", "all", &[("all", &objects())]).await?;
    let mut spec = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    spec["patches"] = json!([
        {"target": {"kind": "Job", "name": "migr.*"},
         "patch": "- {op: add, path: /metadata/annotations/helm.sh~1hook-weight, value: '-5'}\n\
                   - {op: replace, path: /spec/backoffLimit, value: 2}\n"},
        {"target": {"labelSelector": "app=shop"},
         "patch": "spec: {template: {spec: {containers: [{name: main, image: 'busybox:2'}]}}}"},
        {"patch": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {more: '2'}}"},
    ]);
    namespace.release("shop", &[], spec.clone()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let status = release.status.context("a status")?;
    assert_eq!(status.hooks.first().map(|hook| hook.weight), Some(-5));
    let live = namespace.object("Job", "migrate").await?.context("the hook is there")?;
    assert_eq!(live["spec"]["backoffLimit"], 2);
    let live = namespace.object("ConfigMap", "a").await?.context("it is there")?;
    assert_eq!(live["data"], json!({"value": "1", "more": "2"}));
    let live = namespace.object("Deployment", "shop").await?.context("it is there")?;
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["name"]), (&json!("busybox:2"), &json!("main")));
    assert_eq!(container["command"], json!(["sh", "-c", "sleep 3600"]), "merged, not replaced");

    // Another patch is another configuration.
    spec["patches"].as_array_mut().context("a list")?.pop();
    namespace.release("shop", &[], spec).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "upgrade of revision 2 succeeded with 1 hook");
    let live = namespace.object("ConfigMap", "a").await?.context("it is there")?;
    assert_eq!(live["data"], json!({"value": "1"}));
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_patch_is_said_and_nothing_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad-patch").await?;
    let controller = namespace.controller()?;
    let patches = json!([
        {"target": {"kind": "Job", "name": "migrat"}, "patch": "spec: {backoffLimit: 1}"},
        {"target": {"kind": "Jobs"}, "patch": "- {op: remove, path: /spec}"},
    ]);
    namespace.release("shop", &objects(), json!({"patches": patches})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "InvalidPatch");
    for part in ["spec.patches[0]: no object of the source is ", "; spec.patches[1]: no object"] {
        assert!(message(&release).contains(part), "{part:?} is not in {:?}", message(&release));
    }
    let patches = json!([{"target": {"kind": "Job"}, "patch": "spec: {backoffLimit: 1"}]);
    namespace.release("shop", &objects(), json!({"patches": patches})).await?;
    let unreadable = |release: &api::ReleaseLifecycle| message(release).contains("not readable");
    let release = namespace.wait("shop", &controller, "unreadable", unreadable).await?;
    assert!(message(&release).contains("spec.patches[0]: patch is not readable, line 1"));
    assert_eq!(namespace.tenant_did("create")?, [""; 0], "no hook ran");
    Ok(())
}
