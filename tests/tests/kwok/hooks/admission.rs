//! Refusals and changes by admission.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{
    Admission, Namespace, hook, kwok,
    manifests::{Manifest, config_map, job, pod},
    message, reason,
};
use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};
use testkit::audit;

/// Waits until the Job controller has told so many times that it could make no Pod of Job `name`.
async fn tried(namespace: &Namespace, name: &str, times: i32) -> Result<()> {
    let events: Api<Event> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let about = format!("involvedObject.name={name},reason=FailedCreate");
    let about = ListParams::default().fields(&about);
    let tried = async {
        loop {
            let told = events.list(&about).await?.items.into_iter().filter_map(|it| it.count);
            if told.sum::<i32>() >= times {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), tried).await.context("it was not tried often")?
}

#[tokio::test]
async fn what_admission_refuses_is_named() -> Result<()> {
    let namespace = Namespace::new(kwok(), "refuses").await?;
    let controller = namespace.controller()?;
    namespace.admission("Job", "hook", Admission::Refuse("no Jobs on Fridays")).await?;
    namespace.admission("Pod", "migrate", Admission::Refuse("no Pods on Fridays")).await?;
    namespace.release("job", &[job("hook").hook("pre-install")], json!({})).await?;
    let release = namespace.wait_stalled("job", &controller).await?;
    let text = message(&release);
    assert!(text.contains("pre-install hook Job/hook failed: CreateRefused: "), "{text}");
    assert!(text.contains("no Jobs on Fridays"), "{text}");

    // A Job may be made, but none of its Pods.
    namespace.release("pod", &[job("migrate").hook("pre-install")], json!({})).await?;
    let release = namespace
        .wait("pod", &controller, "held up by admission", |release| {
            message(release).contains("no Pods on Fridays")
        })
        .await?;
    let text = message(&release);
    assert!(text.contains(": no Pod can be made: ValidatingAdmissionPolicy "), "{text}");
    let written = release.metadata.resource_version.clone();
    // The Job controller tries again and again, each time with another name for the Pod.
    tried(&namespace, "migrate", 4).await?;
    let release = namespace.releases().get("pod").await?;
    assert_eq!(message(&release), text);
    assert_eq!(release.metadata.resource_version, written, "its status was not written again");
    Ok(())
}

#[tokio::test]
async fn a_time_to_live_that_a_webhook_puts_back_is_held_back_all_the_same() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ttl-back").await?;
    let controller = namespace.controller()?;
    let ttl = "Object{spec: Object.spec{ttlSecondsAfterFinished: 0}}";
    namespace.admission("Job", "hook", Admission::Apply(ttl)).await?;
    namespace.release("shop", &[job("hook").hook("pre-install")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(hook(&release, "hook").context("it ran")?.phase, HookPhase::Succeeded);
    let job = namespace.object("Job", "hook").await?.context("nothing deletes it")?;
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], Value::Null);
    let made = |event: &audit::Event| event.verb == "create" && event.resource == "jobs";
    let audit = namespace.audit()?;
    // The dry runs that waited for the policy are in it, too.
    let made = audit.iter().filter(|event| made(event) && event.impersonated.is_some());
    let ttls: Vec<_> =
        made.map(|event| event.response["spec"]["ttlSecondsAfterFinished"].clone()).collect();
    assert_eq!(ttls, [json!(0)], "the policy did put it there");
    Ok(())
}

#[tokio::test]
async fn a_job_that_a_webhook_queues_or_hands_over_is_not_resumed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "queues").await?;
    let controller = namespace.controller()?;
    let queue = "[JSONPatch{op: \"add\", path: \"/metadata/labels/\" + \
                 jsonpatch.escapeKey(\"kueue.x-k8s.io/queue-name\"), value: \"night\"}]";
    namespace.admission("Job", "queued", Admission::Patch(queue)).await?;
    let managed = "Object{spec: Object.spec{managedBy: \"example.com/other\"}}";
    namespace.admission("Job", "managed", Admission::Apply(managed)).await?;
    for (name, said) in [
        ("queued", "it is queued (kueue.x-k8s.io/queue-name night), not admitted yet"),
        ("managed", "it is managed by example.com/other, which has not resumed it yet"),
    ] {
        namespace.release(name, &[job(name).hook("pre-install")], json!({})).await?;
        namespace.wait(name, &controller, said, |release| message(release).ends_with(said)).await?;
        let job = namespace.object("Job", name).await?.context("the Job")?;
        assert_eq!(job["spec"]["suspend"], true, "{name} was resumed");
        let gate = &job["metadata"]["annotations"]["releaselifecycle.dev/gate"];
        assert_eq!(gate, "open", "{name}");
    }
    // Now the queue admits it.
    namespace.kubectl(&["patch", "job", "queued", "-p", r#"{"spec":{"suspend":false}}"#])?;
    namespace.wait_ready("queued", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_that_a_webhook_gives_a_gate_is_let_go_and_the_gate_is_named() -> Result<()> {
    let namespace = Namespace::new(kwok(), "gates").await?;
    let controller = namespace.controller()?;
    let first = "[JSONPatch{op: \"add\", path: \"/spec/schedulingGates/0\", \
                 value: Object.spec.schedulingGates{name: \"example.com/later\"}}]";
    namespace.admission("Pod", "hook", Admission::Patch(first)).await?;
    namespace.release("shop", &[pod("hook").hook("pre-install")], json!({})).await?;
    let said = "pod hook is held back by scheduling gate example.com/later";
    namespace.wait("shop", &controller, said, |release| message(release).ends_with(said)).await?;
    let gates = r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#;
    namespace.kubectl(&["patch", "pod", "hook", "--type=json", "-p", gates])?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_removes_annotations_is_named_as_the_cause() -> Result<()> {
    let namespace = Namespace::new(kwok(), "removes").await?;
    let controller = namespace.controller()?;
    let remove = "[JSONPatch{op: \"remove\", path: \"/metadata/annotations/\" + \
                  jsonpatch.escapeKey(\"releaselifecycle.dev/run\")}]";
    namespace.admission("Job", "hook", Admission::Patch(remove)).await?;
    let objects = [job("hook").hook("pre-install"), config_map("main", "")];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    let text = message(&release);
    for part in [
        "pre-install hook Job/hook failed: AnnotationsRemoved: ",
        "an admission webhook or policy of the cluster removes or changes annotation \
         releaselifecycle.dev/run",
        "have it leave the annotations releaselifecycle.dev/* alone",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    namespace.wait_gone("Job", "hook").await?;
    assert_eq!(namespace.object("ConfigMap", "main").await?, None);
    Ok(())
}
