//! All cases, by subject.

mod annotations;
mod deletion;
mod events;
mod execution;
mod others;
mod rows;

use e2e::manifests::Manifest;
use serde_json::{Value, json};

use crate::case::Case;

const ALL_POLICIES: &str = "before-hook-creation,hook-succeeded,hook-failed";

/// Every case, in order.
pub(crate) fn all() -> Vec<Case> {
    let subjects = [
        annotations::CASES,
        execution::ENDINGS,
        execution::LEFTOVERS,
        events::OBJECTS,
        events::INTERRUPTIONS,
        events::ROLLBACKS,
        deletion::CASES,
        others::CASES,
    ];
    let mut cases = subjects.concat();
    cases.sort_by_key(|case| case.number);
    cases
}

/// The definition of the kind `Widget`.
fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.NAMESPACE.example.com"},
        "spec": {
            "group": "NAMESPACE.example.com",
            "names": {"kind": "Widget", "plural": "widgets"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "NAMESPACE.example.com/v1", "kind": "Widget", "metadata": {"name": name}})
}

fn service_account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

/// An object that stays until somebody removes its finalizer.
fn held(object: Value) -> Value {
    object.set("/metadata/finalizers", json!(["example.com/hold"]))
}

/// On a simulated node, its Pods run for so long.
fn lasts(object: Value, duration: &str) -> Value {
    object.set_pod("/metadata/annotations/releaselifecycle.dev~1test-delay", duration)
}
