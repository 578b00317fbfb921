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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        problems::Blocked,
        testing::{InMemory, output},
    };

    fn spec(more: &Value) -> ReleaseLifecycleSpec {
        let mut whole = json!({"source": {"objects": []}});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn of(more: &Value, live: &[Value]) -> Result<Values, Blocked> {
        let spec = spec(more);
        output(read(&spec, "prod", &InMemory(live.to_vec()))).map_err(|error| match error {
            Error::Blocked(blocked) => blocked,
            error => panic!("{error}"),
        })
    }

    fn holder_of(kind: &str, data: &Value) -> Value {
        json!({"kind": kind, "metadata": {"name": "shop"}, "data": data})
    }

    #[test]
    fn those_of_the_spec_come_last() {
        let spec = json!({
            "values": {"replicas": 3},
            "valuesFrom": [{"kind": "ConfigMap", "name": "shop"},
                           {"kind": "ConfigMap", "name": "shop", "valuesKey": "tag",
                            "targetPath": "image.tag"}],
        });
        let live = holder_of("ConfigMap", &json!({"values.yaml": "replicas: 1", "tag": "v2"}));
        let found = of(&spec, &[live]).unwrap();
        let expected = [
            json!({"merge": {"replicas": 1}}),
            json!({"set": ["image.tag", "v2"]}),
            json!({"merge": {"replicas": 3}}),
        ];
        assert_eq!(found.parsed, expected);
        assert_eq!(found.merged.len(), 3);
        assert_eq!(
            found.origins,
            ["ConfigMap/shop key values.yaml", "ConfigMap/shop key tag", "spec.values"]
        );
        assert!(found.secrets.is_empty() && found.left_out.is_empty());
    }

    #[test]
    fn those_of_a_secret_are_known_as_secret() {
        let spec = json!({"valuesFrom": [{"kind": "Secret", "name": "shop"}]});
        let encoded = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            "password: hunter2-and-more",
        );
        let found = of(&spec, &[holder_of("Secret", &json!({"values.yaml": encoded}))]).unwrap();
        let hidden = found.secrets.hide("wrong password hunter2-and-more");
        assert!(!hidden.contains("hunter2"), "{hidden}");
    }

    #[test]
    fn optional_ones_may_be_missing_and_that_is_noted() {
        let of_kind = |optional: bool| json!({"valuesFrom": [{"kind": "ConfigMap", "name": "gone", "optional": optional}]});
        let found = of(&of_kind(true), &[]).unwrap();
        assert!(found.merged.is_empty() && found.left_out[0].contains("ConfigMap/gone"));
        let blocked = of(&of_kind(false), &[]).err().unwrap();
        assert!(blocked.is_not_found() && blocked.to_string().contains("spec.valuesFrom[0]"));
    }

    #[test]
    fn text_that_is_no_yaml_is_left_to_helms_reader() {
        let spec = json!({"valuesFrom": [{"kind": "ConfigMap", "name": "shop"}]});
        let live = holder_of("ConfigMap", &json!({"values.yaml": "a: [1"}));
        let found = of(&spec, &[live]).unwrap();
        assert_eq!(found.parsed, [json!({"merge": "a: [1"})]);
    }
}
