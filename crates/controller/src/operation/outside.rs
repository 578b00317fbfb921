//! The objects that a release has created outside of its namespace, once that is terminating: these
//! are not deleted with it. The records may be gone before the operator reads them, so status lists
//! the objects.

use api::{MOST_OUTSIDE, names};
use helm::ownership;
use jiff::{SignedDuration, Timestamp};
use lifecycle::{commands, object::ObjectRef, plan::in_uninstall_order};
use serde_json::Value;

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
        tenant::place,
    },
    records::Records,
    release::{Release, finalizer},
    support::clock::now,
};

/// Lets the custom resource go. Once the namespace is gone, nobody manages the objects outside of
/// it any more: they are deleted first, or reported to remain.
pub(crate) async fn let_go(release: &mut Release<'_>) -> Result<(), Error> {
    if release.namespace_goes
        && !release.is_kept()
        && finalizer::is_held(&release.object)
        && let Some(left) = remove(release).await?
    {
        release.write_left(left).await?;
    }
    let_go_of_secrets(release).await;
    finalizer::remove(release).await
}

/// Deletes the plan that waits for an approval and the logs of hooks. An object that is let go waits for
/// nothing, not even for the right to do that.
pub(crate) async fn let_go_of_secrets(release: &Release<'_>) {
    if let Err(error) = Records::of(release).withdraw().await {
        tracing::warn!("the plan that waited for an approval is left behind: {error}");
    }
    // The namespace takes its own with it.
    if !release.namespace_goes
        && let Err(error) = Records::of(release).remove_logs(0).await
    {
        tracing::warn!("logs of hooks are left behind: {error}");
    }
}

/// Deletes the objects outside, as far as the tenant still may; returns those that remain, in a
/// sentence.
async fn remove(release: &Release<'_>) -> Result<Option<String>, Error> {
    let Some(status) = release.object.status.as_ref().filter(|it| it.operation.is_some()) else {
        return Ok(None);
    };
    let namespace = &release.namespace;
    let known = "is being deleted, and the release goes with it";
    let search = format!(
        "look for objects with the annotations meta.helm.sh/release-name={} and \
         meta.helm.sh/release-namespace={namespace}",
        release.name
    );
    let Some(outside) = status.outside.clone() else {
        return Ok(Some(format!(
            "namespace {namespace} {known}; the objects that the release has created outside of it \
             are unknown and stay: {search}"
        )));
    };
    // If the list is full, it may be incomplete.
    let is_cut = outside.len() >= MOST_OUTSIDE;
    let is_late = is_late(release, now());
    let (mut going, mut left, mut why) = (Vec::new(), Vec::new(), Vec::new());
    for object in in_uninstall_order(outside) {
        match claim(release, &object).await {
            Ok(Claim::NotOurs) => {}
            Ok(Claim::Stays(reason)) => {
                why.push(format!("{}: {reason}", place(&object)));
                left.push(object);
            }
            Ok(Claim::Ours(uid)) => going.push((object, uid)),
            Err(error) => {
                why.push(given_up(error, is_late)?);
                left.push(object);
            }
        }
    }
    if !going.is_empty() {
        let permit = release.fence().guard().await?;
        for (object, uid) in going {
            if let Err(error) = release.tenant.delete(permit, &object, &uid).await {
                why.push(given_up(error, is_late)?);
                left.push(object);
            }
        }
    }
    let more = if is_cut {
        format!("; more than {MOST_OUTSIDE} were created: {search}")
    } else {
        String::new()
    };
    if left.is_empty() && !is_cut {
        return Ok(None);
    }
    if left.is_empty() {
        return Ok(Some(format!("namespace {namespace} {known}{more}")));
    }
    Ok(Some(format!(
        "namespace {namespace} {known}; objects outside of it stay: {}. If they are not needed: {}{more}",
        why.join("; "),
        commands::delete(&left)
    )))
}

/// Returns why an object that could not be deleted remains: waiting would not help, or has lasted
/// too long.
fn given_up(error: ApiError, is_late: bool) -> Result<String, Error> {
    match &error.cause {
        Cause::Refused { .. } => Ok(error.to_string()),
        _ if is_late => Ok(error.to_string()),
        _ => Err(Error::Api(error)),
    }
}

/// Returns true if the deletion has used up its time: the namespace waits for it.
fn is_late(release: &Release<'_>, now: Timestamp) -> bool {
    let since = release.object.metadata.deletion_timestamp.as_ref().map(|since| since.0);
    let limit = SignedDuration::try_from(release.object.deletion_timeout());
    let until = since.and_then(|since| since.checked_add(limit.unwrap_or_default()).ok());
    until.is_some_and(|until| now >= until)
}

enum Claim {
    /// The object is gone, being deleted, or not owned by the release.
    NotOurs,
    /// The object remains, for this reason.
    Stays(&'static str),
    /// The release owns the object; its UID.
    Ours(String),
}

async fn claim(release: &Release<'_>, object: &ObjectRef) -> Result<Claim, ApiError> {
    let live = match release.tenant.get(object).await {
        Ok(Some(live)) => live,
        Ok(None) => return Ok(Claim::NotOurs),
        // Its kind is gone, and with it all its objects.
        Err(error) if error.is_not_found() => return Ok(Claim::NotOurs),
        Err(error) => return Err(error),
    };
    let owner = format!("{}/{}", release.namespace, release.object_name());
    let mark =
        live.pointer("/metadata/annotations").and_then(|all| all.get(names::OWNER_ANNOTATION));
    let of_hook = mark.and_then(Value::as_str) == Some(&owner);
    let of_release = ownership::check(&live, &release.name, &release.namespace).is_ok();
    let is_going = live.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    Ok(if is_going || !(of_hook || of_release) {
        Claim::NotOurs
    } else if ownership::kept_when_removed(&live) {
        Claim::Stays("its annotation helm.sh/resource-policy says keep")
    } else if of_hook && object.holds_data() {
        Claim::Stays("a hook made it, and it may hold data")
    } else {
        let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        Claim::Ours(uid.unwrap_or_default().to_owned())
    })
}
