//! Rules, where the kubelet matters: attempts and what is kept of them, what cannot start, and
//! evictions that do not count.

use anyhow::{Context, Result};
use e2e::{
    Namespace, containers, hook,
    manifests::{Manifest, config_map, job},
    message,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{EvictParams, ListParams},
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

fn rule(rule: Value) -> Value {
    json!({"hooks": {"rules": [rule]}})
}

#[tokio::test]
async fn an_attempt_that_failed_is_kept_beside_the_one_that_succeeds() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "attempts").await?;
    let controller = namespace.controller()?;
    let from = json!([{"configMapRef": {"name": "database", "optional": true}}]);
    let migrate = job("migrate")
        .hook("pre-install")
        .set_pod("/spec/containers/0/envFrom", from)
        .runs("[ -n \"$value\" ] || { echo no database; exit 3; }; echo migrated");
    namespace
        .release("shop", &[migrate, config_map("main", "")], rule(json!({"retries": 5})))
        .await?;
    let said = "attempt 1 failed, the next begins at ";
    namespace.wait("shop", &controller, said, |release| message(release).contains(said)).await?;
    namespace.apply(&config_map("database", "there")).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "migrate").context("it is in status")?;
    assert_eq!((ran.phase, ran.exit_code), (HookPhase::Succeeded, None));
    let first = ran.attempts.first().context("an attempt before")?;
    assert_eq!((first.exit_code, first.log.as_deref()), (Some(3), Some("no database\n")));
    assert!(first.started_at.is_some() && first.completed_at.is_some(), "{first:#?}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_start_fails_before_its_time_is_over() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "fast").await?;
    let controller = namespace.controller()?;
    let no_image = job("image")
        .hook("pre-install")
        .set_pod("/spec/containers/0/image", "busybox:no-such-tag")
        .set_pod("/spec/containers/0/imagePullPolicy", "Always");
    let secret = json!([{"secretRef": {"name": "no-such-secret"}}]);
    let no_secret = job("secret").hook("pre-install").set_pod("/spec/containers/0/envFrom", secret);
    let no_node = job("node").hook("pre-install").unschedulable();
    let runs = job("runs").hook("pre-install").runs("sleep 8");
    let fast = json!({"failFast": "3s", "timeout": "1h"});
    let cases = [
        ("image", no_image, " ImagePullBackOff: "),
        ("secret", no_secret, " CreateContainerConfigError: "),
        ("node", no_node, " Unschedulable: "),
    ];
    namespace.release("runs", &[runs, config_map("main", "")], rule(fast.clone())).await?;
    for (name, object, _) in &cases {
        namespace.release(name, std::slice::from_ref(object), rule(fast.clone())).await?;
    }
    for (name, _, why) in &cases {
        let release = namespace.wait_stalled(name, &controller).await?;
        let text = message(&release);
        let said = format!(
            "NotStarted: no container of Job/{name} could start for 3 s (spec.hooks.rules[0].failFast), and \
             it was stopped: pod {name}-"
        );
        assert!(text.contains(&said) && text.contains(why), "{text}");
    }
    namespace.wait_ready("runs", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn an_eviction_is_not_the_hooks_fault() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "uncounted").await?;
    let controller = namespace.controller()?;
    let migrate = job("migrate")
        .hook("pre-install")
        .set_pod("/spec/terminationGracePeriodSeconds", 1)
        .runs("while [ ! -e /tmp/go ]; do sleep 0.1; done");
    let uncounted = rule(json!({"retryInfrastructure": 1}));
    namespace.release("shop", &[migrate, config_map("main", "")], uncounted).await?;
    let ready = |job: Option<&Value>| job.is_some_and(|job| job["status"]["ready"] == 1);
    let first = namespace.wait_object("Job", "migrate", "ready", ready).await?;
    let first = first.context("it is there")?["metadata"]["uid"].clone();
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let of_job = ListParams::default().labels("job-name=migrate");
    for pod in pods.list(&of_job).await? {
        let name = pod.metadata.name.unwrap_or_default();
        pods.evict(&name, &EvictParams::default()).await?;
    }
    let again =
        |job: Option<&Value>| ready(job) && job.is_some_and(|job| job["metadata"]["uid"] != first);
    namespace.wait_object("Job", "migrate", "ready again", again).await?;
    namespace.let_go("migrate", "main")?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "migrate").context("it is in status")?;
    assert_eq!((ran.phase, ran.attempt), (HookPhase::Succeeded, 2));
    assert!(ran.attempts[0].message.contains("Evicted"), "{:#?}", ran.attempts);
    Ok(())
}
