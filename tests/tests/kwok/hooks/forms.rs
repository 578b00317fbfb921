//! The forms that Jobs and Pods take.

use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, hook, kwok,
    manifests::{Manifest, job, pod},
    message,
};
use lifecycle::journal::{HookPhase, HookStatus};
use serde_json::json;

async fn failed(namespace: &Namespace, controller: &Controller, name: &str) -> Result<HookStatus> {
    let release = namespace.wait_stalled(name, controller).await?;
    let ran = hook(&release, name).with_context(|| format!("{name} is in status"))?;
    assert_eq!(ran.phase, HookPhase::Failed, "{ran:#?}");
    Ok(ran.clone())
}

async fn says(
    namespace: &Namespace,
    controller: &Controller,
    name: &str,
    said: &str,
) -> Result<()> {
    let wait = namespace.wait(name, controller, said, |release| message(release).ends_with(said));
    wait.await.map(drop)
}

#[tokio::test]
async fn a_job_with_nothing_to_do_succeeds() -> Result<()> {
    let namespace = Namespace::new(kwok(), "nothing").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("nothing").hook("pre-install").set("/spec/completions", 0),
        job("next").hook("pre-install").weight("1"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 2 hooks");
    let pods = ["get", "pods", "-l", "job-name=nothing", "-o", "name"];
    assert_eq!(namespace.kubectl(&pods)?, "");
    // It stays, as its policy says, although it may never have been let go.
    assert!(namespace.object("Job", "nothing").await?.is_some());
    assert_eq!(namespace.tenant_did("delete")?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn indexed_jobs_and_their_policies() -> Result<()> {
    let namespace = Namespace::new(kwok(), "indexed").await?;
    let controller = namespace.controller()?;
    let indexed = |name: &str| {
        job(name)
            .hook("pre-install")
            .set("/spec/completionMode", "Indexed")
            .set("/spec/completions", 3)
            .set("/spec/parallelism", 1)
    };
    namespace.release("all", &[indexed("all")], json!({})).await?;
    // Succeeds with the first index, and the others are never run.
    let rule = json!({"rules": [{"succeededIndexes": "0"}]});
    let one = indexed("one").set("/spec/successPolicy", rule);
    namespace.release("one", &[one], json!({})).await?;
    namespace.release("fails", &[indexed("fails").fails()], json!({})).await?;
    let rules = json!([{"action": "FailJob",
                        "onExitCodes": {"operator": "In", "values": [1]}}]);
    let policy = indexed("policy")
        .set("/spec/backoffLimit", 6)
        .set("/spec/podFailurePolicy", json!({"rules": rules}));
    namespace.release("policy", &[policy.fails()], json!({})).await?;

    namespace.wait_ready("all", &controller).await?;
    let job = namespace.object("Job", "all").await?.context("it stays")?;
    assert_eq!(job["status"]["completedIndexes"], "0-2");
    namespace.wait_ready("one", &controller).await?;
    let job = namespace.object("Job", "one").await?.context("it stays")?;
    assert_eq!(job["status"]["completedIndexes"], "0");

    let ran = failed(&namespace, &controller, "fails").await?;
    assert_eq!(ran.reason.as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(ran.exit_code, Some(1));
    let text = ran.message.context("a message")?;
    let begin = "Job has reached the specified backoff limit; pod fails-0-";
    assert!(text.starts_with(begin), "{text}");
    assert!(text.ends_with(" container main ended with exit code 1"), "{text}");

    let ran = failed(&namespace, &controller, "policy").await?;
    assert_eq!((ran.reason.as_deref(), ran.exit_code), (Some("PodFailurePolicy"), Some(1)));
    let text = ran.message.context("a message")?;
    assert!(text.contains("matching FailJob rule at index 0"), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_others_start_is_waited_for_and_they_are_named() -> Result<()> {
    let namespace = Namespace::new(kwok(), "others").await?;
    let controller = namespace.controller()?;
    let suspended = |name: &str| job(name).hook("pre-install").set("/spec/suspend", true);
    let queue = "/metadata/labels/kueue.x-k8s.io~1queue-name";
    namespace.release("author", &[suspended("author")], json!({})).await?;
    namespace.release("queued", &[suspended("queued").set(queue, "night")], json!({})).await?;
    let managed = job("managed").hook("pre-install").set("/spec/managedBy", "example.com/other");
    namespace.release("managed", &[managed], json!({})).await?;

    let resume = format!(
        "it is suspended by its author: resume it with kubectl patch job author -n {} \
         --type=merge -p '{{\"spec\":{{\"suspend\":false}}}}'",
        namespace.name
    );
    says(&namespace, &controller, "author", &resume).await?;
    let queued = "it is queued (kueue.x-k8s.io/queue-name night), not admitted yet";
    says(&namespace, &controller, "queued", queued).await?;
    says(&namespace, &controller, "managed", "it is managed by example.com/other").await?;

    for name in ["author", "queued"] {
        let patch = ["patch", "job", name, "--type=merge", "-p", r#"{"spec":{"suspend":false}}"#];
        namespace.kubectl(&patch)?;
        namespace.wait_ready(name, &controller).await?;
    }
    let now = "2026-01-01T00:00:00Z";
    let condition = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": "Done", "message": "",
               "lastProbeTime": now, "lastTransitionTime": now})
    };
    let status = json!({"status": {
        "startTime": now, "completionTime": now,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")]}});
    let patch = ["patch", "job", "managed", "--subresource=status", "--type=merge", "-p"];
    namespace.kubectl(&[&patch[..], &[&status.to_string()]].concat())?;
    namespace.wait_ready("managed", &controller).await?;
    assert_eq!(namespace.tenant_did("patch")?, [""; 0], "none of them was started by us");
    Ok(())
}

#[tokio::test]
async fn a_pod_that_names_its_node_runs_there_and_that_is_said() -> Result<()> {
    let namespace = Namespace::new(kwok(), "node").await?;
    let controller = namespace.controller()?;
    let node = namespace.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let bound = |name: &str| pod(name).hook("pre-install").set("/spec/nodeName", node.as_str());
    namespace.release("short", &[bound("short")], json!({})).await?;
    namespace.release("long", &[bound("long").never_ends()], json!({})).await?;
    namespace.wait_ready("short", &controller).await?;
    let said = format!("it names its node {node}, so that it was not held back");
    says(&namespace, &controller, "long", &said).await?;
    Ok(())
}

/// Case 21 of Helm's.
#[tokio::test]
async fn a_pod_that_never_ends_by_itself_ends_by_its_timeout() -> Result<()> {
    let namespace = Namespace::new(kwok(), "always").await?;
    let controller = namespace.controller()?;
    let always = |name: &str| pod(name).hook("pre-install").set("/spec/restartPolicy", "Always");
    let said = "its restartPolicy is Always: it ends by its timeout alone";
    namespace.release("long", &[always("long")], json!({})).await?;
    says(&namespace, &controller, "long", said).await?;
    namespace.release("short", &[always("short")], json!({"timeout": "3s"})).await?;
    let ran = failed(&namespace, &controller, "short").await?;
    assert_eq!(ran.reason.as_deref(), Some("Timeout"));
    let text = ran.message.context("a message")?;
    assert_eq!(
        text,
        format!(
            "Pod/short did not end within 3 s (spec.timeout) and was stopped; last seen: {said}"
        )
    );
    namespace.wait_gone("Pod", "short").await?;
    Ok(())
}
