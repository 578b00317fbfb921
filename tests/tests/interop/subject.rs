//! The content of a release, and how each program is given it.

use std::fmt;

use ::helm::manifest::to_yaml;
use anyhow::Result;
use e2e::{
    Chart, Namespace, helm,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

/// The chart's name and versions.
pub(crate) const CHART: (&str, &str, &str) = ("store", "1.0.0", "2.5");

/// How the operator is told what the release is; Helm is given a chart of the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Objects in `spec`.
    Objects,
    /// A chart with notes, and values.
    Chart,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Objects => "objects",
            Self::Chart => "a chart",
        })
    }
}

/// An object with this value, and a hook of its own for everything that can happen.
pub(crate) fn objects(value: &str) -> Vec<Value> {
    vec![
        config_map("main", value),
        job("migrate").hook("pre-install,pre-upgrade").weight("-3"),
        job("welcome").hook("post-install,post-upgrade"),
        job("restore").hook("pre-rollback"),
        job("recheck").hook("post-rollback"),
        job("probe").hook("test"),
        job("export").hook("pre-delete"),
        job("goodbye").hook("post-delete"),
    ]
}

impl Subject {
    /// The arguments of `helm install` and `helm upgrade` after the release's name.
    pub(crate) fn for_helm(self, namespace: &Namespace, value: &str) -> Result<Vec<String>> {
        match self {
            Self::Objects => Ok(vec![folder(namespace, "plain", &objects(value))?]),
            Self::Chart => {
                let folder = chart(namespace)?.folder().to_string_lossy().into_owned();
                Ok(vec![folder, "--set-string".to_owned(), format!("value={value}")])
            }
        }
    }

    /// `spec`, but for what every release has.
    pub(crate) async fn for_operator(self, namespace: &Namespace, value: &str) -> Result<Value> {
        match self {
            Self::Objects => Ok(json!({"source": {"objects": objects(value)}})),
            Self::Chart => {
                let chart = chart(namespace)?;
                chart.put(namespace).await?;
                let mut spec = chart.source();
                spec["values"] = json!({"value": value});
                Ok(spec)
            }
        }
    }
}

/// A chart of these very objects, for Helm.
pub(crate) fn folder(namespace: &Namespace, name: &str, objects: &[Value]) -> Result<String> {
    let templates: Vec<_> = objects.iter().map(Value::to_string).collect();
    Ok(helm::chart(namespace, name, &templates)?.to_string_lossy().into_owned())
}

fn chart(namespace: &Namespace) -> Result<Chart> {
    let (name, version, app_version) = CHART;
    let head =
        format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: {app_version:?}\n");
    let mut chart = Chart::new(namespace, name)?
        .file("Chart.yaml", &head)?
        .file("values.yaml", "value: none\nkept: by default\n")?
        .file(
            "templates/NOTES.txt",
            "The value of {{ .Release.Name }} is {{ .Values.value }}.\n",
        )?;
    for (index, object) in objects("{{ .Values.value }}").iter().enumerate() {
        chart = chart.file(&format!("templates/{index}.yaml"), &to_yaml(object))?;
    }
    Ok(chart)
}
