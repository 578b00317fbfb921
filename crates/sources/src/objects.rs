//! The objects of a source that is not a chart.

use api::ObjectsFrom;
use helm::manifest::{self, ManifestError};
use lifecycle::reason::Reason;
use manifests::{
    json,
    memory::{MOST_PER_RELEASE, Memory},
    placed::Placed,
};
use serde_json::{Map, Value};

use crate::{
    holders::{holder, no_key, text_of},
    problems::{Blocked, Error, Problems},
    reads::Reads,
};

/// The most text of the objects of a release. The record checks how much of it fits into it.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Returns the objects in the spec.
///
/// # Errors
/// There are none, or too many.
pub fn inline(objects: &[Value]) -> Result<Vec<Placed>, Blocked> {
    let mut memory = Memory::of_release();
    if objects.iter().any(|object| memory.take_value(object).is_err()) {
        return Err(too_large("spec.source.objects"));
    }
    if objects.is_empty() {
        return Err(empty("spec.source.objects", "it"));
    }
    Ok(Placed::inline(objects))
}

/// The texts that `spec.source.objectsFrom` names, and those that were not found.
pub struct Texts {
    texts: Vec<Text>,
    problems: Problems,
}

/// A text of the source.
struct Text {
    /// The index in `spec.source.objectsFrom` of its name.
    index: usize,
    origin: String,
    yaml: String,
}

/// Reads the texts in `ConfigMaps` and Secrets.
///
/// # Errors
/// Something cannot be read, or they are more than a release may be. [`Texts::parse`] reports what
/// is missing.
pub async fn read<R: Reads>(
    from: &[ObjectsFrom],
    namespace: &str,
    reads: &R,
) -> Result<Texts, Error<R::Error>> {
    let mut found = Texts { texts: Vec::new(), problems: Problems::default() };
    let mut total = 0;
    for (index, from) in from.iter().enumerate() {
        let place = format!("spec.source.objectsFrom[{index}] ({from})");
        let texts = match texts(from, namespace, reads, &place).await {
            Ok(texts) => texts,
            Err(Error::Blocked(blocked)) => {
                found.problems.add(blocked);
                continue;
            }
            Err(error) => return Err(error),
        };
        for (key, text) in texts {
            total += text.len();
            if total > MOST_BYTES {
                let message = format!(
                    "{place}: the source holds more than the {} MiB of YAML that a release may be; \
                     split it into several ReleaseLifecycles",
                    MOST_BYTES >> 20
                );
                return Err(Blocked::new(Reason::SourceTooLarge, message).into());
            }
            let origin = format!("{}/{} key {key}", from.kind.as_str(), from.name);
            found.texts.push(Text { index, origin, yaml: text });
        }
    }
    Ok(found)
}

impl Texts {
    /// Returns the place of each of them: `ConfigMap/shop key a.yaml`.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(|text| &*text.origin)
    }

    /// Returns the objects of all texts, which may take as much memory as one release.
    ///
    /// # Errors
    /// Everything that is wrong with them, and what is missing.
    pub fn parse(self) -> Result<Vec<Placed>, Blocked> {
        let Self { texts, mut problems } = self;
        let mut objects = Vec::new();
        let mut memory = Memory::of_release();
        // The existing texts can be wrong even if one is missing.
        for Text { index, origin, yaml } in texts {
            match manifest::parse_within(&yaml, &mut memory) {
                Ok(parsed) => objects.extend(parsed.into_iter().map(|(line, manifest)| Placed {
                    place: format!("{origin} line {line}"),
                    manifest,
                })),
                Err(error) => {
                    let place = format!("spec.source.objectsFrom[{index}]: {origin}");
                    problems.add(unreadable(&place, error));
                    if memory.is_exhausted() {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() && objects.is_empty() {
            return Err(empty("spec.source.objectsFrom", "what it names"));
        }
        problems.or(objects)
    }
}

/// Returns the texts that `from` names, each with its key.
async fn texts<R: Reads>(
    from: &ObjectsFrom,
    namespace: &str,
    reads: &R,
    place: &str,
) -> Result<Vec<(String, String)>, Error<R::Error>> {
    let (object, mut live) = holder(reads, namespace, (from.kind, &from.name), place).await?;
    let mut data = match json::take(&mut live, "data") {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    let chosen = match &from.key {
        None => data.into_iter().collect(),
        Some(key) => match data.remove(key) {
            Some(value) => vec![(key.clone(), value)],
            None => return Err(no_key(&object, key, &data, place).into()),
        },
    };
    let decode = |(key, value): (String, Value)| {
        let text = text_of(from.kind, &value, &object, &key, place)?;
        Ok((key, text))
    };
    chosen.into_iter().map(decode).collect()
}

/// The error if there is no object at `place`: more likely a mistake than the wish to remove all
/// objects.
pub(crate) fn empty(place: &str, what: &str) -> Blocked {
    let message = format!(
        "{place}: there is no object in {what}; put the objects there, or delete this \
         ReleaseLifecycle to remove the release"
    );
    Blocked::new(Reason::InvalidSource, message)
}

/// The error if the text at `place` cannot be read as YAML.
pub(crate) fn unreadable(place: &str, error: ManifestError) -> Blocked {
    let reason = match error {
        ManifestError::TooLarge { .. } => Reason::SourceTooLarge,
        _ => Reason::InvalidSource,
    };
    Blocked::new(reason, format!("{place}: {error}"))
}

/// The error if the objects up to that at `place` are more than a release may be.
pub(crate) fn too_large(place: &str) -> Blocked {
    let message = format!(
        "{place}: with it, the objects take more than the {} MiB of memory that those of one \
         release may; split it into several ReleaseLifecycles",
        MOST_PER_RELEASE >> 20
    );
    Blocked::new(Reason::SourceTooLarge, message)
}

#[cfg(test)]
mod tests {
    use api::ObjectsFromKind::{ConfigMap, Secret};
    use serde_json::json;

    use super::*;
    use crate::testing::{InMemory, output};

    fn from(kind: api::ObjectsFromKind, name: &str, key: Option<&str>) -> ObjectsFrom {
        ObjectsFrom { kind, name: name.to_owned(), key: key.map(str::to_owned) }
    }

    fn parsed(from: &[ObjectsFrom], live: Vec<Value>) -> Result<Vec<Placed>, Blocked> {
        match output(read(from, "prod", &InMemory(live))) {
            Ok(texts) => texts.parse(),
            Err(Error::Blocked(blocked)) => Err(blocked),
            Err(error) => panic!("{error}"),
        }
    }

    fn holder_of(kind: &str, data: Value) -> Value {
        json!({"kind": kind, "metadata": {"name": "shop"}, "data": data})
    }

    const ONE: &str = "kind: ConfigMap\nmetadata: {name: one}\n";
    const TWO: &str = "---\nkind: ConfigMap\nmetadata: {name: two}\n";

    #[test]
    fn texts_are_read_in_order_each_key_after_its_name() {
        let data = json!({"b.yaml": TWO, "a.yaml": ONE});
        let all = parsed(&[from(ConfigMap, "shop", None)], vec![holder_of("ConfigMap", data)]);
        let places: Vec<_> = all.unwrap().into_iter().map(|it| it.place).collect();
        assert_eq!(
            places,
            ["ConfigMap/shop key a.yaml line 1", "ConfigMap/shop key b.yaml line 2"]
        );
    }

    #[test]
    fn a_secret_is_decoded() {
        let data = json!({"a": "a2luZDogUG9kCg=="});
        let all = parsed(&[from(Secret, "shop", Some("a"))], vec![holder_of("Secret", data)]);
        assert_eq!(all.unwrap()[0].manifest, json!({"kind": "Pod"}));
        let odd = vec![holder_of("Secret", json!({"a": "/w=="}))];
        let blocked = parsed(&[from(Secret, "shop", Some("a"))], odd).unwrap_err();
        assert!(blocked.to_string().contains("is not text in UTF-8"), "{blocked}");
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let wanted = [
            from(ConfigMap, "gone", None),
            from(ConfigMap, "shop", Some("c")),
            from(ConfigMap, "shop", Some("bad")),
        ];
        let live = vec![holder_of("ConfigMap", json!({"a": ONE, "bad": "a: [1"}))];
        let problems = parsed(&wanted, live).unwrap_err().problems;
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("gone") && problems[0].ends_with("does not exist"));
        assert!(problems[1].contains("has no key c in its data (there: a, bad)"), "{problems:?}");
        assert!(problems[2].contains("ConfigMap/shop key bad: "), "{problems:?}");
    }

    #[test]
    fn no_object_at_all_is_a_mistake() {
        let blocked = parsed(
            &[from(ConfigMap, "shop", None)],
            vec![holder_of("ConfigMap", json!({"a": "# nothing"}))],
        );
        let blocked = blocked.unwrap_err();
        assert_eq!(blocked.reason, Reason::InvalidSource);
        assert!(blocked.problems[0].contains("there is no object in what it names"), "{blocked}");
        assert_eq!(inline(&[]).unwrap_err().reason, Reason::InvalidSource);
        assert_eq!(inline(&[json!({"kind": "Pod"})]).unwrap()[0].place, "spec.source.objects[0]");
    }

    #[test]
    fn more_text_than_a_release_may_be_is_refused_before_it_is_parsed() {
        let half = format!("# {}", "x".repeat(MOST_BYTES / 2));
        let live = vec![holder_of("ConfigMap", json!({"a": half, "b": half}))];
        let blocked = parsed(&[from(ConfigMap, "shop", None)], live).unwrap_err();
        assert_eq!(blocked.reason, Reason::SourceTooLarge);
        let large = json!({"kind": "ConfigMap", "data": {"a": "x".repeat(MOST_PER_RELEASE)}});
        assert_eq!(inline(&[large]).unwrap_err().reason, Reason::SourceTooLarge);
    }
}
