//! Fields that cannot be changed on an object that is there.

use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, deployment},
    message, reason,
};
use serde_json::{Value, json};

use super::data;

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
           "immutable": true, "stringData": {"value": value}})
}

#[tokio::test]
async fn every_such_field_is_named_and_nothing_is_pruned() -> Result<()> {
    let namespace = Namespace::new(kwok(), "immutable").await?;
    let controller = namespace.controller()?;
    let fixed = |value: &str| config_map("fixed", value).set("/immutable", true);
    let before = [
        fixed("1"),
        secret("before"),
        deployment("web"),
        config_map("a", "1"),
        config_map("b", "1"),
    ];
    namespace.release("shop", &before, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let web = deployment("web")
        .set("/spec/selector/matchLabels/app", "other")
        .set_pod("/metadata/labels/app", "other");
    let after = [fixed("2"), secret("after"), web, config_map("a", "2")];
    namespace.release("shop", &after, json!({})).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "ApplyFailed");
    let text = message(&stalled);
    for part in [
        "fields that cannot be changed once the object is there: ",
        "Secret/password: data",
        "ConfigMap/fixed: data",
        "Deployment/web: spec.selector",
        "Change them back, give the object another name, or delete it",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.contains("after"), "no data of a Secret: {text}");
    assert_eq!(data(&namespace, "a").await?, json!({"value": "2"}), "the others were applied");
    assert_eq!(data(&namespace, "b").await?, json!({"value": "1"}), "nothing was pruned");

    // As the message says.
    namespace.kubectl(&["delete", "deployment/web", "secret/password", "configmap/fixed"])?;
    namespace.annotate("shop", "retryAt", "1")?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(data(&namespace, "fixed").await?, json!({"value": "2"}));
    assert_eq!(namespace.uid("ConfigMap", "b").await?, None);
    Ok(())
}
