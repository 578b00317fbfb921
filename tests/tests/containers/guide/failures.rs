//! Failures that a reader of the guide meets when a hook fails.

use anyhow::{Context, Result};
use e2e::{condition, helm, hook, message};

use super::{Guide, NEW, OLD, notification};

#[tokio::test]
async fn a_validation_that_fails_leaves_the_old_release_as_it_is() -> Result<()> {
    let Some(guide) = Guide::installed("guide-validation").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    let before = namespace.uid("Deployment", "shop").await?;
    guide.apply("upgrade.yaml", &[("DATABASE_HOST, value: db", "DATABASE_HOST, value: \"\"")])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    let text = message(&release);
    assert!(text.starts_with("upgrade of revision 2 failed: pre-upgrade hook Pod/"), "{text}");
    let ran = hook(&release, "shop-config-validation").context("it is in status")?;
    assert_eq!(ran.exit_code, Some(1), "{ran:#?}");
    let log = ran.log.as_deref();
    assert_eq!(log, Some("Validating configuration...\nERROR: database.host is required\n"));

    assert_eq!(guide.orders()?, OLD, "nothing was migrated");
    assert_eq!(guide.version().await?, "1");
    assert_eq!(namespace.uid("Deployment", "shop").await?, before);
    assert_eq!(guide.notifications()?, notification("1"));
    assert_eq!(release.status.context("a status")?.revision, Some(1));
    let history = helm::json(namespace, "helm", &["history", "shop"])?;
    assert_eq!(
        (&history[0]["status"], &history[1]["status"]),
        (&"deployed".into(), &"failed".into())
    );

    // A retry makes way for itself.
    namespace.annotate("shop", "retryAt", "1")?;
    let again = |release: &api::ReleaseLifecycle| {
        hook(release, "shop-config-validation").is_some_and(|hook| hook.attempt == 2)
            && condition(release, "Stalled").is_some()
    };
    let release = namespace.wait("shop", controller, "at its second attempt", again).await?;
    let ran = hook(&release, "shop-config-validation").context("it is in status")?;
    assert_eq!((ran.exit_code, ran.reason.as_deref()), (Some(1), Some("PodFailed")));

    // Another upgrade does not: the guide's policy, hook-succeeded alone, leaves the Pod where it is.
    guide.apply("upgrade.yaml", &[])?;
    let release = namespace
        .wait("shop", controller, "held up by the Pod", |it| message(it).contains("HookExists"))
        .await?;
    let text = message(&release);
    assert!(text.contains("delete it or add the policy"), "{text}");
    namespace.wait_stalled("shop", controller).await?;
    namespace.kubectl(&["delete", "pod", "shop-config-validation"])?;
    namespace.annotate("shop", "retryAt", "2")?;
    namespace.wait_ready("shop", controller).await?;
    assert_eq!(guide.orders()?, NEW);
    Ok(())
}

/// `set -e`, and the guide's way out: look, mend, delete the failed hook, retry.
#[tokio::test]
async fn a_migration_that_fails_is_looked_at_mended_and_retried() -> Result<()> {
    let Some(guide) = Guide::installed("guide-migration").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    let url = |url: &str| {
        let patch = format!(r#"{{"stringData": {{"url": "file:///data/{url}"}}}}"#);
        namespace.kubectl(&["patch", "secret", "shop-db-secret", "--type=merge", "-p", &patch])
    };
    url("absent.csv")?;
    guide.apply("upgrade.yaml", &[("backoffLimit: 3", "backoffLimit: 0")])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    let ran = hook(&release, "shop-db-migration").context("it is in status")?;
    assert_eq!(ran.exit_code, Some(1), "{ran:#?}");
    let log = ran.log.clone().unwrap_or_default();
    assert!(log.contains("Starting database migration...\n"), "{log}");
    assert!(log.ends_with("/data/absent.csv: No such file or directory\n"), "set -e: {log}");
    assert!(hook(&release, "shop-schema-check").is_some_and(|check| check.attempt == 0));
    assert_eq!((guide.orders()?.as_str(), guide.backups()?.as_str()), (OLD, OLD));
    assert_eq!(guide.version().await?, "1");

    let jobs = ["get", "jobs", "-l", "app.kubernetes.io/managed-by=Helm"];
    let listed = namespace.kubectl(&jobs)?;
    assert!(listed.contains("shop-db-migration") && listed.contains("Failed"), "{listed}");
    assert_eq!(namespace.kubectl(&["logs", "job/shop-db-migration"])?, log);
    let described = namespace.kubectl(&["describe", "job", "shop-db-migration"])?;
    for part in ["1 Failed", "BackoffLimitExceeded", "helm.sh/hook=pre-upgrade", "shop-hook"] {
        assert!(described.contains(part), "{part:?} is not in {described}");
    }
    let status = helm::run(namespace, "helm", &["status", "shop"])?;
    assert!(status.contains("STATUS: failed") && status.contains("REVISION: 2"), "{status}");
    assert!(status.contains("Job/shop-db-migration failed"), "{status}");

    url("orders.csv")?;
    let made = guide.made()?.len();
    namespace.kubectl(&["delete", "job", "shop-db-migration"])?;
    namespace.annotate("shop", "retryAt", "1")?;
    let release = namespace.wait_ready("shop", controller).await?;
    assert!(message(&release).starts_with("upgrade of revision 2 "), "{}", message(&release));
    assert_eq!(guide.orders()?, NEW);
    let retried = ["jobs/shop-db-migration", "jobs/shop-schema-check", "jobs/shop-notification"];
    assert_eq!(
        guide.made()?[made..],
        retried,
        "no second backup: the first one holds the old data"
    );
    assert_eq!(guide.backups()?, OLD);
    Ok(())
}

#[tokio::test]
async fn an_api_that_is_not_healthy_fails_its_test() -> Result<()> {
    let Some(guide) = Guide::new("guide-api").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    guide.apply("install.yaml", &[("\"status\": \"healthy\"", "\"status\": \"ill\"")])?;
    namespace.wait_ready("shop", controller).await?;
    namespace.annotate("shop", "testAt", "1")?;
    let failed = |release: &api::ReleaseLifecycle| {
        condition(release, "TestSuccess").is_some_and(|it| it.status == "False")
    };
    let release = namespace.wait("shop", controller, "tested", failed).await?;
    let ran = hook(&release, "shop-api-test").context("it is in status")?;
    let log = ran.log.as_deref().unwrap_or_default();
    assert!(log.contains("\"ill\"") && log.ends_with("API test failed\n"), "{log}");
    let text = condition(&release, "TestSuccess").map_or("", |it| it.message.as_str());
    assert!(text.contains("Pod/shop-api-test") && text.contains("exit code 1"), "{text}");
    Ok(())
}
