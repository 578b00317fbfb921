//! Evidence of a failed hook is recorded before anything deletes it.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Namespace, containers, hook,
    manifests::{Manifest, job, pod},
    message,
};
use lifecycle::journal::HookStatus;
use serde_json::{Value, json};

const FAIL: &str =
    "exec 2>&1; for i in $(seq 1 30); do echo line $i; done; echo no such table >&2; exit 3";

fn status<'a>(release: &'a ReleaseLifecycle, name: &str) -> Result<&'a HookStatus> {
    hook(release, name).with_context(|| format!("{name} is in status"))
}

/// The lines of the log that was kept.
fn kept(hook: &HookStatus) -> Vec<&str> {
    hook.log.as_deref().unwrap_or_default().lines().collect()
}

#[tokio::test]
async fn exit_code_and_last_lines_are_kept_even_where_the_object_is_deleted() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "evidence").await?;
    let controller = namespace.controller()?;
    let failing = |hook: Value| hook.hook("pre-install").runs(FAIL);
    let releases = [
        ("stays", failing(job("stays"))),
        ("goes", failing(job("goes")).policy("hook-failed")),
        ("pod", failing(pod("pod")).policy("hook-failed")),
        ("retried", failing(job("retried")).set("/spec/backoffLimit", 1)),
        ("restarted", failing(job("restarted")).set_pod("/spec/restartPolicy", "OnFailure")),
    ];
    for (name, object) in &releases {
        namespace.release(name, std::slice::from_ref(object), json!({})).await?;
    }
    // Fewer lines, and none at all.
    let few = json!({"hooks": {"logLines": 2}});
    namespace.release("few", &[failing(job("few"))], few).await?;
    namespace.release("none", &[failing(job("none"))], json!({"hooks": {"logLines": 0}})).await?;

    for (name, _) in &releases {
        let release = namespace.wait_stalled(name, &controller).await?;
        let ran = status(&release, name)?;
        assert_eq!(ran.exit_code, Some(3), "{name}: {ran:#?}");
        let lines = kept(ran);
        assert_eq!(lines.len(), 20, "{name}: {lines:?}");
        assert_eq!(lines.last(), Some(&"no such table"), "{name}");
        assert_eq!(lines.first(), Some(&"line 12"), "{name}");
    }
    let few = namespace.wait_stalled("few", &controller).await?;
    assert_eq!(kept(status(&few, "few")?), ["line 30", "no such table"]);
    let none = namespace.wait_stalled("none", &controller).await?;
    assert_eq!((status(&none, "none")?.exit_code, &status(&none, "none")?.log), (Some(3), &None));

    namespace.wait_gone("Job", "goes").await?;
    namespace.wait_gone("Pod", "pod").await?;
    let described = namespace.kubectl(&["describe", "rl", "goes"])?;
    for part in ["Exit Code:", "3", "line 30", "no such table", "BackoffLimitExceeded"] {
        assert!(described.contains(part), "{part:?} is not in {described}");
    }
    Ok(())
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_named_at_once() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "image").await?;
    let controller = namespace.controller()?;
    let object = job("hook")
        .hook("pre-install")
        .set_pod("/spec/containers/0/image", "registry.example/shop/migrate:1.4");
    namespace.release("shop", &[object], json!({"timeout": "1h"})).await?;
    let release = namespace
        .wait("shop", &controller, "held up by its image", |release| {
            message(release).contains("ImagePullBackOff")
                || message(release).contains("ErrImagePull")
        })
        .await?;
    let text = message(&release);
    assert!(
        text.starts_with("waiting for hook Job/hook (pre-install, 1 of 1, attempt 1) since "),
        "{text}"
    );
    assert!(text.contains(": pod hook-") && text.contains(" container main "), "{text}");
    assert!(text.contains("registry.example/shop/migrate:1.4"), "{text}");

    // So is a Secret that is not there.
    let env = json!([{"secretRef": {"name": "missing"}}]);
    let object = job("other").hook("pre-install").set_pod("/spec/containers/0/envFrom", env);
    namespace.release("other", &[object], json!({"timeout": "1h"})).await?;
    let release = namespace
        .wait("other", &controller, "held up by its Secret", |release| {
            message(release).contains("CreateContainerConfigError")
        })
        .await?;
    assert!(message(&release).contains("secret \"missing\" not found"), "{}", message(&release));
    // Once it is there, the hook goes on.
    namespace.kubectl(&["create", "secret", "generic", "missing", "--from-literal=a=b"])?;
    namespace.wait_ready("other", &controller).await?;
    Ok(())
}

/// The Job controller deletes the Pod before it says that the Job has failed.
#[tokio::test]
async fn the_log_of_a_job_that_runs_out_of_its_own_time_is_kept() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "own-deadline").await?;
    let controller = namespace.controller()?;
    let script = "echo begun; exec sleep 600";
    let hook = job("hook").hook("pre-install").set("/spec/activeDeadlineSeconds", 15).runs(script);
    namespace.release("shop", &[hook], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let ran = status(&release, "hook")?;
    assert_eq!(ran.reason.as_deref(), Some("DeadlineExceeded"), "{ran:#?}");
    assert_eq!(kept(ran), ["begun"], "{ran:#?}");
    let pods = ["get", "pods", "-l", "job-name=hook", "-o", "name"];
    assert_eq!(namespace.kubectl(&pods)?, "", "the evidence outlives the Pod");
    Ok(())
}

#[tokio::test]
async fn the_log_of_a_hook_that_is_stopped_is_kept() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "stopped").await?;
    let controller = namespace.controller()?;
    let script = "echo begun; exec sleep 600";
    for (name, object) in [("job", job("job")), ("pod", pod("pod"))] {
        let object = object.hook("pre-install").runs(script);
        namespace.release(name, &[object], json!({"timeout": "15s"})).await?;
    }
    for name in ["job", "pod"] {
        let release = namespace.wait_stalled(name, &controller).await?;
        let ran = status(&release, name)?;
        assert_eq!(ran.reason.as_deref(), Some("Timeout"), "{name}: {ran:#?}");
        assert_eq!(kept(ran), ["begun"], "{name}: {ran:#?}");
    }
    namespace.kubectl(&["wait", "job/job", "--for=condition=Failed", "--timeout=60s"])?;
    namespace.wait_gone("Pod", "pod").await?;
    let pods = ["get", "pods", "-l", "job-name=job", "-o", "name"];
    assert_eq!(namespace.kubectl(&pods)?, "", "its container runs no more");
    Ok(())
}
