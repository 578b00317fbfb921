//! Operations that are attempted again by themselves.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Namespace, condition, helm, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

use super::remediation::states;

fn failures(release: &ReleaseLifecycle) -> i32 {
    let last = release.status.as_ref().and_then(|status| status.last_attempt.as_ref());
    last.map_or(0, |last| last.failures)
}

fn failing() -> [Value; 2] {
    [config_map("main", "1"), job("migrate").hook("pre-install,pre-upgrade").fails()]
}

#[tokio::test]
async fn an_install_is_attempted_again_until_its_retries_are_used_up() -> Result<()> {
    let namespace = Namespace::new(kwok(), "retried").await?;
    let controller = namespace.controller()?;
    let retries = json!({"install": {"retries": 1}});
    namespace.release("shop", &failing(), retries).await?;
    let said = "install of revision 1 failed: ";
    let waits = |release: &ReleaseLifecycle| {
        reason(release) == "RetryPending"
            && message(release).starts_with(said)
            && message(release).contains(". Attempt 2 begins at ")
            && condition(release, "Reconciling").is_some()
            && condition(release, "Stalled").is_none()
    };
    namespace.wait("shop", &controller, "RetryPending", waits).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!((reason(&release), failures(&release)), ("HookFailed", 2));
    assert_eq!(states(&namespace)?, ["failed", "failed"]);
    // More of them, once it was given up: no change of what is deployed, and yet another attempt.
    let retries = json!({"install": {"retries": 2}});
    namespace.release("shop", &failing(), retries).await?;
    let third = |release: &ReleaseLifecycle| {
        failures(release) == 3 && condition(release, "Stalled").is_some()
    };
    namespace.wait("shop", &controller, "given up again", third).await?;
    assert_eq!(states(&namespace)?, ["failed"; 3]);
    Ok(())
}

#[tokio::test]
async fn without_a_bound_it_is_attempted_again_until_the_spec_changes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "unbounded").await?;
    let controller = namespace.controller()?;
    let retry = json!({"install": {"onFailure": "Retry"}});
    namespace.release("shop", &failing(), retry.clone()).await?;
    let waits = |release: &ReleaseLifecycle| {
        reason(release) == "RetryPending" && message(release).contains(". Attempt 3 begins at ")
    };
    namespace.wait("shop", &controller, "at its third attempt", waits).await?;
    namespace.release("shop", &failing(), json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!((reason(&release), failures(&release)), ("HookFailed", 2));
    assert_eq!(states(&namespace)?, ["failed", "failed"]);
    namespace.release("shop", &[config_map("main", "1")], retry).await?;
    namespace.wait_ready("shop", &controller).await?;
    let bounded = json!({"upgrade": {"onFailure": "Retry", "retries": 3}});
    let refused = namespace.release("bad", &failing(), bounded).await;
    let error = refused.err().context("it is refused")?;
    assert!(format!("{error:#}").contains("onFailure: Retry attempts it again without a bound"));
    Ok(())
}

#[tokio::test]
async fn a_failed_upgrade_is_rolled_back_before_each_attempt() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rolled-back").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "0")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let retries = json!({"upgrade": {"retries": 1, "onFailure": "Rollback"}});
    namespace.release("shop", &failing(), retries).await?;
    let is = |release: &ReleaseLifecycle| {
        failures(release) == 2
            && condition(release, "Stalled").is_some()
            && condition(release, "Remediated").is_some_and(|it| it.status == "True")
    };
    namespace.wait("shop", &controller, "given up and rolled back", is).await?;
    let expected = ["superseded", "failed", "superseded", "failed", "deployed"];
    assert_eq!(states(&namespace)?, expected);
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    assert_eq!(main["data"]["value"], "0");
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_is_waited_for_goes_on_after_a_kill_and_may_succeed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "retried-later").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("migrate").hook("pre-install").never_ends()];
    let retries = json!({"install": {"retries": 3}, "timeout": "3s"});
    namespace.release("shop", &objects, retries).await?;
    let waits = |release: &ReleaseLifecycle| reason(release) == "RetryPending";
    namespace.wait("shop", &controller, "RetryPending", waits).await?;
    drop(controller);
    let controller = namespace.controller()?;
    let again =
        |release: &ReleaseLifecycle| {
            release.status.as_ref().and_then(|status| status.operation.as_ref()).is_some_and(
                |operation| operation.revision == 2 && operation.completed_at.is_none(),
            )
        };
    namespace.wait("shop", &controller, "at its second attempt", again).await?;
    namespace.wait_active("migrate").await?;
    namespace.let_end("migrate").await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(failures(&release), 0);
    assert_eq!(states(&namespace)?, ["failed", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn what_was_cancelled_is_not_attempted_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "not-retried").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("migrate").hook("pre-install").never_ends()];
    namespace.release("shop", &objects, json!({"install": {"retries": 3}})).await?;
    namespace.wait_active("migrate").await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Cancelled");
    assert_eq!(states(&namespace)?, ["failed"]);
    Ok(())
}

#[tokio::test]
async fn a_failed_install_is_uninstalled_before_each_attempt_and_they_are_counted() -> Result<()> {
    let namespace = Namespace::new(kwok(), "uninstalled").await?;
    let controller = namespace.controller()?;
    let retries = json!({"install": {"retries": 1, "onFailure": "Uninstall"}});
    namespace.release("shop", &failing(), retries).await?;
    let is = |release: &ReleaseLifecycle| {
        failures(release) == 2
            && condition(release, "Stalled").is_some()
            && condition(release, "Remediated").is_some_and(|it| it.status == "True")
    };
    namespace.wait("shop", &controller, "given up and uninstalled", is).await?;
    let history = helm::json(&namespace, "helm", &["list"])?;
    assert_eq!(history, json!([]));
    assert_eq!(
        namespace.tenant_did("create")?.iter().filter(|it| *it == "jobs/migrate").count(),
        2
    );
    Ok(())
}
