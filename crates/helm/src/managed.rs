//! The owners of an object's fields (`metadata.managedFields`), before the release applies it for
//! the first time. Helm 3, and Helm 4 if a release was made client-side, own their fields by
//! updates. To the API server that is another manager than the one that applies: fields that the
//! release changes would be a conflict, and fields that it drops would stay. So these fields are
//! handed on first, as Helm 4 does by `k8s.io/client-go/util/csaupgrade`.

use serde_json::{Map, Value};

use crate::ownership::{MANAGED_BY_LABEL, RELEASE_NAME_ANNOTATION, RELEASE_NAMESPACE_ANNOTATION};

/// Other writers of the objects of a release, and their operation. Flux runs Helm's code under a
/// name of its own; a release that is adopted from it has fields of that name.
const FORMER: [(&str, &str); 2] = [("helm-controller", "Update"), ("helm-controller", "Apply")];

/// The places of the marks by which Helm recognizes its objects.
const MARKS: [(&str, &str); 3] = [
    ("labels", MANAGED_BY_LABEL),
    ("annotations", RELEASE_NAME_ANNOTATION),
    ("annotations", RELEASE_NAMESPACE_ANNOTATION),
];

/// Returns `metadata.managedFields` as they have to be for `manager` to apply the object; `None` if
/// they are so already. With `takes_marks`, no other manager owns the marks of a release
/// afterwards: a client that takes an object overwrites them in any case.
pub fn handed_on(live: &Value, manager: &str, takes_marks: bool) -> Option<Vec<Value>> {
    let before = live.pointer("/metadata/managedFields")?.as_array()?;
    let mut entries = Vec::new();
    let mut former = Vec::new();
    for entry in before {
        if is_former(entry, manager) { &mut former } else { &mut entries }.push(entry.clone());
    }
    let is_own = |entry: &Value| is(entry, manager, "Apply");
    if !former.is_empty() {
        // The newest reflects the present object.
        former.sort_by(|a, b| b["time"].as_str().cmp(&a["time"].as_str()));
        let index = entries.iter().position(is_own).unwrap_or_else(|| {
            let mut own = former.remove(0);
            own["manager"] = manager.into();
            own["operation"] = "Apply".into();
            entries.push(own);
            entries.len() - 1
        });
        let own = &mut entries[index];
        // Fields of another version may not exist in this one; they are unowned from now on.
        let version = own["apiVersion"].clone();
        for other in former.into_iter().filter(|other| other["apiVersion"] == version) {
            let fields = union(own["fieldsV1"].take(), &other["fieldsV1"]);
            own["fieldsV1"] = fields;
        }
    }
    if takes_marks {
        for entry in entries.iter_mut().filter(|entry| !is_own(entry)) {
            for (field, key) in MARKS {
                let Some(fields) = entry.get_mut("fieldsV1") else { continue };
                remove(fields, &["f:metadata", &format!("f:{field}"), &format!("f:{key}")]);
            }
        }
        entries
            .retain(|entry| entry["fieldsV1"].as_object().is_none_or(|fields| !fields.is_empty()));
    }
    (entries != *before).then_some(entries)
}

fn is_former(entry: &Value, manager: &str) -> bool {
    is(entry, manager, "Update") || FORMER.iter().any(|(name, how)| is(entry, name, how))
}

/// Returns whether the entry is of this manager and operation. Subresources, such as `status`, are
/// written by controllers, whatever their name.
fn is(entry: &Value, manager: &str, operation: &str) -> bool {
    entry["manager"] == manager
        && entry["operation"] == operation
        && entry["subresource"].as_str().is_none_or(str::is_empty)
}

/// Returns the fields of either. In `FieldsV1` an empty object is a field; one that has fields of
/// its own is itself among them as `.`.
fn union(fields: Value, more: &Value) -> Value {
    let (Value::Object(mut fields), Value::Object(more)) = (fields.clone(), more) else {
        return if fields.is_object() { fields } else { more.clone() };
    };
    if fields.is_empty() || more.is_empty() {
        let both = if fields.is_empty() { more } else { &fields };
        let mut both = both.clone();
        if !both.is_empty() {
            both.insert(".".to_owned(), Value::Object(Map::new()));
        }
        return Value::Object(both);
    }
    for (key, value) in more {
        let merged = match fields.remove(key) {
            Some(present) if key != "." => union(present, value),
            _ => value.clone(),
        };
        fields.insert(key.clone(), merged);
    }
    Value::Object(fields)
}

/// Removes the field at `path`, and the parents that have no field left then: an empty object would
/// be a field.
fn remove(fields: &mut Value, path: &[&str]) {
    let Some(map) = fields.as_object_mut() else { return };
    let Some((first, rest)) = path.split_first() else { return };
    let Some(child) = map.get_mut(*first) else { return };
    if !rest.is_empty() {
        if child.as_object().is_none_or(Map::is_empty) {
            return;
        }
        remove(child, rest);
        if child.as_object().is_none_or(|child| !child.is_empty()) {
            return;
        }
    }
    map.remove(*first);
}
