use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, job, pod},
    message,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};
use testkit::audit::Event;

fn has_condition(object: Option<&Value>, type_: &str) -> bool {
    let conditions = object.and_then(|object| object["status"]["conditions"].as_array());
    conditions.into_iter().flatten().any(|it| it["type"] == type_ && it["status"] == "True")
}

#[tokio::test]
async fn a_hook_whose_time_runs_out_is_stopped_for_good() -> Result<()> {
    let namespace = Namespace::new(kwok(), "timeout").await?;
    let controller = namespace.controller()?;
    let limit = json!({"timeout": "1s"});
    namespace.release("job", &[job("job").hook("pre-install").never_ends()], limit.clone()).await?;
    namespace.release("pod", &[pod("pod").hook("pre-install").never_ends()], limit.clone()).await?;
    // With a policy that deletes it, it goes after it was stopped.
    let deleted = job("gone").hook("pre-install").policy("hook-failed").never_ends();
    namespace.release("gone", &[deleted], limit).await?;
    for name in ["job", "pod", "gone"] {
        let release = namespace.wait_stalled(name, &controller).await?;
        let text = message(&release);
        assert!(text.contains("failed: Timeout: ") && text.contains("within 1 s"), "{text}");
        let ran = hook(&release, name).context("it is in status")?;
        assert_eq!((ran.phase, ran.reason.as_deref()), (HookPhase::Failed, Some("Timeout")));
    }
    let ended = namespace
        .wait_object("Job", "job", "Failed", |job| has_condition(job, "Failed"))
        .await?
        .context("the Job stays")?;
    assert_eq!(ended["spec"]["activeDeadlineSeconds"], 1);
    assert_eq!(ended["spec"]["suspend"], false, "a late start could undo a suspension");
    assert_eq!(ended["status"]["active"], Value::Null, "no Pod of it runs on");
    namespace.wait_gone("Pod", "pod").await?;
    namespace.wait_gone("Job", "gone").await?;
    Ok(())
}

#[tokio::test]
async fn a_hook_that_is_deleted_while_it_runs_has_vanished() -> Result<()> {
    let namespace = Namespace::new(kwok(), "vanished").await?;
    let controller = namespace.controller()?;
    let objects =
        |value: &str| [config_map("main", value), job("hook").hook("pre-install").never_ends()];
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace
        .wait_object("Job", "hook", "active", |job| {
            job.is_some_and(|job| job["status"]["active"] == 1)
        })
        .await?;
    namespace.kubectl(&["delete", "job", "hook", "--wait=false"])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(
        text.contains("Job/hook failed: Vanished: Job/hook was deleted before its end was seen"),
        "{text}"
    );
    assert_eq!(namespace.object("ConfigMap", "main").await?, None, "no success is assumed");
    Ok(())
}

#[tokio::test]
async fn the_time_to_live_of_a_job_begins_after_its_outcome_is_recorded() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ttl").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("first").hook("pre-install").set("/spec/ttlSecondsAfterFinished", 0),
        job("second").hook("pre-install").set("/spec/ttlSecondsAfterFinished", 0).fails(),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let phases = ["first", "second"].map(|name| hook(&release, name).map(|hook| hook.phase));
    assert_eq!(phases, [Some(HookPhase::Succeeded), Some(HookPhase::Failed)]);
    namespace.wait_gone("Job", "first").await?;
    namespace.wait_gone("Job", "second").await?;
    assert_eq!(namespace.tenant_did("delete")?, [""; 0], "the cluster deletes them");

    let audit = namespace.audit()?;
    let ttl = "ttlSecondsAfterFinished";
    let of = |name: &str| {
        let events = audit.iter().filter(|event| event.resource == "jobs" && event.succeeded());
        let events: Vec<_> = events.filter(|event| event.name.as_deref() == Some(name)).collect();
        let made = events.iter().find(|event| event.verb == "create");
        let sets = |event: &&&Event| {
            let changes = event.request.as_array().into_iter().flatten();
            let path = format!("/spec/{ttl}");
            changes.into_iter().any(|change| change["path"] == *path && change["value"] == 0)
        };
        let set = events.iter().find(sets);
        (made.map(|event| event.response["spec"][ttl].clone()), set.map(|event| event.received))
    };
    for name in ["first", "second"] {
        let (made, set) = of(name);
        assert_eq!(made, Some(Value::Null), "{name} was made with a time to live");
        let ended = hook(&release, name).and_then(|hook| hook.completed_at);
        assert!(set > ended && ended.is_some(), "{name}: set at {set:?}, ended at {ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_keeps_a_hook_from_running_is_named_at_once() -> Result<()> {
    let namespace = Namespace::new(kwok(), "stuck").await?;
    let controller = namespace.controller()?;
    namespace
        .release("shop", &[job("hook").hook("pre-install").unschedulable()], json!({}))
        .await?;
    let release = namespace
        .wait("shop", &controller, "held up by an unschedulable Pod", |release| {
            message(release).contains("Unschedulable")
        })
        .await?;
    let text = message(&release);
    assert!(
        text.starts_with("waiting for hook Job/hook (pre-install, 1 of 1, attempt 1) since "),
        "{text}"
    );
    assert!(text.contains("pod hook-") && text.contains(" until "), "{text}");

    // When its time runs out, that is said, too.
    let hook = job("late").hook("pre-install").unschedulable();
    namespace.release("late", &[hook], json!({"timeout": "2s"})).await?;
    let release = namespace.wait_stalled("late", &controller).await?;
    let text = message(&release);
    assert!(
        text.contains("Job/late did not end within 2 s (spec.timeout) and was stopped"),
        "{text}"
    );
    assert!(text.contains("; last seen: pod late-"), "{text}");
    Ok(())
}
