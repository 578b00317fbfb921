//! Where the objects of a release come from, and what it waits for.

mod bad;
mod changes;
mod dependencies;
mod history;
mod patches;

use anyhow::Result;
use e2e::Namespace;
use serde_json::{Value, json};

/// Creates or changes a `ConfigMap` or a Secret whose keys hold these objects, as YAML.
async fn put(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    data: &[(&str, &[Value])],
) -> Result<()> {
    let texts = data.iter().map(|(key, objects)| ((*key).to_owned(), text(objects)));
    put_text(namespace, kind, name, texts.collect()).await
}

/// A stream of YAML documents.
fn text(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{}", helm::manifest::to_yaml(object))).collect()
}

async fn put_text(
    namespace: &Namespace,
    kind: &str,
    name: &str,
    data: Vec<(String, String)>,
) -> Result<()> {
    let key = if kind == "Secret" { "stringData" } else { "data" };
    let data: serde_json::Map<_, _> =
        data.into_iter().map(|(key, text)| (key, Value::from(text))).collect();
    let object = json!({
        "apiVersion": "v1", "kind": kind, "metadata": {"name": name}, key: data,
    });
    namespace.apply(&object).await
}

/// `spec.source.objectsFrom` with these.
fn from(references: Value) -> Value {
    json!({"source": {"objectsFrom": references}})
}
