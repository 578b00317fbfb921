//! Servers that are not there for now, or hang: what is deployed stays, others go on.

use anyhow::Result;
use api::ReleaseLifecycle;
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::json;
use testkit::servers::{Answer, PASSWORD, Registry, Site};

use super::{controller, login, oci, package, push, repository, says, wait_reason, wait_revision};

#[tokio::test]
async fn a_release_stays_as_it_is_while_its_registry_is_away() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci-away").await?;
    let controller = controller(&namespace)?;
    let mut registry = Registry::start(None)?;
    login(&namespace, "login", PASSWORD).await?;
    push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    let chart = json!({"insecure": true, "secretRef": {"name": "login"}});
    let spec = oci(&registry, chart);
    namespace.release("shop", &[], spec.clone()).await?;
    wait_revision(&namespace, &controller, 1).await?;

    registry.stop();
    let release = wait_reason(&namespace, &controller, "shop", "SourceUnreachable").await?;
    assert!(message(&release).contains("spec.source.chart.oci (oci://127.0.0.1:"), "{release:?}");
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(1));
    assert_eq!(says(&namespace).await?, "1.0.0 hello");

    // What needs no source goes on.
    namespace.release("shop", &[], with(&spec, json!({"pinRevision": 1}))).await?;
    wait_reason(&namespace, &controller, "shop", "RevisionPinned").await?;
    namespace.release("shop", &[], spec).await?;
    wait_reason(&namespace, &controller, "shop", "SourceUnreachable").await?;

    registry.resume(None)?;
    push(&namespace, &registry, &package(&namespace, "1.0.1", "")?, &["--plain-http"])?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(says(&namespace).await?, "1.0.1 hello");
    Ok(())
}

fn with(spec: &serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    let mut spec = spec.clone();
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

#[tokio::test]
async fn a_release_without_its_registry_can_be_deleted() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci-gone").await?;
    let controller = controller(&namespace)?;
    let mut registry = Registry::start(None)?;
    login(&namespace, "login", PASSWORD).await?;
    push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    let chart = json!({"insecure": true, "secretRef": {"name": "login"}});
    namespace.release("shop", &[], oci(&registry, chart)).await?;
    wait_revision(&namespace, &controller, 1).await?;
    registry.stop();
    wait_reason(&namespace, &controller, "shop", "SourceUnreachable").await?;
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.object("ConfigMap", "shop").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_repository_that_hangs_holds_up_nobody_else() -> Result<()> {
    let namespace = Namespace::new(kwok(), "hangs").await?;
    // One release at a time: whoever waited in its turn would hold up all, and say nothing.
    let cache = super::scratch(&namespace, "")?.join("cache");
    let args = ["--concurrency", "1", "--source-allow=127.0.0.0/8", "--chart-cache"];
    let controller =
        namespace.controller_with(&[&args[..], &[&cache.to_string_lossy()]].concat())?;
    let site = Site::plain().await?;
    site.put("/index.yaml", Answer::Hang);
    for name in ["hangs", "hangs-too"] {
        namespace.release(name, &[], repository(&site.url(), json!({}))).await?;
    }
    wait_reason(&namespace, &controller, "hangs", "Fetching").await?;
    wait_reason(&namespace, &controller, "hangs-too", "Fetching").await?;
    namespace.release("witness", &[config_map("witness", "1")], json!({})).await?;
    namespace.wait_ready("witness", &controller).await?;

    // It is given up in the end, and says who did not answer.
    let given_up = |release: &ReleaseLifecycle| reason(release) == "SourceUnreachable";
    let release = namespace.wait("hangs", &controller, "given up", given_up).await?;
    let address = site.url();
    let address = address.trim_start_matches("http://");
    assert!(message(&release).contains(address), "{}", message(&release));
    Ok(())
}

#[tokio::test]
async fn a_running_hook_is_seen_to_although_the_server_of_the_next_chart_hangs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "hangs-hook").await?;
    let controller = controller(&namespace)?;
    let site = Site::plain().await?;
    site.put("/index.yaml", Answer::Hang);
    let slow = job("slow").hook("pre-install").never_ends();
    let more = json!({"onNewSpec": "CancelNow", "interval": "1s"});
    namespace.release("shop", &[config_map("a", "1"), slow], more).await?;
    namespace.wait_active("slow").await?;
    let mut spec = repository(&site.url(), json!({}));
    spec["onNewSpec"] = "CancelNow".into();
    namespace.release("shop", &[], spec).await?;
    // Nobody knows whether the new spec is another configuration; the hook ends as it would.
    let ends = ["annotate", "pods", "-l", "job-name=slow", "releaselifecycle.dev/test-outcome-"];
    namespace.kubectl(&ends)?;
    let ended = |release: &ReleaseLifecycle| {
        hook(release, "slow").is_some_and(|hook| hook.phase != HookPhase::Running)
            && reason(release) == "Fetching"
    };
    namespace.wait("shop", &controller, "past its hook", ended).await?;
    Ok(())
}
