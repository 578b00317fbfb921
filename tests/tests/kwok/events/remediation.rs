//! Remediation of a failed upgrade or install, once.

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, condition, helm, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::event::Event;
use serde_json::{Value, json};

fn objects(value: &str, more: &[Value]) -> Vec<Value> {
    let own = [
        config_map("main", value),
        config_map(&format!("only-{value}"), value),
        job(&format!("before-{value}")).hook("pre-rollback"),
        job(&format!("after-{value}")).hook("post-rollback"),
    ];
    [&own, more].concat()
}

fn rolls_back() -> Value {
    json!({"upgrade": {"onFailure": "Rollback"}})
}

fn uninstalls() -> Value {
    json!({"install": {"onFailure": "Uninstall"}})
}

/// Revision 1 of these objects.
async fn installed(namespace: &Namespace, objects: &[Value]) -> Result<Controller> {
    let controller = namespace.controller()?;
    namespace.release("shop", objects, rolls_back()).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(controller)
}

/// Waits until a remedy has ended, and nothing goes on.
async fn remediated(
    namespace: &Namespace,
    controller: &Controller,
    status: &str,
) -> Result<ReleaseLifecycle> {
    let what = format!("Stalled, and Remediated {status}");
    let is = |release: &ReleaseLifecycle| {
        let known = release.status.as_ref().and_then(|status| status.observed_generation);
        known == release.metadata.generation
            && condition(release, "Stalled").is_some()
            && condition(release, "Remediated").is_some_and(|it| it.status == status)
    };
    namespace.wait("shop", controller, &what, is).await
}

fn remedy(release: &ReleaseLifecycle) -> (&str, &str) {
    condition(release, "Remediated").map_or(("", ""), |it| (&it.reason, &it.message))
}

async fn value(namespace: &Namespace) -> Result<Value> {
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    Ok(main["data"]["value"].clone())
}

/// The states of the revisions, as Helm has them.
fn history(namespace: &Namespace) -> Result<Vec<(String, String)>> {
    let history = helm::json(namespace, "helm", &["history", "shop"])?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = history.as_array().into_iter().flatten();
    Ok(rows.map(|row| (text(&row["status"]), text(&row["description"]))).collect())
}

pub(super) fn states(namespace: &Namespace) -> Result<Vec<String>> {
    Ok(history(namespace)?.into_iter().map(|(state, _)| state).collect())
}

/// Revision 2 fails by `more`, of which revision 1 has `before`.
async fn is_rolled_back(
    prefix: &str,
    before: &[Value],
    more: &[Value],
    hooks: &[&str],
) -> Result<()> {
    let namespace = Namespace::new(kwok(), prefix).await?;
    let controller = installed(&namespace, &objects("1", before)).await?;
    namespace.release("shop", &objects("2", more), rolls_back()).await?;
    let release = remediated(&namespace, &controller, "True").await?;
    assert_eq!(remedy(&release), ("RollbackSucceeded", "rollback to revision 1 succeeded"));
    let text = message(&release);
    assert!(text.starts_with("upgrade of revision 2 failed: "), "{text}");
    assert!(text.contains("; rollback to revision 1 succeeded. Change the spec, or "), "{text}");
    assert_eq!(condition(&release, "Released").map(|it| &*it.reason), Some("UpgradeFailed"));
    let status = release.status.context("a status")?;
    let attempt = status.last_attempt.context("what failed is known")?;
    assert_eq!((attempt.event, attempt.revision, attempt.failures), (Event::Upgrade, 2, 1));
    assert_eq!(status.revision, Some(3));
    assert_eq!(status.operation.and_then(|it| it.remedies), Some(2));

    assert_eq!(namespace.tenant_did("create")?, hooks, "the rollback hooks of revision 1, once");
    assert_eq!(value(&namespace).await?, "1");
    assert!(namespace.object("ConfigMap", "only-1").await?.is_some());
    namespace.wait_gone("ConfigMap", "only-2").await?;
    for program in helm::HELMS {
        let list = helm::json(&namespace, program, &["list"])?;
        assert_eq!(list[0]["status"], "deployed", "{program}: {list}");
    }
    let history = history(&namespace)?;
    let found: Vec<_> = history.iter().map(|(state, _)| &**state).collect();
    assert_eq!(found, ["superseded", "failed", "deployed"]);
    assert_eq!(history[2].1, "Rollback to 1");

    // It was tried once: what is right is the next revision.
    namespace.release("shop", &objects("4", &[]), rolls_back()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert!(condition(&release, "Remediated").is_none(), "it is over");
    assert_eq!(release.status.context("a status")?.revision, Some(4));
    assert_eq!(value(&namespace).await?, "4");
    Ok(())
}

#[tokio::test]
async fn an_upgrade_that_fails_in_a_pre_hook_is_rolled_back() -> Result<()> {
    let bad = [job("bad").hook("pre-upgrade").fails()];
    let hooks = ["jobs/bad", "jobs/before-1", "jobs/after-1"];
    is_rolled_back("remedy-pre", &[], &bad, &hooks).await
}

#[tokio::test]
async fn an_upgrade_of_which_an_object_is_refused_is_rolled_back() -> Result<()> {
    // Applied after the others, so that the upgrade is half done.
    let fixed = |value: &str| [config_map("z-fixed", value).set("/immutable", true)];
    let hooks = ["jobs/before-1", "jobs/after-1"];
    is_rolled_back("remedy-apply", &fixed("1"), &fixed("2"), &hooks).await
}

#[tokio::test]
async fn an_upgrade_that_fails_in_a_post_hook_is_rolled_back() -> Result<()> {
    let bad = [job("bad").hook("post-upgrade").fails()];
    let hooks = ["jobs/bad", "jobs/before-1", "jobs/after-1"];
    is_rolled_back("remedy-post", &[], &bad, &hooks).await
}

#[tokio::test]
async fn a_retry_after_a_rollback_is_a_new_upgrade_which_is_rolled_back_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-retry").await?;
    let controller = installed(&namespace, &objects("1", &[])).await?;
    let bad = [job("bad").hook("post-upgrade").fails()];
    namespace.release("shop", &objects("2", &bad), rolls_back()).await?;
    remediated(&namespace, &controller, "True").await?;
    namespace.annotate("shop", "retryAt", "1")?;
    let again = |release: &ReleaseLifecycle| {
        let status = release.status.as_ref();
        status.is_some_and(|status| status.revision == Some(5))
            && condition(release, "Stalled").is_some()
    };
    let release = namespace.wait("shop", &controller, "rolled back again", again).await?;
    assert_eq!(remedy(&release), ("RollbackSucceeded", "rollback to revision 3 succeeded"));
    let attempt = release.status.and_then(|status| status.last_attempt).context("it is known")?;
    assert_eq!((attempt.revision, attempt.failures), (4, 2));
    let expect = ["superseded", "failed", "superseded", "failed", "deployed"];
    assert_eq!(states(&namespace)?, expect);
    assert_eq!(value(&namespace).await?, "1");
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_was_not_asked_for_goes_on_after_a_kill() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-kill").await?;
    let slow = [config_map("main", "1"), job("slow").hook("pre-rollback").never_ends()];
    let mut controller = installed(&namespace, &slow).await?;
    let bad = [config_map("main", "2"), job("bad").hook("post-upgrade").fails()];
    namespace.release("shop", &bad, rolls_back()).await?;
    namespace.wait_active("slow").await?;
    let uid = namespace.uid("Job", "slow").await?;
    controller.kill()?;
    let controller = namespace.controller()?;
    let_end(&namespace, "slow")?;
    remediated(&namespace, &controller, "True").await?;
    assert_eq!(namespace.uid("Job", "slow").await?, uid);
    assert_eq!(namespace.tenant_did("create")?, ["jobs/bad", "jobs/slow"]);
    assert_eq!(value(&namespace).await?, "1");
    Ok(())
}

fn let_end(namespace: &Namespace, job: &str) -> Result<()> {
    let label = format!("job-name={job}");
    let outcome = "releaselifecycle.dev/test-outcome=ok";
    namespace.kubectl(&["annotate", "pods", "-l", &label, "--overwrite", outcome])?;
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_fails_is_tried_again_only_when_somebody_asks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-fails").await?;
    let first = [config_map("main", "1"), job("before").hook("pre-rollback").fails()];
    let controller = installed(&namespace, &first).await?;
    let bad = [config_map("main", "2"), job("bad").hook("post-upgrade").fails()];
    namespace.release("shop", &bad, rolls_back()).await?;
    let release = remediated(&namespace, &controller, "False").await?;
    let (word, said) = remedy(&release);
    assert_eq!(word, "RollbackFailed");
    let failed = "rollback to revision 1 failed: pre-rollback hook Job/before";
    assert!(said.starts_with(failed), "{said}");
    let text = message(&release);
    assert!(text.starts_with("upgrade of revision 2 failed: post-upgrade hook Job/bad"), "{text}");
    assert!(text.contains(failed) && text.contains("resume where that failed"), "{text}");
    // Revision 3 goes on at its hook.
    namespace.annotate("shop", "retryAt", "1")?;
    let again = |release: &ReleaseLifecycle| {
        e2e::hook(release, "before").is_some_and(|hook| hook.attempt == 2)
            && condition(release, "Stalled").is_some()
    };
    let release = namespace.wait("shop", &controller, "failed again", again).await?;
    assert_eq!(remedy(&release).0, "RollbackFailed");
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/bad", "jobs/before", "jobs/before"]);
    assert_eq!(states(&namespace)?, ["deployed", "failed", "failed"]);
    // A right spec goes on from there.
    namespace.release("shop", &[config_map("main", "4")], rolls_back()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert!(condition(&release, "Remediated").is_none(), "it is over");
    assert_eq!(states(&namespace)?, ["superseded", "failed", "failed", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn what_was_called_off_is_not_rolled_back() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-cancel").await?;
    let controller = installed(&namespace, &objects("1", &[])).await?;
    let slow = [job("slow").hook("pre-upgrade").never_ends()];
    namespace.release("shop", &objects("2", &slow), rolls_back()).await?;
    namespace.wait_active("slow").await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "Cancelled");
    assert_eq!(states(&namespace)?, ["deployed", "failed"]);
    // It is not to be told later either, by a look that something else brings about.
    namespace.annotate("shop", "testAt", "1")?;
    let tested = |release: &ReleaseLifecycle| condition(release, "TestSuccess").is_some();
    namespace.wait("shop", &controller, "tested", tested).await?;
    assert_eq!(states(&namespace)?, ["deployed", "failed"]);
    Ok(())
}

#[tokio::test]
async fn that_it_is_to_be_rolled_back_may_be_said_after_it_has_failed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-late").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &objects("1", &[]), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let bad = objects("2", &[job("bad").hook("post-upgrade").fails()]);
    namespace.release("shop", &bad, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(condition(&release, "Remediated").is_none(), "nothing makes up for it");
    assert_eq!(value(&namespace).await?, "2");
    // Nothing else is wanted than before, so that the upgrade is not tried again.
    namespace.release("shop", &bad, rolls_back()).await?;
    remediated(&namespace, &controller, "True").await?;
    assert_eq!(value(&namespace).await?, "1");
    let history = ["superseded", "failed", "deployed"];
    assert_eq!(states(&namespace)?, history);
    // Nor by anything else that is asked for, after which the same is said again.
    namespace.annotate("shop", "testAt", "1")?;
    let tested = |release: &ReleaseLifecycle| {
        condition(release, "TestSuccess").is_some() && condition(release, "Stalled").is_some()
    };
    let release = namespace.wait("shop", &controller, "tested", tested).await?;
    let said = "; rollback to revision 1 succeeded. Change the spec, or ";
    assert!(message(&release).contains(said), "{}", message(&release));
    assert_eq!(states(&namespace)?, history);
    Ok(())
}

#[tokio::test]
async fn a_release_of_helm_goes_back_to_what_helm_has_made() -> Result<()> {
    for program in helm::HELMS {
        let namespace = Namespace::new(kwok(), &format!("remedy-of-{program}")).await?;
        let templates: Vec<_> = objects("1", &[]).iter().map(Value::to_string).collect();
        let chart = helm::chart(&namespace, "shop", &templates)?;
        helm::run(&namespace, program, &["install", "shop", &chart.to_string_lossy()])?;
        let controller = namespace.controller()?;
        let bad = objects("2", &[job("bad").hook("post-upgrade").fails()]);
        namespace.release("shop", &bad, rolls_back()).await?;
        remediated(&namespace, &controller, "True").await?;
        assert_eq!(value(&namespace).await?, "1", "{program}");
        let hooks = ["jobs/bad", "jobs/before-1", "jobs/after-1"];
        assert_eq!(namespace.tenant_did("create")?, hooks, "{program}");
        assert_eq!(states(&namespace)?, ["superseded", "failed", "deployed"], "{program}");
        namespace.wait_gone("ConfigMap", "only-2").await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_rolled_back_is_not_tried_again_though_the_status_was_lost() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-lost").await?;
    let slow = [config_map("main", "1"), job("slow").hook("pre-rollback").never_ends()];
    let mut controller = installed(&namespace, &slow).await?;
    let bad = [config_map("main", "2"), job("bad").hook("post-upgrade").fails()];
    namespace.release("shop", &bad, rolls_back()).await?;
    namespace.wait_active("slow").await?;
    // While it is rolled back, and then after that.
    controller.kill()?;
    namespace.lose_status("shop")?;
    let mut controller = namespace.controller()?;
    namespace.resume_lost("shop", &controller).await?;
    let_end(&namespace, "slow")?;
    let release = remediated(&namespace, &controller, "True").await?;
    assert_eq!(reason(&release), "GivenUp");
    controller.kill()?;
    namespace.lose_status("shop")?;
    let controller = namespace.controller()?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "GivenUp");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/bad", "jobs/slow"]);
    assert_eq!(states(&namespace)?, ["superseded", "failed", "deployed"]);
    Ok(())
}

/// A release whose install fails, and whose delete hooks are counted.
fn failing(more: &[Value]) -> Vec<Value> {
    let own = [
        config_map("main", "1"),
        job("bad").hook("post-install").fails(),
        job("before").hook("pre-delete"),
        job("after").hook("post-delete"),
    ];
    [&own, more].concat()
}

#[tokio::test]
async fn an_install_that_fails_is_uninstalled_and_not_made_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-install").await?;
    let mut controller = namespace.controller()?;
    namespace.release("shop", &failing(&[]), uninstalls()).await?;
    let release = remediated(&namespace, &controller, "True").await?;
    let expect = ("UninstallSucceeded", "uninstallation of revision 1 succeeded");
    assert_eq!(remedy(&release), expect);
    let text = message(&release);
    assert!(text.starts_with("install of revision 1 failed: post-install hook Job/bad"), "{text}");
    assert_eq!(release.status.context("a status")?.revision, None);
    let once = ["jobs/bad", "jobs/before", "jobs/after"];
    assert_eq!(namespace.tenant_did("create")?, once);
    for kind in ["configmaps", "jobs", "secrets"] {
        let left = namespace.kubectl(&["get", kind, "-o", "name"])?;
        let left: Vec<_> = left.lines().filter(|it| !it.contains("kube-root-ca")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // Not by whoever looks at it anew either; by a change alone.
    controller.kill()?;
    let controller = namespace.controller()?;
    let spec = [config_map("main", "2"), job("before").hook("pre-delete")];
    namespace.release("shop", &spec, uninstalls()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, once, "nothing was made in between");
    assert!(condition(&release, "Remediated").is_none(), "it is over");
    assert_eq!(states(&namespace)?, ["deployed"]);
    // And it is deleted with its object, as ever.
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    ensure!(namespace.object("ConfigMap", "main").await?.is_none(), "it is gone");
    assert_eq!(namespace.tenant_did("create")?[3..], ["jobs/before"]);
    Ok(())
}

#[tokio::test]
async fn an_uninstallation_that_was_not_asked_for_goes_on_though_the_status_is_lost() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "remedy-gone").await?;
    let mut controller = namespace.controller()?;
    let slow = [job("slow").hook("pre-delete").weight("1").never_ends()];
    namespace.release("shop", &failing(&slow), uninstalls()).await?;
    namespace.wait_active("slow").await?;
    let uid = namespace.uid("Job", "slow").await?;
    for status_is_lost in [false, true] {
        controller.kill()?;
        if status_is_lost {
            namespace.lose_status("shop")?;
        }
        controller = namespace.controller()?;
        if status_is_lost {
            namespace.resume_lost("shop", &controller).await?;
        }
        let waits = |release: &ReleaseLifecycle| {
            e2e::hook(release, "slow").is_some_and(|it| it.uid.is_some() && it.uid == uid)
        };
        namespace.wait("shop", &controller, "waiting for its hook", waits).await?;
    }
    let_end(&namespace, "slow")?;
    let release = remediated(&namespace, &controller, "True").await?;
    assert_eq!((reason(&release), remedy(&release).0), ("GivenUp", "UninstallSucceeded"));
    let once = ["jobs/bad", "jobs/before", "jobs/slow", "jobs/after"];
    assert_eq!(namespace.tenant_did("create")?, once);
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, once, "there is nothing to delete any more");
    Ok(())
}

#[tokio::test]
async fn an_uninstallation_whose_hook_fails_stands_until_somebody_does_without_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "remedy-blocked").await?;
    let controller = namespace.controller()?;
    let objects = [
        config_map("main", "1"),
        job("bad").hook("pre-install").fails(),
        job("before").hook("pre-delete").fails(),
    ];
    let spec = json!({"install": {"onFailure": "Uninstall"}, "deletion": {"timeout": "0s"}});
    namespace.release("shop", &objects, spec).await?;
    let stands = |release: &ReleaseLifecycle| {
        condition(release, "Stalled").is_some() && message(release).contains("Job/before")
    };
    let release = namespace.wait("shop", &controller, "standing", stands).await?;
    assert!(condition(&release, "Remediated").is_none(), "it has not ended");
    assert_eq!(states(&namespace)?, ["uninstalling"]);
    namespace.annotate("shop", "skipAt", "1")?;
    remediated(&namespace, &controller, "True").await?;
    assert_eq!(namespace.kubectl(&["get", "secrets", "-o", "name"])?, "");
    Ok(())
}
