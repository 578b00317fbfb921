//! `helm.sh/resource-policy: keep`.

use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map},
};
use serde_json::json;

use super::data;

#[tokio::test]
async fn what_stays_is_told() -> Result<()> {
    let namespace = Namespace::new(kwok(), "kept").await?;
    let controller = namespace.controller()?;
    let policy = "helm.sh/resource-policy";
    let kept = |name: &str, word: &str| config_map(name, "1").annotation(policy, word);
    // Of an object that a revision drops the live annotation counts, to the letter; of one whose
    // release is deleted the manifest's, spaces and case apart.
    let before = [kept("dropped", "keep"), kept("gone", " Keep "), kept("last", " Keep ")];
    namespace.release("shop", &before, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &[kept("last", " Keep ")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(data(&namespace, "dropped").await?, json!({"value": "1"}));
    assert_eq!(namespace.uid("ConfigMap", "gone").await?, None);
    namespace
        .wait_told("ObjectKept", "ConfigMap/dropped is no longer in the release and stays")
        .await?;
    namespace.kubectl(&["delete", "rl", "shop"])?;
    assert_eq!(data(&namespace, "last").await?, json!({"value": "1"}));
    namespace.wait_told("ObjectKept", "ConfigMap/last stays, as its annotation").await?;
    Ok(())
}
