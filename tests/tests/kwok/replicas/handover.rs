use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use testkit::audit;

use super::{DURATION, holder, pair, seconds, time};

/// A release whose hook runs; the UID of its Job.
async fn begin(namespace: &Namespace, leader: &Controller) -> Result<String> {
    let objects = [config_map("main", ""), job("hook").hook("pre-install").never_ends()];
    namespace.release("shop", &objects, json!({})).await?;
    let active = |job: Option<&Value>| job.is_some_and(|job| job["status"]["active"] == 1);
    namespace.wait_object("Job", "hook", "active", active).await?;
    let waits = |release: &_| hook(release, "hook").is_some_and(|hook| hook.uid.is_some());
    let release = namespace.wait("shop", leader, "waiting for its hook", waits).await?;
    hook(&release, "hook").and_then(|hook| hook.uid.clone()).context("a UID")
}

/// Lets the hook end: the new leader goes on with the same Job, which was made and started once.
async fn finish(namespace: &Namespace, leader: &Controller, uid: &str) -> Result<()> {
    let pods = ["get", "pods", "-l", "job-name=hook", "-o", "jsonpath={.items[*].metadata.name}"];
    let pod = namespace.kubectl(&pods)?;
    let outcome = "releaselifecycle.dev/test-outcome=ok";
    namespace.kubectl(&["annotate", "pod", &pod, "--overwrite", outcome])?;
    let release = namespace.wait_ready("shop", leader).await?;
    let ran = hook(&release, "hook").context("the hook is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (Some(uid), 1));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"]);
    let starts = audit::starts(&namespace.audit()?);
    assert_eq!(starts.into_values().collect::<Vec<_>>(), [1]);
    assert_eq!(leader.leads()?, Some(true));
    Ok(())
}

#[tokio::test]
async fn sigterm_hands_over_at_once_in_the_middle_of_a_hook() -> Result<()> {
    let namespace = Namespace::new(kwok(), "handover").await?;
    // Not because it expires.
    let (mut a, b) = pair(&namespace, &["--lease-seconds", "120"]).await?;
    let uid = begin(&namespace, &a).await?;

    let told = Timestamp::now();
    let status = a.terminate()?;
    assert!(status.success(), "{status}");
    let lease = namespace.wait_leader("b").await?;
    let took = seconds(told, time(&lease, "acquireTime")?);
    ensure!(took < 2.0, "it took {took} s");
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    finish(&namespace, &b, &uid).await
}

#[tokio::test]
async fn the_standby_takes_over_from_a_killed_leader_when_its_lease_has_expired() -> Result<()> {
    let namespace = Namespace::new(kwok(), "takeover").await?;
    let (mut a, b) = pair(&namespace, &[]).await?;
    let uid = begin(&namespace, &a).await?;

    a.kill()?;
    let last = RefCell::new(None);
    let taken = |lease: Option<&Value>| {
        if holder(lease) == Some("a") {
            last.replace(lease.cloned());
        }
        holder(lease) == Some("b")
    };
    let taken = namespace.wait_object("Lease", &namespace.lease(), "held by b", taken).await?;
    let (last, taken) = (last.take().context("a's lease")?, taken.context("b's lease")?);
    let waited = seconds(time(&last, "renewTime")?, time(&taken, "acquireTime")?);
    ensure!(waited >= DURATION, "the lease was still a's: {waited} s");
    ensure!(waited <= DURATION + 1.0, "it took {waited} s");
    finish(&namespace, &b, &uid).await
}

#[tokio::test]
async fn a_restarted_leader_does_not_wait_for_its_own_lease() -> Result<()> {
    let namespace = Namespace::new(kwok(), "restarted").await?;
    let mut killed = namespace.controller()?;
    let before = namespace.wait_leader("e2e").await?;
    killed.kill()?;
    let again = namespace.controller()?;
    let acquired = |lease: Option<&Value>| {
        lease.is_some_and(|lease| lease["spec"]["acquireTime"] != before["spec"]["acquireTime"])
    };
    let name = namespace.lease();
    let after = namespace.wait_object("Lease", &name, "acquired anew", acquired).await?;
    let after = after.context("the lease")?;
    assert_eq!(holder(Some(&after)), Some("e2e"));
    // It is another process that acts.
    assert_eq!(after["spec"]["leaseTransitions"], 1);
    let waited = seconds(time(&before, "renewTime")?, time(&after, "acquireTime")?);
    ensure!(waited < 60.0, "of 120 s it waited {waited} s");
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    namespace.wait_ready("shop", &again).await?;
    Ok(())
}
