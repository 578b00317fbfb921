use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{condition, helm, hook, message};

use super::{Guide, NEW, OLD, notification};

/// Install, upgrade, test, rollback, delete, by the commands of the README; the volume tells that
/// each hook had its effect, and in this order.
#[tokio::test]
async fn the_shop_from_its_installation_to_its_end() -> Result<()> {
    let Some(guide) = Guide::new("guide").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    guide.follow_readme(0)?;
    assert_eq!(guide.orders()?, OLD);
    assert_eq!(guide.shell("ls /data/backup")?, "", "nothing to back up yet");
    assert_eq!(guide.notifications()?, notification("1"));
    let installed = [
        "pods/shop-config-validation",
        "jobs/shop-volume",
        "jobs/shop-initial-data",
        "jobs/shop-notification",
    ];
    assert_eq!(guide.made()?, installed);
    for (kind, name) in [("Pod", "shop-config-validation"), ("Job", "shop-notification")] {
        assert_eq!(namespace.object(kind, name).await?, None, "hook-succeeded: {name}");
    }

    guide.follow_readme(1)?;
    let release = namespace.wait_ready("shop", controller).await?;
    assert_eq!(message(&release), "upgrade of revision 2 succeeded with 5 hooks");
    assert_eq!(guide.version().await?, "2");
    assert_eq!(guide.backups()?, OLD, "the backup was taken before the migration");
    let read = namespace.kubectl(&["logs", "job/shop-schema-check"])?;
    assert_eq!(read, format!("{NEW}Every order has a state\n"), "and the check came after it");
    assert_eq!(guide.orders()?, NEW);
    assert_eq!(guide.notifications()?, notification("1") + &notification("2"));
    let upgraded = [
        "jobs/shop-backup-",
        "pods/shop-config-validation",
        "jobs/shop-db-migration",
        "jobs/shop-schema-check",
        "jobs/shop-notification",
    ];
    assert_eq!(guide.made()?[installed.len()..], upgraded);

    let tested = "Testing API endpoints...\n\
                  API Response: {\"status\": \"healthy\", \"version\": \"2\"}\nAPI test passed\n";
    guide.follow_readme(2)?;
    assert_eq!(namespace.kubectl(&["logs", "shop-api-test"])?, tested);
    let first = namespace.uid("Pod", "shop-api-test").await?;
    namespace.annotate("shop", "testAt", "again")?;
    let is_tested = |release: &ReleaseLifecycle| {
        let handled = release.status.as_ref().and_then(|it| it.last_handled_test_at.as_deref());
        handled == Some("again")
            && condition(release, "TestSuccess").is_some_and(|it| it.status == "True")
            && condition(release, "Ready").is_some_and(|it| it.status == "True")
    };
    let release = namespace.wait("shop", controller, "tested", is_tested).await?;
    let test = hook(&release, "shop-api-test").context("the test is in status")?;
    let second = namespace.uid("Pod", "shop-api-test").await?;
    assert_eq!(second, test.uid);
    assert_ne!(second, first, "before-hook-creation: the first one made way, this one stays");

    // A row that the migration has spoilt, by hand.
    guide.shell("echo 3,spoilt >> /data/orders.csv")?;
    let made = guide.made()?.len();
    guide.follow_readme(3)?;
    let release = namespace.wait_ready("shop", controller).await?;
    let pinned =
        "revision 3 is deployed: spec.pinRevision is 1, and the spec asks for something else";
    assert!(message(&release).starts_with(pinned), "{}", message(&release));
    assert_eq!(guide.version().await?, "1");
    assert_eq!(guide.orders()?, OLD, "the backup was restored");
    assert_eq!(guide.made()?[made..], ["jobs/shop-restore", "jobs/shop-rollback-check"]);
    let history = helm::run(namespace, "helm", &["history", "shop"])?;
    assert!(history.contains("Rollback to 1"), "{history}");

    guide.follow_readme(4)?;
    let left = guide.shell("cat /data/backup/final.csv; ls /data")?;
    assert_eq!(
        left,
        format!("{OLD}backup\nnotifications\n"),
        "the backup stays, the table does not"
    );
    assert_eq!(namespace.object("Deployment", "shop").await?, None);
    assert_eq!(namespace.kubectl(&["get", "jobs", "-o", "name"])?, "", "no hook is left behind");
    Ok(())
}

/// The restore is conditional: without a backup there is nothing to do, and that is no failure.
#[tokio::test]
async fn a_rollback_without_a_backup_restores_nothing() -> Result<()> {
    let Some(guide) = Guide::installed("guide-no-backup").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    // Another revision of the same version, whose backup is lost.
    guide.apply("install.yaml", &[("(version 1)", "(again)")])?;
    namespace.wait_ready("shop", controller).await?;
    guide.shell("rm -f /data/backup/*; echo 3,plums >> /data/orders.csv")?;
    guide.follow_readme(3)?;
    let release = namespace.wait_ready("shop", controller).await?;
    assert!(message(&release).contains("spec.pinRevision is 1, and the spec asks"), "{release:?}");
    assert_eq!(guide.orders()?, format!("{OLD}3,plums\n"));
    Ok(())
}
