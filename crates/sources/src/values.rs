//! The values for a chart: those that the spec refers to, then those in it.

use api::{ObjectsFromKind, ReleaseLifecycleSpec, ValuesFrom};
use engine::protocol;
use manifests::{json, memory::Memory, yaml};
use serde_json::{Map, Value, json};

use crate::{
    holders::{holder, no_key, text_of},
    problems::{Error, Problems},
    reads::Reads,
    secrets::Secrets,
};

/// The values as the engine merges them, later ones over earlier ones, and as digests compare them.
#[derive(Clone, Default)]
pub struct Values {
    /// The values as the engine takes them.
    pub merged: Vec<protocol::Values>,
    /// The values as digests take them: the way they are written makes no difference.
    pub parsed: Vec<Value>,
    /// The parts that come from Secrets.
    pub secrets: Secrets,
    /// The places of the values: `ConfigMap/shop key values.yaml`.
    pub origins: Vec<String>,
    /// The optional values that are missing, each with the reason.
    pub left_out: Vec<String>,
}

/// Reads the values of a spec.
///
/// # Errors
/// Everything that is wrong with them, except whether they are YAML: Helm's own reader reports
/// that.
pub async fn read<R: Reads>(
    spec: &ReleaseLifecycleSpec,
    namespace: &str,
    reads: &R,
) -> Result<Values, Error<R::Error>> {
    let mut found = Values::default();
    let mut problems = Problems::default();
    let mut memory = Memory::of_release();
    for (index, from) in spec.values_from.iter().enumerate() {
        let place = format!("spec.valuesFrom[{index}] ({from})");
        let text = match value_from(from, namespace, reads, &place).await {
            Ok(text) => text,
            Err(Error::Blocked(it)) if it.is_not_found() && from.optional == Some(true) => {
                found.left_out.push(it.problems.join("; "));
                continue;
            }
            Err(Error::Blocked(blocked)) => {
                problems.add(blocked);
                continue;
            }
            Err(error) => return Err(error),
        };
        found.origins.push(format!("{}/{} key {}", from.kind.as_str(), from.name, from.key()));
        let is_secret = from.kind == ObjectsFromKind::Secret;
        if let Some(target) = &from.target_path {
            if is_secret {
                found.secrets.add(&Value::String(text.clone()));
            }
            found.parsed.push(json!({"set": [target, text]}));
            let target_path = target.clone();
            found.merged.push(protocol::Values::Target { place, target_path, value: text });
            continue;
        }
        let parsed = yaml::read(&text, &mut memory).unwrap_or_else(|_| Value::String(text.clone()));
        if is_secret {
            found.secrets.add(&parsed);
        }
        found.parsed.push(json!({"merge": parsed}));
        found.merged.push(protocol::Values::Yaml { place, yaml: text });
    }
    if let Some(object) = &spec.values {
        found.parsed.push(json!({"merge": object}));
        let place = "spec.values".to_owned();
        found.origins.push(place.clone());
        found.merged.push(protocol::Values::Object { place, object: object.clone() });
    }
    Ok(problems.or(found)?)
}

/// The text that `from` names.
async fn value_from<R: Reads>(
    from: &ValuesFrom,
    namespace: &str,
    reads: &R,
    place: &str,
) -> Result<String, Error<R::Error>> {
    let (object, mut live) = holder(reads, namespace, (from.kind, &from.name), place).await?;
    let data = json::take(&mut live, "data");
    let empty = Map::new();
    let data = data.as_object().unwrap_or(&empty);
    match data.get(from.key()) {
        Some(value) => Ok(text_of(from.kind, value, &object, from.key(), place)?),
        None => Err(no_key(&object, from.key(), data, place).into()),
    }
}
