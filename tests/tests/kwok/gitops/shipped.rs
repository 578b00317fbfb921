//! The files of `deploy/argocd` and `deploy/flux`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use e2e::{Namespace, kwok};
use serde_json::{Value, json};

const HEALTH: &str = "resource.customizations.health.releaselifecycle.dev_ReleaseLifecycle";
const ACTIONS: &str = "resource.customizations.actions.releaselifecycle.dev_ReleaseLifecycle";

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

#[test]
fn the_component_adds_health_and_actions_to_what_argo_cd_has() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let argocd_cm = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\ndata:\n  \
                     url: https://argocd.example.com\n";
    fs::write(folder.path().join("argocd-cm.yaml"), argocd_cm)?;
    // kustomize refuses absolute paths.
    let component = folder.path().join("component");
    fs::create_dir(&component)?;
    for file in ["kustomization.yaml", "health.lua", "actions.yaml"] {
        fs::copy(deploy("argocd").join(file), component.join(file))?;
    }
    let kustomization = "resources: [argocd-cm.yaml]\ncomponents: [component]\nnamespace: argocd\n";
    fs::write(folder.path().join("kustomization.yaml"), kustomization)?;
    let built = kwok().kubectl(["kustomize", &folder.path().to_string_lossy()])?;
    let built: Value = serde_saphyr::from_str(&built)?;
    assert_eq!(built["metadata"], json!({"name": "argocd-cm", "namespace": "argocd"}));
    assert_eq!(built["data"]["url"], "https://argocd.example.com");
    for (key, file) in [(HEALTH, "argocd/health.lua"), (ACTIONS, "argocd/actions.yaml")] {
        let text = fs::read_to_string(deploy(file))?;
        assert_eq!(built["data"][key].as_str(), Some(text.as_str()));
    }
    Ok(())
}

/// The namespace of the examples is not of this test alone: in a dry run.
#[tokio::test]
async fn the_api_server_takes_the_examples() -> Result<()> {
    let namespace = Namespace::new(kwok(), "shipped").await?;
    for file in ["argocd/release.yaml", "flux/identity.yaml"] {
        let text = fs::read_to_string(deploy(file))?;
        let text = text.replace("namespace: shop\n", &format!("namespace: {}\n", namespace.name));
        let path = tempfile::NamedTempFile::new()?;
        fs::write(path.path(), text)?;
        namespace.kubectl(&[
            "apply",
            "--server-side",
            "--dry-run=server",
            "--filename",
            &path.path().to_string_lossy(),
        ])?;
    }
    Ok(())
}

/// In order of their waves, as Argo CD applies them; it prunes in the reverse order.
fn in_order_of_waves(mut objects: Vec<Value>) -> Vec<Value> {
    let wave = |object: &Value| {
        let wave = object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str();
        wave.and_then(|wave| wave.parse::<i32>().ok())
    };
    objects.sort_by_key(wave);
    objects
}

#[tokio::test]
async fn the_waves_of_the_example_keep_its_rights_until_it_is_gone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "waves").await?;
    let controller = namespace.controller()?;
    let text = fs::read_to_string(deploy("argocd/release.yaml"))?;
    let text = text.replace("namespace: shop\n", &format!("namespace: {}\n", namespace.name));
    let objects = in_order_of_waves(helm::manifest::parse(&text)?);
    for object in &objects {
        namespace.cluster().apply(&object.to_string())?;
    }
    namespace.wait_ready("shop", &controller).await?;
    for object in objects.iter().rev() {
        let name = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (kind, name) = (name("/kind"), name("/metadata/name"));
        let (kind, name) = (kind.context("a kind")?, name.context("a name")?);
        // It waits until the object is gone, or fails.
        namespace.kubectl(&["delete", kind, name, "--timeout=60s"])?;
    }
    assert_eq!(namespace.object("ConfigMap", "shop").await?, None);
    assert_eq!(namespace.kubectl(&["get", "secrets", "-o", "name"])?, "");
    Ok(())
}

/// By what was tried with the real Argo CD: each of these is needed.
#[test]
fn the_application_of_argo_cd_stays_in_sync_and_takes_a_fix_at_once() -> Result<()> {
    let application =
        helm::manifest::parse(&fs::read_to_string(deploy("argocd/application.yaml"))?)?;
    let [application] = &*application else { anyhow::bail!("one Application") };
    let annotations = &application["metadata"]["annotations"];
    assert_eq!(annotations["argocd.argoproj.io/compare-options"], "ServerSideDiff=true");
    let policy = &application["spec"]["syncPolicy"];
    assert_eq!(policy["syncOptions"], json!(["ServerSideApply=true"]));
    assert_eq!(policy["retry"]["refresh"], true);
    let finalizers = json!(["resources-finalizer.argocd.argoproj.io"]);
    assert_eq!(application["metadata"]["finalizers"], finalizers);
    let objects = helm::manifest::parse(&fs::read_to_string(deploy("argocd/release.yaml"))?)?;
    let release = objects.iter().find(|object| object["kind"] == "ReleaseLifecycle");
    let annotations = &release.context("a release")?["metadata"]["annotations"];
    assert_eq!(annotations["argocd.argoproj.io/sync-options"], "ServerSideApply=true");
    Ok(())
}
