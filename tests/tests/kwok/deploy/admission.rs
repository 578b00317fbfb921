//! Releases are refused where nothing but the cluster or the operator is at home.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use e2e::{Namespace, kwok, manifests::config_map, root};
use serde_json::{Value, json};

const LABEL: &str = "app.kubernetes.io/name=releaselifecycle-controller";

fn release(namespace: &str) -> Value {
    json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
        "metadata": {"name": "intruder", "namespace": namespace},
        "spec": {"serviceAccountName": "default", "source": {"objects": [config_map("x", "")]}},
    })
}

/// Returns what the API server says if it refuses a release there.
fn refused(namespace: &str) -> Result<Option<String>> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("release.json");
    fs::write(&file, release(namespace).to_string())?;
    let apply = ["apply", "--dry-run=server", "--filename", &file.to_string_lossy()];
    Ok(kwok().kubectl(apply).err().map(|error| format!("{error:#}")))
}

/// The API server needs a moment to see a new policy, and a label.
async fn wait_refused(namespace: &str, whose: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let said = refused(namespace)?.unwrap_or_default();
        if said.contains(&format!("no ReleaseLifecycle in {namespace}, {whose}")) {
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_mins(1), "{namespace}: {said:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn no_release_in_the_namespaces_of_the_cluster_and_of_the_operator() -> Result<()> {
    let home = Namespace::new(kwok(), "admission").await?;
    let controller = home.controller()?;
    home.release("shop", &[config_map("shop", "1")], json!({})).await?;
    home.wait_ready("shop", &controller).await?;

    let policy = root().join("deploy/base/admission-policy.yaml");
    kwok().kubectl(["apply", "--server-side", "--filename", &policy.to_string_lossy()])?;
    wait_refused("kube-system", "one of the cluster's own namespaces").await?;
    wait_refused("kube-public", "one of the cluster's own namespaces").await?;
    assert_eq!(refused(&home.name)?, None);
    // The API server found no fault in the expressions.
    let warnings = "jsonpath={.status.typeChecking.expressionWarnings}";
    for policy in ["releaselifecycle-namespaces", "releaselifecycle-approvals"] {
        let policy = ["get", "validatingadmissionpolicy", policy, "-o", warnings];
        assert_eq!(kwok().kubectl(policy)?, "");
    }

    kwok().kubectl(["label", "namespace", &home.name, LABEL])?;
    wait_refused(&home.name, "the operator's own namespace").await?;
    // What is there already can be asked for something, and be deleted, but not be changed.
    home.annotate("shop", "testAt", "1")?;
    let changed = home.release("shop", &[config_map("shop", "2")], json!({})).await;
    ensure!(changed.is_err(), "the spec was changed");
    home.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    home.wait_released("shop", &controller).await
}

#[tokio::test]
async fn nobody_approves_a_plan_in_anothers_name() -> Result<()> {
    let namespace = Namespace::new(kwok(), "admission-approval").await?;
    namespace.release("shop", &[config_map("shop", "1")], json!({})).await?;
    let policy = root().join("deploy/base/admission-policy.yaml");
    kwok().kubectl(["apply", "--server-side", "--filename", &policy.to_string_lossy()])?;
    let approve = |by: &str| {
        let annotations = ["approvedPlan=sha256:a".to_owned(), format!("approvedBy={by}")];
        let [plan, by] = annotations.map(|it| format!("releaselifecycle.dev/{it}"));
        namespace.kubectl(&["annotate", "rl/shop", "--overwrite", "--dry-run=server", &plan, &by])
    };
    let start = Instant::now();
    let said = loop {
        match approve("somebody-else") {
            Err(error) => break format!("{error:#}"),
            Ok(_) => ensure!(start.elapsed() < Duration::from_mins(1), "it is accepted"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let user = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    let user = namespace.kubectl(&user)?;
    assert!(said.contains(&format!("approvedBy must be {user}, who approves the plan")), "{said}");
    approve(&user)?;
    Ok(())
}
