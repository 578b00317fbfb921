use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Namespace, condition, kwok,
    manifests::{Manifest, config_map, deployment, job},
};
use serde_json::{Value, json};

use super::{config, detection, edit, later_than, remove, settled, wait_drifted, wait_field};

#[tokio::test]
async fn what_somebody_changes_is_made_again_what_it_was_and_no_hook_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-fix").await?;
    let controller = namespace.controller()?;
    let hook = job("hook").hook("pre-install,post-install,pre-upgrade,post-upgrade,pre-rollback");
    let objects = [config("main", json!({"a": "1", "b": "1"})), deployment("web"), hook];
    namespace.release("shop", &objects, detection("enabled", json!([]))).await?;
    settled(&namespace, &controller).await?;
    let ran = namespace.tenant_did("create")?;

    let (main, web) = (("ConfigMap", "main"), ("Deployment", "web"));
    edit(&namespace, "configmap/main", &json!({"data": {"a": "2", "theirs": "x"}}))?;
    wait_field(&namespace, main, "/data/a", &json!("1")).await?;
    wait_field(&namespace, main, "/data/theirs", &json!("x")).await?;
    remove(&namespace, "configmap/main", "/data/b")?;
    wait_field(&namespace, main, "/data/b", &json!("1")).await?;
    namespace.kubectl(&["scale", "deployment", "web", "--replicas=3"])?;
    wait_field(&namespace, web, "/spec/replicas", &json!(1)).await?;
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image",
                        "value": "busybox:2"}]);
    namespace.kubectl(&["patch", "deployment/web", "--type=json", "-p", &image.to_string()])?;
    wait_field(&namespace, web, "/spec/template/spec/containers/0/image", &json!("busybox:1"))
        .await?;
    let parts = ["Deployment/web: /spec/template/spec/containers/0/image"];
    let release = wait_drifted(&namespace, &controller, "DriftCorrected", &parts).await?;
    assert_eq!(condition(&release, "Drifted").context("Drifted")?.status, "False");
    namespace.kubectl(&["delete", "configmap/main"])?;
    wait_field(&namespace, main, "/data/b", &json!("1")).await?;
    wait_drifted(&namespace, &controller, "DriftCorrected", &["ConfigMap/main: is missing"])
        .await?;

    assert_eq!(namespace.tenant_did("create")?, ran, "a hook ran");
    let release = namespace.releases().get("shop").await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(1));
    let records = namespace.kubectl(&["get", "secrets", "-l", "owner=helm", "-o", "name"])?;
    assert_eq!(records.trim(), "secret/sh.helm.release.v1.shop.v1");
    Ok(())
}

#[tokio::test]
async fn what_is_somebody_elses_or_cannot_be_changed_is_told_and_left() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-beyond").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), config_map("other", "1"), deployment("web")];
    namespace.release("shop", &objects, detection("enabled", json!([]))).await?;
    settled(&namespace, &controller).await?;

    let theirs = json!({"metadata": {"annotations": {"meta.helm.sh/release-name": "another"}},
                        "data": {"value": "theirs"}});
    edit(&namespace, "configmap/main", &theirs)?;
    let parts = ["ConfigMap/main: ", "belongs to release another"];
    wait_drifted(&namespace, &controller, "DriftNotCorrected", &parts).await?;

    // Another Deployment of that name, with our marks and another selector, which is immutable.
    let live = namespace.object("Deployment", "web").await?.context("the Deployment")?;
    let mut another = deployment("web")
        .set("/spec/selector/matchLabels/app", "another")
        .set("/spec/template/metadata/labels/app", "another");
    for field in ["labels", "annotations"] {
        another["metadata"][field] = live["metadata"][field].clone();
    }
    // The operator makes it again, and may be faster.
    let mut made = false;
    for _ in 0..50 {
        namespace.kubectl(&["delete", "deployment/web", "--ignore-not-found"])?;
        made = namespace.apply(&another).await.is_ok();
        if made {
            break;
        }
    }
    assert!(made, "the operator was faster each time");
    let parts = ["ConfigMap/main: ", "Deployment/web: ", "spec.selector", "immutable"];
    let release = wait_drifted(&namespace, &controller, "DriftNotCorrected", &parts).await?;
    let drifted = condition(&release, "Drifted").context("Drifted")?;
    assert_eq!(drifted.status, "True");

    // What can be corrected is, all the same.
    edit(&namespace, "configmap/other", &json!({"data": {"value": "2"}}))?;
    wait_field(&namespace, ("ConfigMap", "other"), "/data/value", &json!("1")).await?;
    let main = namespace.object("ConfigMap", "main").await?.context("it is left")?;
    assert_eq!(main["data"]["value"], "theirs");
    let is = |release: &_| condition(release, "Ready").is_some_and(|ready| ready.status == "True");
    namespace.wait("shop", &controller, "Ready", is).await?;
    Ok(())
}

#[tokio::test]
async fn a_pinned_revision_is_corrected_to_what_it_was() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-pinned").await?;
    let controller = namespace.controller()?;
    for value in ["1", "2"] {
        namespace.release("shop", &[config_map("main", value)], json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    let mut spec = detection("enabled", json!([]));
    spec["pinRevision"] = json!(1);
    namespace.release("shop", &[config_map("main", "2")], spec).await?;
    let release = settled(&namespace, &controller).await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(3));
    edit(&namespace, "configmap/main", &json!({"data": {"value": "3"}}))?;
    wait_field(&namespace, ("ConfigMap", "main"), "/data/value", &Value::from("1")).await
}

#[tokio::test]
async fn a_secret_with_the_name_of_a_record_stops_no_correction() -> Result<()> {
    let namespace = Namespace::new(kwok(), "hot").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], detection("enabled", json!([]))).await?;
    settled(&namespace, &controller).await?;
    // For Helm, too, it is no record without its labels.
    let name = "sh.helm.release.v1.shop.v2";
    namespace.kubectl(&["create", "secret", "generic", name, "--from-literal=a=b"])?;
    let changed = r#"{"data":{"value":"changed"}}"#;
    namespace.kubectl(&["patch", "configmap", "main", "--type=merge", "-p", changed])?;
    let corrected = "--for=jsonpath={.data.value}=1";
    namespace.kubectl(&["wait", "configmap/main", corrected, "--timeout=90s"])?;
    Ok(())
}

#[tokio::test]
async fn what_was_corrected_is_tested_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-tested").await?;
    let controller = namespace.controller()?;
    let mut spec = detection("enabled", json!([]));
    spec["test"] = json!({"enable": true});
    namespace.release("shop", &[config_map("main", "1"), job("smoke").hook("test")], spec).await?;
    let tested = |times: usize| {
        move |release: &ReleaseLifecycle| {
            let status = release.status.as_ref();
            status.is_some_and(|status| status.tests.len() == times)
                && condition(release, "Ready").is_some_and(|it| it.status == "True")
        }
    };
    let release = namespace.wait("shop", &controller, "tested", tested(1)).await?;
    let operation = release.status.and_then(|status| status.operation).context("tests")?;
    later_than(&namespace, operation.completed_at.context("they ended")?).await?;
    edit(&namespace, "configmap/main", &json!({"data": {"value": "theirs"}}))?;
    namespace.wait("shop", &controller, "tested again", tested(2)).await?;
    wait_field(&namespace, ("ConfigMap", "main"), "/data/value", &json!("1")).await
}
