use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

use super::{from, put, put_text};

async fn value(namespace: &Namespace, name: &str) -> Result<Value> {
    let found = namespace.object("ConfigMap", name).await?;
    Ok(found.map_or(Value::Null, |found| found["data"]["value"].clone()))
}

async fn wait_revision(
    namespace: &Namespace,
    controller: &Controller,
    revision: i32,
) -> Result<()> {
    let is = format!("Ready at revision {revision}");
    let release = namespace.wait("shop", controller, &is, |release| {
        let status = release.status.as_ref();
        status.is_some_and(|status| status.revision == Some(revision))
            && e2e::condition(release, "Ready").is_some_and(|ready| ready.status == "True")
    });
    release.await.map(drop)
}

#[tokio::test]
async fn several_sources_make_one_release_and_a_change_of_one_is_an_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "from").await?;
    let controller = namespace.controller()?;
    let hook = || job("hook").hook("pre-install,pre-upgrade");
    put(
        &namespace,
        "ConfigMap",
        "parts",
        &[("b.yaml", &[config_map("b", "1")]), ("a.yaml", &[config_map("a", "1"), hook()])],
    )
    .await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
                        "stringData": {"password": "correct-horse"}});
    put(&namespace, "Secret", "more", &[("all.yaml", &[secret]), ("not-read", &[])]).await?;
    let source = from(json!([
        {"kind": "ConfigMap", "name": "parts"},
        {"kind": "Secret", "name": "more", "key": "all.yaml"},
    ]));
    namespace.release("shop", &[], source.clone()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 1 hook");
    assert_eq!(value(&namespace, "a").await?, "1");
    assert!(namespace.object("Secret", "password").await?.is_some());

    // Nobody touches the ReleaseLifecycle: its ConfigMap is watched.
    put(
        &namespace,
        "ConfigMap",
        "parts",
        &[("b.yaml", &[]), ("a.yaml", &[config_map("a", "2"), hook()])],
    )
    .await?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(value(&namespace, "a").await?, "2");
    namespace.wait_gone("ConfigMap", "b").await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook", "jobs/hook"]);
    let shown = namespace.kubectl(&["get", "rl", "shop", "-o", "yaml"])?;
    assert!(!(shown + &controller.log()?).contains("correct-horse"), "the Secret was shown");
    Ok(())
}

#[tokio::test]
async fn where_the_same_objects_stand_makes_no_difference() -> Result<()> {
    let namespace = Namespace::new(kwok(), "moved").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("a", "1"), job("hook").hook("pre-upgrade")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    put(&namespace, "ConfigMap", "all", &[("all.yaml", &objects)]).await?;
    let all = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    namespace.release("shop", &[], all).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "revision 1 is deployed");
    assert_eq!(namespace.tenant_did("create")?, [""; 0], "no hook ran");
    Ok(())
}

#[tokio::test]
async fn what_is_not_watched_is_looked_at_at_the_interval_and_after_a_start() -> Result<()> {
    let namespace = Namespace::new(kwok(), "poll").await?;
    let unwatched = ["--source-watches", "0"];
    let mut controller = namespace.controller_with(&unwatched)?;
    put(&namespace, "ConfigMap", "all", &[("all", &[config_map("a", "1")])]).await?;
    let source = |interval: &str| {
        let mut spec = from(json!([{"kind": "ConfigMap", "name": "all", "key": "all"}]));
        spec["interval"] = interval.into();
        spec
    };
    namespace.release("shop", &[], source("1s")).await?;
    namespace.wait_ready("shop", &controller).await?;
    put(&namespace, "ConfigMap", "all", &[("all", &[config_map("a", "2")])]).await?;
    wait_revision(&namespace, &controller, 2).await?;

    namespace.release("shop", &[], source("10h")).await?;
    namespace.wait_ready("shop", &controller).await?;
    controller.terminate()?;
    put(&namespace, "ConfigMap", "all", &[("all", &[config_map("a", "3")])]).await?;
    let controller = namespace.controller_with(&unwatched)?;
    wait_revision(&namespace, &controller, 3).await?;
    assert_eq!(value(&namespace, "a").await?, "3");
    Ok(())
}

#[tokio::test]
async fn a_source_that_goes_in_the_middle_of_a_hook_does_not_stop_the_operation() -> Result<()> {
    let namespace = Namespace::new(kwok(), "source-gone").await?;
    let mut controller = namespace.controller()?;
    let objects = [config_map("a", "1"), job("slow").hook("pre-install").never_ends()];
    put(&namespace, "Secret", "all", &[("all", &objects)]).await?;
    let source = from(json!([{"kind": "Secret", "name": "all"}]));
    namespace.release("shop", &[], source).await?;
    namespace.wait_active("slow").await?;
    namespace.kubectl(&["delete", "secret", "all"])?;
    controller.kill()?;
    let controller = namespace.controller()?;
    let ends = ["annotate", "pods", "-l", "job-name=slow", "releaselifecycle.dev/test-outcome-"];
    namespace.kubectl(&ends)?;

    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "SourceNotFound");
    assert_eq!(
        message(&release),
        format!(
            "spec.source.objectsFrom[0] (Secret/all): Secret/all does not exist in namespace {}; \
             create it, or correct the name",
            namespace.name
        )
    );
    let status = release.status.as_ref().context("a status")?;
    assert_eq!(status.revision, Some(1), "the install ended with the plan it had begun with");
    assert_eq!(hook(&release, "slow").map(|hook| hook.phase), Some(HookPhase::Succeeded));
    assert_eq!(value(&namespace, "a").await?, "1");

    put(&namespace, "Secret", "all", &[("all", &objects)]).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "revision 1 is deployed");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/slow"]);
    Ok(())
}

#[tokio::test]
async fn a_rollback_and_a_deletion_need_no_source() -> Result<()> {
    let namespace = Namespace::new(kwok(), "no-source").await?;
    let controller = namespace.controller()?;
    let source = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    for version in ["1", "2"] {
        let objects = [config_map("a", version), job("last").hook("post-delete")];
        put(&namespace, "ConfigMap", "all", &[("all", &objects)]).await?;
        namespace.release("shop", &[], source.clone()).await?;
        wait_revision(&namespace, &controller, version.parse()?).await?;
    }
    put_text(&namespace, "ConfigMap", "all", vec![("all".into(), "{".into())]).await?;
    namespace.wait_stalled("shop", &controller).await?;
    let mut pinned = source;
    pinned["pinRevision"] = 1.into();
    namespace.release("shop", &[], pinned).await?;
    wait_revision(&namespace, &controller, 3).await?;
    assert_eq!(value(&namespace, "a").await?, "1");

    namespace.kubectl(&["delete", "cm", "all"])?;
    namespace.kubectl(&["delete", "rl", "shop"])?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(value(&namespace, "a").await?, Value::Null);
    assert_eq!(namespace.tenant_did("create")?, ["jobs/last"]);
    Ok(())
}

#[tokio::test]
async fn sources_that_change_together_make_one_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "together").await?;
    let controller = namespace.controller()?;
    let names = ["a", "b", "c"];
    let references = names.map(|name| json!({"kind": "ConfigMap", "name": name}));
    let hook = job("hook").hook("pre-upgrade");
    let write = async |version: &str| {
        for name in names {
            let mut objects = vec![config_map(&format!("of-{name}"), version)];
            objects.extend((name == "c").then(|| hook.clone()));
            put(&namespace, "ConfigMap", name, &[("all", &objects)]).await?;
        }
        anyhow::Ok(())
    };
    write("1").await?;
    namespace.release("shop", &[], from(json!(references))).await?;
    wait_revision(&namespace, &controller, 1).await?;
    write("2").await?;
    wait_revision(&namespace, &controller, 2).await?;
    // The first look that finds anything finds all of it.
    for name in ["of-a", "of-b", "of-c"] {
        assert_eq!(value(&namespace, name).await?, "2", "{name}");
    }
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"]);
    Ok(())
}

#[tokio::test]
async fn tests_and_retries_need_no_source() -> Result<()> {
    let namespace = Namespace::new(kwok(), "retry-blind").await?;
    let controller = namespace.controller()?;
    let hook = job("hook").hook("pre-install").fails();
    let smoke = job("smoke").hook("test");
    let objects = [config_map("a", "1"), hook, smoke];
    put(&namespace, "ConfigMap", "all", &[("all", &objects)]).await?;
    let source = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    namespace.release("shop", &[], source).await?;
    namespace.wait_stalled("shop", &controller).await?;
    namespace.kubectl(&["delete", "configmap", "all"])?;
    let missing = |release: &api::ReleaseLifecycle| reason(release) == "SourceNotFound";
    namespace.wait("shop", &controller, "without its source", missing).await?;

    namespace.annotate("shop", "retryAt", "1")?;
    let again = |release: &api::ReleaseLifecycle| {
        hook_attempt(release) == Some(2) && reason(release) == "SourceNotFound"
    };
    let release = namespace.wait("shop", &controller, "tried again", again).await?;
    let status = release.status.as_ref().context("a status")?;
    assert_eq!(status.operation.as_ref().map(|operation| operation.revision), Some(1));
    // It is the same configuration that failed, when it can be read again.
    put(&namespace, "ConfigMap", "all", &[("all", &objects)]).await?;
    let failed = |release: &api::ReleaseLifecycle| reason(release) == "HookFailed";
    namespace.wait("shop", &controller, "given up", failed).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook", "jobs/hook"]);

    namespace.kubectl(&["delete", "configmap", "all"])?;
    namespace.wait("shop", &controller, "without its source", missing).await?;
    namespace.annotate("shop", "testAt", "1")?;
    let tested = |release: &api::ReleaseLifecycle| e2e::condition(release, "TestSuccess").is_some();
    namespace.wait("shop", &controller, "tested", tested).await?;
    Ok(())
}

fn hook_attempt(release: &api::ReleaseLifecycle) -> Option<i32> {
    hook(release, "hook").map(|hook| hook.attempt)
}

#[tokio::test]
async fn a_changed_source_supersedes_a_running_operation_where_that_is_asked_for() -> Result<()> {
    let namespace = Namespace::new(kwok(), "source-now").await?;
    let controller = namespace.controller()?;
    let mut spec = from(json!([{"kind": "ConfigMap", "name": "all"}]));
    spec["onNewSpec"] = "CancelNow".into();
    let slow = job("slow").hook("pre-install").never_ends();
    put(&namespace, "ConfigMap", "all", &[("all", &[config_map("a", "1"), slow])]).await?;
    namespace.release("shop", &[], spec).await?;
    namespace.wait_active("slow").await?;
    put(&namespace, "ConfigMap", "all", &[("all", &[config_map("a", "2")])]).await?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(value(&namespace, "a").await?, "2");
    Ok(())
}
