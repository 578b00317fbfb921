//! The quota of `examples/tenant`.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    root,
};
use serde_json::json;

/// Waits until all of the quota is counted. Of a new custom resource the controller learns half a minute
/// late, and does not count it before the quota changes, or after five minutes.
async fn counted(namespace: &Namespace) -> Result<()> {
    for pods in 100..190 {
        let quota = namespace.object("ResourceQuota", "releases").await?.context("the quota")?;
        let (hard, status) = (&quota["spec"]["hard"], &quota["status"]);
        let is_used = |key: &String| status["used"].get(key).is_some();
        if status["hard"] == *hard && hard.as_object().is_some_and(|it| it.keys().all(is_used)) {
            return Ok(());
        }
        let patch = json!({"spec": {"hard": {"pods": pods.to_string()}}}).to_string();
        namespace.kubectl(&["patch", "resourcequota", "releases", "--type=merge", "-p", &patch])?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("the quota is not counted")
}

#[tokio::test]
async fn a_release_lives_within_the_quota_and_no_more_of_them_than_it_allows() -> Result<()> {
    let namespace = Namespace::new(kwok(), "quota").await?;
    let text = fs::read_to_string(root().join("examples/tenant/quota.yaml"))?;
    let text = text.replace("namespace: team-b\n", &format!("namespace: {}\n", namespace.name));
    kwok().apply(&text)?;
    counted(&namespace).await?;
    let controller = namespace.controller()?;
    let objects = [job("prepare").hook("pre-install"), config_map("shop", "1")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;

    let key = "count/releaselifecycles.releaselifecycle.dev";
    let quota = namespace.object("ResourceQuota", "releases").await?.context("the quota")?;
    for counted in [key, "count/secrets", "count/jobs.batch", "count/configmaps", "pods"] {
        ensure!(quota["spec"]["hard"].get(counted).is_some(), "{counted} is not counted");
    }
    let patch = json!({"spec": {"hard": {key: "1"}}}).to_string();
    let patch = ["patch", "resourcequota", "releases", "--type=merge", "--patch", &patch];
    namespace.kubectl(&patch)?;
    counted(&namespace).await?;
    let second = namespace.release("second", &[config_map("second", "")], json!({})).await;
    let said = second.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains("exceeded quota: releases") && said.contains(key), "{said}");
    Ok(())
}
