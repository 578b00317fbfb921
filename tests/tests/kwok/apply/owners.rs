//! Whose objects are that are there already.

use anyhow::{Context, Result};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

use super::{data, writers};

/// As the release `name` would have made it.
fn marked(object: Value, name: &str, namespace: &Namespace) -> Value {
    object
        .set("/metadata/labels/app.kubernetes.io~1managed-by", "Helm")
        .annotation("meta.helm.sh/release-name", name)
        .annotation("meta.helm.sh/release-namespace", namespace.name.as_str())
}

async fn mark(namespace: &Namespace, name: &str) -> Result<Value> {
    let object = namespace.object("ConfigMap", name).await?.context("it is there")?;
    Ok(object["metadata"]["annotations"]["meta.helm.sh/release-name"].clone())
}

#[tokio::test]
async fn what_is_others_is_told_at_once_and_taken_on_request() -> Result<()> {
    let namespace = Namespace::new(kwok(), "owners").await?;
    let controller = namespace.controller()?;
    let theirs = |name: &str| config_map(name, "1").set("/data", json!({"theirs": "1"}));
    namespace.apply(&marked(theirs("a"), "other", &namespace)).await?;
    namespace.apply(&theirs("b")).await?;
    namespace.apply(&marked(theirs("c"), "other", &namespace)).await?;
    let objects = [
        config_map("a", "1"),
        config_map("b", "1"),
        config_map("c", "1"),
        config_map("new", "1"),
        job("hook").hook("pre-install"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "NotOwned");
    let text = message(&stalled);
    let other = format!("belongs to release other in namespace {}", namespace.name);
    for part in [
        format!("ConfigMap {}/a {other}", namespace.name),
        format!("ConfigMap {}/b belongs to no release", namespace.name),
        format!("ConfigMap {}/c {other}", namespace.name),
        "spec.install.takeOwnership: true".to_owned(),
        "annotations meta.helm.sh/release-name=shop".to_owned(),
    ] {
        assert!(text.contains(&part), "{part:?} is not in {text:?}");
    }
    assert_eq!(namespace.tenant_did("create")?, [""; 0], "nothing has run");

    namespace.release("shop", &objects, json!({"install": {"takeOwnership": true}})).await?;
    namespace.wait_ready("shop", &controller).await?;
    for name in ["a", "b", "c"] {
        assert_eq!(mark(&namespace, name).await?, "shop", "{name}");
        assert_eq!(data(&namespace, name).await?, json!({"theirs": "1", "value": "1"}), "{name}");
    }
    let former = format!("it belonged to release other in namespace {}", namespace.name);
    for (name, former) in [("a", &*former), ("b", "it belonged to no release"), ("c", &*former)] {
        let text = format!("ConfigMap/{name} is the release's now; {former}");
        namespace.wait_told("OwnershipTaken", &text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_long_list_of_what_is_others_leaves_room_for_the_remedy() -> Result<()> {
    let namespace = Namespace::new(kwok(), "owners-many").await?;
    let controller = namespace.controller()?;
    let objects: Vec<_> = (0..30).map(|n| config_map(&format!("settings-{n}"), "1")).collect();
    for object in &objects {
        namespace.apply(object).await?;
    }
    namespace.release("shop", &objects, json!({})).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&stalled);
    assert!(text.contains("settings-0 belongs to no release; ConfigMap"), "{text}");
    assert!(text.contains(" more. Remove or rename"), "{text}");
    assert!(text.ends_with(&format!("release-namespace={}", namespace.name)), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_rollback_takes_what_an_upgrade_may_take() -> Result<()> {
    let namespace = Namespace::new(kwok(), "owners-rollback").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("a", "1"), config_map("b", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let second = [config_map("b", "2")];
    namespace.release("shop", &second, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.apply(&config_map("a", "1").set("/data", json!({"theirs": "1"}))).await?;
    namespace.release("shop", &second, json!({"pinRevision": 1})).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "NotOwned");
    assert!(
        message(&stalled).contains("spec.upgrade.takeOwnership: true"),
        "{}",
        message(&stalled)
    );
    let take = json!({"pinRevision": 1, "upgrade": {"takeOwnership": true}});
    namespace.release("shop", &second, take).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(mark(&namespace, "a").await?, "shop");
    assert_eq!(data(&namespace, "b").await?, json!({"value": "1"}));
    Ok(())
}

#[tokio::test]
async fn a_hook_becomes_an_object_of_the_release() -> Result<()> {
    let namespace = Namespace::new(kwok(), "owners-hook").await?;
    let controller = namespace.controller()?;
    let hook = config_map("moved", "hook").set("/data/more", "1").hook("pre-install");
    namespace.release("shop", &[hook, config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let uid = namespace.uid("ConfigMap", "moved").await?;
    let objects = [config_map("moved", "object"), config_map("main", "2")];
    namespace.release("shop", &objects, json!({})).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "NotOwned");
    namespace.release("shop", &objects, json!({"upgrade": {"takeOwnership": true}})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let moved = namespace.object("ConfigMap", "moved").await?.context("it is there")?;
    assert_eq!(moved["metadata"]["uid"].as_str(), uid.as_deref());
    assert_eq!(moved["data"], json!({"value": "object"}));
    // Nothing of the hook is left on it, by which it would be taken for one.
    let metadata = moved["metadata"].to_string();
    assert!(!metadata.contains("releaselifecycle.dev/owner"), "{metadata}");
    assert!(!metadata.contains("helm.sh/hook\""), "{metadata}");
    assert_eq!(writers(&namespace, "ConfigMap", "moved").await?, ["helm Apply"]);
    namespace.kubectl(&["delete", "rl", "shop"])?;
    assert_eq!(namespace.uid("ConfigMap", "moved").await?, None);
    Ok(())
}
