use anyhow::{Context, Result};
use e2e::{helm, hook};

use super::Guide;

#[tokio::test]
async fn each_delete_policy_keeps_and_removes_what_it_says() -> Result<()> {
    let Some(guide) = Guide::new("guide-policies").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    guide.apply("policies.yaml", &[])?;
    namespace.wait_ready("policies", controller).await?;
    let release = namespace.wait_stalled("policies-failed", controller).await?;
    let failed = namespace.wait_stalled("policies-failed-stays", controller).await?;
    let jobs = namespace.kubectl(&["get", "jobs", "-o", "name"])?;
    let jobs: Vec<_> = jobs.lines().map(|job| job.trim_start_matches("job.batch/")).collect();
    let stay = ["policy-before-hook-creation", "policy-failed-stays", "policy-hook-failed"];
    assert_eq!(jobs, stay);
    // What went has left its last words.
    for (release, name) in [(&release, "policy-failed-goes"), (&failed, "policy-failed-stays")] {
        let ran = hook(release, name).context("it is in status")?;
        assert_eq!((ran.exit_code, ran.log.as_deref()), (Some(3), Some("no such table\n")));
    }

    // A second run: a new object in the place of the one that stayed.
    let first = namespace.uid("Job", stay[0]).await?;
    guide.apply("policies.yaml", &[("echo done", "echo done again")])?;
    namespace.wait_ready("policies", controller).await?;
    assert_ne!(namespace.uid("Job", stay[0]).await?, first);
    let log = namespace.kubectl(&["logs", "job/policy-before-hook-creation"])?;
    assert_eq!(log, "done again\n");
    let history = helm::json(namespace, "helm", &["history", "policies"])?;
    assert_eq!(history.as_array().map(Vec::len), Some(2), "{history}");
    Ok(())
}
