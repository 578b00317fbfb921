//! The operator in a cluster as `deploy/` runs it: its own image, two replicas, the shipped rights.
//! A program of its own, since such an operator serves every namespace.

mod image;
mod operator;
mod tenants;

use anyhow::{Context, Result, ensure};
use e2e::{
    Chart, Namespace, condition, containers, hook,
    manifests::{Manifest, config_map, deployment, job},
    message, reason,
};
use serde_json::{Value, json};
use testkit::audit;

use operator::{ACCOUNT, Operator};

/// Runs until a test says so, by a file and not by the clock.
const UNTIL_TOLD: &str = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo done";

#[tokio::test]
async fn a_release_lives_while_replicas_come_and_go() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    // In the profile that the other tests compile in.
    image::load(cluster, "dev")?;
    let single = Operator::deploy(cluster, &operator::shipped("single-tenant"))?;
    Box::pin(live(&single, json!({"serviceAccountName": null})))
        .await
        .context("deploy/single-tenant")?;
    // All that it was is gone, the definition of the resource too: the next one comes to a cluster
    // that never saw an operator.
    single.remove()?;
    let multi = Operator::deploy(cluster, &operator::with_another_image("multi-tenant")?)?;
    Box::pin(live(&multi, json!({}))).await.context("deploy/multi-tenant")
}

fn objects(value: &str) -> Vec<Value> {
    vec![
        job("prepare").hook("pre-install").runs("echo prepared"),
        job("migrate").hook("pre-upgrade").runs(UNTIL_TOLD),
        job("restore").hook("pre-rollback").runs(UNTIL_TOLD),
        config_map("settings", value),
        deployment("web"),
        job("smoke").hook("test").runs("echo checked"),
        job("backup").hook("pre-delete").runs("echo saved"),
        job("goodbye").hook("post-delete").runs("echo bye"),
    ]
}

/// Install, upgrade, test, rollback and deletion; the leader is deleted in the middle of the upgrade's
/// hook, and all replicas are replaced in the middle of the rollback's.
async fn live(operator: &Operator, more: Value) -> Result<()> {
    let namespace = Namespace::new(operator.cluster, "deployed").await?;
    let settings = async || {
        let live = namespace.object("ConfigMap", "settings").await?;
        anyhow::Ok(live.map(|live| live["data"]["value"].clone()))
    };
    if more.get("serviceAccountName").is_none() {
        operator::allow_in(&namespace)?;
    }
    operator.check_refused_places()?;
    rendered(operator, &namespace, &more).await?;
    namespace.release("shop", &objects("1"), more.clone()).await?;
    let release = namespace.wait_ready("shop", operator).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 1 hook");

    namespace.release("shop", &objects("2"), more.clone()).await?;
    let migrate = running(&namespace, "migrate").await?;
    operator.delete_leader().await?;
    namespace.let_go("migrate", "main")?;
    let release = namespace.wait_ready("shop", operator).await?;
    assert_eq!(message(&release), "upgrade of revision 2 succeeded with 1 hook");
    let ran = hook(&release, "migrate").context("the migration is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (Some(migrate.as_str()), 1));
    assert_eq!(settings().await?, Some(json!("2")));

    namespace.annotate("shop", "testAt", "1")?;
    namespace
        .wait("shop", operator, "tested", |release| {
            condition(release, "TestSuccess").is_some_and(|it| it.status == "True")
                && condition(release, "Ready").is_some_and(|it| it.status == "True")
        })
        .await?;

    let mut pinned = more;
    pinned["pinRevision"] = json!(1);
    namespace.release("shop", &objects("2"), pinned).await?;
    let restore = running(&namespace, "restore").await?;
    operator.restart().await?;
    namespace.let_go("restore", "main")?;
    let release = namespace.wait_ready("shop", operator).await?;
    assert_eq!(reason(&release), "RevisionPinned");
    let ran = hook(&release, "restore").context("the restore is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (Some(restore.as_str()), 1));
    assert_eq!(settings().await?, Some(json!("1")));

    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", operator).await?;
    assert_eq!(settings().await?, None);

    // Every hook once, in this order, held back until its start was journalled.
    let hooks = ["prepare", "migrate", "smoke", "restore", "backup", "goodbye"];
    let events = namespace.audit()?;
    let user = format!("system:serviceaccount:{}:{ACCOUNT}", operator::NAMESPACE);
    let violations =
        audit::judge(&events, |event| event.user == user, &hooks.map(audit::Ran::Alone));
    ensure!(violations.is_empty(), "{violations:#?}");
    let starts = audit::starts(&events);
    assert_eq!(starts.into_values().collect::<Vec<_>>(), [1; 6]);
    ensure!(
        events.iter().any(|event| event.user == user),
        "the operator was not {user}, so nothing was judged"
    );
    Ok(())
}

/// The image has its engine, which renders within the bounds of the Pod.
async fn rendered(operator: &Operator, namespace: &Namespace, more: &Value) -> Result<()> {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rendered}\n\
                    data: {by: {{ .Release.Service }}}\n";
    let chart = Chart::new(namespace, "rendered")?.file("templates/a.yaml", template)?;
    chart.put(namespace).await?;
    let mut spec = chart.source();
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    namespace.release("rendered", &[], spec).await?;
    namespace.wait_ready("rendered", operator).await?;
    let live = namespace.object("ConfigMap", "rendered").await?.context("it was applied")?;
    assert_eq!(live["data"]["by"], "Helm");
    namespace.kubectl(&["delete", "rl", "rendered", "--wait=false"])?;
    namespace.wait_released("rendered", operator).await
}

/// Waits until the hook's container runs; the UID of its Job.
async fn running(namespace: &Namespace, name: &str) -> Result<String> {
    let is = |job: Option<&Value>| job.is_some_and(|job| job["status"]["ready"] == 1);
    let job = namespace.wait_object("Job", name, "running", is).await?.context("it runs")?;
    Ok(job["metadata"]["uid"].as_str().context("a UID")?.to_owned())
}
