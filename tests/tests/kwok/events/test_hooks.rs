use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, condition, helm, hook, kwok,
    manifests::{Manifest, config_map, job, pod},
    message, reason,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

fn objects(smoke: Value) -> Vec<Value> {
    vec![
        config_map("main", "1"),
        smoke.hook("test"),
        pod("other").hook("test-success").weight("1"),
        job("backup").hook("pre-delete"),
    ]
}

async fn wait_tested(
    namespace: &Namespace,
    controller: &Controller,
    status: &str,
) -> Result<ReleaseLifecycle> {
    namespace
        .wait("shop", controller, "tested", |release| {
            condition(release, "TestSuccess").is_some_and(|it| it.status == status)
                && condition(release, "Ready").is_some_and(|it| it.status != "Unknown")
        })
        .await
}

/// The names of the hooks in the record.
fn recorded(namespace: &Namespace) -> Result<Vec<String>> {
    let status = helm::json(namespace, "helm", &["status", "shop"])?;
    let hooks = status["hooks"].as_array().into_iter().flatten();
    Ok(hooks.filter_map(|hook| Some(hook["name"].as_str()?.to_owned())).collect())
}

#[tokio::test]
async fn tests_run_on_request_and_lose_no_hook() -> Result<()> {
    let namespace = Namespace::new(kwok(), "test").await?;
    let controller = namespace.controller()?;
    let filters = json!({"test": {"filters": [{"name": "smoke"}]}});
    namespace.release("shop", &objects(job("smoke")), filters).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, [""; 0]);
    let before = recorded(&namespace)?;
    namespace.annotate("shop", "testAt", "1")?;
    let release = wait_tested(&namespace, &controller, "True").await?;
    assert_eq!(reason(&release), "InSync");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/smoke"], "the filter holds");
    assert_eq!(recorded(&namespace)?, before);
    let status = helm::json(&namespace, "helm", &["status", "shop"])?;
    assert_eq!(status["info"]["status"], "deployed");
    assert_eq!(status["hooks"][0]["last_run"]["phase"], "Succeeded", "{status}");
    // Once for each value.
    namespace.annotate("shop", "example", "1")?;
    namespace.annotate("shop", "testAt", "2")?;
    namespace
        .wait("shop", &controller, "tested again", |release| {
            let handled = release.status.as_ref().and_then(|it| it.last_handled_test_at.as_deref());
            handled == Some("2") && reason(release) == "InSync"
        })
        .await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/smoke", "jobs/smoke"]);
    Ok(())
}

#[tokio::test]
async fn tests_that_are_enabled_follow_each_install_and_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "test-enabled").await?;
    let controller = namespace.controller()?;
    let enabled = |on_failure: &str| json!({"test": {"enable": true, "onFailure": on_failure}});
    namespace.release("shop", &objects(job("smoke").fails()), enabled("Ignore")).await?;
    let release = wait_tested(&namespace, &controller, "False").await?;
    assert_eq!(reason(&release), "InSync", "that they fail is ignored");
    let smoke = hook(&release, "smoke").map(|hook| hook.phase);
    assert_eq!(smoke, Some(HookPhase::Failed));
    assert_eq!(hook(&release, "other").map(|hook| hook.phase), Some(HookPhase::Pending));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/smoke"]);
    // It counts, from now on.
    namespace.release("shop", &objects(job("smoke").fails()), enabled("Fail")).await?;
    namespace
        .wait("shop", &controller, "not Ready", |release| reason(release) == "TestFailed")
        .await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/smoke"], "tests do not run again for that");
    namespace.release("shop", &objects(job("smoke")), enabled("Fail")).await?;
    let release = wait_tested(&namespace, &controller, "True").await?;
    assert_eq!(
        release.status.map(|it| (it.revision, it.tested_revision)),
        Some((Some(2), Some(2)))
    );
    Ok(())
}

/// Makes the last tests older than any time of the schedule that is made up for.
fn age(namespace: &Namespace, run: usize) -> Result<()> {
    let patch = json!([{"op": "replace", "path": format!("/status/tests/{run}/startedAt"),
                        "value": "2026-01-01T00:00:00Z"}]);
    let patch =
        ["patch", "rl/shop", "--subresource=status", "--type=json", "-p", &patch.to_string()];
    namespace.kubectl(&patch)?;
    Ok(())
}

fn runs(release: &ReleaseLifecycle) -> Vec<bool> {
    let runs = release.status.iter().flat_map(|status| &status.tests);
    runs.map(|run| run.failure.is_none()).collect()
}

#[tokio::test]
async fn scheduled_tests_run_again_when_they_are_due_and_their_runs_are_remembered() -> Result<()> {
    let namespace = Namespace::new(kwok(), "test-scheduled").await?;
    let controller = namespace.controller()?;
    let spec =
        json!({"test": {"enable": true, "schedule": "*/30 * * * *", "timeZone": "Asia/Seoul"}});
    namespace.release("shop", &objects(job("smoke")), spec.clone()).await?;
    let tested = |times: usize| {
        move |release: &ReleaseLifecycle| {
            runs(release).len() >= times
                && runs(release).iter().all(|succeeded| *succeeded)
                && reason(release) == "InSync"
        }
    };
    namespace.wait("shop", &controller, "tested", tested(1)).await?;
    age(&namespace, 0)?;
    namespace.wait("shop", &controller, "tested again", tested(2)).await?;
    // What was due while nobody was there is made up for.
    drop(controller);
    age(&namespace, 1)?;
    let controller = namespace.controller()?;
    let release = namespace.wait("shop", &controller, "tested once more", tested(3)).await?;
    let first = release.status.iter().flat_map(|status| &status.tests).map(|run| run.first);
    assert_eq!(first.take(3).collect::<Vec<_>>(), [true, false, false]);

    // Tests that wait for a window leave the release as it is.
    let far = Timestamp::now() + SignedDuration::from_hours(12);
    let hour = far.to_zoned(TimeZone::UTC).hour();
    let window =
        json!({"schedule": format!("0 {hour} * * *"), "duration": "1m", "events": ["Test"]});
    let mut waits = spec;
    waits["windows"] = json!([window]);
    namespace.release("shop", &objects(job("smoke")), waits).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let known = runs(&release).len();
    age(&namespace, known - 1)?;
    namespace.annotate("shop", "testAt", "1")?;
    let asked = |release: &ReleaseLifecycle| {
        runs(release).len() == known + 1 && reason(release) == "InSync"
    };
    namespace.wait("shop", &controller, "tested on request alone", asked).await?;

    let spec = json!({"test": {"schedule": "every day"}});
    namespace.release("shop", &objects(job("smoke")), spec).await?;
    let invalid = |release: &ReleaseLifecycle| {
        reason(release) == "InvalidSchedule"
            && message(release).starts_with("spec.test.schedule must")
    };
    namespace.wait("shop", &controller, "InvalidSchedule", invalid).await?;
    Ok(())
}

#[tokio::test]
async fn an_upgrade_whose_first_tests_fail_is_rolled_back_once() -> Result<()> {
    let namespace = Namespace::new(kwok(), "test-rollback").await?;
    let controller = namespace.controller()?;
    let spec = json!({"test": {"enable": true, "onFailure": "Rollback"}});
    // There is nothing before a first revision.
    let objects = |value: &str, smoke: Value| [config_map("main", value), smoke.hook("test")];
    namespace.release("shop", &objects("1", job("smoke").fails()), spec.clone()).await?;
    namespace
        .wait("shop", &controller, "not Ready", |release| reason(release) == "TestFailed")
        .await?;
    namespace.release("shop", &objects("2", job("smoke")), spec.clone()).await?;
    wait_tested(&namespace, &controller, "True").await?;
    namespace.release("shop", &objects("3", job("smoke").fails()), spec.clone()).await?;
    let is = |release: &ReleaseLifecycle| {
        condition(release, "Remediated").is_some_and(|it| it.status == "True")
            && condition(release, "Stalled").is_some_and(|it| it.reason == "TestFailed")
    };
    let release = namespace.wait("shop", &controller, "rolled back", is).await?;
    let said = message(&release);
    assert!(said.contains("upgrade of revision 3 failed: its tests failed: "), "{said}");
    assert!(said.contains("rollback to revision 2 succeeded"), "{said}");
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    assert_eq!(main["data"]["value"], "2");
    // Another configuration is attempted, after a restart, too.
    drop(controller);
    let controller = namespace.controller()?;
    namespace.release("shop", &objects("4", job("smoke")), spec.clone()).await?;
    wait_tested(&namespace, &controller, "True").await?;
    assert_eq!(
        super::remediation::states(&namespace)?,
        ["superseded", "superseded", "superseded", "superseded", "deployed"]
    );
    Ok(())
}
