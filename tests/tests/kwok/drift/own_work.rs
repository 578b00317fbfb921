use anyhow::{Context, Result};
use e2e::{
    Namespace, condition, kwok,
    manifests::{Manifest, job},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{config, detection, edit, later_than, settled, wait_field};

/// As the hook's container would: another writer, while the hook runs.
fn write_as_hook(namespace: &Namespace, change: &str, kind: &str) -> Result<()> {
    let patch = ["patch", "configmap/main", "--field-manager=hook", kind, "-p", change];
    namespace.kubectl(&patch)?;
    Ok(())
}

#[tokio::test]
async fn what_a_hook_writes_is_no_drift_whoever_restarts_and_whatever_others_change() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "drift-hook").await?;
    let mut controller = namespace.controller()?;
    let data = |revision: &str| json!({"revision": revision, "written": "no", "removed": "no", "free": "no"});
    let hook = || job("hook").hook("post-upgrade").never_ends();
    let spec = || detection("enabled", json!([]));
    namespace.release("shop", &[config("main", data("1")), hook()], spec()).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &[config("main", data("2")), hook()], spec()).await?;
    namespace.wait_active("hook").await?;
    write_as_hook(&namespace, r#"{"data":{"written":"yes"}}"#, "--type=merge")?;
    let remove = r#"[{"op":"remove","path":"/data/removed"}]"#;
    write_as_hook(&namespace, remove, "--type=json")?;
    let ends = ["annotate", "pods", "-l", "job-name=hook", "releaselifecycle.dev/test-outcome-"];
    namespace.kubectl(&ends)?;
    let release = settled(&namespace, &controller).await?;
    let removed = release.status.and_then(|status| status.baseline?.removed);
    assert_eq!(removed, Some(vec!["ConfigMap/main: /data/removed".to_owned()]));

    // Each correction is of a look that has seen what the hook wrote.
    let main = ("ConfigMap", "main");
    for restart in [false, true] {
        if restart {
            controller.kill()?;
            controller = namespace.controller()?;
        }
        edit(&namespace, "configmap/main", &json!({"data": {"free": "theirs"}}))?;
        wait_field(&namespace, main, "/data/free", &json!("no")).await?;
        let live = namespace.object("ConfigMap", "main").await?.context("main")?;
        assert_eq!(live["data"], json!({"revision": "2", "written": "yes", "free": "no"}));
    }
    // The same by somebody else, later, is drift.
    edit(&namespace, "configmap/main", &json!({"data": {"written": "theirs"}}))?;
    wait_field(&namespace, main, "/data/written", &json!("no")).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_test_writes_is_no_drift_and_hides_none() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drift-test").await?;
    let controller = namespace.controller()?;
    let objects = [
        config("main", json!({"written": "no", "before": "no"})),
        job("test").hook("test").never_ends(),
    ];
    namespace.release("shop", &objects, detection("warn", json!([]))).await?;
    settled(&namespace, &controller).await?;
    edit(&namespace, "configmap/main", &json!({"data": {"before": "theirs"}}))?;
    let told = |release: &_| {
        let drifted = condition(release, "Drifted");
        drifted.is_some_and(|it| it.message.ends_with("ConfigMap/main: /data/before"))
    };
    namespace.wait("shop", &controller, "drifted", told).await?;

    later_than(&namespace, Timestamp::now()).await?;
    namespace.annotate("shop", "testAt", "1")?;
    namespace.wait_active("test").await?;
    namespace.wait("shop", &controller, "testing", |it| e2e::reason(it) == "Progressing").await?;
    write_as_hook(&namespace, r#"{"data":{"written":"yes"}}"#, "--type=merge")?;
    let ends = ["annotate", "pods", "-l", "job-name=test", "releaselifecycle.dev/test-outcome-"];
    namespace.kubectl(&ends)?;
    let tested =
        |release: &_| condition(release, "TestSuccess").is_some_and(|it| it.status == "True");
    namespace.wait("shop", &controller, "tested", tested).await?;
    namespace.release("shop", &objects, detection("enabled", json!([]))).await?;
    wait_field(&namespace, ("ConfigMap", "main"), "/data/before", &json!("no")).await?;
    let live = namespace.object("ConfigMap", "main").await?.context("main")?;
    assert_eq!(live["data"]["written"], "yes");
    Ok(())
}
