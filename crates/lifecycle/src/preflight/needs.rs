//! The objects that Pods need to be made and to start: those that their spec names.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::ObjectRef;

/// The objects that the Pods of `object` need to be made, or to start, each once.
pub(super) fn of(object: &ObjectRef, manifest: &Value) -> BTreeSet<ObjectRef> {
    named(object, manifest, required)
}

/// The objects that the Pods of `object` use, each once, the optional ones included.
pub(super) fn all(object: &ObjectRef, manifest: &Value) -> BTreeSet<ObjectRef> {
    named(object, manifest, |reference, field| reference?.get(field))
}

/// Returns the `ConfigMaps` and Secrets whose data the Pods of `object` see, where they exist.
pub fn data_of(object: &ObjectRef, manifest: &Value) -> BTreeSet<ObjectRef> {
    let mut named = all(object, manifest);
    named.retain(has_data);
    named
}

/// Returns whether the object has data that Pods see: a `ConfigMap` or a Secret.
pub fn has_data(object: &ObjectRef) -> bool {
    object.group().is_empty() && matches!(&*object.kind, "ConfigMap" | "Secret")
}

/// The name that a reference has in this field, if it counts.
type Counts = for<'a> fn(Option<&'a Value>, &str) -> Option<&'a Value>;

fn named(object: &ObjectRef, manifest: &Value, counts: Counts) -> BTreeSet<ObjectRef> {
    let mut needs = BTreeSet::new();
    let mut add = |kind: &str, name: Option<&Value>| {
        let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            return;
        };
        needs.insert(ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: object.namespace.clone(),
            name: name.to_owned(),
        });
    };
    for spec in pod_specs(manifest) {
        let account = spec.get("serviceAccountName").or(spec.get("serviceAccount"));
        // The cluster makes that one.
        add("ServiceAccount", account.filter(|name| *name != "default"));
        for volume in items(spec, "volumes") {
            of_volume(volume, counts, &mut add);
        }
        for container in ["initContainers", "containers"].iter().flat_map(|key| items(spec, key)) {
            of_container(container, counts, &mut add);
        }
    }
    needs
}

fn of_volume<'a>(volume: &'a Value, counts: Counts, add: &mut impl FnMut(&str, Option<&'a Value>)) {
    let claim = volume.get("persistentVolumeClaim");
    add("PersistentVolumeClaim", claim.and_then(|claim| claim.get("claimName")));
    let projected = volume.get("projected").into_iter().flat_map(|it| items(it, "sources"));
    for source in std::iter::once(volume).chain(projected) {
        add("ConfigMap", counts(source.get("configMap"), "name"));
        let secret = source.get("secret");
        // A projected source uses the one name, a volume of its own the other.
        add("Secret", counts(secret, "name").or(counts(secret, "secretName")));
    }
}

fn of_container<'a>(
    container: &'a Value,
    counts: Counts,
    add: &mut impl FnMut(&str, Option<&'a Value>),
) {
    for from in items(container, "envFrom") {
        add("ConfigMap", counts(from.get("configMapRef"), "name"));
        add("Secret", counts(from.get("secretRef"), "name"));
    }
    for from in items(container, "env").filter_map(|env| env.get("valueFrom")) {
        add("ConfigMap", counts(from.get("configMapKeyRef"), "name"));
        add("Secret", counts(from.get("secretKeyRef"), "name"));
    }
}

/// The name in a reference that is not optional.
fn required<'a>(reference: Option<&'a Value>, field: &str) -> Option<&'a Value> {
    let reference = reference?;
    if reference.get("optional") == Some(&Value::Bool(true)) {
        return None;
    }
    reference.get(field)
}

/// The specs of the Pods that an object is, or makes.
pub(super) fn pod_specs(manifest: &Value) -> Vec<&Value> {
    let template = manifest.pointer("/spec/template/spec");
    let own = manifest.get("spec").filter(|spec| spec.get("containers").is_some());
    template.into_iter().chain(own).collect()
}

pub(super) fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}
