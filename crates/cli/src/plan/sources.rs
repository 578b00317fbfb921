//! What `spec.source.objectsFrom` refers to. Pure; no value of a Secret gets into a message.

use std::collections::BTreeMap;

use api::{ObjectsFrom, ObjectsFromKind};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use manifests::placed::Placed;
use serde_json::Value;

use super::Found;
use crate::files;

/// The objects that `references` name, in order, and where they stand. `find` knows the
/// `ConfigMap` or the Secret of each; one that is not there `missing`. Errors are the controller's.
pub(super) fn resolve<'a>(
    references: &[ObjectsFrom],
    missing: &str,
    find: impl Fn(usize, &ObjectsFrom) -> Option<&'a Value>,
) -> Found<(Vec<Placed>, Vec<String>)> {
    let mut objects = Vec::new();
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("spec.source.objectsFrom[{index}]");
        let name = format!("{}/{}", reference.kind.as_str(), reference.name);
        let Some(holder) = find(index, reference) else {
            problems.push(format!("{field} ({reference}): {name} {missing}"));
            continue;
        };
        match texts(reference, &name, holder) {
            Ok(texts) => {
                for (key, text) in texts {
                    let origin = format!("{name} key {key}");
                    match files::parse(&origin, &text) {
                        Ok(parsed) => objects.extend(parsed),
                        Err(problem) => problems.push(format!("{field}: {problem}")),
                    }
                    sources.push(origin);
                }
            }
            Err(problem) => problems.push(format!("{field} ({reference}): {problem}")),
        }
    }
    if problems.is_empty() && objects.is_empty() {
        problems.push(
            "spec.source.objectsFrom: there is no object in what it names; put the objects there"
                .to_owned(),
        );
    }
    if problems.is_empty() { Ok((objects, sources)) } else { Err(problems) }
}

/// What `reference` names of `holder`, by key.
fn texts(
    reference: &ObjectsFrom,
    name: &str,
    holder: &Value,
) -> Result<BTreeMap<String, String>, String> {
    let mut texts = match reference.kind {
        ObjectsFromKind::ConfigMap => config_map(name, holder),
        ObjectsFromKind::Secret => secret(name, holder),
    }?;
    let Some(key) = &reference.key else { return Ok(texts) };
    if let Some(text) = texts.remove(key) {
        return Ok(BTreeMap::from([(key.clone(), text)]));
    }
    let keys: Vec<_> = texts.into_keys().take(10).collect();
    let there = match &*keys {
        [] => "it has none".to_owned(),
        keys => format!("there: {}", keys.join(", ")),
    };
    Err(format!("{name} has no key {key} in its data ({there}); add it, or correct the key"))
}

fn config_map(name: &str, holder: &Value) -> Result<BTreeMap<String, String>, String> {
    let holder: ConfigMap = serde_json::from_value(holder.clone())
        .map_err(|_| format!("{name} is no ConfigMap: data holds text by key"))?;
    Ok(holder.data.unwrap_or_default())
}

fn secret(name: &str, holder: &Value) -> Result<BTreeMap<String, String>, String> {
    // The reader's own words may quote values.
    let holder: Secret = serde_json::from_value(holder.clone()).map_err(|_| {
        format!("{name} is no Secret: data holds base64 by key, stringData text by key")
    })?;
    let mut texts = BTreeMap::new();
    for (key, bytes) in holder.data.unwrap_or_default() {
        let text = String::from_utf8(bytes.0);
        let text =
            text.map_err(|_| format!("key {key} of {name} is not text in UTF-8; YAML has to be"))?;
        texts.insert(key, text);
    }
    // As the API server does, which writes the one over the other.
    texts.extend(holder.string_data.unwrap_or_default());
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reference(kind: ObjectsFromKind, name: &str, key: Option<&str>) -> ObjectsFrom {
        let reference = json!({"kind": kind, "name": name, "key": key});
        serde_json::from_value(reference).unwrap()
    }

    #[test]
    fn keys_are_read_in_order_and_each_object_knows_its_place() {
        let map = json!({"data": {"b.yaml": "kind: B\n", "a.yaml": "\nkind: A\n---\nkind: C\n"}});
        let references = [
            reference(ObjectsFromKind::ConfigMap, "shop", None),
            reference(ObjectsFromKind::Secret, "shop", Some("s")),
        ];
        let secret = json!({"data": {"s": "a2luZDogUwo=", "t": "eA=="}});
        let found = resolve(&references, "", |index, _| [Some(&map), Some(&secret)][index]);
        let (objects, sources) = found.unwrap();
        let places: Vec<_> = objects.iter().map(|it| it.place.as_str()).collect();
        let expected = [
            "ConfigMap/shop key a.yaml line 2",
            "ConfigMap/shop key a.yaml line 4",
            "ConfigMap/shop key b.yaml line 1",
            "Secret/shop key s line 1",
        ];
        assert_eq!(places, expected);
        assert_eq!(sources.len(), 3);
    }

    #[test]
    fn all_that_is_wrong_is_said_without_the_values_of_a_secret() {
        let references = [
            reference(ObjectsFromKind::ConfigMap, "gone", None),
            reference(ObjectsFromKind::Secret, "odd", None),
            reference(ObjectsFromKind::Secret, "keys", Some("c")),
            reference(ObjectsFromKind::Secret, "broken", None),
        ];
        let odd = json!({"data": {"password": "hunter2!"}});
        let keys = json!({"stringData": {"a": "hunter2", "b": ""}});
        let broken = json!({"stringData": {"a": "kind: Secret\nhunter2: [\n"}});
        let holders = [None, Some(&odd), Some(&keys), Some(&broken)];
        let problems = resolve(&references, "is not there", |index, _| holders[index]).unwrap_err();
        let text = problems.join("\n");
        assert_eq!(problems.len(), 4, "{text}");
        assert!(text.contains("objectsFrom[0] (ConfigMap/gone): ConfigMap/gone is not there"));
        assert!(text.contains("Secret/keys has no key c in its data (there: a, b)"), "{text}");
        assert!(text.contains("Secret/broken key a: document 1 (line"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
