//! Facts from earlier revisions: the key of digests, the objects that may exist, and their hooks.

use std::collections::BTreeSet;

use kube::discovery::Scope;
use lifecycle::{
    event::Event,
    object::{ObjectRef, ObjectSet, PlannedObject},
    plan::{Plan, PlannedHook},
};

use crate::{cluster::error::Error, desired::objects, records::Stored, release::Release};

/// The maximum number of kinds and namespaces of earlier hooks that are remembered.
const MOST_HOOK_KINDS: usize = 100;

/// Returns the key of the digests, one for the life of the release, so that they can be compared.
pub(crate) fn key(history: &[Stored]) -> Option<String> {
    let with_key = history.iter().filter(|stored| stored.plan.is_some());
    let latest = with_key.max_by_key(|stored| stored.release.version)?;
    Some(latest.plan.as_ref()?.0.config_key.clone())
}

/// Returns the objects of a revision, whichever client created it.
pub(crate) fn objects_of(
    release: &Release<'_>,
    stored: &Stored,
) -> Result<Vec<PlannedObject>, Error> {
    let mut objects = match &stored.plan {
        Some((plan, _)) if !plan.adopted => plan.objects.clone(),
        _ => objects::of_record(release, stored)?.objects,
    };
    leave_out_taken(&mut objects, stored);
    Ok(objects)
}

/// Leaves out the objects that a revision adopted from others, if it was never deployed.
pub(super) fn leave_out_taken(objects: &mut Vec<PlannedObject>, stored: &Stored) {
    let taken: ObjectSet = taken(stored).iter().collect();
    objects.retain(|object| !taken.contains(&object.object));
}

/// Returns the objects that a revision adopted from others, if it was never deployed. This only
/// protects objects, so that the record's own words count.
pub(crate) fn taken(stored: &Stored) -> &[ObjectRef] {
    match stored.claimed() {
        Some((plan, _)) if !stored.was_deployed() => &plan.taken,
        _ => &[],
    }
}

/// Returns the objects of a revision outside of the release's namespace.
pub(crate) async fn outside(
    release: &Release<'_>,
    stored: &Stored,
) -> Result<Vec<ObjectRef>, Error> {
    let mut plan = match &stored.plan {
        Some((plan, _)) if !plan.adopted => plan.clone(),
        _ => {
            let mut desired = objects::of_record(release, stored)?;
            for object in desired.refs_mut() {
                if release.tenant.kind(object).await?.is_some_and(|it| it.scope == Scope::Cluster) {
                    object.namespace = None;
                }
            }
            // Of the hooks in Helm's own records nothing is known.
            let plan = Plan::new(String::new(), release.owner(), Event::Upgrade, 0);
            Plan { objects: desired.objects, ..plan }
        }
    };
    leave_out_taken(&mut plan.objects, stored);
    Ok(plan.outside(&release.namespace))
}

/// Returns the objects of hooks in the records of `history`. A record that cannot be read has none.
pub(super) fn recorded_hooks(release: &Release<'_>, history: &[Stored]) -> Vec<ObjectRef> {
    let recorded = history.iter().filter_map(|stored| objects::of_record(release, stored).ok());
    recorded
        .flat_map(|desired| desired.hooks.into_iter().flat_map(|hook| hook.parts))
        .map(|part| part.object)
        .collect()
}

/// Returns the kinds and namespaces of the hooks of earlier revisions, as far as the records show:
/// those records may be removed before the release is.
pub(super) fn hook_kinds(history: &[Stored], recorded: &[ObjectRef]) -> Vec<ObjectRef> {
    let plans = history.iter().filter_map(|stored| stored.plan.as_ref());
    let known = plans.flat_map(|(plan, _)| &plan.hook_kinds).chain(recorded).cloned();
    let kinds: BTreeSet<_> =
        known.map(|object| ObjectRef { name: String::new(), ..object }).collect();
    kinds.into_iter().take(MOST_HOOK_KINDS).collect()
}

/// Marks the hooks that an earlier record has, too.
pub(super) fn mark_recorded(recorded: &[ObjectRef], hooks: &mut [PlannedHook]) {
    let nowhere = |recorded: &ObjectRef| ObjectRef { namespace: None, ..recorded.clone() };
    let somewhere: ObjectSet = recorded.iter().collect();
    // A record gives a namespace to objects that have none.
    let anywhere: Vec<_> = recorded.iter().map(nowhere).collect();
    let anywhere: ObjectSet = anywhere.iter().collect();
    for hook in hooks {
        let known = if hook.object.namespace.is_some() { &somewhere } else { &anywhere };
        hook.recorded = known.contains(&hook.object);
    }
}

/// Returns the objects of every record since and including the last deployed one, newest first.
pub(super) fn earlier_objects(
    release: &Release<'_>,
    history: &[Stored],
) -> Result<Vec<PlannedObject>, Error> {
    let mut newest_first: Vec<_> = history.iter().collect();
    newest_first.sort_by_key(|stored| std::cmp::Reverse(stored.release.version));
    let mut found = Vec::new();
    for stored in newest_first {
        found.extend(objects_of(release, stored)?);
    }
    Ok(found)
}
