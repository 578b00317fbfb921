use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, helm, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

fn objects(value: &str) -> Vec<Value> {
    vec![
        config_map("main", value),
        config_map(&format!("only-{value}"), value),
        job(&format!("before-{value}")).hook("pre-rollback"),
        job(&format!("after-{value}")).hook("post-rollback"),
        job("upgrade").hook("pre-upgrade"),
    ]
}

/// Revisions 1 and 2.
async fn upgraded(namespace: &Namespace) -> Result<Controller> {
    let controller = namespace.controller()?;
    for value in ["1", "2"] {
        namespace.release("shop", &objects(value), json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    Ok(controller)
}

async fn value(namespace: &Namespace) -> Result<Value> {
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    Ok(main["data"]["value"].clone())
}

#[tokio::test]
async fn a_pin_rolls_back_with_the_targets_hooks_until_it_is_cleared() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rollback").await?;
    let controller = upgraded(&namespace).await?;
    let before = namespace.tenant_did("create")?.len();
    namespace.release("shop", &objects("2"), json!({"pinRevision": 1})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(reason(&release), "RevisionPinned");
    let other = |revision: i32| {
        format!(
            "revision {revision} is deployed: spec.pinRevision is 1, and the spec asks for something \
             else: `kubectl lifecycle rollback shop -n {} --undo`",
            namespace.name
        )
    };
    assert_eq!(message(&release), other(3));
    let created = namespace.tenant_did("create")?.split_off(before);
    assert_eq!(created, ["jobs/before-1", "jobs/after-1"]);
    assert_eq!(value(&namespace).await?, "1");
    namespace.wait_gone("ConfigMap", "only-2").await?;
    assert!(namespace.object("ConfigMap", "only-1").await?.is_some());
    for program in ["helm", "helm3"] {
        let history = helm::json(&namespace, program, &["history", "shop"])?;
        let of = |index: usize| (&history[index]["status"], &history[index]["description"]);
        assert_eq!(of(2), (&json!("deployed"), &json!("Rollback to 1")), "{program}: {history}");
        assert_eq!(of(1).0, "superseded", "{program}: {history}");
    }
    // A change of the spec does nothing as long as the pin holds.
    namespace.release("shop", &objects("3"), json!({"pinRevision": 1})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!((message(&release), value(&namespace).await?), (other(3), json!("1")));
    // Nothing else is asked for by a spec that is what is pinned.
    namespace.release("shop", &objects("1"), json!({"pinRevision": 1})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "revision 3 is deployed: spec.pinRevision is 1");
    namespace.release("shop", &objects("3"), json!({"pinRevision": 1})).await?;
    namespace.wait_ready("shop", &controller).await?;
    // Without the pin, the release goes back to the spec.
    namespace.release("shop", &objects("3"), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.context("a status")?.revision, Some(4));
    assert_eq!(value(&namespace).await?, "3");
    Ok(())
}

#[tokio::test]
async fn the_hooks_of_the_present_revision_run_where_that_is_asked_for() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rollback-current").await?;
    let controller = upgraded(&namespace).await?;
    let before = namespace.tenant_did("create")?.len();
    let pin = json!({"pinRevision": 1, "rollback": {"hooksFrom": "Current"}});
    namespace.release("shop", &objects("2"), pin).await?;
    namespace.wait_ready("shop", &controller).await?;
    let created = namespace.tenant_did("create")?.split_off(before);
    assert_eq!(created, ["jobs/before-2", "jobs/after-2"]);
    assert_eq!(value(&namespace).await?, "1");
    Ok(())
}

#[tokio::test]
async fn a_rollback_that_fails_is_recorded_and_can_be_left() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rollback-failed").await?;
    let controller = namespace.controller()?;
    let failing =
        |value: &str| vec![config_map("main", value), job("before").hook("pre-rollback").fails()];
    for value in ["1", "2"] {
        namespace.release("shop", &failing(value), json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    namespace.release("shop", &failing("2"), json!({"pinRevision": 1})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(
        message(&release)
            .starts_with("rollback of revision 3 failed: pre-rollback hook Job/before"),
        "{}",
        message(&release)
    );
    let history = helm::json(&namespace, "helm", &["history", "shop"])?;
    let states: Vec<_> = history.as_array().into_iter().flatten().map(|it| &it["status"]).collect();
    assert_eq!(states, ["superseded", "deployed", "failed"]);
    assert_eq!(value(&namespace).await?, "2");
    namespace.release("shop", &failing("2"), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.context("a status")?.revision, Some(4));
    Ok(())
}

#[tokio::test]
async fn a_pin_to_no_revision_names_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rollback-none").await?;
    let controller = upgraded(&namespace).await?;
    namespace.release("shop", &objects("2"), json!({"pinRevision": 7})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "RevisionNotFound");
    assert!(message(&release).contains("spec.pinRevision is 7"), "{}", message(&release));
    namespace.release("shop", &objects("2"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

/// Returns what a release is held against is looked at though it is not needed.
#[tokio::test]
async fn what_a_source_asks_for_besides_the_pin_is_told_once_it_can_be_read() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rollback-source").await?;
    let controller = namespace.controller()?;
    let put = async |value: &str| {
        let text = config_map("main", value).to_string();
        namespace
            .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "source"}, "data": {"all": text}}))
            .await
    };
    let from = |pin: Value| {
        json!({"source": {"objectsFrom": [{"kind": "ConfigMap", "name": "source"}]},
            "pinRevision": pin})
    };
    put("1").await?;
    namespace.release("shop", &[], from(Value::Null)).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &[], from(json!(1))).await?;
    let says = |text: &'static str, is: bool| {
        move |release: &api::ReleaseLifecycle| {
            reason(release) == "RevisionPinned" && message(release).contains(text) == is
        }
    };
    let text = "asks for something else";
    namespace.wait("shop", &controller, "pinned", says(text, false)).await?;
    put("2").await?;
    namespace.wait("shop", &controller, "told", says(text, true)).await?;
    assert_eq!(value(&namespace).await?, "1");
    put("1").await?;
    namespace.wait("shop", &controller, "no more told", says(text, false)).await?;
    // What cannot be read holds up nothing, and nothing is said of it.
    namespace.kubectl(&["delete", "configmap", "source"])?;
    put("2").await?;
    namespace.wait("shop", &controller, "told again", says(text, true)).await?;
    assert_eq!(namespace.tenant_did("patch")?.len(), 1, "nothing but the install");
    Ok(())
}
