//! Plans that wait until somebody has approved them.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Namespace, condition, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use lifecycle::approval::{Action, PendingPlan};
use serde_json::{Value, json};

use super::remediation::states;

fn waits(release: &ReleaseLifecycle) -> bool {
    reason(release) == "ApprovalPending"
}

fn plan(release: &ReleaseLifecycle) -> Option<&PendingPlan> {
    release.status.as_ref()?.plan.as_ref()
}

fn objects(value: &str) -> Vec<Value> {
    vec![config_map("main", value), job("hook").hook("pre-upgrade,pre-delete")]
}

/// The Secrets in which plans wait.
fn stored(namespace: &Namespace) -> Result<usize> {
    let of_plans = "--field-selector=type=releaselifecycle.dev/plan.v1";
    Ok(namespace.kubectl(&["get", "secrets", of_plans, "-o", "name"])?.lines().count())
}

#[tokio::test]
async fn an_upgrade_waits_for_its_approval_and_exactly_its_plan_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "approval").await?;
    let controller = namespace.controller()?;
    let spec = json!({"approval": {"mode": "Upgrade"},
                      "hooks": {"rules": [{"match": {"kind": "Job"}, "retries": 1}]}});
    let with_old = [objects("1"), vec![config_map("old", "1")]].concat();
    namespace.release("shop", &with_old, spec.clone()).await?;
    // An install does not wait.
    namespace.wait_ready("shop", &controller).await?;

    let with_new = [objects("2"), vec![config_map("new", "1")]].concat();
    namespace.release("shop", &with_new, spec.clone()).await?;
    let release = namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
    let shown = plan(&release).context("status.plan")?.clone();
    let said = message(&release);
    let expected = format!(
        "upgrade of revision 2 waits for the approval of plan {}: 1 hooks, 1 objects to create, 1 to \
         update, 1 to delete.",
        shown.short_digest()
    );
    assert!(said.starts_with(&expected), "{said}");
    let hooks: Vec<_> =
        shown.hooks.iter().map(|hook| (&*hook.name, hook.rule.as_deref())).collect();
    assert_eq!(hooks, [("hook", Some("spec.hooks.rules[0]"))]);
    let changes: Vec<_> =
        shown.changes.iter().map(|it| (it.action, &*it.name, it.fields.join(" "))).collect();
    let expected = [
        (Action::Update, "main", "/data/value".to_owned()),
        (Action::Create, "new", String::new()),
        (Action::Delete, "old", String::new()),
    ];
    for change in &expected {
        assert!(changes.contains(change), "{change:?} is not in {changes:?}");
    }
    // Nothing of it is done, and Helm sees what is deployed.
    assert_eq!(states(&namespace)?, ["deployed"]);
    assert_eq!((namespace.tenant_did("create")?.len(), stored(&namespace)?), (0, 1));

    // A restart makes no other plan.
    drop(controller);
    let controller = namespace.controller()?;
    namespace.approve("shop", "sha256:of another plan, which this is not")?;
    let outdated = |release: &ReleaseLifecycle| {
        waits(release) && message(release).contains("was approved, which is not this one")
    };
    let release = namespace.wait("shop", &controller, "told that it is another", outdated).await?;
    assert_eq!(plan(&release).map(|plan| &plan.digest), Some(&shown.digest));

    let user = namespace.approve("shop", &shown.digest)?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let status = release.status.as_ref().context("it has a status")?;
    let operation = status.operation.as_ref().context("an operation")?;
    assert_eq!(operation.id, shown.operation);
    assert_eq!(operation.plan_digest.as_ref(), Some(&shown.digest));
    assert_eq!(operation.approved_by, Some(user));
    assert!(status.plan.is_none());
    assert_eq!(states(&namespace)?, ["superseded", "deployed"]);
    assert_eq!((namespace.tenant_did("create")?.len(), stored(&namespace)?), (1, 0));

    // The approval is of that plan alone.
    namespace.release("shop", &objects("3"), spec).await?;
    let release = namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
    assert_ne!(plan(&release).context("status.plan")?.digest, shown.digest);
    // The spec is again what is deployed.
    namespace.release("shop", &with_new, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(stored(&namespace)?, 0);
    Ok(())
}

#[tokio::test]
async fn a_spec_that_changes_after_the_approval_is_not_what_was_approved() -> Result<()> {
    let namespace = Namespace::new(kwok(), "approval-moved").await?;
    let controller = namespace.controller()?;
    let spec = json!({"approval": {"mode": "Always"}});
    namespace.release("shop", &objects("1"), spec.clone()).await?;
    let release = namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
    let first = plan(&release).context("status.plan")?.digest.clone();
    drop(controller);
    // Approved, and changed before the operator sees it.
    namespace.approve("shop", &first)?;
    namespace.release("shop", &objects("2"), spec.clone()).await?;
    let controller = namespace.controller()?;
    let again = |release: &ReleaseLifecycle| {
        waits(release) && plan(release).is_some_and(|plan| plan.digest != first)
    };
    let release = namespace.wait("shop", &controller, "another plan", again).await?;
    let records = namespace.kubectl(&["get", "secrets", "-l", "owner=helm", "-o", "name"])?;
    assert_eq!(records, "");
    // A stored plan that somebody has changed is made anew: its record counts, too.
    let second = plan(&release).context("status.plan")?.digest.clone();
    let patch = r#"[{"op": "remove", "path": "/data/release"}]"#;
    let secret = "secret/releaselifecycle.v1.shop.plan";
    namespace.kubectl(&["patch", secret, "--type=json", "-p", patch])?;
    namespace.approve("shop", &second)?;
    let again = |release: &ReleaseLifecycle| {
        waits(release)
            && plan(release).is_some_and(|plan| ![&first, &second].contains(&&plan.digest))
    };
    let release = namespace.wait("shop", &controller, "a third plan", again).await?;
    namespace.approve("shop", &plan(&release).context("status.plan")?.digest.clone())?;
    namespace.wait_ready("shop", &controller).await?;
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    assert_eq!(main["data"]["value"], "2");

    // A deletion waits, too.
    namespace.kubectl(&["delete", "rl/shop", "--wait=false"])?;
    let of_deletion = |release: &ReleaseLifecycle| {
        waits(release) && plan(release).is_some_and(|plan| !plan.changes.is_empty())
    };
    let release = namespace.wait("shop", &controller, "ApprovalPending", of_deletion).await?;
    assert_eq!(namespace.tenant_did("create")?.len(), 0);
    namespace.approve("shop", &plan(&release).context("status.plan")?.digest.clone())?;
    namespace.kubectl(&["wait", "--for=delete", "rl/shop", "--timeout=90s"])?;
    assert_eq!((namespace.tenant_did("create")?.len(), stored(&namespace)?), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_failure_is_remediated_without_another_approval() -> Result<()> {
    let namespace = Namespace::new(kwok(), "approval-remedy").await?;
    let controller = namespace.controller()?;
    let spec = json!({"approval": {"mode": "Upgrade"}, "upgrade": {"onFailure": "Rollback"}});
    namespace.release("shop", &[config_map("main", "1")], spec.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let failing = [config_map("main", "2"), job("hook").hook("post-upgrade").fails()];
    namespace.release("shop", &failing, spec).await?;
    let release = namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
    namespace.approve("shop", &plan(&release).context("status.plan")?.digest.clone())?;
    let rolled_back = |release: &ReleaseLifecycle| {
        condition(release, "Remediated").is_some_and(|it| it.status == "True")
    };
    namespace.wait("shop", &controller, "rolled back", rolled_back).await?;
    assert_eq!(states(&namespace)?, ["superseded", "failed", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn a_plan_that_nobody_approves_leaves_nothing_behind() -> Result<()> {
    let namespace = Namespace::new(kwok(), "approval-refused").await?;
    let controller = namespace.controller()?;
    for deletion in ["Delete", "Keep"] {
        let spec = json!({"approval": {"mode": "Always"}, "deletion": {"objects": deletion}});
        namespace.release("shop", &objects("1"), spec).await?;
        namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
        assert_eq!(stored(&namespace)?, 1);
        namespace.kubectl(&["delete", "rl/shop", "--timeout=90s"])?;
        assert_eq!(stored(&namespace)?, 0);
    }
    // Without approvals it begins, by a plan of its own.
    let spec = json!({"approval": {"mode": "Always"}});
    namespace.release("shop", &objects("1"), spec).await?;
    namespace.wait("shop", &controller, "ApprovalPending", waits).await?;
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!((stored(&namespace)?, states(&namespace)?), (0, vec!["deployed".to_owned()]));
    Ok(())
}
