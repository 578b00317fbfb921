//! A hook that is ordered to stop has not succeeded, though it ends with exit code 0: a backup that was
//! interrupted is no backup.

use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, condition, containers, hook,
    manifests::{Manifest, config_map, job, pod},
    message, reason,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::EvictParams};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

/// Ends well as soon as it is told to stop, and never before.
const OBEYS: &str = "trap 'echo interrupted; exit 0' TERM; echo table 1 of 9; \
                     while true; do sleep 0.1; done";

fn obeys(hook: Value, event: &str) -> Value {
    hook.hook(event).set_pod("/spec/terminationGracePeriodSeconds", 30).runs(OBEYS)
}

async fn wait_running(namespace: &Namespace, name: &str) -> Result<()> {
    namespace
        .wait_object("Pod", name, "Running", |pod| {
            pod.is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await?;
    Ok(())
}

async fn evict(namespace: &Namespace, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), &namespace.name);
    pods.evict(name, &EvictParams::default()).await.context("evict the Pod")?;
    Ok(())
}

/// Waits for the end of the operation, which failed at its hook for this reason.
async fn fails(
    namespace: &Namespace,
    name: &str,
    controller: &Controller,
    why: &str,
) -> Result<()> {
    let release = namespace.wait_stalled(name, controller).await?;
    let ran = hook(&release, name).context("it is in status")?;
    assert_eq!((ran.phase, ran.reason.as_deref()), (HookPhase::Failed, Some(why)), "{ran:#?}");
    let applied = namespace.object("ConfigMap", &format!("{name}-main")).await?;
    assert_eq!(applied, None, "nothing is applied after a hook that was stopped");
    Ok(())
}

async fn release(namespace: &Namespace, name: &str, hook: Value, timeout: &str) -> Result<()> {
    let objects = [hook, config_map(&format!("{name}-main"), "1")];
    namespace.release(name, &objects, json!({"timeout": timeout})).await
}

#[tokio::test]
async fn a_pod_that_ends_well_when_it_is_stopped_has_failed() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "stopped").await?;
    let controller = namespace.controller()?;
    let hook = |name: &str| obeys(pod(name), "pre-install");
    release(&namespace, "late", hook("late"), "3s").await?;
    // A container that ended before does not speak for the other.
    let pair = hook("pair").set(
        "/spec/initContainers",
        json!([{"name": "early", "image": "busybox:1", "command": ["true"]}]),
    );
    release(&namespace, "pair", pair, "3s").await?;
    let always = hook("always").set("/spec/restartPolicy", "Always");
    release(&namespace, "always", always, "3s").await?;
    for name in ["deleted", "evicted", "cancelled"] {
        release(&namespace, name, hook(name), "5m").await?;
        wait_running(&namespace, name).await?;
    }
    namespace.kubectl(&["delete", "pod", "deleted", "--wait=false"])?;
    evict(&namespace, "evicted").await?;
    namespace.annotate("cancelled", "cancelAt", "1")?;
    for (name, why) in [
        ("late", "Timeout"),
        ("pair", "Timeout"),
        ("always", "Timeout"),
        ("deleted", "Vanished"),
        ("evicted", "Evicted"),
        ("cancelled", "Cancelled"),
    ] {
        fails(&namespace, name, &controller, why).await?;
    }
    // A retry runs the hook again.
    namespace.annotate("cancelled", "retryAt", "1")?;
    let again = |release: &_| hook_runs(release, "cancelled", 2);
    namespace.wait("cancelled", &controller, "at its second attempt", again).await?;
    Ok(())
}

fn hook_runs(release: &api::ReleaseLifecycle, name: &str, attempt: i32) -> bool {
    hook(release, name).is_some_and(|it| it.phase == HookPhase::Running && it.attempt == attempt)
}

/// One container ends by itself, the other one when it is told to.
#[tokio::test]
async fn every_container_has_to_end_by_itself() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "apart").await?;
    let controller = namespace.controller()?;
    let mut both = obeys(pod("apart"), "pre-install");
    both.pointer_mut("/spec/containers")
        .and_then(Value::as_array_mut)
        .context("a list")?
        .push(json!({"name": "early", "image": "busybox:1", "command": ["true"]}));
    release(&namespace, "apart", both, "5m").await?;
    let lingers = |release: &_| message(release).contains("container early ended with exit code 0");
    namespace.wait("apart", &controller, "half of it has ended", lingers).await?;
    namespace.kubectl(&["delete", "pod", "apart", "--wait=false"])?;
    fails(&namespace, "apart", &controller, "Vanished").await
}

/// The Job's controller counts a Pod that it waits for to its end, and that ends well.
#[tokio::test]
async fn a_job_is_not_complete_by_a_pod_that_was_evicted() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "drained").await?;
    let controller = namespace.controller()?;
    let waits = "trap 'while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 0' TERM; \
                 while true; do sleep 0.1; done";
    let hook = obeys(job("drained"), "pre-install")
        .set("/spec/podReplacementPolicy", "Failed")
        .runs(waits);
    release(&namespace, "drained", hook, "5m").await?;
    let running = |job: Option<&Value>| job.is_some_and(|job| job["status"]["ready"] == 1);
    namespace.wait_object("Job", "drained", "ready", running).await?;
    let name =
        ["get", "pods", "-l", "job-name=drained", "-o", "jsonpath={.items[0].metadata.name}"];
    evict(&namespace, &namespace.kubectl(&name)?).await?;
    let known = |release: &_| message(release).contains(" Evicted: Eviction API: evicting");
    namespace.wait("drained", &controller, "its eviction is named", known).await?;
    namespace.let_go("drained", "main")?;
    fails(&namespace, "drained", &controller, "Evicted").await?;
    let job = namespace.object("Job", "drained").await?.context("the Job is there")?;
    assert_eq!(job["status"]["succeeded"], 1, "its controller counts it");
    Ok(())
}

#[tokio::test]
async fn no_release_is_deleted_after_a_backup_that_was_interrupted() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "backup").await?;
    let controller = namespace.controller()?;
    let objects = [obeys(pod("backup"), "pre-delete"), config_map("precious", "1")];
    let settings = json!({"timeout": "3s", "deletion": {"timeout": "5s"}});
    namespace.release("shop", &objects, settings).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    let stands = |release: &_| reason(release) == "HookFailed";
    let release = namespace.wait("shop", &controller, "blocked", stands).await?;
    let ran = hook(&release, "backup").context("it is in status")?;
    assert_eq!(
        (ran.phase, ran.reason.as_deref()),
        (HookPhase::Failed, Some("Timeout")),
        "{ran:#?}"
    );
    assert!(namespace.object("ConfigMap", "precious").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_test_that_was_stopped_has_not_passed() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "smoke").await?;
    let controller = namespace.controller()?;
    let objects = [obeys(pod("smoke"), "test"), config_map("main", "1")];
    namespace.release("shop", &objects, json!({"timeout": "5m"})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.annotate("shop", "testAt", "1")?;
    wait_running(&namespace, "smoke").await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    let failed =
        |release: &_| condition(release, "TestSuccess").is_some_and(|it| it.status == "False");
    namespace.wait("shop", &controller, "its test failed", failed).await?;
    Ok(())
}
