//! What `spec.source.objectsFrom` refers to. Pure; no value of a Secret gets into a message.

use std::collections::BTreeMap;

use api::{ObjectsFrom, ObjectsFromKind};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use lifecycle::source::Placed;
use serde_json::Value;

use super::Found;
use crate::files;

/// The objects that `references` name, in order, and where they stand. `find` knows the
/// `ConfigMap` or the Secret of each; one that is not there `missing`.
pub(super) fn resolve<'a>(
    references: &[ObjectsFrom],
    missing: &str,
    find: impl Fn(usize, &ObjectsFrom) -> Option<&'a Value>,
) -> Found<(Vec<Placed>, Vec<String>)> {
    let mut objects = Vec::new();
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let place = format!("spec.source.objectsFrom[{index}]");
        let Some(holder) = find(index, reference) else {
            problems.push(format!("{place} names {reference}, which {missing}"));
            continue;
        };
        match parts(reference, holder) {
            Ok(parts) => {
                for (name, text) in parts {
                    match files::parse(&name, &text) {
                        Ok(parsed) => objects.extend(parsed),
                        Err(problem) => problems.push(problem),
                    }
                    sources.push(name);
                }
            }
            Err(problem) => problems.push(format!("{place}: {problem}")),
        }
    }
    if problems.is_empty() { Ok((objects, sources)) } else { Err(problems) }
}

/// `ConfigMap/shop key all.yaml`, and its text.
fn parts(reference: &ObjectsFrom, holder: &Value) -> Result<Vec<(String, String)>, String> {
    let name = format!("{}/{}", reference.kind.as_str(), reference.name);
    let mut texts = match reference.kind {
        ObjectsFromKind::ConfigMap => config_map(holder),
        ObjectsFromKind::Secret => secret(holder),
    }
    .map_err(|problem| format!("{name}: {problem}"))?;
    if let Some(key) = &reference.key {
        let Some(text) = texts.remove(key) else {
            let keys: Vec<_> = texts.into_keys().collect();
            let there = if keys.is_empty() { "no key".to_owned() } else { keys.join(", ") };
            return Err(format!("{name} has no key {key:?}; there: {there}"));
        };
        texts = BTreeMap::from([(key.clone(), text)]);
    }
    if texts.is_empty() {
        return Err(format!("{name} is empty"));
    }
    Ok(texts.into_iter().map(|(key, text)| (format!("{name} key {key}"), text)).collect())
}

fn config_map(holder: &Value) -> Result<BTreeMap<String, String>, String> {
    let holder: ConfigMap = serde_json::from_value(holder.clone())
        .map_err(|_| "this is no ConfigMap: data holds text by key".to_owned())?;
    Ok(holder.data.unwrap_or_default())
}

fn secret(holder: &Value) -> Result<BTreeMap<String, String>, String> {
    // The reader's own words may quote values.
    let holder: Secret = serde_json::from_value(holder.clone()).map_err(|_| {
        "this is no Secret: data holds base64 by key, stringData text by key".to_owned()
    })?;
    let mut texts = BTreeMap::new();
    for (key, bytes) in holder.data.unwrap_or_default() {
        let text = String::from_utf8(bytes.0);
        texts.insert(key.clone(), text.map_err(|_| format!("key {key} is not text in UTF-8"))?);
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
        assert!(
            text.contains("spec.source.objectsFrom[0] names ConfigMap/gone, which is not there")
        );
        assert!(text.contains("Secret/keys has no key \"c\"; there: a, b"), "{text}");
        assert!(text.contains("Secret/broken key a: document 1 (line"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
