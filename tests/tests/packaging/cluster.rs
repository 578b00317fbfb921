//! On a cluster of its own: the page, and from the kustomization to the chart by both versions of Helm. The
//! nodes are simulated, so the operator itself does not run.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use e2e::{documentation::Page, helm::HELMS, kwok, overlay, root};
use serde_json::{Value, json};
use testkit::cluster::bin;

use super::render::{NAMESPACE, chart, differences, rendered};

const CRD: &str = "crd/releaselifecycles.releaselifecycle.dev";
const DEPLOYMENT: &str = "deployment/releaselifecycle-controller";

/// Returns what is installed is there once in a cluster.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_commands_of_the_page_install_upgrade_and_uninstall() -> Result<()> {
    let _alone = alone();
    let said = Page::of_docs("install.md")?.run_alone(kwok())?;
    for line in [
        "deployment \"releaselifecycle-controller\" successfully rolled out",
        "release \"releaselifecycle\" uninstalled",
        "namespace \"releaselifecycle-system\" deleted",
        "\"releaselifecycles.releaselifecycle.dev\" deleted",
    ] {
        ensure!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    Ok(())
}

fn helm(program: &str, args: &[&str], values: &Value) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), values.to_string())?;
    let mut helm = Command::new("setpriv");
    helm.args(["--pdeathsig", "KILL", "--"]).arg(bin(program)?).args(args);
    helm.args(["--namespace", NAMESPACE]).env("KUBECONFIG", kwok().kubeconfig());
    if args.first() == Some(&"upgrade") {
        helm.arg("--values").arg(file.path());
    }
    let output = helm.output().context("run helm")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} {args:?}: {said}{error}");
    Ok(said)
}

fn get(what: &str) -> Result<Value> {
    let text = kwok().kubectl(["--namespace", NAMESPACE, "get", what, "--output=json"])?;
    serde_json::from_str(&text).context("JSON")
}

fn uid(what: &str) -> Result<String> {
    let object = get(what)?;
    object["metadata"]["uid"].as_str().map(str::to_owned).context("a UID")
}

fn is_there(what: &str) -> Result<bool> {
    let get = ["--namespace", NAMESPACE, "get", what, "--ignore-not-found", "--output=name"];
    Ok(!kwok().kubectl(get)?.is_empty())
}

fn apply(folder: &Path) -> Result<()> {
    let how = ["apply", "--server-side", "--force-conflicts", "--kustomize"];
    kwok().kubectl(how.into_iter().chain([&*folder.to_string_lossy()])).map(drop)
}

/// Returns what kubectl has applied is Helm's from now on, as the page has it.
fn hand_over(folder: &Path) -> Result<()> {
    let folder = folder.to_string_lossy();
    let get = ["get", "--kustomize", &*folder, "--output=json", "--show-managed-fields"];
    let applied = kwok().kubectl(get)?.replace("\"manager\": \"kubectl\"", "\"manager\": \"helm\"");
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), applied)?;
    kwok()
        .kubectl(["replace", "--validate=false", "--filename", &*file.path().to_string_lossy()])
        .map(drop)
}

/// A release without an operator: nobody gives it a finalizer.
fn release() -> Result<()> {
    let release = json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"source": {"objects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop"}}]}}});
    kwok().apply(&release.to_string()).map(drop)
}

#[test]
fn helm_adopts_what_kubectl_has_applied_and_leaves_the_releases() -> Result<()> {
    let _alone = alone();
    let kustomization = overlay("adopted", &root().join("deploy/multi-tenant"), &[], &json!({}))?;
    for program in HELMS {
        if program == "helm" {
            // What was applied on the client's side before.
            let folder = kustomization.to_string_lossy();
            kwok().kubectl(["apply", "--kustomize", &*folder])?;
        }
        apply(&kustomization)?;
        kwok().kubectl(["wait", "--for=condition=Established", CRD, "--timeout=30s"])?;
        release()?;
        let release =
            ["get", "rl/shop", "--namespace=default", "--output=jsonpath={.metadata.uid}"];
        let shop = kwok().kubectl(release)?;
        let namespace = format!("namespace/{NAMESPACE}");
        let kept = [CRD, &*namespace].map(uid).into_iter().collect::<Result<Vec<_>>>()?;
        let deployment = uid(DEPLOYMENT)?;

        let chart = chart();
        let chart = chart.to_string_lossy();
        hand_over(&kustomization)?;
        let adopt = ["upgrade", "--install", "operator", &*chart, "--take-ownership"];
        let values = json!({"replicas": 3, "flags": {"concurrency": 8},
            "image": {"repository": "registry.example/operator", "tag": "2"}});
        helm(program, &adopt, &values).context("adopt")?;
        // Each object is what the chart says, and where it was.
        ensure!(uid(DEPLOYMENT)? == deployment, "{program}: another Deployment");
        for (id, expected) in rendered(program, NAMESPACE, &values)? {
            let (kind, rest) = id.split_once(' ').context("a kind")?;
            let (_, name) = rest.split_once('/').context("a name")?;
            let found = get(&format!("{kind}/{name}"))?;
            let wrong = missing(&expected, &found);
            ensure!(wrong.is_empty(), "{program}: {id}: {}", wrong.join("\n"));
        }

        // To the other way of tenancy, and back.
        for (mode, subjects) in [("single-tenant", 1), ("multi-tenant", 0)] {
            let values = json!({"tenancy": {"mode": mode}});
            helm(program, &["upgrade", "operator", &*chart], &values).context(mode)?;
            let binding = get("clusterrolebinding/releaselifecycle-deployer")?;
            let found = binding["subjects"].as_array().map_or(0, Vec::len);
            ensure!(found == subjects, "{program}, {mode}: {binding}");
            let editor = get("clusterrole/releaselifecycle-editor")?;
            let label =
                &editor["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"];
            ensure!((*label == "true") == (subjects == 0), "{program}, {mode}: {editor}");
        }

        helm(program, &["uninstall", "operator"], &json!({})).context("uninstall")?;
        let now = [CRD, &*namespace].map(uid).into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(now == kept, "{program}: the definition or the namespace was deleted");
        ensure!(kwok().kubectl(release)? == shop, "{program}: the release was deleted");
        for gone in [DEPLOYMENT, "clusterrole/releaselifecycle-controller"] {
            ensure!(!is_there(gone)?, "{program}: {gone} is left");
        }
        // They still are this chart's: no flag is needed.
        let install = ["upgrade", "--install", "operator", &*chart];
        helm(program, &install, &json!({})).context("install again")?;
        helm(program, &["uninstall", "operator"], &json!({})).context("uninstall again")?;
        // The next version of Helm begins anew.
        for owned in [CRD, &namespace] {
            let off = ["meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-"];
            kwok().kubectl(["annotate", owned].into_iter().chain(off))?;
        }
    }
    Ok(())
}

/// Returns what of the expected object is not in the one that was found, which has defaults beside.
fn missing(expected: &Value, found: &Value) -> Vec<String> {
    fn common(expected: &Value, found: &Value) -> Value {
        match (expected, found) {
            (Value::Object(expected), Value::Object(found)) => {
                let keys = expected
                    .keys()
                    .filter_map(|key| Some((key.clone(), common(&expected[key], found.get(key)?))));
                Value::Object(keys.collect())
            }
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                expected
                    .iter()
                    .zip(found)
                    .map(|(expected, found)| common(expected, found))
                    .collect()
            }
            _ => found.clone(),
        }
    }
    let mut wrong = differences(expected, &common(expected, found));
    // The API server leaves out what is empty.
    wrong.retain(|it| {
        ![": [], null", ": {}, null", ": false, null"].iter().any(|end| it.ends_with(end))
    });
    wrong
}
