//! Failures that a reader of the guide meets when values are wrong.

use anyhow::{Context, Result};
use e2e::{condition, hook, message, reason};

use super::{Guide, OLD};

#[tokio::test]
async fn a_missing_host_fails_the_validation_and_changes_nothing() -> Result<()> {
    let Some(guide) = Guide::installed("guide-host").await? else { return Ok(()) };
    let Guide { namespace, controller, .. } = &guide;
    let before = namespace.uid("Deployment", "shop").await?;
    let no_host = ("  values:\n", "  values:\n    database: {host: \"\"}\n");
    guide.apply("install.yaml", &[no_host])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    let text = message(&release);
    assert!(text.starts_with("upgrade of revision 2 failed: pre-upgrade hook Pod/"), "{text}");
    let ran = hook(&release, "shop-config-validation").context("it is in status")?;
    assert_eq!(ran.exit_code, Some(1), "{ran:#?}");
    let expected = "Validating configuration...\nERROR: database.host is required\n";
    assert_eq!(ran.log.as_deref(), Some(expected));
    assert_eq!(namespace.uid("Deployment", "shop").await?, before);
    assert_eq!(release.status.context("a status")?.revision, Some(1));

    // The guide's policy, hook-succeeded alone, leaves the Pod where it is.
    namespace.kubectl(&["delete", "pod", "shop-config-validation"])?;
    guide.apply("install.yaml", &[])?;
    namespace.wait_ready("shop", controller).await?;
    Ok(())
}

/// Returns what the schema refuses never gets as far as a hook.
#[tokio::test]
async fn a_value_of_the_wrong_type_is_named_before_any_hook_runs() -> Result<()> {
    let Some(guide) = Guide::installed("guide-schema").await? else { return Ok(()) };
    let Guide { namespace, controller, .. } = &guide;
    let made = guide.made()?.len();
    guide.apply("install.yaml", &[("  values:\n", "  values:\n    service: {port: web}\n")])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    assert_eq!(reason(&release), "InvalidValues");
    let text = message(&release);
    assert!(text.contains("/service/port") && text.contains("want integer"), "{text}");
    assert_eq!(guide.made()?.len(), made);
    Ok(())
}

/// `set -e`: without it the last `echo` would make a success of it.
#[tokio::test]
async fn a_migration_that_fails_is_told_with_its_last_lines() -> Result<()> {
    let Some(guide) = Guide::installed("guide-migrate").await? else { return Ok(()) };
    let Guide { namespace, controller, .. } = &guide;
    // Where nobody listens.
    let patches = "  patches:
  - target: {kind: Job, name: shop-db-migration}
    patch: |
      - {op: replace, path: /spec/backoffLimit, value: 0}
      - op: replace
        path: /spec/template/spec/containers/0/env/0
        value: {name: DB_URL, value: 'postgres://127.0.0.1:5432/shop'}
  values:
";
    guide.apply("install.yaml", &[("  values:\n", patches)])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    let ran = hook(&release, "shop-db-migration").context("it is in status")?;
    let log = ran.log.clone().unwrap_or_default();
    assert!(log.contains("migrating table 8 of 8\n"), "{log}");
    assert!(!log.contains("Migration completed successfully"), "{log}");
    let after = hook(&release, "shop-schema-check").context("it is in status")?;
    assert_eq!(after.attempt, 0, "what comes after does not run");
    assert_eq!(guide.orders()?, OLD);
    assert!(condition(&release, "Stalled").is_some());
    Ok(())
}
