//! Deletes a release's objects in Helm's order, and in the end the objects that its hooks left.

use std::collections::BTreeSet;

use api::names;
use helm::ownership;
use lifecycle::{
    commands, journal::first_of, object::ObjectRef, observation::Observation, plan::Plan,
    reason::Reason,
};
use serde_json::Value;

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
    },
    desired::objects,
    records::{Records, Stored},
    release::Release,
};

/// DELETEs every object that the release still owns, and returns those that exist.
///
/// Like an apply, it first reads everything. Then it confirms that the journal is the one that this
/// deletion is based on. Only then does it delete the objects that it has read, by UID.
pub(crate) async fn delete(release: &Release<'_>, plan: &Plan) -> Result<Observation, Error> {
    let found = live_objects(release, plan).await?;
    if let Some(message) = Records::of(release).newer(plan.revision).await? {
        return Err(Error::blocked(Reason::Overtaken, message));
    }
    let permit = release.fence().guard().await?;
    for LiveObject { object, uid, .. } in found.iter().filter(|found| !found.going) {
        release.tenant.delete(permit, object, uid).await?;
    }
    let waiting = live_objects(release, plan).await?.into_iter().map(|found| found.text).collect();
    // All deletions were requested: an object that exists again is deleted again after a while.
    Ok(Observation::Remaining { waiting, untouched: false })
}

/// Returns the release's objects that still exist.
pub(crate) async fn remaining(release: &Release<'_>, plan: &Plan) -> Result<Observation, Error> {
    let found = live_objects(release, plan).await?;
    Ok(Observation::Remaining {
        untouched: found.iter().any(|found| !found.going),
        waiting: found.into_iter().map(|found| found.text).collect(),
    })
}

struct LiveObject<'a> {
    object: &'a ObjectRef,
    uid: String,
    going: bool,
    /// `Kind/name: the reason why it still exists`.
    text: String,
}

async fn live_objects<'a>(
    release: &Release<'_>,
    plan: &'a Plan,
) -> Result<Vec<LiveObject<'a>>, Error> {
    let mut found = Vec::new();
    for object in &plan.prune {
        if object.is_namespace(&release.namespace) {
            // The namespace would wait for the custom resource, which is in it: it is deleted last.
            continue;
        }
        let live = match release.tenant.get(object).await {
            Ok(live) => live,
            // Its kind is gone, and with it all its objects.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(live) = live else { continue };
        // Helm 4's `verifyOwnershipBeforeDelete`: an object that another release owns by now is not
        // ours.
        if ownership::check(&live, &release.name, &release.namespace).is_err() {
            continue;
        }
        let finalizers = live["metadata"]["finalizers"].as_array().into_iter().flatten();
        let finalizers: Vec<_> = finalizers.filter_map(Value::as_str).collect();
        let held = match &finalizers[..] {
            [] => "it is still there".to_owned(),
            held => format!("held by finalizer {}", held.join(", ")),
        };
        found.push(LiveObject {
            object,
            uid: live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            going: !live["metadata"]["deletionTimestamp"].is_null(),
            text: format!("{object}: {held}"),
        });
    }
    Ok(found)
}

/// Removes the objects that a deleted release's hooks left: every object that carries the release's
/// mark, except those that Helm's `keep` or their kind protects. Reports the objects that are kept
/// because of their kind.
pub(crate) async fn remove_leftovers(release: &Release<'_>) -> Result<(), Error> {
    let owner = format!("{}/{}", release.namespace, release.object_name());
    let selector = format!("{}={}", names::NAME_LABEL, release.object_name());
    let mut kept = Vec::new();
    for kind in hook_kinds(release).await? {
        let objects = match release.tenant.list_metadata(&kind, &selector).await {
            Ok(objects) => objects,
            // A kind that is gone, or one that the tenant may create but not list.
            Err(ApiError { cause: Cause::NotFound(_), .. }) => continue,
            Err(error) if error.is_forbidden() => continue,
            Err(error) => return Err(error.into()),
        };
        let permit = release.fence().guard().await?;
        for live in objects {
            let text = |path: &str| live.pointer(path).and_then(Value::as_str).unwrap_or_default();
            if live["metadata"]["annotations"][names::OWNER_ANNOTATION] != owner.as_str()
                || ownership::kept_when_removed(&live)
                || live["metadata"]["ownerReferences"].is_array()
            {
                continue;
            }
            let object = ObjectRef { name: text("/metadata/name").to_owned(), ..kind.clone() };
            if object.holds_data() {
                kept.push(object);
                continue;
            }
            release.tenant.delete(permit, &object, text("/metadata/uid")).await?;
        }
    }
    if !kept.is_empty() {
        let names: Vec<_> = kept.iter().map(ToString::to_string).collect();
        let text = format!(
            "objects that hooks created and that may hold data stay: {}. If they are not needed: {}",
            first_of(&names),
            commands::delete(&kept)
        );
        release.tell(Reason::ObjectKept, text);
    }
    Ok(())
}

/// Deletes the release's own namespace, if that is one of its objects: with it everything that is
/// left is deleted, including the custom resource and the records. Returns true if there was one to
/// delete.
pub(crate) async fn delete_own_namespace(
    release: &Release<'_>,
    plan: &Plan,
) -> Result<bool, Error> {
    // The remediation of a failed install leaves the custom resource in place.
    let is_own = |object: &&ObjectRef| object.is_namespace(&release.namespace);
    let own = plan.prune.iter().find(is_own).filter(|_| plan.remedies.is_none());
    let Some(own) = own else { return Ok(false) };
    let Some(live) = release.tenant.get(own).await? else { return Ok(false) };
    if ownership::check(&live, &release.name, &release.namespace).is_err() {
        return Ok(false);
    }
    let permit = release.fence().guard().await?;
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    release.tenant.delete(permit, own, uid).await?;
    Ok(true)
}

/// Returns each kind and namespace of which a hook of the release is, or was. Jobs and Pods are
/// most hooks.
async fn hook_kinds(release: &Release<'_>) -> Result<BTreeSet<ObjectRef>, Error> {
    let like = |api_version: &str, kind: &str| ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(release.namespace.clone()),
        name: String::new(),
    };
    let mut kinds = BTreeSet::from([like("batch/v1", "Job"), like("v1", "Pod")]);
    let add = |stored: Stored| {
        kinds.extend(stored.plan.iter().flat_map(|(plan, _)| plan.hook_kinds.clone()));
        // A record that can no longer be read has left nothing that could be found.
        let Ok(desired) = objects::of_record(release, &stored) else { return };
        for part in desired.hooks.into_iter().flat_map(|hook| hook.parts) {
            kinds.insert(ObjectRef { name: String::new(), ..part.object });
        }
    };
    Records::of(release).for_each(add).await?;
    Ok(kinds)
}
