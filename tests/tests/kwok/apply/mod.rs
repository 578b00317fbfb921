//! How objects are applied that were there before, or that others write, too.

mod fields;
mod immutable;
mod kept;
mod owners;

use anyhow::{Context, Result};
use e2e::Namespace;
use serde_json::Value;

/// The data of a `ConfigMap`.
async fn data(namespace: &Namespace, name: &str) -> Result<Value> {
    let object = namespace.object("ConfigMap", name).await?;
    Ok(object.with_context(|| format!("ConfigMap/{name} is there"))?["data"].take())
}

/// Who has written an object, and how: `helm Apply`.
async fn writers(namespace: &Namespace, kind: &str, name: &str) -> Result<Vec<String>> {
    let object = namespace.object(kind, name).await?.context("it is there")?;
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let main = entries.iter().filter(|entry| entry["subresource"].is_null());
    Ok(main
        .map(|entry| format!("{} {}", text(entry, "manager"), text(entry, "operation")))
        .collect())
}
