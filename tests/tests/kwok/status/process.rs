use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
    target,
};
use serde_json::json;

#[tokio::test]
async fn health_and_metrics_are_served() -> Result<()> {
    let namespace = Namespace::new(kwok(), "metrics").await?;
    let controller = namespace.controller()?;
    let objects = [
        config_map("main", ""),
        job("a").hook("pre-install"),
        job("b").hook("post-install").fails(),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(controller.http("/livez")?, (200, "ok\n".to_owned()));
    assert_eq!(controller.http("/readyz")?, (200, "ok\n".to_owned()));
    assert_eq!(controller.http("/else")?.0, 404);
    // The end is counted once its status is written.
    let ended = "releaselifecycle_operations_ended_total{event=\"install\",outcome=\"failed\"} 1";
    let counted = async {
        loop {
            let (code, text) = controller.http("/metrics")?;
            assert_eq!(code, 200);
            if text.lines().any(|line| line == ended) {
                return anyhow::Ok(text);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(20), counted).await.context(ended)??;
    for line in [
        "releaselifecycle_hooks_started_total{event=\"pre-install\"} 1",
        "releaselifecycle_hooks_ended_total{event=\"pre-install\",outcome=\"succeeded\"} 1",
        "releaselifecycle_hooks_ended_total{event=\"post-install\",outcome=\"failed\"} 1",
        "releaselifecycle_hook_duration_seconds_count 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
    }
    assert!(text.contains("releaselifecycle_api_writes_total{outcome=\"ok\"}"), "{text}");
    assert!(
        !text.contains("shop") && !text.contains(&namespace.name),
        "labels are bounded: {text}"
    );
    Ok(())
}

#[tokio::test]
async fn without_an_api_server_it_lives_and_is_not_ready() -> Result<()> {
    let namespace = Namespace::new(kwok(), "unready").await?;
    let kubeconfig =
        target().join("tmp/controllers").join(format!("{}.kubeconfig", namespace.name));
    fs::write(
        &kubeconfig,
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "x", "user": {"token": "x"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        })
        .to_string(),
    )?;
    let mut controller = Controller::start(&kubeconfig, &namespace.name, &[])?;
    assert_eq!(controller.http("/livez")?.0, 200);
    assert_eq!(controller.http("/readyz")?.0, 503);
    assert!(controller.terminate()?.success());
    Ok(())
}

#[tokio::test]
async fn sigterm_leaves_hooks_running_and_another_process_goes_on_with_them() -> Result<()> {
    let namespace = Namespace::new(kwok(), "sigterm").await?;
    let mut controller = namespace.controller()?;
    let objects = [config_map("main", ""), job("hook").hook("pre-install").never_ends()];
    namespace.release("shop", &objects, json!({})).await?;
    let active =
        |job: Option<&serde_json::Value>| job.is_some_and(|job| job["status"]["active"] == 1);
    let before =
        namespace.wait_object("Job", "hook", "active", active).await?.context("the Job")?;
    namespace
        .wait("shop", &controller, "waiting for its hook", |release| {
            hook(release, "hook").is_some_and(|hook| hook.uid.is_some())
        })
        .await?;

    let start = Instant::now();
    let status = controller.terminate()?;
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    assert!(controller.log()?.contains("running hooks continue and will be found again"));
    let after = namespace.object("Job", "hook").await?;
    assert!(active(after.as_ref()), "{after:#?}");

    let controller = namespace.controller()?;
    // Its Pod ends only now.
    let pods = ["get", "pods", "-l", "job-name=hook", "-o", "jsonpath={.items[*].metadata.name}"];
    let pod = namespace.kubectl(&pods)?;
    namespace.kubectl(&[
        "annotate",
        "pod",
        &pod,
        "--overwrite",
        "releaselifecycle.dev/test-outcome=ok",
    ])?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "hook").context("the hook is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (before["metadata"]["uid"].as_str(), 1));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"]);
    Ok(())
}
