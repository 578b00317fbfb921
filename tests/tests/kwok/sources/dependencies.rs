use std::time::Duration;

use anyhow::Result;
use e2e::{
    Namespace, condition, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::json;

use super::{from, put};

#[tokio::test]
async fn an_install_waits_for_what_it_depends_on() -> Result<()> {
    let namespace = Namespace::new(kwok(), "depends").await?;
    let controller = namespace.controller()?;
    let after_db = json!({"dependsOn": [{"name": "db"}]});
    let hook = |name: &str| job(name).hook("pre-install");
    namespace.release("shop", &[hook("of-shop")], after_db.clone()).await?;
    let waits_for = |text: &'static str| {
        let says = move |release: &api::ReleaseLifecycle| message(release) == text;
        namespace.wait("shop", &controller, text, says)
    };
    let release = waits_for("waiting until Ready: ReleaseLifecycle/db (it does not exist)").await?;
    assert_eq!(reason(&release), "DependencyNotReady");
    assert!(condition(&release, "Reconciling").is_some());
    assert!(condition(&release, "Stalled").is_none());

    let broken = hook("of-db").fails();
    namespace.release("db", &[broken], json!({})).await?;
    namespace.wait_stalled("db", &controller).await?;
    // Looked at once more, since nobody is told of what is not Ready.
    namespace.annotate("shop", "testAt", "now")?;
    waits_for("waiting until Ready: ReleaseLifecycle/db (HookFailed)").await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/of-db"]);

    namespace.release("db", &[hook("of-db")], json!({})).await?;
    namespace.wait_ready("db", &controller).await?;
    // Long before it would be looked at anyway.
    let soon = Duration::from_secs(30);
    tokio::time::timeout(soon, namespace.wait_ready("shop", &controller)).await??;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/of-db", "jobs/of-db", "jobs/of-shop"]);
    Ok(())
}

#[tokio::test]
async fn what_failed_before_waits_for_its_dependency_like_all_others() -> Result<()> {
    let namespace = Namespace::new(kwok(), "failed-before").await?;
    let controller = namespace.controller()?;
    let mut spec = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    spec["dependsOn"] = json!([{"name": "db"}]);
    let hook = || job("hook").hook("pre-install");
    namespace.release("db", &[config_map("db", "1")], json!({})).await?;
    namespace.wait_ready("db", &controller).await?;
    put(&namespace, "ConfigMap", "all", &[("all", &[hook().fails()])]).await?;
    namespace.release("shop", &[], spec).await?;
    namespace.wait_stalled("shop", &controller).await?;

    // The generation stays the same from here on.
    let upgrade = job("of-db").hook("pre-upgrade").fails();
    namespace.release("db", &[config_map("db", "1"), upgrade], json!({})).await?;
    namespace.wait_stalled("db", &controller).await?;
    put(&namespace, "ConfigMap", "all", &[("all", &[hook()])]).await?;
    let waiting = |release: &api::ReleaseLifecycle| reason(release) == "DependencyNotReady";
    namespace.wait("shop", &controller, "waiting", waiting).await?;
    namespace.release("db", &[config_map("db", "1")], json!({})).await?;
    namespace.wait_ready("db", &controller).await?;
    let soon = Duration::from_secs(30);
    tokio::time::timeout(soon, namespace.wait_ready("shop", &controller)).await??;
    Ok(())
}

#[tokio::test]
async fn those_that_wait_for_each_other_say_so_and_can_be_deleted() -> Result<()> {
    let namespace = Namespace::new(kwok(), "circle").await?;
    let controller = namespace.controller()?;
    for (name, other) in [("a", "b"), ("b", "a")] {
        let depends = json!({"dependsOn": [{"name": other}]});
        namespace.release(name, &[config_map(name, "1")], depends).await?;
    }
    let waits = |name: &'static str| {
        namespace.wait(name, &controller, "waiting for the other", |release| {
            reason(release) == "DependencyNotReady"
        })
    };
    let (first, _) = (waits("a").await?, waits("b").await?);
    assert!(message(&first).starts_with("waiting until Ready: ReleaseLifecycle/b ("));
    namespace.kubectl(&["delete", "rl", "a", "b"])?;
    namespace.wait_released("a", &controller).await?;
    namespace.wait_released("b", &controller).await
}

#[tokio::test]
async fn a_dependency_that_fails_later_holds_up_upgrades_only() -> Result<()> {
    let namespace = Namespace::new(kwok(), "later").await?;
    let controller = namespace.controller()?;
    let after_db = json!({"dependsOn": [{"name": "db"}]});
    namespace.release("db", &[config_map("db", "1")], json!({})).await?;
    namespace.release("shop", &[config_map("shop", "1")], after_db.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let failing = job("hook").hook("pre-upgrade").fails();
    namespace.release("db", &[config_map("db", "1"), failing], json!({})).await?;
    namespace.wait_stalled("db", &controller).await?;
    namespace.release("shop", &[config_map("shop", "2")], after_db.clone()).await?;
    let waiting = |release: &api::ReleaseLifecycle| reason(release) == "DependencyNotReady";
    namespace.wait("shop", &controller, "waiting", waiting).await?;
    let shop = namespace.object("ConfigMap", "shop").await?.unwrap_or_default();
    assert_eq!(shop["data"]["value"], "1");
    // Going back is no upgrade.
    let pinned = json!({"dependsOn": [{"name": "db"}], "pinRevision": 1});
    namespace.release("shop", &[config_map("shop", "2")], pinned).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(reason(&release), "RevisionPinned");
    Ok(())
}
