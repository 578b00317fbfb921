//! `ConfigMaps` and Secrets, and their contents.

use api::ObjectsFromKind;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lifecycle::object::ObjectRef;
use lifecycle::reason::Reason;
use serde_json::{Map, Value};

use crate::{
    problems::{Blocked, Error},
    reads::Reads,
};

/// The `ConfigMap` or Secret that `place` names.
pub(crate) async fn holder<R: Reads>(
    reads: &R,
    namespace: &str,
    (kind, name): (ObjectsFromKind, &str),
    place: &str,
) -> Result<(ObjectRef, Value), Error<R::Error>> {
    let object = ObjectRef {
        api_version: "v1".to_owned(),
        kind: kind.as_str().to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    match reads.get(&object).await.map_err(Error::Unread)? {
        Some(live) => Ok((object, live)),
        None => Err(absent(reads, &object, place).into()),
    }
}

/// The error if the object that `place` names does not exist.
pub(crate) fn absent<R: Reads>(reads: &R, object: &ObjectRef, place: &str) -> Blocked {
    Blocked::new(Reason::SourceNotFound, format!("{place}: {object} {}", reads.absence()))
}

/// Returns the text under `key`.
pub(crate) fn text_of(
    kind: ObjectsFromKind,
    value: &Value,
    object: &ObjectRef,
    key: &str,
    place: &str,
) -> Result<String, Blocked> {
    decode(kind, value).ok_or_else(|| {
        let message =
            format!("{place}: key {key} of {object} is not text in UTF-8; YAML has to be");
        Blocked::new(Reason::InvalidSource, message)
    })
}

/// The error if there is no such key.
pub(crate) fn no_key(
    object: &ObjectRef,
    key: &str,
    data: &Map<String, Value>,
    place: &str,
) -> Blocked {
    let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
    keys.truncate(10);
    let there = match &*keys {
        [] => "it has none".to_owned(),
        keys => format!("there: {}", keys.join(", ")),
    };
    let message = format!(
        "{place}: {object} has no key {key} in its data ({there}); add it, or correct the key"
    );
    Blocked::new(Reason::SourceNotFound, message)
}

fn decode(kind: ObjectsFromKind, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    match kind {
        ObjectsFromKind::ConfigMap => Some(text.to_owned()),
        ObjectsFromKind::Secret => String::from_utf8(STANDARD.decode(text).ok()?).ok(),
    }
}
