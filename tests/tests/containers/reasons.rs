//! Reasons that only a real kubelet can give: volumes, sidecars, memory, evictions. Each is said in a way
//! that `kubectl describe` shows.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, condition, containers, hook,
    manifests::{Manifest, job, pod},
    message,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::EvictParams};
use serde_json::{Value, json};

async fn says(namespace: &Namespace, controller: &Controller, said: &str) -> Result<()> {
    namespace
        .wait("shop", controller, said, |release| message(release).contains(said))
        .await
        .map(drop)
}

fn described(namespace: &Namespace, parts: &[&str]) -> Result<()> {
    let described = namespace.kubectl(&["describe", "rl", "shop"])?;
    for part in parts {
        assert!(described.contains(part), "{part:?} is not in {described}");
    }
    Ok(())
}

#[tokio::test]
async fn volumes_that_cannot_be_mounted_are_named_and_waited_for() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "volumes").await?;
    let controller = namespace.controller()?;
    let volumes = json!([
        {"name": "password", "secret": {"secretName": "absent-secret"}},
        {"name": "settings", "configMap": {"name": "absent-settings"}},
    ]);
    let mounts = json!([{"name": "password", "mountPath": "/password"},
                        {"name": "settings", "mountPath": "/settings"}]);
    let object = job("hook")
        .hook("pre-install")
        .set_pod("/spec/volumes", volumes)
        .set_pod("/spec/containers/0/volumeMounts", mounts);
    namespace.release("shop", &[object], json!({"timeout": "1h"})).await?;
    says(&namespace, &controller, ": pod hook-").await?;
    says(&namespace, &controller, " FailedMount: MountVolume.SetUp failed").await?;
    says(&namespace, &controller, "secret \"absent-secret\" not found").await?;
    says(&namespace, &controller, "configmap \"absent-settings\" not found").await?;
    described(&namespace, &["Reconciling", "FailedMount", "absent-secret", "absent-settings"])?;
    namespace.kubectl(&["create", "configmap", "absent-settings"])?;
    namespace.kubectl(&["create", "secret", "generic", "absent-secret"])?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

/// No event of a watch says that a Pod which has its node does not start there.
#[tokio::test]
async fn a_pod_that_does_not_start_is_explained_long_before_its_time_is_over() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "start").await?;
    let controller = namespace.controller()?;
    let volumes = json!([{"name": "password", "secret": {"secretName": "absent-secret"}}]);
    let mounts = json!([{"name": "password", "mountPath": "/password"}]);
    let object = pod("hook")
        .hook("pre-install")
        .set_pod("/spec/volumes", volumes)
        .set_pod("/spec/containers/0/volumeMounts", mounts);
    // Less than the time after which a hook is looked at in any case.
    namespace.release("shop", &[object], json!({"timeout": "50s"})).await?;
    let is_explained = |release: &ReleaseLifecycle| message(release).contains("FailedMount");
    let is_over = |release: &ReleaseLifecycle| condition(release, "Stalled").is_some();
    let either = |release: &ReleaseLifecycle| is_explained(release) || is_over(release);
    let release = namespace.wait("shop", &controller, "explained", either).await?;
    assert!(is_explained(&release) && !is_over(&release), "{}", message(&release));
    Ok(())
}

#[tokio::test]
async fn a_claim_that_is_missing_is_named_and_waited_for() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "claim").await?;
    let controller = namespace.controller()?;
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "backup"}}]);
    let object = job("hook").hook("pre-install").set_pod("/spec/volumes", volumes);
    namespace.release("shop", &[object], json!({"timeout": "1h"})).await?;
    says(&namespace, &controller, "persistentvolumeclaim \"backup\" not found").await?;
    described(&namespace, &["Unschedulable", "persistentvolumeclaim"])?;
    Ok(())
}

/// Case 21 of Helm's.
#[tokio::test]
async fn a_sidecar_that_goes_on_is_named() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "sidecar").await?;
    let controller = namespace.controller()?;
    let mut object = job("hook").hook("pre-install").runs("true");
    let containers = object.pointer_mut("/spec/template/spec/containers").context("containers")?;
    let proxy = "echo proxying; while [ ! -e /tmp/go ]; do sleep 0.1; done";
    containers
        .as_array_mut()
        .context("a list")?
        .push(json!({"name": "proxy", "image": "busybox:1", "command": ["sh", "-c", proxy]}));
    namespace.release("shop", &[object], json!({"timeout": "1h"})).await?;
    let said = " container main ended with exit code 0, container proxy still runs";
    says(&namespace, &controller, said).await?;
    namespace.let_go("hook", "proxy")?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_container_that_runs_out_of_memory_is_named() -> Result<()> {
    // Where the container ends with what was killed, its runtime may hear of the end first, and then
    // says nothing of memory.
    const SCRIPT: &str = "echo greedy; dd if=/dev/zero of=/dev/null bs=200M count=1; code=$?; \
                          sleep 2; exit $code";
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "memory").await?;
    let controller = namespace.controller()?;
    let greedy = |hook: Value| {
        hook.hook("pre-install")
            .set_pod("/spec/containers/0/resources", json!({"limits": {"memory": "20Mi"}}))
            .runs(SCRIPT)
    };
    namespace.release("shop", &[greedy(job("hook"))], json!({})).await?;
    namespace.release("pod", &[greedy(pod("pod"))], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(text.contains("Job/hook failed: BackoffLimitExceeded: "), "{text}");
    assert!(text.contains(" container main ended with exit code 137 (OOMKilled)"), "{text}");
    let ran = hook(&release, "hook").context("it is in status")?;
    assert_eq!(ran.exit_code, Some(137), "{ran:#?}");
    described(&namespace, &["OOMKilled", "greedy", "137"])?;
    let release = namespace.wait_stalled("pod", &controller).await?;
    let text = message(&release);
    assert!(text.contains("Pod/pod failed: OOMKilled: container main ended"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "command").await?;
    let controller = namespace.controller()?;
    let object = job("hook")
        .hook("pre-install")
        .set_pod("/spec/containers/0/command", json!(["no-such-program"]));
    namespace.release("shop", &[object], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(text.contains(" container main ended with exit code 128 (StartError): "), "{text}");
    assert!(text.contains("no-such-program"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_init_container_that_fails_is_the_evidence() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "init").await?;
    let controller = namespace.controller()?;
    let script = "echo no database yet; exit 4";
    let init = json!([{"name": "wait", "image": "busybox:1", "command": ["sh", "-c", script]}]);
    let object = job("hook").hook("pre-install").set_pod("/spec/initContainers", init);
    namespace.release("shop", &[object], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let ran = hook(&release, "hook").context("it is in status")?;
    assert_eq!(ran.exit_code, Some(4), "{ran:#?}");
    assert_eq!(ran.log.as_deref(), Some("no database yet\n"), "{ran:#?}");
    let text = message(&release);
    assert!(text.contains(" container wait ended with exit code 4"), "{text}");
    Ok(())
}

/// The index that fails last is the one whose words are kept.
#[tokio::test]
async fn of_an_indexed_job_the_last_failure_is_kept() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "indexed").await?;
    let controller = namespace.controller()?;
    let script = "echo shard $JOB_COMPLETION_INDEX; [ $JOB_COMPLETION_INDEX = 1 ] && exit 5; true";
    let object = job("hook")
        .hook("pre-install")
        .set("/spec/completionMode", "Indexed")
        .set("/spec/completions", 3)
        .set("/spec/parallelism", 1)
        .runs(script);
    namespace.release("shop", &[object], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let ran = hook(&release, "hook").context("it is in status")?;
    assert_eq!((ran.exit_code, ran.log.as_deref()), (Some(5), Some("shard 1\n")), "{ran:#?}");
    let text = message(&release);
    assert!(text.contains("; pod hook-1-"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_evicted_leaves_its_last_words() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "evicted").await?;
    let controller = namespace.controller()?;
    let object = pod("hook")
        .hook("pre-install")
        .policy("hook-failed")
        // It does not listen, so that there is time to look.
        .set("/spec/terminationGracePeriodSeconds", 5)
        .runs("trap '' TERM; echo begun; while true; do sleep 0.1; done");
    namespace.release("shop", &[object], json!({})).await?;
    namespace
        .wait_object("Pod", "hook", "Running", |pod| {
            pod.is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await?;
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), &namespace.name);
    pods.evict("hook", &EvictParams::default()).await.context("evict the Pod")?;
    says(&namespace, &controller, ": pod hook Evicted: Eviction API: evicting").await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let ran = hook(&release, "hook").context("it is in status")?;
    assert_eq!(ran.reason.as_deref(), Some("Evicted"), "{ran:#?}");
    assert_eq!(ran.log.as_deref(), Some("begun\n"), "{ran:#?}");
    let text = message(&release);
    assert!(text.contains("Pod/hook failed: Evicted: ") && text.contains("Eviction API"), "{text}");
    described(&namespace, &["Evicted", "Eviction API: evicting", "begun"])?;
    Ok(())
}
