//! Hooks side by side: they start together, each ends by itself, and nothing follows before all have
//! ended.

use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

use crate::cli::Cli;

fn parallel() -> Value {
    json!({"hooks": {"rules": [{"match": {"name": "side-*"}, "parallel": true}]}})
}

/// Two Jobs that never end by themselves, and one after them.
fn objects() -> [Value; 4] {
    [
        job("side-a").hook("pre-install").never_ends(),
        job("side-b").hook("pre-install").never_ends(),
        job("then").hook("pre-install"),
        config_map("main", ""),
    ]
}

fn phases(release: &api::ReleaseLifecycle) -> Vec<Option<HookPhase>> {
    ["side-a", "side-b", "then"]
        .map(|name| hook(release, name).map(|hook| hook.phase))
        .into_iter()
        .collect()
}

#[tokio::test]
async fn hooks_of_one_weight_run_at_the_same_time() -> Result<()> {
    let namespace = Namespace::new(kwok(), "parallel").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &objects(), parallel()).await?;
    namespace.wait_active("side-a").await?;
    namespace.wait_active("side-b").await?;
    let said =
        "waiting for hook Job/side-a (pre-install, 1 of 3, attempt 1) and, beside it, Job/side-b";
    namespace.wait("shop", &controller, said, |release| message(release).contains(said)).await?;
    let shown = Cli::new(&namespace)?.run(&["status", "shop"])?.out;
    let running = shown.lines().filter(|line| line.contains("Job/side-") && line.contains('●'));
    assert_eq!(running.count(), 2, "{shown}");
    // They end in another order than they began.
    namespace.let_end("side-b").await?;
    let ended = |release: &api::ReleaseLifecycle| {
        hook(release, "side-b").is_some_and(|hook| hook.phase == HookPhase::Succeeded)
    };
    let release = namespace.wait("shop", &controller, "side-b has ended", ended).await?;
    let left = [HookPhase::Running, HookPhase::Succeeded, HookPhase::Pending].map(Some);
    assert_eq!(phases(&release), left);
    namespace.let_end("side-a").await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(phases(&release), [Some(HookPhase::Succeeded); 3]);
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/side-a", "jobs/side-b", "jobs/then"]);
    Ok(())
}

#[tokio::test]
async fn after_a_failure_the_hooks_beside_it_end_and_nothing_follows() -> Result<()> {
    let namespace = Namespace::new(kwok(), "beside").await?;
    let controller = namespace.controller()?;
    let mut objects = objects();
    objects[0] = job("side-a").hook("pre-install").fails();
    namespace.release("shop", &objects, parallel()).await?;
    namespace.wait_active("side-b").await?;
    let failed = |release: &api::ReleaseLifecycle| {
        hook(release, "side-a").is_some_and(|hook| hook.phase == HookPhase::Failed)
    };
    let release = namespace.wait("shop", &controller, "side-a has failed", failed).await?;
    let operation = release.status.and_then(|status| status.operation).context("one runs")?;
    assert_eq!(operation.completed_at, None, "it waits for side-b");
    namespace.let_end("side-b").await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    assert!(message(&release).contains("Job/side-a failed"), "{}", message(&release));
    let left = [HookPhase::Failed, HookPhase::Succeeded, HookPhase::Pending].map(Some);
    assert_eq!(phases(&release), left);
    // A retry runs only what has not succeeded.
    namespace.retry("shop", "1", &controller).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(phases(&release), left);
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/side-a", "jobs/side-b", "jobs/side-a"]);
    Ok(())
}

#[tokio::test]
async fn a_cancellation_stops_all_hooks_at_work() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cancelled-beside").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &objects(), parallel()).await?;
    namespace.wait_active("side-a").await?;
    namespace.wait_active("side-b").await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Cancelled");
    let left = [HookPhase::Failed, HookPhase::Failed, HookPhase::Pending].map(Some);
    assert_eq!(phases(&release), left);
    Ok(())
}
