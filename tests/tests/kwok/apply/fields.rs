//! Fields that others have set.

use anyhow::{Context, Result};
use e2e::{
    Namespace,
    helm::{self, HELMS},
    kwok,
    manifests::{Manifest, config_map, deployment},
    message, reason,
};
use serde_json::{Value, json};

use super::{data, writers};

#[tokio::test]
async fn what_another_manager_has_set_is_told_and_set_on_request() -> Result<()> {
    let namespace = Namespace::new(kwok(), "fields-conflict").await?;
    let controller = namespace.controller()?;
    let objects = |value: &str| [config_map("a", value), config_map("b", value)];
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    for name in ["a", "b"] {
        let patch = r#"{"data": {"value": "theirs"}}"#;
        let patch = ["patch", "configmap", name, "--field-manager=somebody", "-p", patch];
        namespace.kubectl(&patch)?;
    }
    namespace.release("shop", &objects("2"), json!({})).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "ApplyFailed");
    let text = message(&stalled);
    for part in [
        "ConfigMap/a: conflict with \"somebody\" using v1: .data.value",
        "ConfigMap/b: conflict with \"somebody\" using v1: .data.value",
        "Set spec.forceConflicts to true",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(data(&namespace, "a").await?, json!({"value": "theirs"}));
    namespace.release("shop", &objects("2"), json!({"forceConflicts": true})).await?;
    namespace.wait_ready("shop", &controller).await?;
    for name in ["a", "b"] {
        assert_eq!(data(&namespace, name).await?, json!({"value": "2"}), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_client_side_helm_made_loses_what_a_later_revision_drops() -> Result<()> {
    for program in HELMS {
        let namespace = Namespace::new(kwok(), &format!("fields-{program}")).await?;
        let web = |image: &str| deployment("web").set_pod("/spec/containers/0/image", image);
        let settings = config_map("settings", "1").set("/data/dropped", "1");
        let web_before = web("busybox:1").set("/metadata/annotations/dropped", "1");
        let templates = [settings.to_string(), web_before.to_string()];
        let chart = helm::chart(&namespace, "shop", &templates)?;
        let mut args = vec!["install", "shop"];
        let chart = chart.to_string_lossy();
        args.push(&chart);
        if program == "helm" {
            args.push("--server-side=false");
        }
        helm::run(&namespace, program, &args)?;
        assert_eq!(writers(&namespace, "ConfigMap", "settings").await?, ["helm Update"]);

        let controller = namespace.controller()?;
        namespace
            .release("shop", &[config_map("settings", "2"), web("busybox:2")], json!({}))
            .await?;
        namespace.wait_ready("shop", &controller).await?;
        assert_eq!(data(&namespace, "settings").await?, json!({"value": "2"}), "{program}");
        let web = namespace.object("Deployment", "web").await?.context("it is there")?;
        assert_eq!(web["metadata"]["annotations"].get("dropped"), None, "{program}: {web}");
        let image = web.pointer("/spec/template/spec/containers/0/image");
        assert_eq!(image, Some(&json!("busybox:2")), "{program}");
        assert_eq!(writers(&namespace, "ConfigMap", "settings").await?, ["helm Apply"]);
        // Helm goes on with it, client-side, and the operator after it, without a conflict.
        helm::run(&namespace, program, &["rollback", "shop", "1"])?;
        let again = [config_map("settings", "3"), deployment("web")];
        namespace.release("shop", &again, json!({})).await?;
        let is_new = |object: Option<&Value>| object.is_some_and(|it| it["data"]["value"] == "3");
        namespace.wait_object("ConfigMap", "settings", "of the new spec", is_new).await?;
        namespace.wait_ready("shop", &controller).await?;
        assert_eq!(data(&namespace, "settings").await?, json!({"value": "3"}), "{program}");
        assert_eq!(writers(&namespace, "ConfigMap", "settings").await?, ["helm Apply"]);
    }
    Ok(())
}

#[tokio::test]
async fn what_flux_has_set_is_the_releases_own() -> Result<()> {
    let namespace = Namespace::new(kwok(), "fields-flux").await?;
    let controller = namespace.controller()?;
    let made = config_map("settings", "1")
        .set("/data/dropped", "1")
        .set("/metadata/labels/app.kubernetes.io~1managed-by", "Helm")
        .annotation("meta.helm.sh/release-name", "shop")
        .annotation("meta.helm.sh/release-namespace", namespace.name.as_str());
    create(&namespace, &made, "helm-controller")?;
    namespace.release("shop", &[config_map("settings", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(data(&namespace, "settings").await?, json!({"value": "2"}));
    assert_eq!(writers(&namespace, "ConfigMap", "settings").await?, ["helm Apply"]);
    Ok(())
}

/// As a client of this name would.
fn create(namespace: &Namespace, object: &Value, manager: &str) -> Result<()> {
    let folder = e2e::target().join("tmp").join(&namespace.name);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("object.json");
    std::fs::write(&file, object.to_string())?;
    let manager = format!("--field-manager={manager}");
    namespace.kubectl(&["create", &manager, "-f", &file.to_string_lossy()])?;
    Ok(())
}
