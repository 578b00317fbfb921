use anyhow::{Context, Result};
use e2e::{Namespace, condition, kwok, manifests::deployment};
use serde_json::json;

use super::{config, detection, edit, settled, wait_drifted, wait_field};

#[tokio::test]
async fn what_is_ignored_is_neither_told_nor_changed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-ignore").await?;
    let controller = namespace.controller()?;
    let objects = [
        config("main", json!({"a": "1", "b": "1"})),
        config("scratch", json!({})),
        deployment("web"),
    ];
    let ignore = json!([
        {"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}},
        {"paths": ["/data/b"], "target": {"name": "ma.n"}},
        {"paths": [""], "target": {"kind": "ConfigMap", "name": "scratch"}},
    ]);
    namespace.release("shop", &objects, detection("enabled", ignore)).await?;
    settled(&namespace, &controller).await?;

    // With each of what is ignored, something that is not.
    namespace.kubectl(&["delete", "configmap/scratch"])?;
    edit(&namespace, "configmap/main", &json!({"data": {"a": "2", "b": "2"}}))?;
    wait_field(&namespace, ("ConfigMap", "main"), "/data/a", &json!("1")).await?;
    let main = namespace.object("ConfigMap", "main").await?.context("main")?;
    assert_eq!(main["data"], json!({"a": "1", "b": "2"}));
    namespace.kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image",
                        "value": "busybox:2"}]);
    namespace.kubectl(&["patch", "deployment/web", "--type=json", "-p", &image.to_string()])?;
    let parts = ["Deployment/web: /spec/template/spec/containers/0/image"];
    let release = wait_drifted(&namespace, &controller, "DriftCorrected", &parts).await?;
    let message = &condition(&release, "Drifted").context("Drifted")?.message;
    assert!(!message.contains("replicas") && !message.contains("scratch"), "{message}");
    let web = namespace.object("Deployment", "web").await?.context("web")?;
    assert_eq!(web["spec"]["replicas"], 3);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "busybox:1");
    assert_eq!(namespace.object("ConfigMap", "scratch").await?, None);

    // What was kept was not taken over: without the rules it is somebody's change again.
    namespace.release("shop", &objects, detection("enabled", json!([]))).await?;
    wait_field(&namespace, ("ConfigMap", "main"), "/data/b", &json!("1")).await?;
    Ok(())
}

#[tokio::test]
async fn a_rule_that_cannot_be_read_is_told_and_the_release_is_ready() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-rule").await?;
    let controller = namespace.controller()?;
    let objects = [config("main", json!({}))];
    let ignore = json!([{"paths": ["/a"], "target": {"kind": "("}}]);
    namespace.release("shop", &objects, detection("warn", ignore)).await?;
    let parts = ["spec.driftDetection.ignore[0].target.kind is \"(\""];
    let release = wait_drifted(&namespace, &controller, "InvalidIgnore", &parts).await?;
    assert_eq!(condition(&release, "Drifted").context("Drifted")?.status, "Unknown");
    assert_eq!(condition(&release, "Ready").context("Ready")?.status, "True");
    let ignore = json!([{"paths": ["a"]}]);
    let refused = namespace.release("shop", &objects, detection("warn", ignore)).await;
    let text = format!("{:#}", refused.err().context("a pointer begins with a slash")?);
    assert!(text.contains("spec.driftDetection.ignore[0].paths[0]"), "{text}");
    namespace.release("shop", &objects, detection("warn", json!([]))).await?;
    wait_drifted(&namespace, &controller, "NoDrift", &[]).await?;
    Ok(())
}
