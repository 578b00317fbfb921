//! A release that another client made: the objects of its record, and whether they are the desired
//! ones now. If they are, the release is adopted without running anything.

mod differences;

use std::collections::HashMap;

use lifecycle::{
    hooks::HookAnnotations,
    object::{ObjectRef, PlannedObject},
    source::{Desired, Hook, SourceError},
    tidy::Tidy,
};
use manifests::memory::{MOST_PER_RELEASE, Memory};
use serde_json::{Map, Value};

use crate::{
    manifest::{self, ManifestError},
    record::Release,
};

pub use differences::{Difference, describe, differences};

/// The reason why the text of a record does not describe objects.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// It is not YAML, or too much of it.
    #[error("the record of revision {revision}: {what}: {error}")]
    Text {
        /// The revision.
        revision: i32,
        /// `manifest`, or the name of the hook.
        what: String,
        /// The problem.
        error: ManifestError,
    },
    /// It describes invalid objects; at least one problem.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Objects(Vec<SourceError>),
}

/// Returns the objects and the hooks of a record, read from its text as Helm does at a rollback and
/// at an uninstall. Events, weights and delete policies of hooks are those that were recorded.
/// Objects that name no namespace get `namespace`, also those of cluster-scoped kinds: only the
/// cluster knows which those are.
///
/// # Errors
/// Text that is not YAML or describes no objects, or more of it than a release may have.
pub fn desired(record: &Release, namespace: &str) -> Result<Desired, RecordedError> {
    let revision = record.version;
    let unreadable =
        |what: &str, error| RecordedError::Text { revision, what: what.to_owned(), error };
    // It is more than for a source, so that a release that fits is never found too large when it is
    // read again.
    let mut memory = Memory::new(2 * MOST_PER_RELEASE);
    let objects = manifest::parse_within(&record.manifest, &mut memory)
        .map_err(|error| unreadable("manifest", error))?;
    let objects: Vec<_> = objects.into_iter().map(|(_, object)| object).collect();
    let mut hooks = Vec::new();
    for hook in &record.hooks {
        let what = format!("hook {}/{}", hook.kind, hook.name);
        let manifests = manifest::parse_within(&hook.manifest, &mut memory)
            .map_err(|error| unreadable(&what, error))?;
        for (_, manifest) in manifests {
            let annotations = HookAnnotations::recorded(&manifest, &hook.events, hook.weight);
            hooks.push((manifest, annotations));
        }
    }
    let place = format!("the record of revision {revision}");
    Desired::recorded(&objects, hooks, namespace, &place).map_err(RecordedError::Objects)
}

/// Returns whether the record is of this chart with these values of the user's, merged. The
/// rendered objects are not compared: templates may use clocks and random functions.
pub fn is_of_chart(
    record: &Release,
    name: &str,
    version: &str,
    values: &Map<String, Value>,
) -> bool {
    let metadata = record.chart.metadata.as_ref();
    metadata.is_some_and(|it| it.name == name && it.version == version)
        && equal_maps(&record.config, values)
}

/// Returns whether both consist of the same objects and the same hooks, in whatever order.
pub fn is_same(recorded: &Desired, wanted: &Desired) -> bool {
    let objects = |one: &PlannedObject, other: &PlannedObject| {
        equal_objects(&one.manifest, &other.manifest, &one.object)
    };
    let hooks = |one: &Hook, other: &Hook| {
        (&one.events, one.weight, &one.delete_policies)
            == (&other.events, other.weight, &other.delete_policies)
            && equal_objects(&one.manifest, &other.manifest, &one.object)
    };
    same_sets(&recorded.objects, &wanted.objects, |it| &it.object, objects)
        && same_sets(&recorded.hooks, &wanted.hooks, |it| &it.object, hooks)
}

fn same_sets<T>(
    one: &[T],
    other: &[T],
    object: impl Fn(&T) -> &ObjectRef,
    equal: impl Fn(&T, &T) -> bool,
) -> bool {
    // Names are nearly unique in a release: only hooks of different events may share one.
    let mut by_name: HashMap<&ObjectRef, Vec<&T>> = HashMap::new();
    for it in other {
        by_name.entry(object(it)).or_default().push(it);
    }
    let is_there = |a| by_name.get(object(a)).is_some_and(|all| all.iter().any(|b| equal(a, b)));
    one.len() == other.len() && one.iter().all(is_there)
}

/// Returns whether both are equal. An object may name the namespace that it would be given anyway,
/// and have parts that count as absent.
fn equal_objects(one: &Value, other: &Value, object: &lifecycle::object::ObjectRef) -> bool {
    let plain = |manifest: &Value| {
        let mut manifest = Tidy(manifest).to_value();
        if let Some(Value::Object(metadata)) = manifest.get_mut("metadata")
            && metadata.get("namespace").and_then(Value::as_str) == object.namespace.as_deref()
        {
            metadata.remove("namespace");
        }
        manifest
    };
    equal(&plain(one), &plain(other))
}

/// Returns whether both values are equal. Go writes 1.0 as 1, and reads every number of JSON as the
/// same type.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.as_f64() == other.as_f64() && (one.is_f64() || other.is_f64()))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => equal_maps(one, other),
        (one, other) => one == other,
    }
}

fn equal_maps(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len()
        && one.iter().all(|(key, value)| other.get(key).is_some_and(|it| equal(value, it)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(manifest: &str, hooks: &[(&str, &str)]) -> Release {
        let hooks: Vec<_> = hooks
            .iter()
            .map(
                |(event, manifest)| json!({"kind": "Job", "events": [event], "manifest": manifest}),
            )
            .collect();
        serde_json::from_value(json!({
            "name": "shop", "namespace": "prod", "version": 3,
            "info": {"status": "deployed"},
            "chart": {"metadata": {"name": "shop", "version": "1.4.2"}},
            "config": {"replicas": 3, "ratio": 1, "db": {"host": "db"}},
            "manifest": manifest, "hooks": hooks,
        }))
        .expect("a record")
    }

    const CONFIG: &str =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config}\ndata: {a: b}\n";
    const SECOND: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second}\n";
    const MIGRATE: &str = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\n";

    fn of(documents: &[&str], hooks: &[(&str, &str)]) -> Desired {
        desired(&record(&documents.join("---\n"), hooks), "prod").expect("it can be read")
    }

    #[test]
    fn the_same_objects_in_another_order_and_with_their_namespace_are_the_same() {
        let hooks = &[("pre-upgrade", MIGRATE)];
        let before = of(&[CONFIG, SECOND], hooks);
        let with_namespace = CONFIG.replace("{name: config}", "{name: config, namespace: prod}");
        assert!(is_same(&before, &of(&[SECOND, &with_namespace], hooks)));
        assert!(!is_same(&before, &of(&[CONFIG], hooks)));
        assert!(!is_same(&before, &of(&[CONFIG, &SECOND.replace("second", "third")], hooks)));
        assert!(!is_same(&before, &of(&[&CONFIG.replace("a: b", "a: c"), SECOND], hooks)));
        assert!(!is_same(&before, &of(&[CONFIG, SECOND], &[("pre-install", MIGRATE)])));
        assert!(!is_same(&before, &of(&[CONFIG, SECOND], &[])));
        let elsewhere = CONFIG.replace("{name: config}", "{name: config, namespace: other}");
        assert!(!is_same(&of(&[CONFIG], &[]), &of(&[&elsewhere], &[])));
    }

    #[test]
    fn a_chart_is_told_by_its_name_its_version_and_the_values() {
        let record = record("", &[]);
        let is = |name, version, values: Value| {
            is_of_chart(&record, name, version, values.as_object().expect("a map"))
        };
        let values = json!({"db": {"host": "db"}, "ratio": 1.0, "replicas": 3});
        assert!(is("shop", "1.4.2", values.clone()));
        assert!(!is("shop", "1.4.3", values.clone()));
        assert!(!is("store", "1.4.2", values));
        assert!(!is("shop", "1.4.2", json!({"db": {"host": "db"}, "ratio": 1})));
        assert!(!is("shop", "1.4.2", json!({"db": {"host": "b"}, "ratio": 1, "replicas": 3})));
    }
}
