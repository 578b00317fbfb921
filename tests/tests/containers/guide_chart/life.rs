use anyhow::Result;
use e2e::{helm, hook, message};

use super::{Guide, NEW, OLD, notification};

/// Install, upgrade, test, rollback, delete, by the commands of the README.
#[tokio::test]
async fn the_chart_from_its_installation_to_its_end() -> Result<()> {
    let Some(guide) = Guide::new("guide-chart").await? else { return Ok(()) };
    let Guide { namespace, controller, .. } = &guide;
    guide.follow_readme(0)?;
    namespace.wait_ready("shop", controller).await?;
    assert_eq!(guide.orders()?, OLD);
    assert_eq!(guide.database("cat /data/slack")?, notification("1.0.0"));
    let installed =
        ["pods/shop-config-validation", "jobs/shop-initial-data", "jobs/shop-slack-notification"];
    assert_eq!(guide.made()?, installed);
    let secret = ["get", "secret", "shop-db-secret", "-o", "jsonpath={.data.password}"];
    assert_eq!(namespace.kubectl(&secret)?, "b3Blbi1zZXNhbWU=", "from valuesFrom");

    guide.follow_readme(1)?;
    namespace.wait_ready("shop", controller).await?;
    assert_eq!(guide.orders()?, NEW);
    let posted = notification("1.0.0") + &notification("2.0.0");
    assert_eq!(guide.database("cat /data/slack")?, posted);
    let upgraded = [
        "pods/shop-config-validation",
        "jobs/shop-backup-…",
        "jobs/shop-db-migration",
        "jobs/shop-schema-check",
        "jobs/shop-slack-notification",
    ];
    assert_eq!(guide.made()?[installed.len()..], upgraded);
    let checked = namespace.kubectl(&["logs", "job/shop-schema-check"])?;
    let expected = format!("Starting hook execution...\n{NEW}Hook completed successfully\n");
    assert_eq!(checked, expected, "the check came after the migration");
    let notes = helm::run(namespace, "helm", &["get", "notes", "shop"])?;
    assert!(notes.contains("shop 2.0.0 is upgraded as shop, revision 2."), "{notes}");

    guide.follow_readme(2)?;
    let tested = namespace.kubectl(&["logs", "shop-api-test"])?;
    assert!(
        tested.contains("API Response: {\"status\":\"healthy\",\"version\":\"2\"}"),
        "{tested}"
    );
    assert!(tested.ends_with("API test passed\n"), "{tested}");

    // A row that the migration has spoilt, by hand.
    guide.database("echo 3,spoilt >> /data/orders")?;
    let made = guide.made()?.len();
    guide.follow_readme(3)?;
    let release = namespace.wait_ready("shop", controller).await?;
    let pinned =
        "revision 3 is deployed: spec.pinRevision is 1, and the spec asks for something else";
    assert!(message(&release).starts_with(pinned), "{}", message(&release));
    assert_eq!(guide.orders()?, OLD, "the backup was restored");
    let rolled_back = ["jobs/shop-rollback-restore", "jobs/shop-rollback-check"];
    assert_eq!(guide.made()?[made..], rolled_back);

    let made = guide.made()?.len();
    guide.follow_readme(4)?;
    assert_eq!(guide.made()?[made..], ["jobs/shop-final-backup", "jobs/shop-cleanup"]);
    assert_eq!(namespace.object("Deployment", "shop").await?, None);
    let claim = namespace.object("PersistentVolumeClaim", "shop-backup-pvc").await?;
    assert!(claim.is_some(), "resource-policy: keep");
    Ok(())
}

/// A condition on values is the guide's `{{- if and … (eq .Values.environment "production") }}`.
#[tokio::test]
async fn a_migration_for_production_runs_in_production_alone() -> Result<()> {
    let Some(guide) = Guide::installed("guide-production").await? else { return Ok(()) };
    let Guide { namespace, controller, .. } = &guide;
    let made = guide.made()?.len();
    // The password is not given any more: what was made before is looked up, and kept.
    guide.apply(
        "install.yaml",
        &[
            ("  valuesFrom:\n  - kind: Secret\n    name: shop-values\n", ""),
            (
                "  values:\n",
                "  values:\n    environment: production\n    migration: {enabled: false}\n",
            ),
        ],
    )?;
    let release = namespace.wait_ready("shop", controller).await?;
    assert!(hook(&release, "shop-db-migration").is_none(), "{:?}", release.status);
    let upgraded = [
        "pods/shop-config-validation",
        "jobs/shop-backup-…",
        "jobs/shop-production-migration",
        "jobs/shop-slack-notification",
    ];
    assert_eq!(guide.made()?[made..], upgraded);
    let secret = ["get", "secret", "shop-db-secret", "-o", "jsonpath={.data.password}"];
    assert_eq!(namespace.kubectl(&secret)?, "b3Blbi1zZXNhbWU=");
    Ok(())
}

/// The chart is Helm's as well: the real one installs and upgrades it on the same cluster.
#[tokio::test]
async fn helm_itself_installs_the_chart() -> Result<()> {
    let Some(guide) = Guide::new("guide-helm").await? else { return Ok(()) };
    let namespace = &guide.namespace;
    guide.sh("kubectl apply -f tenant.yaml")?;
    let name = &namespace.name;
    let values = format!("--set backup.storageClassName=,backup.volumeName={name}-backup");
    let wait = "--wait --timeout 2m";
    guide.sh(&format!("helm install shop ./shop -n {name} {values} {wait}"))?;
    assert_eq!(guide.orders()?, OLD);
    guide.sh(&format!("helm upgrade shop ./shop -n {name} {values} {wait}"))?;
    assert_eq!(guide.orders()?, NEW);
    guide.sh(&format!("helm test shop -n {name} --timeout 2m"))?;
    Ok(())
}
