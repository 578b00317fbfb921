//! Objects of a source, each with its place.

use serde_json::Value;

/// An object of a source as it was written, and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The place of the object, such as `spec.source.objects[2]` or `ConfigMap/shop key all.yaml
    /// line 12`.
    pub place: String,
    /// The object.
    pub manifest: Value,
}

impl Placed {
    /// Returns the objects in a spec.
    pub fn inline(objects: &[Value]) -> Vec<Self> {
        let place = |index| format!("spec.source.objects[{index}]");
        let placed = |(index, manifest): (usize, &Value)| Self {
            place: place(index),
            manifest: manifest.clone(),
        };
        objects.iter().enumerate().map(placed).collect()
    }
}

/// Returns whether the manifest is a list of any kind, such as `kubectl get` writes.
pub fn is_list(manifest: &Value) -> bool {
    let kind = manifest.pointer("/kind").and_then(Value::as_str);
    kind.is_some_and(|kind| kind.ends_with("List")) && manifest["items"].is_array()
}

/// Returns as much of `Kind/name` as is known.
pub fn describe(manifest: &Value) -> String {
    let text = |pointer: &str, unknown: &str| {
        let text = manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() { unknown.to_owned() } else { text.to_owned() }
    };
    format!("{}/{}", text("/kind", "no kind"), text("/metadata/name", "no name"))
}
