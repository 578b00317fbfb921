use std::{process::Command, time::Duration};

use anyhow::{Context, Result};
use api::names::CANCEL_AT;
use e2e::{Namespace, Proxied, kwok, manifests::config_map};
use serde_json::{Value, json};
use testkit::proxy::{Counted, Fault, When};

use super::{Cli, End};

/// How `cancel` ends when `meanwhile` happens between its look at the release and its request.
async fn cancel(namespace: &Namespace, meanwhile: impl FnOnce() -> Result<()>) -> Result<End> {
    let proxied = Proxied::new(namespace).await?;
    let mut cli = Cli::new(namespace)?;
    cli.kubeconfig = cli.write("kubeconfig", "")?;
    proxied.proxy.kubeconfig(&cli.kubeconfig)?;
    // What is stopped matters not, only that the request is held back for as long.
    let mut stopped = Command::new("sleep").arg("60").spawn()?;
    let (when, for_) = (When::Before, Duration::from_mins(1));
    let hold = Fault::StopAt { n: 1, pid: stopped.id(), when, for_ };
    proxied.proxy.arm_counting(hold, Counted::Of("PATCH", "/releaselifecycles/shop"))?;
    let program = cli.start(&["cancel", "shop"])?;
    proxied.proxy.wait_hit(Duration::from_mins(1)).await?;
    let happened = meanwhile();
    proxied.proxy.resume();
    let end = End::of(program);
    stopped.kill()?;
    stopped.wait()?;
    happened?;
    end
}

/// Writes the status that a controller would: `operation` runs.
fn running(namespace: &Namespace, operation: &str) -> Result<()> {
    let operation = json!({"id": operation, "event": "Upgrade", "revision": 2, "generation": 1,
        "configDigest": "", "phase": "Applying", "startedAt": "2026-11-22T11:02:09Z"});
    let patch = json!({"status": {"observedGeneration": 1, "operation": operation}}).to_string();
    let how = ["patch", "rl", "shop", "--subresource=status", "--type=merge", "-p", &patch];
    namespace.kubectl(&how)?;
    Ok(())
}

fn request(namespace: &Namespace) -> Result<Option<Value>> {
    let object: Value =
        serde_json::from_str(&namespace.kubectl(&["get", "rl", "shop", "-o", "json"])?)?;
    let annotations = object["metadata"].get("annotations").cloned().unwrap_or_default();
    Ok(annotations.get(CANCEL_AT).cloned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_the_operation_is_not_cancelled_in_its_place() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-too-late").await?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    running(&namespace, "first")?;
    let end = cancel(&namespace, || running(&namespace, "second")).await?;
    assert_eq!(end.code, Some(1), "{end:?}");
    let said = "the upgrade of revision 2 ended before it could be cancelled";
    assert!(end.err.contains(said), "{end:?}");
    assert_eq!(request(&namespace)?, None, "nobody has asked for this one");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_went_a_step_further_is_cancelled_all_the_same() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-a-step").await?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    running(&namespace, "first")?;
    let step = || namespace.kubectl(&["label", "rl", "shop", "step=2"]).map(|_| ());
    let end = cancel(&namespace, step).await?;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.out.contains("cancellation requested: the upgrade of revision 2"), "{end:?}");
    request(&namespace)?.context("it is asked for")?;
    Ok(())
}
