use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{
    Namespace, Proxied, kwok,
    manifests::{Manifest, config_map},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use testkit::proxy::{Counted, Fault, Request, When};

use super::{seconds, time};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_ends_before_another_one_takes_over() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cut-off").await?;
    let proxied = Proxied::new(&namespace).await?;
    let mut a = proxied.replica("a")?;
    namespace.wait_leader("a").await?;
    let b = namespace.replica("b")?;
    b.wait_standing_by().await?;

    proxied.proxy.arm(Fault::FailEvery { every: 1, status: 503 })?;
    let status = a.end().await?;
    let ended = Timestamp::now();
    assert_eq!(status.code(), Some(1), "{status}");
    let log = a.log()?;
    let last = log.lines().last().unwrap_or_default();
    for part in ["ERROR", "lost the lease", "was not renewed for 10 s", "503", "hooks continue"] {
        assert!(last.contains(part), "{part} is not in: {log}");
    }
    let lease = namespace.wait_leader("b").await?;
    let gap = seconds(ended, time(&lease, "acquireTime")?);
    ensure!(gap > 0.0, "a ended {} s after b had taken over", -gap);
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    namespace.wait_ready("shop", &b).await?;
    Ok(())
}

/// There is no version by which an apply that creates could be told to be late.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_after_its_lease_applies_no_object_that_is_not_there() -> Result<()> {
    woken("woken-apply", &[config_map("gone", "")]).await
}

/// Nor is there anything that holds it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_after_its_lease_makes_no_hook_that_cannot_be_held() -> Result<()> {
    let hook = config_map("gone", "").hook("pre-install").policy("hook-succeeded");
    woken("woken-hook", &[hook]).await
}

/// A leader is stopped while it writes the journal from which it follows that it makes `gone`. Another
/// one takes over and sees to it that `gone` is gone again. Then the first wakes, and ends before it
/// makes it; were it slow to end, it would still ask whether it holds the lease.
async fn woken(prefix: &str, objects: &[Value]) -> Result<()> {
    // The operation is journalled, then the digest of its recorded plan.
    let (counted, n) = (Counted::Of("PUT", "/releaselifecycles/shop/status"), 2);
    let namespace = Namespace::new(kwok(), prefix).await?;
    let proxied = Proxied::new(&namespace).await?;
    let mut a = proxied.replica("a")?;
    namespace.wait_leader("a").await?;
    let b = namespace.replica("b")?;
    b.wait_standing_by().await?;

    let stop = Fault::StopAt { n, pid: a.pid(), when: When::After, for_: Duration::from_mins(5) };
    proxied.proxy.arm_counting(stop, counted)?;
    namespace.release("shop", objects, json!({})).await?;
    proxied.proxy.wait_hit(Duration::from_mins(1)).await?;
    let wrote = |asked: &Request| asked.is_write() && asked.path.contains("/configmaps");
    assert!(!proxied.proxy.requests().iter().any(wrote), "it was stopped too late");

    namespace.wait_ready("shop", &b).await?;
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    namespace.wait_ready("shop", &b).await?;
    proxied.proxy.resume();
    let status = a.end().await?;
    assert_eq!(status.code(), Some(1), "{status}");
    let asked = proxied.proxy.requests();
    let late = asked.iter().find(|asked| wrote(asked));
    assert!(late.is_none(), "it woke and asked for {late:?}");
    assert_eq!(namespace.uid("ConfigMap", "gone").await?, None);
    Ok(())
}
