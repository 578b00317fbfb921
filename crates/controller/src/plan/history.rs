//! What earlier revisions say: the key of digests, the objects that may be there, and their hooks.

use std::collections::BTreeSet;

use kube::discovery::Scope;
use lifecycle::{
    event::Event,
    object::{ObjectRef, PlannedObject},
    plan::{Plan, PlannedHook},
};

use crate::{cluster::error::Error, desired::objects, records::Stored, release::Release};

/// So many kinds and namespaces of earlier hooks are remembered.
const MOST_HOOK_KINDS: usize = 100;

/// The key of the digests, one for the life of the release, so that they can be compared.
pub(crate) fn key(history: &[Stored]) -> Option<String> {
    let with_key = history.iter().filter(|stored| stored.plan.is_some());
    let latest = with_key.max_by_key(|stored| stored.release.version)?;
    Some(latest.plan.as_ref()?.0.config_key.clone())
}

/// Every object that may be there, as the newest revision that has it made it: those of the latest,
/// and what earlier ones have left.
pub(super) fn newest_objects(
    release: &Release<'_>,
    latest: Vec<PlannedObject>,
    history: &[Stored],
) -> Result<Vec<PlannedObject>, Error> {
    let mut newest = latest;
    let mut earlier: Vec<_> = history.iter().collect();
    earlier.sort_by_key(|stored| std::cmp::Reverse(stored.release.version));
    for stored in earlier {
        for object in objects_of(release, stored)? {
            if !newest.iter().any(|other| other.object.is_same_object(&object.object)) {
                newest.push(object);
            }
        }
    }
    Ok(newest)
}

/// The objects of a revision, whoever made it.
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

/// Leaves out what a revision that was never deployed has taken of others.
pub(super) fn leave_out_taken(objects: &mut Vec<PlannedObject>, stored: &Stored) {
    let taken = taken(stored);
    objects.retain(|object| !taken.iter().any(|it| it.is_same_object(&object.object)));
}

/// What a revision that was never deployed has taken of others.
pub(super) fn taken(stored: &Stored) -> &[ObjectRef] {
    match &stored.plan {
        Some((plan, _)) if !stored.was_deployed() => &plan.taken,
        _ => &[],
    }
}

/// What of a revision is outside of the release's namespace.
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
            // Of the hooks that Helm made nothing is known.
            let plan = Plan::new(String::new(), release.owner(), Event::Upgrade, 0);
            Plan { objects: desired.objects, ..plan }
        }
    };
    leave_out_taken(&mut plan.objects, stored);
    Ok(plan.outside(&release.namespace))
}

/// The objects of hooks in the records of `history`. One that cannot be read has none.
pub(super) fn recorded_hooks(release: &Release<'_>, history: &[Stored]) -> Vec<ObjectRef> {
    let recorded = history.iter().filter_map(|stored| objects::of_record(release, stored).ok());
    recorded
        .flat_map(|desired| desired.hooks.into_iter().flat_map(|hook| hook.parts))
        .map(|part| part.object)
        .collect()
}

/// Of which kinds, and where, hooks of earlier revisions are, as far as the records tell: those may
/// be removed before the release is.
pub(super) fn hook_kinds(history: &[Stored], recorded: &[ObjectRef]) -> Vec<ObjectRef> {
    let plans = history.iter().filter_map(|stored| stored.plan.as_ref());
    let known = plans.flat_map(|(plan, _)| &plan.hook_kinds).chain(recorded).cloned();
    let kinds: BTreeSet<_> =
        known.map(|object| ObjectRef { name: String::new(), ..object }).collect();
    kinds.into_iter().take(MOST_HOOK_KINDS).collect()
}

/// Notes which hooks an earlier record has, too.
pub(super) fn mark_recorded(recorded: &[ObjectRef], hooks: &mut [PlannedHook]) {
    for hook in hooks {
        // A record gives a namespace to what has none.
        let is_hook = |recorded: &ObjectRef| match &hook.object.namespace {
            Some(_) => recorded.is_same_object(&hook.object),
            None => ObjectRef { namespace: None, ..recorded.clone() }.is_same_object(&hook.object),
        };
        hook.recorded = recorded.iter().any(is_hook);
    }
}

/// The objects of every record since and including the last deployed one.
pub(super) fn earlier_objects(
    release: &Release<'_>,
    history: &[Stored],
) -> Result<Vec<ObjectRef>, Error> {
    let mut found = Vec::new();
    for stored in history {
        found.extend(objects_of(release, stored)?.into_iter().map(|object| object.object));
    }
    Ok(found)
}
