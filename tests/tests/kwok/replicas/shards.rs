//! Operators that share the releases of a namespace by their labels.

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testkit::audit;

use super::holder;

/// Operator `a`, for releases of shard a, and `rest`, for all others.
async fn shards(namespace: &Namespace) -> Result<(Controller, Controller)> {
    let start = |identity, selector| {
        namespace.controller_with(&["--identity", identity, "--selector", selector])
    };
    let (a, rest) = (start("a", "shard=a")?, start("rest", "shard!=a")?);
    for (digits, leader) in [("3d8dfb26", "a"), ("77a1ece5", "rest")] {
        let lease = format!("releaselifecycle-controller-{}-{digits}", namespace.name);
        let led = |lease: Option<&Value>| holder(lease) == Some(leader);
        namespace.wait_object("Lease", &lease, "held", led).await?;
    }
    Ok((a, rest))
}

fn label(namespace: &Namespace, release: &str, shard: &str) -> Result<()> {
    namespace.kubectl(&["label", "rl", release, "--overwrite", &format!("shard={shard}")])?;
    Ok(())
}

/// Returns whether the operator's log names the release.
fn has_served(operator: &Controller, release: &str) -> Result<bool> {
    Ok(operator.log()?.contains(&format!("name=\"{release}\"")))
}

#[tokio::test]
async fn each_operator_serves_the_releases_of_its_selector() -> Result<()> {
    let namespace = Namespace::new(kwok(), "shards").await?;
    let (a, rest) = shards(&namespace).await?;
    for (release, by, other) in [("one", &rest, &a), ("two", &a, &rest)] {
        let body = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": release, "labels": {"shard": if release == "two" { "a" } else { "b" }}},
            "spec": {"serviceAccountName": "deployer",
                     "source": {"objects": [config_map(release, "1")]}},
        });
        let params = PatchParams::apply("e2e");
        namespace.releases().patch(release, &params, &Patch::Apply(&body)).await?;
        namespace.wait_ready(release, by).await?;
        ensure!(has_served(by, release)? && !has_served(other, release)?, "{release}");
    }
    Ok(())
}

#[tokio::test]
async fn a_release_that_moves_in_the_middle_of_a_hook_continues() -> Result<()> {
    let namespace = Namespace::new(kwok(), "shard-moves").await?;
    let (a, rest) = shards(&namespace).await?;
    let objects = [config_map("main", ""), job("hook").hook("pre-install").never_ends()];
    namespace.release("shop", &objects, json!({})).await?;
    let active = |job: Option<&Value>| job.is_some_and(|job| job["status"]["active"] == 1);
    namespace.wait_object("Job", "hook", "active", active).await?;
    let waits = |release: &_| hook(release, "hook").is_some_and(|hook| hook.uid.is_some());
    let release = namespace.wait("shop", &rest, "waiting for its hook", waits).await?;
    let uid = hook(&release, "hook").and_then(|hook| hook.uid.clone()).context("a UID")?;

    label(&namespace, "shop", "a")?;
    let pods = ["get", "pods", "-l", "job-name=hook", "-o", "jsonpath={.items[*].metadata.name}"];
    let pod = namespace.kubectl(&pods)?;
    let outcome = "releaselifecycle.dev/test-outcome=ok";
    namespace.kubectl(&["annotate", "pod", &pod, "--overwrite", outcome])?;
    let release = namespace.wait_ready("shop", &a).await?;
    ensure!(has_served(&a, "shop")?, "the other operator has continued");
    let ran = hook(&release, "hook").context("the hook is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (Some(&*uid), 1));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"]);
    let starts = audit::starts(&namespace.audit()?);
    assert_eq!(starts.into_values().collect::<Vec<_>>(), [1]);
    Ok(())
}

#[tokio::test]
async fn a_selector_that_the_api_server_refuses_ends_the_operator() -> Result<()> {
    let namespace = Namespace::new(kwok(), "shard-odd").await?;
    let mut operator = namespace.controller_with(&["--selector", "shard in ("])?;
    let status = operator.end().await?;
    let log = operator.log()?;
    ensure!(!status.success() && log.contains("--selector \"shard in (\""), "{status}: {log}");
    Ok(())
}
