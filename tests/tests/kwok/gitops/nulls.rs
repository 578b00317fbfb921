//! Client-side and server-side apply, and what tools write that nobody means, are one configuration.

use anyhow::Result;
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, kwok,
    manifests::{Manifest, config_map, deployment, job},
};
use serde_json::{Value, json};

fn release(objects: &[Value]) -> Value {
    json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
        "metadata": {"name": "shop"},
        "spec": {"serviceAccountName": "deployer", "source": {"objects": objects}}})
}

fn apply(namespace: &Namespace, objects: &[Value], how: &[&str]) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), release(objects).to_string())?;
    let path = file.path().to_string_lossy();
    namespace.kubectl(&[&["apply", "--filename", &path], how].concat())?;
    Ok(())
}

/// The hook, the `ConfigMap` and the Deployment, without anything that says nothing.
fn plain() -> [Value; 3] {
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    let deployment = deployment("web")
        .set("/spec/replicas", json!(0))
        .set("/spec/template/spec/volumes", volumes)
        .set("/spec/template/spec/containers/0/env", json!([{"name": "A"}]));
    [job("hook").hook("pre-install,pre-upgrade"), config_map("main", "1"), deployment]
}

/// The same with all that says nothing.
fn written() -> [Value; 3] {
    plain().map(|object| {
        let hollow = object
            .set("/metadata/creationTimestamp", Value::Null)
            .set("/metadata/labels", json!({}));
        if hollow["kind"] == "ConfigMap" {
            return hollow.set("/data/none", Value::Null).set("/binaryData", json!({}));
        }
        let hollow = hollow
            .set("/status", json!({"conditions": null}))
            .set("/spec/template/metadata/creationTimestamp", Value::Null)
            .set("/spec/template/metadata/annotations", json!({}))
            .set("/spec/template/spec/containers/0/workingDir", Value::Null);
        if hollow["kind"] != "Deployment" {
            return hollow;
        }
        hollow
            .set("/metadata/annotations", json!({}))
            .set("/spec/template/spec/containers/0/env/0/value", Value::Null)
    })
}

/// The revision, once the controller has looked at the spec as it is.
async fn revision(namespace: &Namespace, controller: &Controller) -> Result<Option<i32>> {
    let release = namespace.wait_ready("shop", controller).await?;
    Ok(release.status.and_then(|status: api::ReleaseLifecycleStatus| status.revision))
}

#[tokio::test]
async fn nulls_and_empty_maps_that_say_nothing_are_no_change() -> Result<()> {
    let namespace = Namespace::new(kwok(), "nulls").await?;
    let mut controller = namespace.controller()?;
    let server_side = &["--server-side", "--force-conflicts"];
    let with_fields = |value: Option<&Value>| value.is_some_and(Value::is_null);
    apply(&namespace, &written(), server_side)?;
    assert_eq!(revision(&namespace, &controller).await?, Some(1));
    // The API server keeps them, so that this says something.
    let kept: ReleaseLifecycle = namespace.releases().get("shop").await?;
    let kept = serde_json::to_value(kept.spec.source.objects)?;
    assert!(with_fields(kept.pointer("/1/data/none")), "{kept:#}");
    let main = namespace.object("ConfigMap", "main").await?;
    assert_eq!(main.map(|main| main["data"].clone()), Some(json!({"value": "1"})));

    for (objects, how) in [
        (plain(), &server_side[..]),
        (written(), server_side),
        (written(), &[]),
        (plain(), &[]),
        (written(), server_side),
    ] {
        apply(&namespace, &objects, how)?;
        assert_eq!(revision(&namespace, &controller).await?, Some(1), "{how:?}: {objects:#?}");
    }
    // Nor is it one for another process.
    controller.kill()?;
    let controller = namespace.controller()?;
    apply(&namespace, &plain(), server_side)?;
    assert_eq!(revision(&namespace, &controller).await?, Some(1));

    // An empty map that says something is one.
    let [hook, main, web] = plain();
    let web = web.set("/spec/template/spec/volumes", json!([{"name": "v"}]));
    apply(&namespace, &[hook, main, web], server_side)?;
    assert_eq!(revision(&namespace, &controller).await?, Some(2));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook", "jobs/hook"]);
    Ok(())
}
