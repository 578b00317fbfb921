use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, deployment, job, pod},
    message, reason,
};
use lifecycle::{event::Event, journal::HookStatus};
use serde_json::json;

#[tokio::test]
async fn hooks_run_one_by_one_by_weight_then_name_then_kind() -> Result<()> {
    let namespace = Namespace::new(kwok(), "order").await?;
    let controller = namespace.controller()?;
    let objects = [
        config_map("main", "1"),
        job("heavy").hook("pre-install").weight("010"),
        job("b").hook("pre-install"),
        job("five").hook("pre-install").weight("-0"),
        job("a").hook("pre-install"),
        pod("a").hook("pre-install"),
        config_map("a", "1").hook("pre-install"),
        pod("z").hook("pre-install").weight("-5"),
        job("after").hook("post-install").weight("-100"),
        job("never").hook("pre-upgrade, post-delete"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;

    let did: Vec<_> = namespace.tenant_writes()?;
    let made = |name: &str| did.iter().position(|write| write == name);
    let order = ["pods/z", "configmaps/a", "pods/a", "jobs/a", "jobs/b", "jobs/five", "jobs/heavy"];
    assert_eq!(namespace.tenant_did("create")?[..7], order);
    assert_eq!(namespace.tenant_did("create")?[7..], ["jobs/after"]);
    let applied = made("patch configmaps/main").context("main was to be applied")?;
    assert!(made("create jobs/heavy") < Some(applied), "{did:?}");
    assert!(made("create jobs/after") > Some(applied), "{did:?}");

    let hooks = release.status.unwrap().hooks;
    assert_eq!(hooks.len(), 8, "the hooks of this event only");
    for pair in hooks.windows(2) {
        assert!(
            pair[1].started_at >= pair[0].completed_at && pair[0].completed_at.is_some(),
            "{} began before {} had ended",
            pair[1].name,
            pair[0].name
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_hook_of_several_events_runs_anew_at_each() -> Result<()> {
    let namespace = Namespace::new(kwok(), "both").await?;
    let controller = namespace.controller()?;
    let hooks = [
        job("twice").hook("pre-install,post-install"),
        job("after").hook("post-install,post-upgrade"),
        config_map("seed", "1").hook("post-install,post-upgrade"),
    ];
    let objects = |value: &str| [&hooks[..], &[config_map("main", value)]].concat();
    namespace.release("shop", &objects("1"), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = release.status.unwrap().hooks;
    let twice: Vec<_> = ran.iter().filter(|hook| hook.name == "twice").collect();
    assert_eq!(twice.len(), 2);
    assert_ne!(twice[0].uid, twice[1].uid, "each run has an object of its own");
    let first = (namespace.uid("Job", "after").await?, namespace.uid("ConfigMap", "seed").await?);
    assert!(first.0.is_some() && first.1.is_some(), "nothing deletes them after success");

    namespace.release("shop", &objects("2"), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let second = (namespace.uid("Job", "after").await?, namespace.uid("ConfigMap", "seed").await?);
    assert_eq!(hook(&release, "after").context("after ran")?.uid, second.0);
    assert!(second.0.is_some() && second.0 != first.0, "the default policy replaces a leftover");
    assert!(second.1.is_some() && second.1 != first.1, "of any kind");
    let status = release.status.context("a status")?;
    let of_upgrade = |hook: &&HookStatus| hook.event.operation() == Event::Upgrade;
    assert_eq!(status.hooks.iter().filter(of_upgrade).count(), 2, "twice is no hook of an upgrade");
    assert_eq!(status.hooks.len(), 6, "those of the install stay in status");
    Ok(())
}

#[tokio::test]
async fn a_release_may_consist_of_hooks_alone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "alone").await?;
    let controller = namespace.controller()?;
    let objects = [job("before").hook("pre-install"), job("after").hook("post-install")];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 2 hooks");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/before", "jobs/after"]);
    Ok(())
}

#[tokio::test]
async fn post_hooks_wait_for_the_objects_unless_told_not_to() -> Result<()> {
    let namespace = Namespace::new(kwok(), "wait").await?;
    let controller = namespace.controller()?;
    let objects = |name: &str| {
        [deployment(name).unschedulable(), job(&format!("{name}-after")).hook("post-install")]
    };
    namespace.release("fast", &objects("fast"), json!({"wait": false})).await?;
    namespace.release("slow", &objects("slow"), json!({"timeout": "2s"})).await?;
    namespace.wait_ready("fast", &controller).await?;
    let release = namespace.wait_stalled("slow", &controller).await?;
    assert_eq!(reason(&release), "ReadyTimeout");
    let text = message(&release);
    assert!(text.contains("were not ready within 2 s (spec.timeout): Deployment/slow: "), "{text}");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/fast-after"]);
    // What cannot be ready in time is not taken back, as in Helm.
    assert!(namespace.object("Deployment", "slow").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn post_hooks_begin_once_the_objects_are_ready() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ready").await?;
    let controller = namespace.controller()?;
    let objects = [deployment("web").unschedulable(), job("after").hook("post-install")];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace
        .wait("shop", &controller, "waiting for web", |release| {
            message(release).contains(" for the release's objects to be ready: Deployment/web: ")
        })
        .await?;
    assert!(message(&release).starts_with("install: waiting until "), "{}", message(&release));
    assert_eq!(namespace.object("Job", "after").await?, None);
    // Somebody mends what keeps it from being ready.
    let patch = r#"[{"op": "remove", "path": "/spec/template/spec/nodeSelector"}]"#;
    namespace.kubectl(&["patch", "deployment", "web", "--type=json", "-p", patch])?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/after"]);
    Ok(())
}
