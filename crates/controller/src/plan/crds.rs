//! The content of a chart's `crds/`, and the kinds that `CustomResourceDefinition`s among the hooks
//! install.

use lifecycle::{
    event::{Event, HookEvent},
    object::{ObjectRef, PlannedObject},
    plan::Crds,
    source::Desired,
};
use serde_json::Value;

use crate::{cluster::error::Error, release::Release};

/// Removes existing CRDs from the plan: they are left as they are, and need no right to be created.
pub(super) async fn leave_out_existing(
    release: &Release<'_>,
    crds: &mut Vec<PlannedObject>,
) -> Result<(), Error> {
    let mut missing = Vec::new();
    for crd in std::mem::take(crds) {
        match release.tenant.get(&crd.object).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(crd),
            // It is reported with the other rights.
            Err(error) if error.is_forbidden() => missing.push(crd),
            Err(error) => return Err(error.into()),
        }
    }
    *crds = missing;
    Ok(())
}

/// A kind that a `CustomResourceDefinition` among the hooks installs.
pub(super) struct Defined {
    group: String,
    kind: String,
    pub(super) namespaced: bool,
}

impl Defined {
    pub(super) fn is_of(&self, object: &ObjectRef) -> bool {
        self.group == object.group() && self.kind == object.kind
    }
}

/// Returns only the kinds that are created before the objects are.
pub(super) fn defined_kinds(desired: &Desired, event: Event, crds: Crds) -> Vec<Defined> {
    let runs = |at: &HookEvent| at.operation() == event;
    let hooks = desired.hooks.iter().filter(|hook| hook.events.iter().any(runs));
    let in_crds = if crds == Crds::Skip { &[] } else { &desired.crds[..] };
    let parts = hooks.flat_map(|hook| &hook.parts).chain(in_crds);
    let crds = parts.filter(|part| part.object.kind == "CustomResourceDefinition");
    crds.map(|part| {
        let text = |path: &str| {
            part.manifest.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Defined {
            group: text("/spec/group"),
            kind: text("/spec/names/kind"),
            namespaced: text("/spec/scope") == "Namespaced",
        }
    })
    .collect()
}
