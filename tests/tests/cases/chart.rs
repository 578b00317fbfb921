//! The chart of a step: each object is a template of its own, and files stand where they say.

use anyhow::Result;
use e2e::{Chart, Namespace};
use serde_json::Value;

/// Returns whether only a chart can say this: there is a file among the objects.
pub(crate) fn is_needed(objects: &[Value]) -> bool {
    objects.iter().any(|object| object["file"].is_string())
}

/// The chart of these objects, with the name of the release.
pub(crate) fn of(namespace: &Namespace, release: &str, objects: &[Value]) -> Result<Chart> {
    let mut chart = Chart::new(namespace, release)?;
    for (index, object) in objects.iter().enumerate() {
        let template = format!("templates/{index:03}.yaml");
        chart = match (object, object["file"].as_str()) {
            (_, Some(path)) => chart.file(path, object["text"].as_str().unwrap_or_default())?,
            (Value::String(text), None) => chart.file(&template, text)?,
            (object, None) => chart.file(&template, &object.to_string())?,
        };
    }
    Ok(chart)
}
