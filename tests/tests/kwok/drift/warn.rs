use anyhow::{Context, Result};
use e2e::{
    Namespace, condition, kwok,
    manifests::{config_map, deployment},
};
use serde_json::json;

use super::{config, detection, edit, settled, wait_drifted};

#[tokio::test]
async fn what_somebody_changes_is_told_and_left() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-warn").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), deployment("web")];
    namespace.release("shop", &objects, detection("warn", json!([]))).await?;
    settled(&namespace, &controller).await?;

    edit(&namespace, "configmap/main", &json!({"data": {"value": "2"}}))?;
    let one = "objects of revision 1 are not as they were deployed: ConfigMap/main: /data/value";
    let release = wait_drifted(&namespace, &controller, "DriftDetected", &[one]).await?;
    let drifted = condition(&release, "Drifted").context("Drifted")?;
    assert_eq!((&*drifted.status, &*drifted.message), ("True", one));
    let ready = condition(&release, "Ready").context("Ready")?;
    assert_eq!((&*ready.status, &*ready.reason), ("True", "InSync"));

    namespace.kubectl(&["scale", "deployment", "web", "--replicas=3"])?;
    let both = format!("{one}; Deployment/web: /spec/replicas");
    wait_drifted(&namespace, &controller, "DriftDetected", &[&both]).await?;
    namespace.kubectl(&["delete", "configmap", "main"])?;
    let gone = ["ConfigMap/main: is missing; Deployment/web: /spec/replicas"];
    wait_drifted(&namespace, &controller, "DriftDetected", &gone).await?;
    assert_eq!(namespace.object("ConfigMap", "main").await?, None, "it was only told");

    // What is put back is no drift any more; an upgrade does so, too.
    namespace.kubectl(&["scale", "deployment", "web", "--replicas=1"])?;
    let objects = [config_map("main", "3"), deployment("web")];
    namespace.release("shop", &objects, detection("warn", json!([]))).await?;
    let release = wait_drifted(&namespace, &controller, "NoDrift", &["revision 2"]).await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(2));
    namespace.release("shop", &objects, detection("disabled", json!([]))).await?;
    let is = "without the condition";
    namespace.wait("shop", &controller, is, |it| condition(it, "Drifted").is_none()).await?;
    let events = ["get", "events", "-o", "jsonpath={.items[*].reason}"];
    let told = namespace.kubectl(&events)?.matches("DriftDetected").count();
    assert!((3..=4).contains(&told), "once for each change: {told}");
    Ok(())
}

#[tokio::test]
async fn of_a_secret_no_value_is_told() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-secret").await?;
    let controller = namespace.controller()?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
                        "stringData": {"key": "correct-horse"}});
    let source = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "objects"},
        "stringData": {"all": format!("{}\n---\n{}", secret, config("main", json!({})))}});
    namespace.apply(&source).await?;
    let mut spec = detection("warn", json!([]));
    spec["source"] = json!({"objectsFrom": [{"kind": "Secret", "name": "objects"}]});
    namespace.release("shop", &[], spec.clone()).await?;
    settled(&namespace, &controller).await?;

    edit(&namespace, "secret/password", &json!({"stringData": {"key": "battery-staple"}}))?;
    let parts = ["Secret/password: /data/key"];
    wait_drifted(&namespace, &controller, "DriftDetected", &parts).await?;
    spec["driftDetection"]["mode"] = json!("enabled");
    namespace.release("shop", &[], spec).await?;
    let parts = ["Secret/password: /data/key"];
    wait_drifted(&namespace, &controller, "DriftCorrected", &parts).await?;
    let secret = namespace.object("Secret", "password").await?.context("the Secret")?;
    assert_eq!(secret["data"]["key"], "Y29ycmVjdC1ob3JzZQ==", "it is corrected");

    let shown = namespace.kubectl(&["get", "rl,events", "-o", "yaml"])? + &controller.log()?;
    let values = ["correct-horse", "battery-staple", "Y29ycmVjd", "YmF0dGVye"];
    let seen: Vec<_> = values.into_iter().filter(|value| shown.contains(value)).collect();
    assert!(seen.is_empty(), "{seen:?}");
    Ok(())
}
