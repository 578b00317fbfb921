use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, condition, helm, hook, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

const DELAY: &str = "/metadata/annotations/releaselifecycle.dev~1test-delay";

/// Its Pod runs only where the node says so.
fn picky(namespace: &Namespace, name: &str) -> Value {
    job(name).set_pod("/spec/nodeSelector", json!({"e2e/picky": namespace.name}))
}

/// Returns what [`picky`] waits for.
fn satisfy(namespace: &Namespace) -> Result<()> {
    let label = format!("e2e/picky={}", namespace.name);
    namespace.kubectl(&["label", "nodes", "--all", "--overwrite", &label])?;
    Ok(())
}

async fn installed(namespace: &Namespace) -> Result<Controller> {
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(controller)
}

#[tokio::test]
async fn a_retry_goes_on_at_the_failed_hook_of_the_same_revision() -> Result<()> {
    let namespace = Namespace::new(kwok(), "retry").await?;
    let controller = installed(&namespace).await?;
    let objects = [
        config_map("main", "2"),
        job("backup").hook("pre-upgrade").policy("hook-succeeded"),
        picky(&namespace, "migrate").hook("pre-upgrade").policy("hook-failed").weight("1"),
        job("verify").hook("post-upgrade"),
    ];
    namespace.release("shop", &objects, json!({"timeout": "2s"})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(
        message(&release).contains("`kubectl lifecycle retry shop -n "),
        "{}",
        message(&release)
    );
    // The revision is given up: nothing happens by itself.
    namespace.kubectl(&["annotate", "rl", "shop", "example.com/look=again"])?;
    satisfy(&namespace)?;
    namespace.annotate("shop", "retryAt", "1")?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(2));
    let attempts = ["backup", "migrate", "verify"]
        .map(|name| hook(&release, name).map(|hook| (hook.attempt, hook.phase)));
    let succeeded = |attempt| Some((attempt, HookPhase::Succeeded));
    assert_eq!(attempts, [succeeded(1), succeeded(2), succeeded(1)]);
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/backup", "jobs/migrate", "jobs/migrate", "jobs/verify"]);
    let history = helm::json(&namespace, "helm", &["history", "shop"])?;
    let states: Vec<_> = history.as_array().into_iter().flatten().map(|it| &it["status"]).collect();
    assert_eq!(states, ["superseded", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn a_retry_goes_on_where_it_failed_whatever_came_between() -> Result<()> {
    let namespace = Namespace::new(kwok(), "retry-later").await?;
    let controller = installed(&namespace).await?;
    let objects = [
        config_map("main", "2"),
        job("backup").hook("pre-upgrade"),
        picky(&namespace, "migrate").hook("pre-upgrade").weight("1"),
        job("smoke").hook("test"),
    ];
    let more = |suspend: bool| json!({"timeout": "2s", "suspend": suspend});
    namespace.release("shop", &objects, more(false)).await?;
    namespace.wait_stalled("shop", &controller).await?;
    // Neither a change that has nothing to do with it nor a test makes it run again.
    for suspend in [true, false] {
        namespace.release("shop", &objects, more(suspend)).await?;
        namespace.wait_stalled("shop", &controller).await?;
    }
    namespace.annotate("shop", "testAt", "1")?;
    namespace
        .wait("shop", &controller, "tested and stalled", |release| {
            let tested = condition(release, "TestSuccess").is_some_and(|it| it.status == "True");
            tested && condition(release, "Stalled").is_some()
        })
        .await?;
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/backup", "jobs/migrate", "jobs/smoke"]);
    satisfy(&namespace)?;
    namespace.annotate("shop", "retryAt", "1")?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(2));
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/backup", "jobs/migrate", "jobs/smoke", "jobs/migrate"]);
    Ok(())
}

#[tokio::test]
async fn a_restart_is_a_new_revision_with_every_hook() -> Result<()> {
    let namespace = Namespace::new(kwok(), "restart").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("before").hook("pre-install,pre-upgrade")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.annotate("shop", "restartAt", "1")?;
    let release = namespace
        .wait("shop", &controller, "at revision 2", |release| {
            let revision = release.status.as_ref().and_then(|status| status.revision);
            revision == Some(2) && reason(release) == "UpgradeSucceeded"
        })
        .await?;
    let handled = release.status.and_then(|status| status.last_handled_restart_at);
    assert_eq!(handled.as_deref(), Some("1"));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/before", "jobs/before"]);
    // What has no object is heeded, too, and not kept for later.
    namespace.retry("shop", "1", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/before", "jobs/before"]);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_operation_stops_its_hook_and_stays_down() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cancel").await?;
    let controller = installed(&namespace).await?;
    let objects = [
        config_map("main", "2"),
        job("migrate").hook("pre-upgrade").never_ends(),
        job("next").hook("pre-upgrade"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("migrate").await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Cancelled");
    let migrate = hook(&release, "migrate").context("it is in status")?;
    assert_eq!((migrate.phase, migrate.reason.as_deref()), (HookPhase::Failed, Some("Cancelled")));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"]);
    let job = namespace.object("Job", "migrate").await?.context("the Job stays")?;
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 1, "it is stopped for good");
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    assert_eq!(main["data"]["value"], "1", "nothing was applied");
    Ok(())
}

#[tokio::test]
async fn a_newer_spec_supersedes_a_running_operation_where_it_may() -> Result<()> {
    for (policy, ran) in
        [("CancelNow", HookPhase::Failed), ("CancelAfterHook", HookPhase::Succeeded)]
    {
        let namespace = Namespace::new(kwok(), "supersede").await?;
        let controller = installed(&namespace).await?;
        let slow = match policy {
            "CancelNow" => job("migrate").never_ends(),
            _ => job("migrate").set_pod(DELAY, "3s"),
        };
        let objects =
            [config_map("main", "2"), slow.hook("pre-upgrade"), job("next").hook("pre-upgrade")];
        let more = json!({"onNewSpec": policy});
        namespace.release("shop", &objects, more.clone()).await?;
        namespace.wait_active("migrate").await?;
        namespace.release("shop", &[config_map("main", "3")], more).await?;
        let release = namespace.wait_ready("shop", &controller).await?;
        assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(3), "{policy}");
        assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"], "{policy}");
        let record = helm::json(&namespace, "helm", &["status", "shop", "--revision", "2"])?;
        assert_eq!(record["info"]["status"], "failed", "{policy}");
        let phase = format!("{ran:?}");
        assert_eq!(record["hooks"][0]["last_run"]["phase"], phase, "{policy}: {record}");
        let text = record["info"]["description"].as_str().unwrap_or_default();
        assert!(text.contains("generation 3 of the spec supersedes it"), "{policy}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_newer_spec_waits_by_default() -> Result<()> {
    let namespace = Namespace::new(kwok(), "new-spec-waits").await?;
    let controller = installed(&namespace).await?;
    let objects =
        [config_map("main", "2"), job("migrate").hook("pre-upgrade").set_pod(DELAY, "2s")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("migrate").await?;
    namespace.release("shop", &[config_map("main", "3")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let history = helm::json(&namespace, "helm", &["history", "shop"])?;
    let states: Vec<_> = history.as_array().into_iter().flatten().map(|it| &it["status"]).collect();
    assert_eq!(states, ["superseded", "superseded", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn a_suspended_release_ends_its_hook_and_starts_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "suspend").await?;
    let controller = installed(&namespace).await?;
    let objects = [
        config_map("main", "2"),
        job("migrate").hook("pre-upgrade").set_pod(DELAY, "2s"),
        job("next").hook("pre-upgrade").weight("1"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("migrate").await?;
    namespace.release("shop", &objects, json!({"suspend": true})).await?;
    let release = namespace
        .wait("shop", &controller, "suspended after the hook", |release| {
            let ended = hook(release, "migrate").is_some_and(|it| it.phase == HookPhase::Succeeded);
            ended && reason(release) == "Suspended"
        })
        .await?;
    assert_eq!(condition(&release, "Ready").map(|it| it.status.as_str()), Some("Unknown"));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"]);
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate", "jobs/next"]);
    // The outcome of the last hook before the objects is kept, though nothing may follow it.
    let last = [config_map("main", "2b"), job("last").hook("pre-upgrade").set_pod(DELAY, "2s")];
    namespace.release("shop", &last, json!({})).await?;
    namespace.wait_active("last").await?;
    namespace.release("shop", &last, json!({"suspend": true})).await?;
    namespace
        .wait("shop", &controller, "suspended after its last hook", |release| {
            let ended = hook(release, "last").is_some_and(|it| it.phase == HookPhase::Succeeded);
            ended && reason(release) == "Suspended"
        })
        .await?;
    namespace.kubectl(&["delete", "job", "last"])?;
    namespace.release("shop", &last, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    // While nothing runs, nothing begins.
    let next = [config_map("main", "3")];
    namespace.release("shop", &next, json!({"suspend": true})).await?;
    namespace
        .wait("shop", &controller, "suspended", |release| reason(release) == "Suspended")
        .await?;
    namespace.release("shop", &next, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(4));
    Ok(())
}

/// A tool for `GitOps` takes away what somebody wrote beside it.
#[tokio::test]
async fn an_annotation_that_is_taken_away_asks_for_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "withdrawn").await?;
    let controller = namespace.controller()?;
    let objects = |value: &str, migrate: Value| {
        [
            config_map("main", value),
            migrate.hook("pre-install,pre-upgrade"),
            job("smoke").hook("test"),
        ]
    };
    namespace.release("shop", &objects("1", job("migrate")), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let take_away = || {
        let all = ["retryAt-", "restartAt-", "testAt-", "cancelAt-", "skipAt-"];
        let all = all.map(|name| format!("releaselifecycle.dev/{name}"));
        let all = all.iter().map(String::as_str);
        let args: Vec<_> = ["annotate", "rl", "shop"].into_iter().chain(all).collect();
        namespace.kubectl(&args)
    };
    for request in ["retryAt", "cancelAt", "skipAt", "restartAt"] {
        namespace.annotate("shop", request, "1")?;
    }
    let restarted = |release: &api::ReleaseLifecycle| {
        let revision = release.status.as_ref().and_then(|status| status.revision);
        revision == Some(2) && reason(release) == "UpgradeSucceeded"
    };
    namespace.wait("shop", &controller, "at revision 2", restarted).await?;
    namespace.annotate("shop", "testAt", "1")?;
    let tested = |release: &api::ReleaseLifecycle| condition(release, "TestSuccess").is_some();
    namespace.wait("shop", &controller, "tested", tested).await?;
    take_away()?;
    // While a hook runs, too: it goes on, and nobody runs anything again after it.
    let slow = job("migrate").set_pod(DELAY, "3s");
    for request in ["cancelAt", "skipAt"] {
        namespace.annotate("shop", request, "1")?;
    }
    namespace.release("shop", &objects("2", slow), json!({})).await?;
    namespace.wait_active("migrate").await?;
    take_away()?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let status = release.status.as_ref().context("a status")?;
    assert_eq!(status.revision, Some(3));
    let handled = status.handled();
    let all = [handled.retry, handled.restart, handled.test, handled.cancel, handled.skip];
    assert_eq!(all, [(); 5].map(|()| Some("1".to_owned())), "what was handled stays so");
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/migrate", "jobs/migrate", "jobs/smoke", "jobs/migrate"]);
    Ok(())
}

/// It asked for nothing when it came, whether an operation ran or none, and is not kept for the deletion.
#[tokio::test]
async fn an_old_skip_that_is_taken_away_does_without_no_backup() -> Result<()> {
    for at_rest in [true, false] {
        let namespace = Namespace::new(kwok(), "skip-withdrawn").await?;
        let controller = namespace.controller()?;
        let objects = [config_map("main", "1"), job("backup").hook("pre-delete").never_ends()];
        namespace.release("shop", &objects, json!({})).await?;
        if at_rest {
            namespace.wait_ready("shop", &controller).await?;
        }
        namespace.annotate("shop", "skipAt", "earlier")?;
        let noted = |release: &api::ReleaseLifecycle| {
            let status = release.status.as_ref();
            status.and_then(|status| status.last_handled_skip_at.as_deref()) == Some("earlier")
        };
        namespace.wait("shop", &controller, "done with the skip", noted).await?;
        namespace.wait_ready("shop", &controller).await?;
        namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
        namespace.wait_active("backup").await?;
        namespace.kubectl(&["annotate", "rl", "shop", "releaselifecycle.dev/skipAt-"])?;
        namespace.let_end("backup").await?;
        namespace.wait_released("shop", &controller).await?;
        assert_eq!(namespace.tenant_did("create")?, ["jobs/backup"]);
        namespace.wait_event("DeleteSucceeded").await?;
    }
    Ok(())
}
