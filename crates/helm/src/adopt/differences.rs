//! The differences between the objects that a chart renders and those in a record. Helm 4 renders
//! some charts differently from Helm 3, and a release that was adopted without running anything
//! would change at the next upgrade. Objects and paths are named, values never: they may be a
//! Secret's.

use std::collections::BTreeMap;

use lifecycle::{object::ObjectRef, source::Desired, tidy::Tidy};
use serde_json::Value;

/// The search stops after this many.
const MOST: usize = 1000;
/// The most objects that are named, and the most places of each.
const MOST_NAMED: usize = 8;
const MOST_PLACES: usize = 4;
/// The number of characters to which a key, and a name, is cut.
const LONGEST: usize = 63;

/// A place where both differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The object, such as `ConfigMap/shop`, or `hook Job/migrate`.
    object: String,
    /// The path of a field, or a text that one of the two lacks the object.
    place: String,
}

/// Returns the places where `rendered` differs from `recorded`, in the order of the objects' names.
pub fn differences(recorded: &Desired, rendered: &Desired) -> Vec<Difference> {
    let (recorded, rendered) = (parts(recorded), parts(rendered));
    let mut found = Vec::new();
    for (key, manifest) in &recorded {
        match rendered.get(key) {
            Some(now) => compare(&key.title(), manifest, now, &mut found),
            None => found.push(key.lacking("it would go")),
        }
        if found.len() >= MOST {
            break;
        }
    }
    let new = rendered.keys().filter(|key| !recorded.contains_key(key));
    found.extend(new.map(|key| key.lacking("it would be new")));
    found.sort();
    found.truncate(MOST);
    found
}

/// Returns a text such as `ConfigMap/shop (data.a, data.b), hook Job/migrate (it would go)`, with
/// the number of further ones.
pub fn describe(differences: &[Difference]) -> String {
    let mut objects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Difference { object, place } in differences {
        objects.entry(object).or_default().push(place);
    }
    let more = |count: usize, most: usize| match count.saturating_sub(most) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = objects.iter().take(MOST_NAMED).map(|(object, places)| {
        let some: Vec<_> = places.iter().take(MOST_PLACES).copied().collect();
        format!("{object} ({}{})", some.join(", "), more(places.len(), MOST_PLACES))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    format!("{named}{}", more(objects.len(), MOST_NAMED))
}

/// The identity of an object, without the version of its kind.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    is_hook: bool,
    kind: &'a str,
    name: &'a str,
    group: &'a str,
    namespace: Option<&'a str>,
    /// One name may be a hook of several events, each time as another object.
    number: usize,
}

impl Key<'_> {
    fn title(&self) -> String {
        let hook = if self.is_hook { "hook " } else { "" };
        format!("{hook}{}/{}", brief(self.kind), brief(self.name))
    }

    fn lacking(&self, what: &str) -> Difference {
        Difference { object: self.title(), place: what.to_owned() }
    }
}

fn parts(desired: &Desired) -> BTreeMap<Key<'_>, Value> {
    let mut found = BTreeMap::new();
    let hooks = desired.hooks.iter().flat_map(|hook| &hook.parts).map(|part| (true, part));
    let objects = desired.objects.iter().map(|part| (false, part));
    for (is_hook, part) in hooks.chain(objects) {
        let ObjectRef { kind, name, namespace, .. } = &part.object;
        let (group, namespace) = (part.object.group(), namespace.as_deref());
        let key = |number| Key { is_hook, kind, name, group, namespace, number };
        let mut number = 0;
        while found.contains_key(&key(number)) {
            number += 1;
        }
        let mut manifest = Tidy(&part.manifest).to_value();
        if let Some(Value::Object(metadata)) = manifest.get_mut("metadata")
            && metadata.get("namespace").and_then(Value::as_str) == namespace
        {
            metadata.remove("namespace");
        }
        found.insert(key(number), manifest);
    }
    found
}

/// Notes every path at which the two differ.
fn compare(object: &str, one: &Value, other: &Value, found: &mut Vec<Difference>) {
    let mut note = |place: &str| {
        let place = if place.is_empty() { "all of it" } else { place };
        found.push(Difference { object: object.to_owned(), place: place.to_owned() });
    };
    let mut left = MOST;
    walk("", one, other, &mut note, &mut left);
}

fn walk(path: &str, one: &Value, other: &Value, note: &mut impl FnMut(&str), left: &mut usize) {
    if *left == 0 || super::equal(one, other) {
        return;
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
            for key in keys {
                let path = field(path, key);
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => walk(&path, one, other, note, left),
                    _ => end(&path, note, left),
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                walk(&format!("{path}[{index}]"), one, other, note, left);
            }
        }
        _ => end(path, note, left),
    }
}

fn end(path: &str, note: &mut impl FnMut(&str), left: &mut usize) {
    if *left > 0 {
        *left -= 1;
        note(path);
    }
}

fn field(path: &str, key: &str) -> String {
    let is_word = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    match (path, is_word(key) && key.len() <= LONGEST) {
        ("", true) => key.to_owned(),
        (path, true) => format!("{path}.{key}"),
        (path, false) => format!("{path}[{:?}]", brief(key)),
    }
}

/// Returns a text of another client: not too long, and without control characters.
fn brief(text: &str) -> String {
    let mut brief: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        brief.push('…');
    }
    brief
}

#[cfg(test)]
mod tests {
    use lifecycle::source::Author;
    use manifests::placed::Placed;
    use serde_json::json;

    use super::*;

    fn desired(objects: &[Value]) -> Desired {
        Desired::parse(&Placed::inline(objects), "prod", Author::User).unwrap()
    }

    fn map(name: &str, data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    }

    fn said(recorded: &[Value], rendered: &[Value]) -> String {
        describe(&differences(&desired(recorded), &desired(rendered)))
    }

    #[test]
    fn objects_and_paths_are_named_and_values_never() {
        let secret = |value: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                "stringData": {"password": value, "a.b": value}})
        };
        let said = said(
            &[secret("hunter2"), map("a", json!({"x": "1", "y": "1"})), map("old", json!({}))],
            &[secret("hunter3"), map("a", json!({"x": "2", "z": "1"})), map("new", json!({}))],
        );
        let expected = "ConfigMap/a (data.x, data.y, data.z), ConfigMap/new (it would be new), \
                        ConfigMap/old (it would go), \
                        Secret/s (stringData.password, stringData[\"a.b\"])";
        assert_eq!(said, expected);
    }

    #[test]
    fn what_means_the_same_does_not_differ() {
        let mut other = map("a", json!({"x": "1", "n": 1.0}));
        other["metadata"]["namespace"] = json!("prod");
        other["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(said(&[map("a", json!({"x": "1", "n": 1}))], &[other]), "");
    }

    #[test]
    fn hooks_are_told_from_objects_and_from_each_other() {
        let hook = |event: &str, image: &str| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j",
                "annotations": {"helm.sh/hook": event}}, "spec": {"containers": [{"image": image}]}})
        };
        let before = [hook("pre-install", "a"), hook("pre-upgrade", "a")];
        let after = [hook("pre-install", "a"), hook("pre-upgrade", "b")];
        assert_eq!(said(&before, &after), "hook Job/j (spec.containers[0].image)");
    }

    #[test]
    fn a_hundred_thousand_differences_are_a_short_text() {
        let many = |value: &str| {
            let data = |n: usize| (format!("k{n}\u{1b}[31m"), json!(value));
            let maps = (0..50).map(|n| map(&format!("m{n}"), (0..2000).map(data).collect()));
            maps.collect::<Vec<_>>()
        };
        let found = differences(&desired(&many("1")), &desired(&many("2")));
        assert_eq!(found.len(), MOST);
        let said = describe(&found);
        assert!(said.len() < 1000 && !said.contains('\u{1b}'), "{said}");
        let few = differences(
            &desired(&(0..20).map(|n| map(&format!("m{n}"), json!({}))).collect::<Vec<_>>()),
            &Desired::default(),
        );
        assert!(describe(&few).ends_with(" and 12 more"), "{}", describe(&few));
    }
}
