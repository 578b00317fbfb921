//! Reads what a release is to consist of from where its spec says, as the tenant.

use std::collections::BTreeSet;

use api::{ChartKind, ObjectsFrom, ObjectsFromKind, SourceKind};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use helm::manifest::{self, ManifestError};
use lifecycle::{object::ObjectRef, reason::Reason};
use manifests::{
    json,
    memory::{MOST_PER_RELEASE, Memory},
    placed::Placed,
};
use serde_json::{Map, Value};

use crate::{
    cluster::error::Error,
    desired::chart::{self, Chart},
    release::Release,
    support::{blocking, key::key},
    watches::sources::{Reference, Referent},
};

/// As much text as the objects of a release may be. What of it fits into a record is for the record
/// to say.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// What `kubectl apply` can just about repeat in its annotation, which is at most 256 KiB.
const LARGE_BYTES: usize = 128 * 1024;

/// What a release is made from.
pub(crate) enum Found {
    /// Its objects as they were written.
    Objects(Vec<Placed>),
    /// A chart that renders to them.
    Chart(Box<Chart>),
}

/// What stands where the spec says. What only a change mends is `Error::Blocked`.
pub(crate) async fn read(release: &Release<'_>) -> Result<Found, Error> {
    match release.object.spec.source.kind() {
        SourceKind::Objects(objects) => {
            release.ctx.forget_source(&key(&release.object));
            let mut memory = Memory::of_release();
            if objects.iter().any(|object| memory.take_value(object).is_err()) {
                return Err(too_large("spec.source.objects"));
            }
            if objects.is_empty() {
                return Err(empty("spec.source.objects", "it"));
            }
            Ok(Found::Objects(Placed::inline(objects)))
        }
        SourceKind::ObjectsFrom(holders) => {
            release.ctx.watches.sources.follow(&key(&release.object), &references(release));
            objects(release, holders).await.map(Found::Objects)
        }
        SourceKind::Chart(_) | SourceKind::SourceRef(_) => {
            release.ctx.watches.sources.follow(&key(&release.object), &references(release));
            Box::pin(chart::read(release)).await.map(Box::new).map(Found::Chart)
        }
    }
}

/// The objects that `ConfigMaps` and Secrets hold.
async fn objects(release: &Release<'_>, holders: &[ObjectsFrom]) -> Result<Vec<Placed>, Error> {
    let mut found = Vec::new();
    let mut problems = Vec::new();
    let mut total = 0;
    for (index, from) in holders.iter().enumerate() {
        let place = format!("spec.source.objectsFrom[{index}] ({from})");
        let texts = match texts(release, from, &place).await {
            Ok(texts) => texts,
            Err(Error::Blocked(failure)) if failure.reason == Reason::SourceNotFound => {
                problems.push(failure.message);
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
                return Err(Error::blocked(Reason::SourceTooLarge, message));
            }
            let origin = format!("{}/{} key {key}", from.kind.as_str(), from.name);
            found.push(Text { index, origin, yaml: text });
        }
    }
    // Before what is missing is said: what is there can be wrong, too.
    let objects = blocking::run(move || parse(&found)).await?;
    if problems.is_empty() && objects.is_empty() {
        return Err(empty("spec.source.objectsFrom", "what it names"));
    }
    if problems.is_empty() {
        Ok(objects)
    } else {
        Err(Error::blocked(Reason::SourceNotFound, problems.join("; ")))
    }
}

/// A text of the source.
struct Text {
    /// Which of `spec.source.objectsFrom` names it.
    index: usize,
    origin: String,
    yaml: String,
}

/// The objects of all texts, which may take as much memory as one release.
fn parse(found: &[Text]) -> Result<Vec<Placed>, Error> {
    let mut objects = Vec::new();
    let mut memory = Memory::of_release();
    for Text { index, origin, yaml } in found {
        let parsed = manifest::parse_within(yaml, &mut memory).map_err(|error| {
            unreadable(&format!("spec.source.objectsFrom[{index}]: {origin}"), error)
        })?;
        objects.extend(
            parsed.into_iter().map(|(line, manifest)| Placed {
                place: format!("{origin} line {line}"),
                manifest,
            }),
        );
    }
    Ok(objects)
}

/// What stands at `place` holds no object: much rather a mistake than the wish to remove all that there
/// is.
pub(crate) fn empty(place: &str, what: &str) -> Error {
    let message = format!(
        "{place}: there is no object in {what}; put the objects there, or delete this \
         ReleaseLifecycle to remove the release"
    );
    Error::blocked(Reason::InvalidSource, message)
}

/// The text at `place` is no YAML that can be read.
pub(crate) fn unreadable(place: &str, error: ManifestError) -> Error {
    let reason = match error {
        ManifestError::TooLarge { .. } => Reason::SourceTooLarge,
        _ => Reason::InvalidSource,
    };
    Error::blocked(reason, format!("{place}: {error}"))
}

/// The objects up to that at `place` are more than a release may be.
pub(crate) fn too_large(place: &str) -> Error {
    let message = format!(
        "{place}: with it, the objects take more than the {} MiB of memory that those of one \
         release may; split it into several ReleaseLifecycles",
        MOST_PER_RELEASE >> 20
    );
    Error::blocked(Reason::SourceTooLarge, message)
}

/// What the source and the values refer to.
fn references(release: &Release<'_>) -> BTreeSet<Reference> {
    let (spec, mut named) = (&release.object.spec, BTreeSet::new());
    let mut add = |referent, name: &String| {
        named.insert(Reference {
            identity: release.tenant.identity.clone(),
            referent,
            namespace: release.namespace.clone(),
            name: name.clone(),
        });
    };
    for from in &spec.values_from {
        add(Referent::Core(from.kind), &from.name);
    }
    let secrets = match spec.source.kind() {
        SourceKind::Objects(_) => [&None, &None],
        SourceKind::ObjectsFrom(holders) => {
            for from in holders {
                add(Referent::Core(from.kind), &from.name);
            }
            [&None, &None]
        }
        SourceKind::SourceRef(source) => {
            add(Referent::Flux(source.kind), &source.name);
            [&None, &None]
        }
        SourceKind::Chart(chart) => match chart.kind() {
            Some(ChartKind::Archive(from)) => {
                add(Referent::Core(from.kind), &from.name);
                [&None, &None]
            }
            Some(ChartKind::Oci(chart)) => [&chart.secret_ref, &chart.cert_secret_ref],
            Some(ChartKind::Repository(chart)) => [&chart.secret_ref, &chart.cert_secret_ref],
            None => [&None, &None],
        },
    };
    for secret in secrets.into_iter().flatten() {
        add(Referent::Core(ObjectsFromKind::Secret), &secret.name);
    }
    named
}

/// The `ConfigMap` or Secret that `place` names.
pub(crate) async fn holder(
    release: &Release<'_>,
    kind: ObjectsFromKind,
    name: &str,
    place: &str,
) -> Result<(ObjectRef, Value), Error> {
    let object = ObjectRef {
        api_version: "v1".to_owned(),
        kind: kind.as_str().to_owned(),
        namespace: Some(release.namespace.clone()),
        name: name.to_owned(),
    };
    let Some(live) = release.tenant.get(&object).await? else {
        let message = format!(
            "{place}: {object} does not exist in namespace {}; create it, or correct the name",
            release.namespace
        );
        return Err(Error::blocked(Reason::SourceNotFound, message));
    };
    Ok((object, live))
}

/// The texts that `from` names, each with its key.
async fn texts(
    release: &Release<'_>,
    from: &ObjectsFrom,
    place: &str,
) -> Result<Vec<(String, String)>, Error> {
    let (object, mut live) = holder(release, from.kind, &from.name, place).await?;
    let mut data = match json::take(&mut live, "data") {
        Value::Object(data) => data,
        _ => Map::new(),
    };
    let chosen = match &from.key {
        None => data.into_iter().collect(),
        Some(key) => match data.remove(key) {
            Some(value) => vec![(key.clone(), value)],
            None => {
                return Err(Error::blocked(
                    Reason::SourceNotFound,
                    no_key(&object, key, &data, place),
                ));
            }
        },
    };
    let decode = |(key, value): (String, Value)| {
        let text = text_of(from.kind, &value, &object, &key, place)?;
        Ok((key, text))
    };
    chosen.into_iter().map(decode).collect()
}

/// The text that stands under `key`.
pub(crate) fn text_of(
    kind: ObjectsFromKind,
    value: &Value,
    object: &ObjectRef,
    key: &str,
    place: &str,
) -> Result<String, Error> {
    decode(kind, value).ok_or_else(|| {
        let message =
            format!("{place}: key {key} of {object} is not text in UTF-8; YAML has to be");
        Error::blocked(Reason::InvalidSource, message)
    })
}

pub(crate) fn no_key(
    object: &ObjectRef,
    key: &str,
    data: &Map<String, Value>,
    place: &str,
) -> String {
    let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
    keys.truncate(10);
    let there = match &*keys {
        [] => "it has none".to_owned(),
        keys => format!("there: {}", keys.join(", ")),
    };
    format!("{place}: {object} has no key {key} in its data ({there}); add it, or correct the key")
}

fn decode(kind: ObjectsFromKind, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    match kind {
        ObjectsFromKind::ConfigMap => Some(text.to_owned()),
        ObjectsFromKind::Secret => String::from_utf8(STANDARD.decode(text).ok()?).ok(),
    }
}

/// What to do about a source that `kubectl apply` will soon not be able to repeat in its annotation.
pub(crate) fn remark(release: &Release<'_>) -> Option<String> {
    let objects = release.object.spec.source.objects.as_ref()?;
    let size: usize = objects.iter().map(|object| object.to_string().len()).sum();
    (size > LARGE_BYTES).then(|| {
        format!(
            "spec.source.objects is {} KiB, and `kubectl apply` fails above 256 KiB: use `kubectl \
             apply --server-side`, or move the objects into ConfigMaps and Secrets that \
             spec.source.objectsFrom names",
            size >> 10
        )
    })
}
