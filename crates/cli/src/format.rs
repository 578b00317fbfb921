//! Output for programs: values as JSON and YAML. Pure.

use helm::manifest;
use serde_json::Value;

pub(crate) fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Returns YAML, quoted so that every reader of YAML, of 1.1 and of 1.2, reads the same.
pub(crate) fn yaml(value: &Value) -> String {
    manifest::to_yaml(value)
}

/// Returns several documents.
pub(crate) fn stream(values: &[Value]) -> String {
    values.iter().map(yaml).collect::<Vec<_>>().join("---\n")
}
