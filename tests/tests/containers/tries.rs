//! Reports on a hook's tries while the next one runs, and on Pods that somebody deleted.

use anyhow::{Context, Result};
use e2e::{
    Namespace, containers, hook,
    manifests::{Manifest, job},
    message,
};
use serde_json::json;

#[tokio::test]
async fn the_last_cause_stays_while_the_next_try_runs() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "tries").await?;
    let controller = namespace.controller()?;
    // From the second failure on, the next try runs on.
    let script = "echo no database; sleep 1; exit 1";
    let repeated = job("hook").hook("pre-install").set("/spec/backoffLimit", 6).runs(script);
    namespace.release("shop", &[repeated], json!({"timeout": "1h"})).await?;
    let script = "[ -e /state/two ] && exec sleep 3600; \
                  if [ -e /state/one ]; then touch /state/two; fi; touch /state/one; exit 4";
    let restarted = job("again")
        .hook("pre-install")
        .set("/spec/backoffLimit", 6)
        .set_pod("/spec/restartPolicy", "OnFailure")
        .set_pod("/spec/volumes", json!([{"name": "state", "emptyDir": {}}]))
        .set_pod(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "state", "mountPath": "/state"}]),
        )
        .runs(script);
    namespace.release("again", &[restarted], json!({"timeout": "1h"})).await?;

    let said = "2 of 7 tries failed, last: exit code 1 in pod hook-";
    namespace.wait("shop", &controller, said, |release| message(release).contains(said)).await?;
    let said = " container main CrashLoopBackOff: 2 tries failed, last: exit code 4";
    namespace.wait("again", &controller, said, |release| message(release).contains(said)).await?;
    namespace
        .wait_object("Job", "again", "running", |job| {
            job.is_some_and(|job| job["status"]["ready"] == 1)
        })
        .await?;
    // A look at it as it runs now.
    namespace.annotate("again", "look", "1")?;
    let release = namespace.releases().get("again").await?;
    assert!(message(&release).contains(said), "{}", message(&release));
    Ok(())
}

#[tokio::test]
async fn pods_that_somebody_deleted_or_left_behind_are_named() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "left").await?;
    let controller = namespace.controller()?;
    let endless = "trap 'exit 1' TERM; while true; do sleep 0.1; done";
    for name in ["deleted", "orphaned"] {
        let object = job(name)
            .hook("pre-install")
            .set_pod("/spec/terminationGracePeriodSeconds", 5)
            .runs(endless);
        namespace.release(name, &[object], json!({"timeout": "1h"})).await?;
        namespace
            .wait_object("Job", name, "running", |job| {
                job.is_some_and(|job| job["status"]["ready"] == 1)
            })
            .await?;
    }
    namespace.kubectl(&["delete", "pods", "-l", "job-name=deleted"])?;
    let release = namespace.wait_stalled("deleted", &controller).await?;
    let text = message(&release);
    assert!(text.contains("; pod deleted-") && text.contains(" was deleted before "), "{text}");

    namespace.kubectl(&["delete", "job", "orphaned", "--cascade=orphan"])?;
    namespace.wait_stalled("orphaned", &controller).await?;
    namespace.retry("orphaned", "1", &controller).await?;
    let said = " of an earlier Job of this name still runs beside it; remove it with kubectl delete pod orphaned-";
    namespace
        .wait("orphaned", &controller, said, |release| message(release).contains(said))
        .await?;
    namespace.kubectl(&[
        "delete",
        "pods",
        "-l",
        "job-name=orphaned",
        "--field-selector=metadata.name!=x",
    ])?;
    Ok(())
}

#[tokio::test]
async fn a_log_is_kept_without_what_only_terminals_understand() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "terminal").await?;
    let controller = namespace.controller()?;
    let cases = [
        (
            "ansi",
            r"printf '\033[31mERROR\033[0m table \033[1musers\033[0m missing\r\n\033[2J\033]0;title\007after\n'",
            "ERROR table users missing\nafter\n",
        ),
        ("progress", r"i=0; while [ $i -lt 200 ]; do printf '\r%d%%' $i; i=$((i+1)); done", "199%"),
        ("invalid", r"printf 'caf\351 \377\n'", "caf\u{fffd} \u{fffd}\n"),
    ];
    for (name, script, _) in cases {
        let object = job(name).hook("pre-install").runs(&format!("{script}; exit 4"));
        namespace.release(name, &[object], json!({})).await?;
    }
    for (name, _, expected) in cases {
        let release = namespace.wait_stalled(name, &controller).await?;
        let ran = hook(&release, name).context("it is in status")?;
        assert_eq!(ran.log.as_deref(), Some(expected), "{name}: {ran:#?}");
    }
    Ok(())
}
