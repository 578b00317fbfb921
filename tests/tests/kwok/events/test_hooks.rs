use anyhow::Result;
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, condition, helm, hook, kwok,
    manifests::{Manifest, config_map, job, pod},
    reason,
};
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
