use anyhow::{Context, Result};
use e2e::{
    Namespace, containers, hook,
    manifests::{Manifest, config_map, deployment, job},
    message,
};
use serde_json::json;

#[tokio::test]
async fn a_killed_controller_goes_on_with_the_same_job() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "killed").await?;
    let mut controller = namespace.controller()?;
    let objects = |value: &str| {
        [
            job("prepare").hook("pre-install").runs("echo prepared"),
            // Long enough to be killed in the middle, by a file and not by the clock.
            job("migrate").hook("pre-upgrade").policy("before-hook-creation").runs(
                "echo migration begins; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo migrated",
            ),
            config_map("settings", value),
            deployment("web"),
            job("smoke").hook("post-install,post-upgrade").runs("echo checked"),
        ]
    };
    namespace.release("shop", &objects("1"), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 2 hooks");
    assert!(namespace.kubectl(&["logs", "job/prepare"])?.contains("prepared"));

    namespace.release("shop", &objects("2"), json!({})).await?;
    let running = namespace
        .wait_object("Job", "migrate", "active", |job| {
            job.is_some_and(|job| job["status"]["ready"] == 1)
        })
        .await?
        .context("the migration")?;
    let job = running["metadata"]["uid"].as_str().context("a UID")?.to_owned();
    controller.kill()?;
    // It runs on without anybody, and ends while nobody looks.
    namespace.let_go("migrate", "main")?;
    namespace.kubectl(&["wait", "job/migrate", "--for=condition=Complete", "--timeout=60s"])?;

    let controller = namespace.controller()?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "upgrade of revision 2 succeeded with 2 hooks");
    let ran = hook(&release, "migrate").context("the migration is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (Some(job.as_str()), 1));
    assert_eq!(namespace.uid("Job", "migrate").await?, Some(job));
    let pods = ["get", "pods", "-l", "job-name=migrate", "-o", "name"];
    assert_eq!(namespace.kubectl(&pods)?.lines().count(), 1);
    assert_eq!(namespace.kubectl(&["logs", "job/migrate"])?, "migration begins\nmigrated\n");
    let made = namespace.tenant_did("create")?;
    assert_eq!(made, ["jobs/prepare", "jobs/smoke", "jobs/migrate", "jobs/smoke"]);
    Ok(())
}

#[tokio::test]
async fn a_controller_killed_while_the_job_runs_waits_for_it_again() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "again").await?;
    let mut controller = namespace.controller()?;
    let wait = "while [ ! -e /tmp/go ]; do sleep 0.1; done; echo done";
    namespace.release("shop", &[job("hook").hook("pre-install").runs(wait)], json!({})).await?;
    namespace
        .wait_object("Job", "hook", "active", |job| {
            job.is_some_and(|job| job["status"]["ready"] == 1)
        })
        .await?;
    let before = namespace.uid("Job", "hook").await?;
    controller.kill()?;
    let controller = namespace.controller()?;
    // It has taken over once it serves, and the Job is still at work.
    namespace.release("witness", &[config_map("witness", "")], json!({})).await?;
    namespace.wait_ready("witness", &controller).await?;
    namespace.let_go("hook", "main")?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(hook(&release, "hook").context("it is in status")?.uid, before);
    assert_eq!(namespace.kubectl(&["logs", "job/hook"])?, "done\n");
    Ok(())
}
