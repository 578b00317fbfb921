use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use live::kstatus::{Readiness, readiness};
use serde_json::{Value, json};

use super::{actions::Actions, cel::Evaluator, lua};

/// A release, and what is said of it by Argo CD, by Flux, and by kstatus, which is Flux's rule where
/// nobody gave it another.
struct Row {
    name: &'static str,
    argo: &'static str,
    flux: &'static str,
    kstatus: &'static str,
}

const fn row(
    name: &'static str,
    argo: &'static str,
    flux: &'static str,
    kstatus: &'static str,
) -> Row {
    Row { name, argo, flux, kstatus }
}

const TABLE: [Row; 17] = [
    row("ready", "Healthy", "Current", "Current"),
    row("pinned", "Healthy", "Current", "Current"),
    row("tests-ignored", "Healthy", "Current", "Current"),
    row("running", "Progressing", "InProgress", "InProgress"),
    row("waiting", "Progressing", "InProgress", "InProgress"),
    row("unapproved", "Progressing", "InProgress", "InProgress"),
    row("failed", "Degraded", "Failed", "Failed"),
    row("blocked", "Degraded", "Failed", "Failed"),
    row("cancelled", "Degraded", "Failed", "Failed"),
    // Nothing is stalled: somebody may ask for the tests again.
    row("tests-count", "Degraded", "Failed", "InProgress"),
    row("suspended", "Suspended", "InProgress", "InProgress"),
    row("held", "Suspended", "InProgress", "InProgress"),
    // Its hook still runs.
    row("held-later", "Progressing", "InProgress", "InProgress"),
    // Flux waits for no object that it deleted.
    row("deleting", "Progressing", "InProgress", "Terminating"),
    row("deletion-blocked", "Degraded", "Failed", "Terminating"),
    // Seen by no controller: a changed spec, a new object.
    row("changed", "Progressing", "InProgress", "InProgress"),
    row("new", "Progressing", "InProgress", "InProgress"),
];

/// As the API server has it.
fn get(namespace: &Namespace, name: &str) -> Result<Value> {
    let text = namespace.kubectl(&["get", "rl", name, "--output=json"])?;
    serde_json::from_str(&text).context("JSON")
}

fn kstatus(object: &Value) -> &'static str {
    match readiness(object) {
        Readiness::Current => "Current",
        Readiness::InProgress { .. } => "InProgress",
        Readiness::Failed { .. } => "Failed",
        Readiness::Terminating { .. } => "Terminating",
        Readiness::Unknown { .. } => "Unknown",
    }
}

/// Brings each release of the table to its state and ends the controller, so that they stay there.
async fn bring_about(namespace: &Namespace) -> Result<()> {
    let mut controller = namespace.controller()?;
    let hook = |name: &str, event: &str| job(&format!("{name}-hook")).hook(event);
    let put = async |name: &str, object: Value, more: Value| {
        namespace.release(name, &[config_map(name, "1"), object], more).await
    };
    let plain = |name: &str| config_map(&format!("{name}-more"), "1");
    for name in ["ready", "changed", "pinned"] {
        put(name, plain(name), json!({})).await?;
    }
    put("running", hook("running", "pre-install").never_ends(), json!({})).await?;
    put("waiting", plain("waiting"), json!({"dependsOn": [{"name": "nobody"}]})).await?;
    put("failed", hook("failed", "pre-install").fails(), json!({})).await?;
    put("blocked", plain("blocked"), json!({"serviceAccountName": "nobody"})).await?;
    put("cancelled", hook("cancelled", "pre-install").never_ends(), json!({})).await?;
    put("unapproved", plain("unapproved"), json!({"approval": {"mode": "Always"}})).await?;
    put("suspended", plain("suspended"), json!({"suspend": true})).await?;
    for name in ["held", "held-later"] {
        put(name, hook(name, "pre-install").never_ends(), json!({})).await?;
    }
    for (name, on_failure) in [("tests-ignored", "Ignore"), ("tests-count", "Fail")] {
        let test = json!({"test": {"enable": true, "onFailure": on_failure}});
        put(name, hook(name, "test").fails(), test).await?;
    }
    put("deleting", hook("deleting", "pre-delete").never_ends(), json!({})).await?;
    let at_once = json!({"deletion": {"timeout": "0s"}});
    put("deletion-blocked", hook("deletion-blocked", "pre-delete").fails(), at_once).await?;

    for name in ["ready", "changed", "pinned", "deleting", "deletion-blocked"] {
        namespace.wait_ready(name, &controller).await?;
    }
    change(namespace, &mut controller).await
}

/// The second half: what becomes of releases that exist.
async fn change(namespace: &Namespace, controller: &mut Controller) -> Result<()> {
    namespace.kubectl(&["delete", "rl", "deleting", "deletion-blocked", "--wait=false"])?;
    namespace.release("pinned", &[config_map("pinned", "2")], json!({})).await?;
    let second = |release: &api::ReleaseLifecycle| {
        release.status.as_ref().is_some_and(|status| status.revision == Some(2))
    };
    namespace.wait("pinned", controller, "upgraded", second).await?;
    let pinned = json!({"pinRevision": 1});
    namespace.release("pinned", &[config_map("pinned", "2")], pinned).await?;
    let says =
        |text: &'static str| move |release: &api::ReleaseLifecycle| message(release).contains(text);
    let is = |word: &'static str| move |release: &api::ReleaseLifecycle| reason(release) == word;
    for (name, text) in [
        ("running", "waiting for hook Job/running-hook"),
        ("cancelled", "waiting for hook Job/cancelled-hook"),
        ("held", "waiting for hook Job/held-hook"),
        ("held-later", "waiting for hook Job/held-later-hook"),
        ("deleting", "waiting for hook Job/deleting-hook"),
    ] {
        namespace.wait(name, controller, text, says(text)).await?;
    }
    namespace.annotate("cancelled", "cancelAt", "now")?;
    let suspend = r#"{"spec": {"suspend": true}}"#;
    for name in ["held", "held-later"] {
        namespace.kubectl(&["patch", "rl", name, "--type=merge", "-p", suspend])?;
    }
    namespace.wait_active("held-hook").await?;
    let end = ["annotate", "pods", "-l", "job-name=held-hook", "--overwrite"];
    let end = end.into_iter().chain(["releaselifecycle.dev/test-outcome=ok"]);
    namespace.kubectl(&end.collect::<Vec<_>>())?;
    for name in ["failed", "blocked", "cancelled", "deletion-blocked"] {
        namespace.wait_stalled(name, controller).await?;
    }
    for (name, word) in [
        ("pinned", "RevisionPinned"),
        ("waiting", "DependencyNotReady"),
        ("unapproved", "ApprovalPending"),
        ("suspended", "Suspended"),
        ("held", "Suspended"),
        ("tests-count", "TestFailed"),
    ] {
        namespace.wait(name, controller, word, is(word)).await?;
    }
    let tested = |release: &api::ReleaseLifecycle| {
        let failed = e2e::condition(release, "TestSuccess").is_some_and(|it| it.status == "False");
        failed && e2e::condition(release, "Ready").is_some_and(|it| it.status == "True")
    };
    namespace.wait("tests-ignored", controller, "tested", tested).await?;

    controller.terminate()?;
    namespace.release("changed", &[config_map("changed", "2")], json!({})).await?;
    namespace.release("new", &[config_map("new", "1")], json!({})).await
}

#[tokio::test]
async fn every_state_of_a_release_is_shown_as_its_users_expect() -> Result<()> {
    let namespace = Namespace::new(kwok(), "health").await?;
    bring_about(&namespace).await?;
    let evaluator = Evaluator::new(&namespace)?;
    let (mut wrong, mut objects) = (Vec::new(), BTreeMap::new());
    for Row { name, argo, flux, kstatus: plain } in TABLE {
        let object = get(&namespace, name)?;
        let (health, said) = lua::health(&object)?;
        let found = (&*health, evaluator.status(name, &object).await?, kstatus(&object));
        if found != (argo, flux, plain) {
            wrong.push(format!("{name}: {found:?}, not {:?}: {object:#}", (argo, flux, plain)));
        }
        assert!(!said.is_empty(), "{name}: Argo CD has nothing to show");
        let otherwise = said.contains("the spec asks for something else: `kubectl lifecycle");
        assert_eq!(otherwise, name == "pinned", "{name}: {said}");
        objects.insert(name, object);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let offered = Actions::shipped()?.check(&namespace, &objects)?;
    let always = ["restart", "suspend", "test"];
    for (name, more) in [
        ("ready", &[][..]),
        ("running", &["cancel"]),
        ("failed", &["retry"]),
        ("unapproved", &["approve", "retry"]),
        ("deletion-blocked", &["retry", "skip"]),
    ] {
        let mut expected = [more, &always].concat();
        expected.sort_unstable();
        assert_eq!(offered[name], expected, "{name}");
    }
    assert!(offered["held"].contains(&"resume"), "{offered:?}");
    // `kubectl wait` heeds the observed generation, too.
    let wait = |name: &str, condition: &str, timeout: &str| {
        let (name, condition) = (format!("rl/{name}"), format!("--for=condition={condition}"));
        namespace.kubectl(&["wait", &name, &condition, timeout])
    };
    for (name, condition) in [("ready", "Ready"), ("pinned", "Ready"), ("failed", "Stalled")] {
        wait(name, condition, "--timeout=60s")?;
    }
    for name in ["changed", "new", "running", "failed"] {
        let refused = wait(name, "Ready", "--timeout=1s").err();
        let refused = refused.with_context(|| format!("{name} is Ready"))?;
        assert!(refused.to_string().contains("timed out"), "{name}: {refused}");
    }
    Ok(())
}

#[tokio::test]
async fn kubectl_waits_until_a_release_is_ready() -> Result<()> {
    let namespace = Namespace::new(kwok(), "kubectl-wait").await?;
    let _controller = namespace.controller()?;
    namespace.release("shop", &[job("hook").hook("post-install")], json!({})).await?;
    namespace.kubectl(&["wait", "rl/shop", "--for=condition=Ready", "--timeout=60s"])?;
    let object = get(&namespace, "shop")?;
    assert_eq!(object["status"]["hooks"][0]["phase"], "Succeeded");
    Ok(())
}
