//! The parts of an object that count as absent, whichever way the object was written: nulls, and
//! the empty maps of its metadata and its status.
//!
//! Client-side apply drops nulls, server-side apply keeps them, the API server drops `labels: {}`
//! of an object embedded in another one, and `kubectl create --dry-run` writes `creationTimestamp:
//! null` and `status: {}`. None of these is a change of the release, so digests and comparisons are
//! made without them.
//!
//! Other empty maps have a meaning: `emptyDir: {}` is a volume, `podSelector: {}` is every Pod and
//! `aggregationRule: {}` empties a role. They stay, even if they contained only nulls. So does a
//! null in a list, since the items after it would move.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};
use serde_json::{Map, Value};

/// An object that is serialized without the parts that count as absent. One without such parts is
/// serialized byte for byte as it is.
#[derive(Clone, Copy, Debug)]
pub struct Tidy<'a>(pub &'a Value);

impl Tidy<'_> {
    /// Returns the object as it is serialized.
    pub fn to_value(self) -> Value {
        // A value made of JSON has a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Serialize for Tidy<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Part { value: self.0, place: Place::Object }.serialize(serializer)
    }
}

/// Removes the nulls of all maps of an object.
pub fn remove_nulls(object: &mut Value) {
    match object {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The place of a value in an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is an object itself.
    Object,
    /// It is the metadata of an object, or of the template of one.
    Metadata,
    /// Labels and annotations, and the fields of the core group's objects, in whose types an empty
    /// map and an absent one are one value.
    Plain,
    /// In a status, which only a controller fills.
    Status,
    /// The items of a list of objects.
    Items,
    Other,
}

impl Place {
    /// Returns the place of the field `key` of `map`, which is at this place.
    fn field(self, map: &Map<String, Value>, key: &str) -> Self {
        match (self, key) {
            (Self::Object, "metadata") => Self::Metadata,
            (Self::Object, "status") | (Self::Status, _) => Self::Status,
            (Self::Object, "items") if map.get("kind").is_some_and(is_list_kind) => Self::Items,
            (Self::Object, _) if map.get("apiVersion").is_some_and(|it| it == "v1") => Self::Plain,
            // As of Pods in a Deployment, of Jobs in a CronJob, of claims in a StatefulSet.
            (Self::Other | Self::Plain, "metadata")
                if map.get("spec").is_some_and(|spec| !spec.is_null()) =>
            {
                Self::Metadata
            }
            (Self::Metadata, "labels" | "annotations") => Self::Plain,
            _ => Self::Other,
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Items => Self::Object,
            _ => Self::Other,
        }
    }

    /// Returns whether `value`, which is a field's and is at this place, counts as absent.
    fn leaves_out(self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Object(map) => {
                matches!(self, Self::Metadata | Self::Plain | Self::Status)
                    && map.iter().all(|(key, value)| self.field(map, key).leaves_out(value))
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
        }
    }
}

fn is_list_kind(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| kind.ends_with("List"))
}

struct Part<'a> {
    value: &'a Value,
    place: Place,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { value, place } = *self;
        match value {
            Value::Object(map) => {
                let mut entries = serializer.serialize_map(None)?;
                for (key, value) in map {
                    let place = place.field(map, key);
                    if !place.leaves_out(value) {
                        entries.serialize_entry(key, &Part { value, place })?;
                    }
                }
                entries.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Part { value, place: place.item() })?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn job(metadata: Value, template: Value, more: &Value) -> Value {
        let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
            "spec": {"template": {"metadata": template, "spec": {"containers": [
                {"name": "a", "env": [{"name": "A"}], "args": [null, "x"], "resources": {}}],
                "volumes": [{"name": "v", "emptyDir": {}}]}}}});
        for (key, value) in more.as_object().unwrap() {
            job[key] = value.clone();
        }
        job
    }

    #[test]
    fn nulls_and_the_empty_maps_of_metadata_and_status_are_as_if_they_were_not_there() {
        let plain = job(json!({"name": "a"}), json!({"labels": {"a": "b"}}), &json!({}));
        assert_eq!(Tidy(&plain).to_value(), plain);
        let mut written = job(
            json!({"name": "a", "creationTimestamp": null, "labels": {}, "annotations": {"a": null}}),
            json!({"labels": {"a": "b"}, "annotations": {}, "creationTimestamp": null}),
            &json!({"status": {"loadBalancer": {}, "x": null}, "more": null}),
        );
        let pod = "/spec/template/spec/containers/0";
        written.pointer_mut(pod).unwrap()["env"][0]["value"] = Value::Null;
        written.pointer_mut(pod).unwrap()["command"] = Value::Null;
        assert_eq!(Tidy(&written).to_value(), plain);
    }

    #[test]
    fn metadata_of_which_nothing_is_left_go_whole() {
        let absent = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}});
        let mut written = absent.clone();
        for template in ["/spec/jobTemplate", "/spec/jobTemplate/spec/template"] {
            written.pointer_mut(template).unwrap()["metadata"] =
                json!({"creationTimestamp": null, "labels": {}});
        }
        assert_eq!(Tidy(&written).to_value(), absent);
    }

    #[test]
    fn each_item_of_a_list_is_an_object() {
        let list = |item: Value| json!({"apiVersion": "v1", "kind": "List", "items": [item]});
        let item = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}});
        let mut written = item.clone();
        written["metadata"]["labels"] = json!({});
        written["status"] = json!({});
        assert_eq!(Tidy(&list(written.clone())).to_value(), list(item));
        let other = json!({"apiVersion": "a/v1", "kind": "A", "items": [written]});
        assert_eq!(Tidy(&other).to_value(), other);
    }

    #[test]
    fn in_the_core_group_an_empty_map_at_the_top_is_absent() {
        let absent = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        for data in [json!({}), json!({"a": null}), Value::Null] {
            let mut written = absent.clone();
            written["data"] = data;
            assert_eq!(Tidy(&written).to_value(), absent);
        }
    }

    #[test]
    fn what_an_empty_map_or_a_null_in_a_list_says_is_kept() {
        let object = |spec: Value| json!({"apiVersion": "a/v1", "kind": "A", "spec": spec});
        for said in [
            object(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            object(json!({"podSelector": {}, "ingress": [{}]})),
            object(json!({"labels": {}, "status": {}, "metadata": {}})),
            object(json!({"args": [null, "x"]})),
            object(json!({})),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "aggregationRule": {}}),
        ] {
            assert_eq!(Tidy(&said).to_value(), said);
        }
        let nulls = object(json!({"emptyDir": {"medium": null}, "a": {"b": {"c": null}}}));
        let without = object(json!({"emptyDir": {}, "a": {"b": {}}}));
        assert_eq!(Tidy(&nulls).to_value(), without);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(json!({})),
            Just(json!([])),
            any::<i8>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        let key = prop::sample::select(vec![
            "metadata",
            "labels",
            "annotations",
            "spec",
            "status",
            "items",
            "kind",
            "apiVersion",
            "a",
        ]);
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn is_plain(value: &Value) -> bool {
        match value {
            Value::Object(map) => {
                !map.is_empty() && map.values().all(|value| !value.is_null() && is_plain(value))
            }
            Value::Array(items) => items.iter().all(is_plain),
            _ => true,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Because of this, a digest that an earlier version of the operator made is still the
        /// same.
        #[test]
        fn what_has_neither_nulls_nor_empty_maps_comes_out_byte_for_byte(value in value()) {
            if is_plain(&value) {
                prop_assert_eq!(serde_json::to_string(&Tidy(&value)).unwrap(), value.to_string());
            }
        }

        #[test]
        fn to_tidy_what_is_tidy_changes_nothing(value in value()) {
            let once = Tidy(&value).to_value();
            prop_assert_eq!(Tidy(&once).to_value(), once);
        }

        #[test]
        fn nulls_make_no_difference(value in value()) {
            let mut without = value.clone();
            remove_nulls(&mut without);
            let kept = value.is_null();
            prop_assert!(kept || Tidy(&without).to_value() == Tidy(&value).to_value());
        }
    }
}
