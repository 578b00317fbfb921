use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, job, pod},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

const ALL: &str = "before-hook-creation,hook-succeeded,hook-failed";

#[tokio::test]
async fn after_success_hook_succeeded_deletes_in_reverse_and_nothing_else() -> Result<()> {
    let namespace = Namespace::new(kwok(), "succeeded").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("a").hook("pre-install").policy("hook-succeeded"),
        config_map("b", "").hook("pre-install").policy(ALL),
        pod("c").hook("pre-install").policy("hook-succeeded,hook-failed"),
        job("d").hook("pre-install"),
        job("e").hook("pre-install").policy("hook-failed"),
        job("f").hook("pre-install").policy(""),
        job("g").hook("post-install").policy("hook-succeeded"),
        config_map("main", ""),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("delete")?, ["pods/c", "configmaps/b", "jobs/a", "jobs/g"]);
    let writes = namespace.tenant_writes()?;
    let at = |write: &str| writes.iter().position(|other| other == write);
    assert!(at("create jobs/f") < at("delete pods/c"), "only after the event's last hook");
    assert!(at("delete jobs/a") < at("patch configmaps/main"), "before the next phase");
    for name in ["d", "e", "f"] {
        assert!(namespace.object("Job", name).await?.is_some(), "{name} stays");
    }
    let phases = release.status.unwrap().hooks;
    assert!(phases.iter().all(|hook| hook.phase == HookPhase::Succeeded), "{phases:#?}");
    Ok(())
}

#[tokio::test]
async fn after_a_failure_hook_failed_deletes_it_and_hook_succeeded_the_earlier_ones() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "failed").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("a").hook("pre-install").policy("hook-succeeded"),
        job("b").hook("pre-install"),
        job("c").hook("pre-install").policy("hook-failed,hook-succeeded"),
        job("d").hook("pre-install").policy(ALL).fails(),
        job("e").hook("pre-install").policy(ALL),
        config_map("main", ""),
        job("f").hook("post-install"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    let text = message(&release);
    let begin = "install of revision 1 failed: pre-install hook Job/d failed: BackoffLimitExceeded: \
                 Job has reached the specified backoff limit; pod d-";
    assert!(text.starts_with(begin), "{text}");
    let end = format!(
        " container main ended with exit code 1. Change the spec, or resume where it failed: `kubectl \
         lifecycle retry shop -n {}`",
        namespace.name
    );
    assert!(text.ends_with(&end), "{text}");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/a", "jobs/b", "jobs/c", "jobs/d"]);
    assert_eq!(namespace.tenant_did("delete")?, ["jobs/d", "jobs/a", "jobs/c"]);
    assert!(namespace.object("Job", "b").await?.is_some());
    assert_eq!(namespace.object("ConfigMap", "main").await?, None);
    let failed = hook(&release, "d").context("d is in status")?;
    assert_eq!((failed.phase, failed.exit_code), (HookPhase::Failed, Some(1)));
    assert_eq!(failed.reason.as_deref(), Some("BackoffLimitExceeded"));
    let untouched = ["e", "f"].map(|name| hook(&release, name).map(|hook| hook.phase));
    assert_eq!(untouched, [Some(HookPhase::Pending); 2]);
    Ok(())
}

#[tokio::test]
async fn a_failed_hook_without_hook_failed_stays() -> Result<()> {
    let namespace = Namespace::new(kwok(), "stays").await?;
    let controller = namespace.controller()?;
    let objects = |value: &str| {
        [config_map("main", value), pod("a").hook("post-install").policy("hook-succeeded").fails()]
    };
    namespace.release("shop", &objects("1"), json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(
        message(&release).contains("post-install hook Pod/a failed: "),
        "{}",
        message(&release)
    );
    assert_eq!(hook(&release, "a").context("a is in status")?.exit_code, Some(1));
    assert_eq!(namespace.tenant_did("delete")?, [""; 0]);
    // A policy that leaves out before-hook-creation does so at the next attempt, too.
    namespace.release("shop", &objects("2"), json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(message(&release).contains("Pod/a failed: HookExists: "), "{}", message(&release));
    Ok(())
}

/// Helm returns at once where the creation fails.
#[tokio::test]
async fn a_create_that_is_refused_deletes_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "refused").await?;
    let controller = namespace.controller()?;
    let refused = |value: Value| {
        [
            job("a").hook("pre-install").policy(ALL),
            job("b").hook("pre-install").policy(ALL).set_pod("/spec/restartPolicy", value),
        ]
    };
    namespace.release("shop", &refused(json!("Always")), json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    for part in
        ["pre-install hook Job/b failed: CreateRefused: ", "spec.template.spec.restartPolicy"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(namespace.tenant_did("delete")?, [""; 0]);
    let a = namespace.uid("Job", "a").await?;
    assert!(a.is_some());

    // Mended, it is still an install, and the leftover of the first attempt is replaced.
    namespace.release("shop", &refused(json!("Never")), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 2 succeeded with 2 hooks");
    assert_ne!(hook(&release, "a").context("a ran")?.uid, a);
    Ok(())
}
