//! The custom resource as the operator reads it. A resource that cannot be read does not break the
//! list of the others.

use std::{borrow::Cow, fmt};

use api::ReleaseLifecycle;
use kube::{
    Resource,
    core::{NamespaceResourceScope, ObjectMeta},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::Error as _,
};
use serde_json::{Map, Value};

use crate::{
    cluster::call::{ApiError, Cause},
    support::panics,
};

/// The nesting limit: deeper values are read as null. The API server accepts any depth in
/// `source.objects`, and the parser fails at 128 levels, together with everything else that it was
/// about to read. A release may have far fewer levels, so that the part that was cut off is refused
/// at its place.
const MOST_LEVELS: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct Tolerant(pub(crate) Result<ReleaseLifecycle, Invalid>);

/// A resource that was stored under another schema.
#[derive(Clone, Debug)]
pub(crate) struct Invalid {
    pub(crate) error: String,
    metadata: Box<ObjectMeta>,
}

impl Tolerant {
    /// Returns the object, which was read or written as `what` says.
    pub(crate) fn object(self, what: &str) -> Result<ReleaseLifecycle, ApiError> {
        self.0.map_err(|invalid| ApiError {
            what: what.to_owned(),
            cause: Cause::Unavailable(invalid.error),
        })
    }
}

impl Resource for Tolerant {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        ReleaseLifecycle::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        ReleaseLifecycle::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        ReleaseLifecycle::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        ReleaseLifecycle::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => &object.metadata,
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => &mut object.metadata,
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

impl<'de> Deserialize<'de> for Tolerant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Cut(MOST_LEVELS).deserialize(deserializer)?;
        let metadata =
            Box::new(ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?);
        // A panic of the parser at one object must not break the list of all.
        let object = panics::caught_now(|| ReleaseLifecycle::deserialize(value));
        let object = match object {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(Invalid { error: error.to_string(), metadata }),
            Err(panicked) => Err(Invalid { error: panicked.to_string(), metadata }),
        };
        Ok(Self(object))
    }
}

impl Serialize for Tolerant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(object) => object.serialize(serializer),
            Err(invalid) => Err(S::Error::custom(&invalid.error)),
        }
    }
}

/// Reads a value of at most this many levels. Deeper values are dropped, so that the parser need
/// not recurse.
struct Cut(usize);

impl<'de> DeserializeSeed<'de> for Cut {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 == 0 {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Cut {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self(self.0 - 1))? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            fields.insert(key, map.next_value_seed(Self(self.0 - 1))?);
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct List {
        items: Vec<Tolerant>,
    }

    fn nested(levels: usize) -> String {
        let data = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        format!(
            r#"{{"metadata":{{"name":"deep"}},"spec":{{"source":{{"objects":[{{"data":{data}}}]}}}}}}"#
        )
    }

    fn objects(text: &str) -> Vec<Value> {
        let read: Tolerant = serde_json::from_str(text).unwrap();
        read.object("read it").unwrap().spec.source.objects.unwrap()
    }

    #[test]
    fn what_a_release_may_have_is_read_whole() {
        let text = nested(80);
        let whole: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(objects(&text), *whole["spec"]["source"]["objects"].as_array().unwrap());
    }

    #[test]
    fn what_is_deeper_than_any_reader_goes_is_still_too_deep_and_harms_nobody() {
        for levels in [140, 100_000] {
            let text = nested(levels);
            assert!(serde_json::from_str::<Value>(&text).is_err());
            let objects = objects(&text);
            assert!(objects.iter().all(manifests::yaml::is_too_deep));
        }
        let two = format!(r#"{{"items":[{},{}]}}"#, nested(140), nested(1));
        assert_eq!(serde_json::from_str::<List>(&two).unwrap().items.len(), 2);
    }

    #[test]
    fn another_schemas_object_keeps_its_name() {
        let text = r#"{"metadata":{"name":"old"},"spec":{"source":7}}"#;
        let read: Tolerant = serde_json::from_str(text).unwrap();
        assert_eq!(read.meta().name.as_deref(), Some("old"));
        assert!(read.object("read it").is_err());
    }
}
