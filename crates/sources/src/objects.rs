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
