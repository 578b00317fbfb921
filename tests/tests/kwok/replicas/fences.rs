use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Namespace, Proxied, kwok, manifests::config_map};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use testkit::proxy::{Counted, Fault, When};

use super::{seconds, time, wait_leader};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_ends_before_another_one_takes_over() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cut-off").await?;
    let proxied = Proxied::new(&namespace).await?;
    let mut a = proxied.replica("a")?;
    wait_leader(&namespace, "a").await?;
    let b = namespace.replica("b")?;
    b.wait_standing_by()?;

    proxied.proxy.arm(Fault::FailEvery { every: 1, status: 503 })?;
    let status = a.end()?;
    let ended = Timestamp::now();
    assert_eq!(status.code(), Some(1), "{status}");
    let log = a.log()?;
    let last = log.lines().last().unwrap_or_default();
    for part in ["ERROR", "lost the lease", "was not renewed for 10 s", "503", "hooks go on"] {
        assert!(last.contains(part), "{part} is not in: {log}");
    }
    let lease = wait_leader(&namespace, "b").await?;
    let gap = seconds(ended, time(&lease, "acquireTime")?);
    ensure!(gap > 0.0, "a ended {} s after b had taken over", -gap);
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    namespace.wait_ready("shop", &b).await?;
    Ok(())
}

/// There is no version by which an apply that creates could be told to be late. A process that was
/// stopped right before one must not bring back what was removed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_wakes_after_its_lease_creates_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "woken").await?;
    let proxied = Proxied::new(&namespace).await?;
    let mut a = proxied.replica("a")?;
    wait_leader(&namespace, "a").await?;
    let b = namespace.replica("b")?;
    b.wait_standing_by()?;

    // The custom resource is read at the beginning, and again when everything has been looked at.
    let pid = a.pid();
    let stop = Fault::StopAt { n: 2, pid, when: When::After, for_: Duration::from_mins(5) };
    proxied.proxy.arm_counting(stop, Counted::Gets("/releaselifecycles/shop"))?;
    namespace.release("shop", &[config_map("a", ""), config_map("b", "")], json!({})).await?;
    proxied.proxy.wait_hit(Duration::from_mins(1)).await?;
    assert_eq!(namespace.uid("ConfigMap", "a").await?, None, "it was stopped too late");
    let before = proxied.proxy.requests();
    assert!(before.iter().any(|it| it.path.ends_with("/configmaps/b")), "it was stopped too early");

    namespace.wait_ready("shop", &b).await?;
    namespace.release("shop", &[config_map("c", "")], json!({})).await?;
    namespace.wait_ready("shop", &b).await?;
    proxied.proxy.resume();
    let status = a.end()?;
    assert_eq!(status.code(), Some(1), "{status}");
    let names = ["get", "configmaps", "-o", "name"];
    assert_eq!(namespace.kubectl(&names)?, "configmap/c\nconfigmap/kube-root-ca.crt\n");
    let writes = proxied.proxy.requests();
    let writes = writes.iter().filter(|it| it.is_write() && it.path.contains("configmaps"));
    assert_eq!(writes.count(), 0);
    Ok(())
}
