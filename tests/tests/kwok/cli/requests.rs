use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, job},
    reason,
};
use lifecycle::journal::HookPhase;
use serde_json::json;

use super::Cli;

#[tokio::test]
async fn what_failed_is_retried_and_begun_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-retry").await?;
    let controller = namespace.controller()?;
    // Somebody else's, which the hook's own would have to replace.
    namespace.kubectl(&["create", "configmap", "migrate"])?;
    let hook_object = config_map("migrate", "1").hook("pre-install,pre-upgrade");
    let objects = [config_map("main", "1"), hook_object];
    let cli = Cli::new(&namespace)?;
    let folder = cli.manifests("shop", &objects)?;
    cli.create("shop", &folder, &[])?;
    let end = cli.run(&["status", "shop", "--watch", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("install of revision 1 failed"), "{end:?}");
    // It fails again as long as nothing is mended.
    let end = cli.run(&["retry", "shop", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("retry requested: it resumes where it failed"), "{end:?}");

    namespace.kubectl(&["delete", "configmap", "migrate"])?;
    cli.good(&["retry", "shop", "--wait", "--timeout", "90s"])?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let migrate = hook(&release, "migrate").context("it is in status")?;
    assert_eq!(migrate.phase, HookPhase::Succeeded);
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(1));

    let said = cli.bad(1, &["retry", "shop"])?;
    assert!(said.contains("there is nothing to retry: it has not failed"), "{said}");
    let said = cli.good(&["retry", "shop", "--restart", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("upgrade of revision 2 succeeded"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_runs_is_cancelled() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-cancel").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let said = cli.bad(1, &["cancel", "shop"])?;
    assert!(said.contains("there is nothing to cancel"), "{said}");
    let objects = [config_map("main", "2"), job("migrate").hook("pre-upgrade").never_ends()];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("migrate").await?;
    let said = cli.bad(1, &["retry", "shop"])?;
    assert!(said.contains("its upgrade is running"), "{said}");
    let said = cli.bad(1, &["skip", "shop"])?;
    assert!(said.contains("there is nothing to skip"), "{said}");
    let said = cli.good(&["cancel", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("cancellation requested: the upgrade of revision 2"), "{said}");
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Cancelled");
    // The failed upgrade is left for the revision that is deployed.
    let said = cli.good(&["rollback", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("is rolled back to revision 1"), "{said}");
    Ok(())
}

#[tokio::test]
async fn tests_that_fail_and_a_failed_rollback_are_told_by_the_exit_code() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-failed").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let objects = |value| {
        [
            config_map("main", value),
            job("smoke").hook("test").fails(),
            job("before").hook("pre-rollback").fails(),
        ]
    };
    for value in ["1", "2"] {
        namespace.release("shop", &objects(value), json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    let end = cli.run(&["test", "shop", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "the release is Ready, its tests have failed: {end:?}");
    assert!(end.out.contains("hook Job/smoke (test) failed"), "{end:?}");
    let end = cli.run(&["rollback", "shop", "1", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("rollback of revision 3 failed"), "{end:?}");
    // There is nothing to ask for once more, but how it stands is told all the same.
    let end = cli.run(&["rollback", "shop", "1", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("needs no change: spec.pinRevision is 1 already"), "{end:?}");
    let end = cli.run(&["resume", "shop", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("is not suspended"), "{end:?}");
    let said = cli.bad(1, &["rollback", "shop", "9"])?;
    assert!(said.contains("there is no record of revision 9; there: 1 (superseded)"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_deletion_is_helped_past_its_hooks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-skip").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let objects = [config_map("main", "1"), job("backup").hook("pre-delete").fails()];
    namespace.release("shop", &objects, json!({"deletion": {"timeout": "0s"}})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace
        .wait("shop", &controller, "standing", |release| reason(release) == "HookFailed")
        .await?;
    let said = cli.bad(1, &["cancel", "shop"])?;
    assert!(said.contains("a deletion cannot be cancelled"), "{said}");
    let end = cli.run(&["status", "shop", "--watch", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "it waits for somebody: {end:?}");
    let end = cli.run(&["retry", "shop", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("hook Job/backup (pre-delete) started, attempt 2"), "{end:?}");
    let said = cli.good(&["skip", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("without the hooks that remain"), "{said}");
    namespace.wait_released("shop", &controller).await?;
    Ok(())
}

/// The controller has nothing new to say of what it is asked for, and says nothing.
#[tokio::test]
async fn a_request_that_changes_nothing_is_not_waited_for_forever() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-in-vain").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let source = json!({"objectsFrom": [{"kind": "ConfigMap", "name": "source"}]});
    namespace.release("shop", &[], json!({"source": source})).await?;
    let blocked = namespace.wait_stalled("shop", &controller).await?;
    for command in ["retry", "test"] {
        let said = cli.bad(1, &[command, "shop", "--wait", "--timeout", "90s"])?;
        assert!(said.contains("nothing has changed for 15 s"), "{said}");
        assert!(said.contains(reason(&blocked)), "{said}");
        assert!(said.contains("ConfigMap/source"), "{said}");
    }
    let objects = format!("--from-literal=a.json={}", config_map("main", "1"));
    namespace.kubectl(&["create", "configmap", "source", &objects])?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn an_operation_whose_rights_are_gone_is_told_and_then_cancelled() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-no-rights").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let objects = [config_map("main", "1"), job("migrate").hook("pre-install").never_ends()];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("migrate").await?;
    let binding = namespace.kubectl(&["get", "rolebinding", "deployer", "-o", "yaml"])?;
    let binding = cli.write("binding.yaml", &binding)?.to_string_lossy().into_owned();
    namespace.kubectl(&["delete", "rolebinding", "deployer"])?;
    // Nobody may stop the hook.
    let said = cli.bad(1, &["cancel", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("nothing has changed for 15 s"), "{said}");
    assert!(said.contains("Ready=False Forbidden"), "{said}");
    namespace.wait_stalled("shop", &controller).await?;
    let end = cli.run(&["status", "shop", "--watch", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "the operation runs, and nothing goes on: {end:?}");
    namespace.kubectl(&["create", "-f", &binding])?;
    cli.good(&["cancel", "shop", "--wait", "--timeout", "90s"])?;
    Ok(())
}

#[tokio::test]
async fn a_plan_that_waits_is_shown_and_approved() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-approve").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let spec = json!({"approval": {"mode": "Upgrade"}});
    namespace.release("shop", &[config_map("main", "1")], spec.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let said = cli.bad(1, &["approve", "shop"])?;
    assert!(said.contains("no plan waits for an approval (Ready=True InstallSucceeded)"), "{said}");

    let objects = [config_map("main", "2"), job("migrate").hook("pre-upgrade")];
    namespace.release("shop", &objects, spec).await?;
    let waits = |release: &api::ReleaseLifecycle| reason(release) == "ApprovalPending";
    let release = namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
    // Nothing goes on by itself.
    let shown = cli.run(&["status", "shop", "--watch", "--timeout", "90s"])?;
    assert_eq!(shown.code, Some(1), "{shown:?}");
    for line in ["pre-upgrade  Job/migrate in", "update       ConfigMap/main in"] {
        assert!(cli.good(&["status", "shop"])?.contains(line), "{line}");
    }
    let said = cli.bad(1, &["approve", "shop", "0123456789ab"])?;
    assert!(said.contains("waits for an approval, and not 0123456789ab"), "{said}");

    let plan = release.status.and_then(|status| status.plan).context("status.plan")?;
    let args = ["approve", "shop", plan.short_digest(), "--wait", "--timeout", "90s"];
    let said = cli.good(&args)?;
    assert!(said.contains(&format!("plan {} approved by ", plan.short_digest())), "{said}");
    assert!(said.contains("upgrade of revision 2 succeeded"), "{said}");
    Ok(())
}
