//! Rules: retries, ignored failures, and hooks that need not run.

use anyhow::{Context, Result};
use e2e::{
    Namespace, condition, hook, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

use crate::cli::Cli;

fn rules(rules: Value) -> Value {
    json!({"hooks": {"rules": rules}})
}

#[tokio::test]
async fn a_failed_hook_is_retried_and_each_attempt_is_kept() -> Result<()> {
    let namespace = Namespace::new(kwok(), "retries").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", ""), job("migrate").hook("pre-install").policy("").fails()];
    let rule = json!([{"match": {"name": "mig*"}, "retries": 1}]);
    namespace.release("shop", &objects, rules(rule)).await?;
    let said = "attempt 1 failed, the next begins at ";
    namespace.wait("shop", &controller, said, |release| message(release).contains(said)).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate", "jobs/migrate"]);
    let ran = hook(&release, "migrate").context("it is in status")?;
    assert_eq!((ran.phase, ran.attempt), (HookPhase::Failed, 2));
    assert_eq!(ran.rule.as_deref(), Some("spec.hooks.rules[0]"));
    let [first] = &ran.attempts[..] else { anyhow::bail!("one attempt before: {ran:#?}") };
    assert_eq!((first.attempt, first.exit_code), (1, Some(1)));
    assert!(first.message.contains("exit code 1"), "{first:#?}");
    // A person's attempt is another one, with the retries of the rule.
    namespace.retry("shop", "1", &controller).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let ran = hook(&release, "migrate").context("it is in status")?;
    let attempts: Vec<_> = ran.attempts.iter().map(|it| it.attempt).collect();
    assert_eq!((ran.attempt, attempts), (4, vec![1, 2, 3]));
    let said = Cli::new(&namespace)?.run(&["status", "shop"])?.out;
    assert!(said.contains("attempt 3 failed after "), "{said}");
    assert!(said.contains("by spec.hooks.rules[0]"), "{said}");
    Ok(())
}

#[tokio::test]
async fn an_attempt_takes_as_long_as_its_rule_says_and_the_next_one_may_succeed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "attempts").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", ""), job("migrate").hook("pre-install").never_ends()];
    let rule = json!([{"timeout": "5s", "retries": 3}]);
    namespace.release("shop", &objects, rules(rule)).await?;
    let again = |release: &api::ReleaseLifecycle| {
        hook(release, "migrate").is_some_and(|it| it.attempt == 2 && it.phase == HookPhase::Running)
    };
    namespace.wait("shop", &controller, "at its second attempt", again).await?;
    namespace.wait_active("migrate").await?;
    namespace.let_end("migrate").await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "migrate").context("it is in status")?;
    assert_eq!((ran.phase, ran.attempt), (HookPhase::Succeeded, 2));
    let first = &ran.attempts[0];
    assert_eq!(first.reason, "Timeout");
    let said = "did not end within 5 s (spec.hooks.rules[0].timeout) and was stopped";
    assert!(first.message.contains(said), "{first:#?}");
    Ok(())
}

#[tokio::test]
async fn a_release_does_without_a_hook_whose_failure_is_ignored() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ignored").await?;
    let controller = namespace.controller()?;
    let refused = job("refused").hook("pre-install").set_pod("/spec/restartPolicy", "Always");
    let objects = [
        job("fails").hook("pre-install").policy("hook-failed,hook-succeeded").fails(),
        job("good").hook("pre-install").policy("hook-succeeded"),
        refused,
        config_map("main", ""),
    ];
    let rule = json!([{"match": {"name": "good"}}, {"onFailure": "Ignore"}]);
    namespace.release("shop", &objects, rules(rule)).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(reason(&release), "InstallSucceeded");
    for (name, phase, ignored) in [
        ("fails", HookPhase::Failed, true),
        ("good", HookPhase::Succeeded, false),
        ("refused", HookPhase::Failed, true),
    ] {
        let ran = hook(&release, name).context(name)?;
        assert_eq!((ran.phase, ran.ignored), (phase, ignored), "{ran:#?}");
    }
    let said =
        "succeeded with 3 hooks; failed and ignored: hook Job/fails (pre-install); Job/refused";
    assert!(message(&release).contains(said), "{}", message(&release));
    assert_eq!(namespace.tenant_did("delete")?, ["jobs/fails", "jobs/good"]);
    assert!(namespace.object("ConfigMap", "main").await?.is_some());
    namespace.wait_event("HookFailed").await?;
    Ok(())
}

#[tokio::test]
async fn a_hook_that_is_unchanged_does_not_run_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "unchanged").await?;
    let controller = namespace.controller()?;
    namespace.apply(&config_map("settings", "1")).await?;
    let from = json!([{"configMapRef": {"name": "settings"}}]);
    let migrate = job("migrate").set_pod("/spec/containers/0/envFrom", from);
    let objects = |value: &str| {
        [
            config_map("main", value),
            migrate.clone().hook("pre-install,pre-upgrade"),
            job("seed").hook("pre-install,pre-upgrade"),
        ]
    };
    let rule = json!([
        {"match": {"name": "migrate"}, "run": "WhenChanged"},
        {"match": {"name": "seed"}, "run": "Once"},
    ]);
    namespace.release("shop", &objects("1"), rules(rule.clone())).await?;
    namespace.wait_ready("shop", &controller).await?;
    let both = ["jobs/migrate", "jobs/seed"];
    assert_eq!(namespace.tenant_did("create")?, both);

    namespace.release("shop", &objects("2"), rules(rule.clone())).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(2));
    assert_eq!(namespace.tenant_did("create")?, both, "nothing runs again");
    let migrate = upgrade_hook(&release, "migrate")?;
    assert_eq!((migrate.0, &*migrate.1), (HookPhase::Skipped, "Unchanged"));
    let seed = upgrade_hook(&release, "seed")?;
    assert_eq!((seed.0, &*seed.1), (HookPhase::Skipped, "AlreadyRun"));
    namespace.wait_told("HookSkipped", "with the same digest hmac-sha256:").await?;

    // The data that the hook sees counts, and a skip stands for the run before it.
    namespace.apply(&config_map("settings", "2")).await?;
    namespace.release("shop", &objects("3"), rules(rule)).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(3));
    let again = ["jobs/migrate", "jobs/seed", "jobs/migrate"];
    assert_eq!(namespace.tenant_did("create")?, again);
    assert_eq!(upgrade_hook(&release, "seed")?.1, "AlreadyRun");
    Ok(())
}

fn upgrade_hook(release: &api::ReleaseLifecycle, name: &str) -> Result<(HookPhase, String)> {
    let hooks = release.status.as_ref().map(|status| &status.hooks[..]).unwrap_or_default();
    let of_upgrade = hooks.iter().find(|it| it.name == name && it.event.as_str() == "pre-upgrade");
    let hook = of_upgrade.context("it is in status")?;
    Ok((hook.phase, hook.reason.clone().unwrap_or_default()))
}

#[tokio::test]
async fn no_hook_runs_where_the_rule_says_so() -> Result<()> {
    let namespace = Namespace::new(kwok(), "never").await?;
    let controller = namespace.controller()?;
    let objects = [
        config_map("main", ""),
        job("before").hook("pre-install"),
        job("after").hook("post-install,pre-delete"),
    ];
    namespace.release("shop", &objects, rules(json!([{"run": "Never"}]))).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "before").context("it is in status")?;
    assert_eq!(ran.phase, HookPhase::Skipped);
    assert_eq!(ran.message.as_deref(), Some("spec.hooks.rules[0] says run: Never"));
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, [""; 0], "no Job");
    Ok(())
}

#[tokio::test]
async fn a_hook_that_is_not_interruptible_ends_before_its_operation() -> Result<()> {
    let namespace = Namespace::new(kwok(), "uninterrupted").await?;
    let controller = namespace.controller()?;
    let objects = [
        config_map("main", ""),
        job("migrate").hook("pre-install").never_ends(),
        job("next").hook("pre-install"),
    ];
    let rule = json!([{"match": {"name": "migrate"}, "interruptible": false}]);
    namespace.release("shop", &objects, rules(rule)).await?;
    namespace.wait_active("migrate").await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    let said =
        "the operation ends after this hook, since spec.hooks.rules[0] says interruptible: false";
    namespace.wait("shop", &controller, said, |release| message(release).contains(said)).await?;
    namespace.let_end("migrate").await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Cancelled");
    let migrate = hook(&release, "migrate").context("it is in status")?;
    assert_eq!(migrate.phase, HookPhase::Succeeded);
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"], "nothing follows");
    Ok(())
}

#[tokio::test]
async fn rules_that_cannot_work_are_told() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad-rules").await?;
    let controller = namespace.controller()?;
    let hook = job("migrate").hook("pre-install");
    for (rule, said) in [
        (json!({"run": "Never", "retries": 1}), "a rule with run: Never takes no other setting"),
        (json!({"retries": 21}), "less than or equal to 20"),
        (json!({"timeout": "0s"}), "spec.hooks.rules[].timeout must be between 1s and 8760h"),
        (json!({"match": {"events": ["pre-install", "crd-install"]}}), "crd-install"),
        (json!({"onFailure": "Retry"}), "Retry"),
    ] {
        let refused =
            namespace.release("bad", std::slice::from_ref(&hook), rules(json!([rule]))).await;
        let error = refused.err().context("it is refused")?;
        assert!(format!("{error:#}").contains(said), "{said} is not in {error:#}");
    }
    let annotated = hook.clone().annotation("releaselifecycle.dev/hook-retries", "many");
    namespace.release("annotated", &[annotated], json!({})).await?;
    let release = namespace.wait_stalled("annotated", &controller).await?;
    assert_eq!(reason(&release), "InvalidRule");
    let said = "hook Job/migrate: annotation releaselifecycle.dev/hook-retries: must be \
                a number between 0 and 20";
    assert!(message(&release).contains(said), "{}", message(&release));

    let rule = json!([{"match": {"name": "migrat"}, "timeout": "1h"}]);
    namespace.release("unused", &[hook], rules(rule)).await?;
    let release = namespace.wait_ready("unused", &controller).await?;
    let warned = condition(&release, "PreflightPassed").context("it is warned of")?;
    let said = "spec.hooks.rules[0] has no effect: it matches no hook of this release";
    assert!(warned.message.contains(said), "{}", warned.message);
    Ok(())
}
