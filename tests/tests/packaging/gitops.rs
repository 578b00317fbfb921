//! The manifests by which Flux and Argo CD install the operator.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::{overlay, root};
use serde_json::{Value, json};

use super::render::{NAMESPACE, kustomized, rendered};

const IMAGE: &str = "registry.example/ops/releaselifecycle:0.1.0";

fn objects(path: &str) -> Result<Vec<Value>> {
    let path = root().join("deploy").join(path);
    Ok(helm::manifest::parse(&fs::read_to_string(path)?)?)
}

fn of_kind(objects: &[Value], kind: &str) -> Result<Value> {
    objects.iter().find(|it| it["kind"] == kind).cloned().with_context(|| format!("no {kind}"))
}

/// The chart takes the values, and the operator gets its image and its tenant.
fn takes(values: &Value) -> Result<()> {
    let objects = rendered("helm", NAMESPACE, values)?;
    let deployment = &objects[&format!("Deployment {NAMESPACE}/releaselifecycle-controller")];
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], IMAGE);
    ensure!(objects.contains_key("RoleBinding shop/releaselifecycle-impersonator"), "no tenant");
    Ok(())
}

#[test]
fn flux_installs_the_chart() -> Result<()> {
    let objects = objects("flux/operator-chart.yaml")?;
    let source = of_kind(&objects, "OCIRepository")?;
    let release = of_kind(&objects, "HelmRelease")?;
    assert_eq!(release["spec"]["chartRef"]["name"], source["metadata"]["name"]);
    assert_eq!(release["spec"]["targetNamespace"], NAMESPACE);
    let install = json!({"createNamespace": true, "remediation": {"retries": 3}});
    assert_eq!(release["spec"]["install"], install);
    assert_eq!(source["spec"]["ref"]["tag"], env!("CARGO_PKG_VERSION"));
    takes(&release["spec"]["values"])
}

#[test]
fn argo_cd_installs_the_chart() -> Result<()> {
    let application = of_kind(&objects("argocd/operator.yaml")?, "Application")?;
    let source = &application["spec"]["source"];
    assert_eq!(source["path"], "deploy/chart");
    assert_eq!(application["spec"]["destination"]["namespace"], NAMESPACE);
    let annotations = &application["metadata"]["annotations"];
    assert_eq!(annotations["argocd.argoproj.io/compare-options"], "ServerSideDiff=true");
    assert_eq!(application["spec"]["syncPolicy"]["syncOptions"], json!(["ServerSideApply=true"]));
    takes(&source["helm"]["valuesObject"])
}

/// Flux hands path, images and patches to kustomize.
#[test]
fn flux_applies_the_kustomization_and_never_prunes_the_definition() -> Result<()> {
    let all = objects("flux/operator-kustomization.yaml")?;
    let (source, flux) = (of_kind(&all, "GitRepository")?, of_kind(&all, "Kustomization")?);
    assert_eq!(flux["spec"]["sourceRef"]["name"], source["metadata"]["name"]);
    let path = flux["spec"]["path"].as_str().context("a path")?;
    let folder: PathBuf = root().join(path.trim_start_matches("./"));
    let more = json!({"images": flux["spec"]["images"], "patches": flux["spec"]["patches"]});
    let objects = kustomized(&overlay("flux", &folder, &[], &more)?)?;
    let deployment = &objects[&format!("Deployment {NAMESPACE}/releaselifecycle-controller")];
    assert_eq!(deployment["spec"]["template"]["spec"]["containers"][0]["image"], IMAGE);
    let crd = objects.values().find(|it| it["kind"] == "CustomResourceDefinition");
    let annotations = &crd.context("a definition")?["metadata"]["annotations"];
    assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
    Ok(())
}
