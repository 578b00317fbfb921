//! The custom resource as the operator reads it: within a budget, and so that one that cannot be read
//! does not break the list of the others.

use std::borrow::Cow;

use api::{ReleaseLifecycle, names};
use kube::{
    Resource,
    core::{NamespaceResourceScope, ObjectMeta},
};
use lifecycle::reason::Reason;
use manifests::{
    bounded::{Bounded, Skip},
    memory::{MOST_PER_RELEASE, Memory},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _},
    ser::Error as _,
};

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
    },
    support::panics,
};

/// The nesting limit: deeper values are read as null. The API server accepts any depth in
/// `source.objects`. A release may have far fewer levels, so that the part that was cut off is
/// refused at its place.
const MOST_LEVELS: usize = 100;

/// The memory of an object without its bulk: an operation of 200 hooks with their logs takes less.
const MOST_WITHOUT_BULK: usize = 4 << 20;

/// The bulk: reconciliations read it live, and most objects of the watch need no reconciliation.
const BULK: &[Skip] = &[
    Skip::Within(
        "metadata",
        &[
            Skip::Field("managedFields"),
            Skip::Field("labels"),
            Skip::Field("ownerReferences"),
            Skip::Within("annotations", &[Skip::AllBut(names::PREFIX)]),
        ],
    ),
    Skip::Within(
        "spec",
        &[
            Skip::Field("values"),
            Skip::Field("patches"),
            Skip::Within("source", &[Skip::Field("objects")]),
        ],
    ),
];

/// An object of the watch or the answer to a write, without its bulk.
#[derive(Clone, Debug)]
pub(crate) struct Tolerant(pub(crate) Result<ReleaseLifecycle, Invalid>);

/// A live object, with all its fields.
#[derive(Clone, Debug)]
pub(crate) struct Whole(Result<ReleaseLifecycle, Invalid>);

/// A resource that was stored under another schema, or that is too large to be read.
#[derive(Clone, Debug)]
pub(crate) struct Invalid {
    pub(crate) error: String,
    is_too_large: bool,
    metadata: Box<ObjectMeta>,
}

impl Tolerant {
    /// Returns the object, which was read or written as `what` says.
    pub(crate) fn object(self, what: &str) -> Result<ReleaseLifecycle, ApiError> {
        self.0.map_err(|invalid| invalid.error(what))
    }
}

impl Whole {
    /// Returns the object, which was read as `what` says.
    pub(crate) fn object(self, what: &str) -> Result<ReleaseLifecycle, Error> {
        self.0.map_err(|invalid| {
            if invalid.is_too_large {
                Error::blocked(Reason::TooLarge, invalid.error)
            } else {
                invalid.error(what).into()
            }
        })
    }
}

impl Invalid {
    fn error(self, what: &str) -> ApiError {
        ApiError { what: what.to_owned(), cause: Cause::Unavailable(self.error) }
    }
}

/// Reads an object within a budget. What is beyond it is skipped, and the object is invalid then.
fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
    most: usize,
    skip: &[Skip],
) -> Result<Result<ReleaseLifecycle, Invalid>, D::Error> {
    let mut memory = Memory::new(most);
    let reader = Bounded::new(&mut memory, MOST_LEVELS).without(skip);
    let mut value = reader.deserialize(deserializer)?;
    let is_too_large = memory.is_exhausted();
    if is_too_large {
        let named = |key: &str| value["metadata"][key].as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: named("name"),
            namespace: named("namespace"),
            uid: named("uid"),
            resource_version: named("resourceVersion"),
            ..ObjectMeta::default()
        };
        let error = format!(
            "the object takes more than {} MiB of memory, far more than its text: move values into \
             ConfigMaps, or make them fewer",
            most >> 20
        );
        return Ok(Err(Invalid { error, is_too_large, metadata: Box::new(metadata) }));
    }
    let metadata = Box::new(ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?);
    // A panic of the parser at one object must not break the list of all.
    let object = panics::caught_now(|| ReleaseLifecycle::deserialize(value.take()));
    Ok(match object {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(error)) => Err(Invalid { error: error.to_string(), is_too_large, metadata }),
        Err(panicked) => Err(Invalid { error: panicked.to_string(), is_too_large, metadata }),
    })
}

impl<'de> Deserialize<'de> for Tolerant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, MOST_WITHOUT_BULK, BULK).map(Self)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, MOST_PER_RELEASE, &[]).map(Self)
    }
}

macro_rules! resource {
    ($name:ident) => {
        impl Resource for $name {
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
    };
}

resource!(Tolerant);
resource!(Whole);

impl Serialize for Tolerant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(object) => object.serialize(serializer),
            Err(invalid) => Err(S::Error::custom(&invalid.error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[derive(Deserialize)]
    struct List<T> {
        items: Vec<T>,
    }

    fn nested(levels: usize) -> String {
        let data = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        format!(
            r#"{{"metadata":{{"name":"deep"}},"spec":{{"source":{{"objects":[{{"data":{data}}}]}}}}}}"#
        )
    }

    fn objects(text: &str) -> Vec<Value> {
        let read: Whole = serde_json::from_str(text).unwrap();
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
        assert_eq!(serde_json::from_str::<List<Whole>>(&two).unwrap().items.len(), 2);
    }

    #[test]
    fn another_schemas_object_keeps_its_name() {
        let text = r#"{"metadata":{"name":"old"},"spec":{"source":7}}"#;
        let read: Tolerant = serde_json::from_str(text).unwrap();
        assert_eq!(read.meta().name.as_deref(), Some("old"));
        assert!(read.object("read it").is_err());
    }

    #[test]
    fn an_object_over_the_budget_is_refused_alone_and_keeps_its_name() {
        let bulk = r#"{"":0},"#.repeat(190_000);
        let large = format!(
            r#"{{"metadata":{{"name":"large","namespace":"a"}},"spec":{{"source":{{"objects":[]}},"values":{{"a":[{bulk}0]}}}}}}"#
        );
        let text = format!(r#"{{"items":[{large},{}]}}"#, nested(1));
        let list: List<Whole> = serde_json::from_str(&text).unwrap();
        assert_eq!(list.items[0].meta().name.as_deref(), Some("large"));
        let read = list.items.into_iter().map(|it| it.object("read it"));
        let reasons: Vec<_> = read
            .map(|read| match read {
                Err(Error::Blocked(failure)) => failure.reason,
                other => format!("{}", other.is_ok()),
            })
            .collect();
        assert_eq!(reasons, ["TooLarge", "true"]);
        let cached: List<Tolerant> = serde_json::from_str(&text).unwrap();
        assert!(cached.items.iter().all(|it| it.0.is_ok()), "without its bulk it is small");
    }

    #[test]
    fn the_watch_keeps_what_a_reconciliation_looks_at() {
        let text = r#"{"metadata":{"name":"a","labels":{"x":"y"},"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","releaselifecycle.dev/retryAt":"1"}},
            "spec":{"source":{"objects":[{"kind":"ConfigMap"}]},"values":{"a":1},"suspend":true}}"#;
        let read: Tolerant = serde_json::from_str(text).unwrap();
        let object = read.0.unwrap();
        let annotations = object.metadata.annotations.unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["releaselifecycle.dev/retryAt"]);
        assert_eq!((object.metadata.labels, object.spec.values), (None, None));
        assert_eq!((object.spec.source.objects, object.spec.suspend), (None, Some(true)));
    }
}
