//! The kinds of a plan's objects, as the cluster serves them.

use kube::discovery::Scope;
use lifecycle::reason::Reason;
use lifecycle::{event::Event, object::ObjectSet, plan::Crds};

use super::{crds, material::Material};
use crate::{cluster::error::Error, release::Release};

/// Finds every kind, which must be served, or be defined by a hook. Objects without a namespace
/// lose the one that they were given. An object to prune whose kind no longer exists is gone.
pub(super) async fn find(
    release: &Release<'_>,
    material: &mut Material,
    event: Event,
    crds: Crds,
) -> Result<(), Error> {
    let tenant = &release.tenant;
    let Material { selected, pruned_before, .. } = material;
    let defined = crds::defined_kinds(&selected.desired, event, crds);
    let remark = if crds == Crds::Skip && !selected.desired.crds.is_empty() {
        format!("; of the chart's crds/ nothing is installed, since spec.{event}.crds is Skip")
    } else {
        String::new()
    };
    let mut unknown = Vec::new();
    for object in selected.desired.refs_mut() {
        match tenant.kind(object).await? {
            Some(kind) if kind.scope == Scope::Cluster => object.namespace = None,
            Some(_) => {}
            None => match defined.iter().find(|defined| defined.is_of(object)) {
                Some(defined) if !defined.namespaced => object.namespace = None,
                Some(_) => {}
                // The object fails when its turn comes, and the deletion handles that.
                None if event == Event::Delete => {}
                None => unknown.push(format!(
                    "{object}: the cluster does not know kind {:?} of apiVersion {:?}; correct \
                     them, or install the CustomResourceDefinition first{remark}",
                    object.kind, object.api_version,
                )),
            },
        }
    }
    if !unknown.is_empty() {
        return Err(Error::blocked(Reason::UnknownKind, unknown.join("; ")));
    }
    // Objects without a namespace can be compared only once their scope is known.
    let objects = &selected.desired.objects;
    let wanted: ObjectSet = objects.iter().map(|object| &object.object).collect();
    for list in [&mut selected.prune, &mut pruned_before.objects] {
        let mut served = Vec::new();
        for mut object in std::mem::take(list) {
            if let Some(kind) = tenant.kind(&object).await? {
                if kind.scope == Scope::Cluster {
                    object.namespace = None;
                }
                served.push(object);
            }
        }
        served.retain(|old| !wanted.contains(old));
        *list = served;
    }
    let prune: ObjectSet = selected.prune.iter().collect();
    pruned_before.objects.retain(|old| !prune.contains(old));
    Ok(())
}
