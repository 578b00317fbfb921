//! Renderings of `deploy/` by Helm and kustomize.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use e2e::root;
use serde_json::Value;
use testkit::cluster::bin;

/// Where the kustomizations put the operator.
pub(crate) const NAMESPACE: &str = "releaselifecycle-system";

/// Objects by kind, namespace and name.
pub(crate) type Objects = BTreeMap<String, Value>;

pub(crate) fn chart() -> PathBuf {
    root().join("deploy/chart")
}

/// The chart's `values.yaml`.
pub(crate) fn defaults() -> Result<Value> {
    Ok(serde_saphyr::from_str(&fs::read_to_string(chart().join("values.yaml"))?)?)
}

/// Returns what `helm` or `helm3` answers to a command about the chart with these values.
pub(crate) fn helm(program: &str, command: &[&str], values: &Value) -> Result<Output> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), values.to_string())?;
    let mut helm = Command::new(bin(program)?);
    helm.args(command).arg("--values").arg(file.path());
    // No cluster is asked.
    helm.env("KUBECONFIG", "/dev/null").output().context("run helm")
}

/// The objects of the chart with these values, in the namespace.
pub(crate) fn rendered(program: &str, namespace: &str, values: &Value) -> Result<Objects> {
    let chart = chart();
    let chart = chart.to_string_lossy();
    let mut command = vec!["template", "operator", &chart, "--namespace", namespace];
    // The oldest version that is supported; Helm 3 itself was built for none.
    command.extend(["--kube-version", "v1.30.0"]);
    let output = helm(program, &command, values)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    objects(&String::from_utf8(output.stdout)?)
}

/// The objects of the kustomization in the folder.
pub(crate) fn kustomized(folder: &Path) -> Result<Objects> {
    let output = Command::new(bin("kubectl")?).arg("kustomize").arg(folder).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    objects(&String::from_utf8(output.stdout)?)
}

fn objects(text: &str) -> Result<Objects> {
    let mut objects = Objects::new();
    for object in ::helm::manifest::parse(text)? {
        let part = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let [kind, namespace, name] = ["/kind", "/metadata/namespace", "/metadata/name"].map(part);
        let id = format!("{kind} {namespace}/{name}");
        ensure!(objects.insert(id.clone(), object).is_none(), "{id} is there twice");
    }
    Ok(objects)
}

/// Where two objects differ, for a message.
pub(crate) fn differences(left: &Value, right: &Value) -> Vec<String> {
    fn walk(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
        match (left, right) {
            (Value::Object(left), Value::Object(right)) => {
                for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                    let of = |side: &serde_json::Map<String, Value>| {
                        side.get(key).cloned().unwrap_or(Value::Null)
                    };
                    walk(&format!("{path}/{key}"), &of(left), &of(right), found);
                }
            }
            (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
                for (index, (left, right)) in left.iter().zip(right).enumerate() {
                    walk(&format!("{path}/{index}"), left, right, found);
                }
            }
            _ if left == right => {}
            _ => found.push(format!("{path}: {left}, {right}")),
        }
    }
    let mut found = Vec::new();
    walk("", left, right, &mut found);
    found
}
