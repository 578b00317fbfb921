//! What lies in `deploy/argocd` and `deploy/flux`.

use std::{fs, path::PathBuf};

use anyhow::Result;
use e2e::{Namespace, kwok};
use serde_json::{Value, json};

const KEY: &str = "resource.customizations.health.releaselifecycle.dev_ReleaseLifecycle";

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

#[test]
fn the_component_adds_the_health_check_to_what_argo_cd_has() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let argocd_cm = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\ndata:\n  \
                     url: https://argocd.example.com\n";
    fs::write(folder.path().join("argocd-cm.yaml"), argocd_cm)?;
    // kustomize refuses absolute paths.
    let component = folder.path().join("component");
    fs::create_dir(&component)?;
    for file in ["kustomization.yaml", "health.lua"] {
        fs::copy(deploy("argocd").join(file), component.join(file))?;
    }
    let kustomization = "resources: [argocd-cm.yaml]\ncomponents: [component]\nnamespace: argocd\n";
    fs::write(folder.path().join("kustomization.yaml"), kustomization)?;
    let built = kwok().kubectl(["kustomize", &folder.path().to_string_lossy()])?;
    let built: Value = serde_saphyr::from_str(&built)?;
    assert_eq!(built["metadata"], json!({"name": "argocd-cm", "namespace": "argocd"}));
    assert_eq!(built["data"]["url"], "https://argocd.example.com");
    let script = fs::read_to_string(deploy("argocd/health.lua"))?;
    assert_eq!(built["data"][KEY].as_str(), Some(script.as_str()));
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
