//! Whose the fields of an object are before it is applied.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use helm::managed::handed_on;
use serde_json::{Value, json};

fn entry(manager: &str, operation: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "v1",
           "fieldsType": "FieldsV1", "fieldsV1": fields, "time": "2026-01-01T00:00:00Z"})
}

fn with(mut entry: Value, key: &str, value: &str) -> Value {
    entry[key] = value.into();
    entry
}

fn data(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| (format!("f:{key}"), json!({})));
    json!({"f:data": Value::Object(keys.collect())})
}

#[track_caller]
fn check(before: &[Value], takes_marks: bool, expected: Option<&[Value]>) {
    let live = json!({"metadata": {"managedFields": before}});
    let after = handed_on(&live, "helm", takes_marks);
    assert_eq!(after.as_deref(), expected);
    if let Some(after) = after {
        // It is done once.
        let live = json!({"metadata": {"managedFields": after}});
        assert_eq!(handed_on(&live, "helm", takes_marks), None);
    }
}

#[test]
fn who_applies_already_and_who_is_somebody_else_keep_what_they_have() {
    assert_eq!(handed_on(&json!({}), "helm", true), None);
    check(&[], false, None);
    check(&[entry("helm", "Apply", data(&["a"]))], false, None);
    let others = [
        entry("helm", "Apply", data(&["a"])),
        entry("kubectl-client-side-apply", "Update", data(&["b"])),
        with(entry("helm", "Update", json!({"f:status": {}})), "subresource", "status"),
    ];
    check(&others, false, None);
}

#[test]
fn what_was_updated_is_applied_from_then_on() {
    let kubectl = entry("kubectl", "Update", data(&["c"]));
    check(
        &[entry("helm", "Update", data(&["a", "b"])), kubectl.clone()],
        false,
        Some(&[kubectl.clone(), entry("helm", "Apply", data(&["a", "b"]))]),
    );
    check(
        &[
            entry("helm", "Apply", data(&["a"])),
            entry("helm", "Update", data(&["b"])),
            kubectl.clone(),
        ],
        false,
        Some(&[entry("helm", "Apply", data(&["a", "b"])), kubectl]),
    );
}

#[test]
fn what_flux_wrote_is_handed_on_too() {
    check(
        &[
            with(entry("helm-controller", "Apply", data(&["a"])), "time", "2026-01-01T00:00:00Z"),
            with(entry("helm-controller", "Update", data(&["b"])), "time", "2026-01-02T00:00:00Z"),
        ],
        false,
        Some(&[with(entry("helm", "Apply", data(&["b", "a"])), "time", "2026-01-02T00:00:00Z")]),
    );
}

#[test]
fn fields_of_another_version_are_given_up() {
    let old = with(entry("helm", "Update", data(&["old"])), "apiVersion", "v1beta1");
    check(
        &[entry("helm", "Apply", data(&["a"])), old],
        false,
        Some(&[entry("helm", "Apply", data(&["a"]))]),
    );
}

#[test]
fn a_field_that_is_owned_as_a_whole_stays_so() {
    let whole = json!({"f:data": {}});
    let parts = data(&["a"]);
    let both = json!({"f:data": {".": {}, "f:a": {}}});
    for (own, other) in [(&whole, &parts), (&parts, &whole), (&both, &parts)] {
        check(
            &[entry("helm", "Apply", own.clone()), entry("helm", "Update", other.clone())],
            false,
            Some(&[entry("helm", "Apply", both.clone())]),
        );
    }
    let nothing = with(entry("helm", "Update", Value::Null), "apiVersion", "v1");
    check(
        &[entry("helm", "Apply", parts.clone()), nothing],
        false,
        Some(&[entry("helm", "Apply", parts)]),
    );
}

#[test]
fn the_marks_are_nobody_elses_where_they_are_taken() {
    let marks = |more: Value| {
        let mut annotations = json!({
            "f:meta.helm.sh/release-name": {}, "f:meta.helm.sh/release-namespace": {},
        });
        for (key, value) in more.as_object().unwrap() {
            annotations[key] = value.clone();
        }
        json!({"f:metadata": {"f:annotations": annotations,
                              "f:labels": {"f:app.kubernetes.io/managed-by": {}}}})
    };
    let other = entry("other", "Update", marks(json!({".": {}, "f:a": {}})));
    let own = entry("helm", "Apply", marks(json!({})));
    let rest = json!({"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}});
    check(&[other.clone(), own.clone()], false, None);
    check(
        &[other, own.clone(), entry("marker", "Apply", marks(json!({})))],
        true,
        Some(&[entry("other", "Update", rest), own]),
    );
    // Whoever owns all annotations as one keeps them.
    let whole = entry("other", "Update", json!({"f:metadata": {"f:annotations": {}}}));
    check(&[whole], true, None);
}
