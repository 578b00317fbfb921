//! Plans for tests: the one place that names every field of a hook. Tests change what matters to them.

use serde_json::json;

use crate::{
    event::{Event, HookEvent},
    object::ObjectRef,
    plan::{Owner, Plan, PlannedHook},
    rule::Rule,
};

/// The object of this kind and name, in the namespace `prod`.
pub fn object(kind: &str, name: &str) -> ObjectRef {
    let api_version = match kind {
        "Job" => "batch/v1",
        "Deployment" => "apps/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        _ => "v1",
    };
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some("prod".to_owned()),
        name: name.to_owned(),
    }
}

/// A hook without weight or delete policies.
pub fn hook(event: HookEvent, object: ObjectRef) -> PlannedHook {
    let manifest = json!({"metadata": {"name": object.name}});
    PlannedHook {
        event,
        object,
        weight: 0,
        delete_policies: Vec::new(),
        manifest,
        in_crds: false,
        replaces: false,
        recorded: false,
        rule: Rule::default(),
    }
}

/// A plan without hooks and objects: the operation `op` on revision 1 of `ReleaseLifecycle/shop`.
pub fn plan(event: Event) -> Plan {
    let owner = Owner { uid: "uid-1".to_owned(), name: "shop".to_owned() };
    Plan::new("op".to_owned(), owner, event, 1)
}
