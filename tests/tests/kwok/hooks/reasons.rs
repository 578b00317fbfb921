//! Reasons are named at once, and what befell a Pod is not forgotten with it.

use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, job, pod},
    message,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::EvictParams};
use lifecycle::journal::HookPhase;
use serde_json::json;

const HOLD: &str = "example.com/hold";
/// Of [`HOLD`] alone: the Job controller has a finalizer of its own.
const LET_GO: &str =
    r#"{"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]}}"#;

/// Has the API server evict the Pod, as `kubectl drain` does.
async fn evict(namespace: &Namespace, pod: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(namespace.client.clone(), &namespace.name);
    pods.evict(pod, &EvictParams::default()).await.context("evict the Pod")?;
    Ok(())
}

#[tokio::test]
async fn a_service_account_that_is_missing_is_named_and_waited_for() -> Result<()> {
    let namespace = Namespace::new(kwok(), "account").await?;
    let controller = namespace.controller()?;
    let hook = job("hook").hook("pre-install").set_pod("/spec/serviceAccountName", "migrator");
    namespace.release("shop", &[hook], json!({"timeout": "1h"})).await?;
    let said = format!(
        ": no Pod can be made: error looking up service account {}/migrator: serviceaccount \
         \"migrator\" not found",
        namespace.name
    );
    namespace.wait("shop", &controller, &said, |release| message(release).ends_with(&said)).await?;
    namespace.kubectl(&["create", "serviceaccount", "migrator"])?;
    namespace.wait_ready("shop", &controller).await?;

    // A Pod is refused by itself.
    let hook = pod("alone").hook("pre-install").set("/spec/serviceAccountName", "nobody");
    namespace.release("pod", &[hook], json!({})).await?;
    let release = namespace.wait_stalled("pod", &controller).await?;
    let text = message(&release);
    assert!(text.contains("CreateRefused"), "{text}");
    assert!(
        text.contains("its ServiceAccount") && text.contains("/nobody does not exist"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_named_and_waited_for() -> Result<()> {
    let namespace = Namespace::new(kwok(), "quota").await?;
    let controller = namespace.controller()?;
    namespace.kubectl(&["create", "quota", "none", "--hard=pods=0"])?;
    namespace
        .wait_object("ResourceQuota", "none", "counted", |quota| {
            quota.is_some_and(|quota| !quota["status"]["hard"].is_null())
        })
        .await?;
    namespace.release("shop", &[job("hook").hook("pre-install")], json!({})).await?;
    let said = ": no Pod can be made: exceeded quota: none, requested: pods=1, used: pods=0, \
                limited: pods=0";
    namespace.wait("shop", &controller, said, |release| message(release).ends_with(said)).await?;
    // When its time runs out, that is said, too.
    let late = job("late").hook("pre-install");
    namespace.release("late", &[late], json!({"timeout": "4s"})).await?;
    let release = namespace.wait_stalled("late", &controller).await?;
    let text = message(&release);
    assert!(
        text.contains("Timeout: Job/late did not end within 4 s (spec.timeout) and was stopped"),
        "{text}"
    );
    assert!(text.contains("; last seen: no Pod can be made: exceeded quota: none"), "{text}");
    namespace.kubectl(&["delete", "quota", "none"])?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_may_not_see_event_objects_learns_of_its_timeout() -> Result<()> {
    let namespace = Namespace::new(kwok(), "narrow").await?;
    let controller = namespace.controller()?;
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["*"]});
    let rights = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "narrow", "namespace": namespace.name},
        "rules": [rule("", &["secrets", "pods", "pods/log"]), rule("batch", &["jobs"])],
    });
    namespace.cluster().apply(&rights.to_string())?;
    namespace.kubectl(&["create", "serviceaccount", "narrow"])?;
    let account = format!("--serviceaccount={}:narrow", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "narrow", "--role=narrow", &account])?;
    let object = job("hook").hook("pre-install").set_pod("/spec/serviceAccountName", "nobody");
    let more = json!({"timeout": "4s", "serviceAccountName": "narrow"});
    namespace.release("shop", &[object], more).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(
        text.contains("Timeout: Job/hook did not end within 4 s (spec.timeout) and was stopped."),
        "{text}"
    );
    let told = ["get", "events", "--field-selector=reason=FailedCreate", "-o", "name"];
    assert!(!namespace.kubectl(&told)?.is_empty(), "there was something to see");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_is_evicted_has_failed_for_that_reason() -> Result<()> {
    let namespace = Namespace::new(kwok(), "evicted").await?;
    let controller = namespace.controller()?;
    // Held, or simulated nodes would let it go before anybody looks.
    let hook_ =
        pod("hook").hook("pre-install").never_ends().set("/metadata/finalizers", json!([HOLD]));
    namespace.release("shop", &[hook_], json!({})).await?;
    namespace
        .wait_object("Pod", "hook", "Running", |pod| {
            pod.is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await?;
    evict(&namespace, "hook").await?;
    let said = "pod hook Evicted: Eviction API: evicting";
    namespace.wait("shop", &controller, said, |release| message(release).ends_with(said)).await?;
    namespace.kubectl(&["patch", "pod", "hook", "-p", LET_GO])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let ran = hook(&release, "hook").context("it is in status")?;
    assert_eq!((ran.phase, ran.reason.as_deref()), (HookPhase::Failed, Some("Evicted")));
    let text = message(&release);
    assert!(text.contains("pre-install hook Pod/hook failed: Evicted: "), "{text}");
    assert!(text.contains("Eviction API: evicting"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_job_whose_pod_was_evicted_says_so() -> Result<()> {
    let namespace = Namespace::new(kwok(), "drained").await?;
    let controller = namespace.controller()?;
    let object =
        job("hook").hook("pre-install").never_ends().set_pod("/metadata/finalizers", json!([HOLD]));
    namespace.release("shop", &[object], json!({})).await?;
    namespace
        .wait_object("Job", "hook", "active", |job| {
            job.is_some_and(|job| job["status"]["active"] == 1)
        })
        .await?;
    let name = ["get", "pods", "-l", "job-name=hook", "-o", "jsonpath={.items[0].metadata.name}"];
    let name = namespace.kubectl(&name)?;
    evict(&namespace, &name).await?;
    // The Job controller waits for the Pod's end before it says that the Job has failed.
    let said = format!("pod {name} Evicted: Eviction API: evicting");
    namespace.wait("shop", &controller, &said, |release| message(release).ends_with(&said)).await?;
    namespace.kubectl(&["patch", "pod", &name, "-p", LET_GO])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(text.contains("Job/hook failed: BackoffLimitExceeded: "), "{text}");
    assert!(text.contains(&format!("; {said}")), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_failed_pod_names_its_container() -> Result<()> {
    let namespace = Namespace::new(kwok(), "named").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[pod("hook").hook("pre-install").fails()], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    let said = "Pod/hook failed: PodFailed: container main ended with exit code 1";
    assert!(text.contains(said), "{text}");
    Ok(())
}
