//! Applies the release's objects as Helm 4 does, in install order, and prunes what the plan lacks.

use helm::ownership;
use lifecycle::plan::{ObjectRef, Plan};
use serde_json::{Value, json};

use crate::{
    client::{ApiError, Cause},
    error::Error,
    gather,
    release::Release,
};

/// How often an object that changes under our hands is looked at again; its controller writes its
/// status while we apply.
const TRIES: usize = 5;

/// What could not be done.
pub(crate) enum ApplyError {
    /// Waiting may help, or another process was faster.
    Error(Error),
    /// Nothing but a change by a user helps. Like Helm, the other objects were applied, and nothing
    /// was pruned.
    Refused(String),
}

/// Applies every object, then prunes. Answers with what is not ready yet.
///
/// Everything is looked at first, then the journal is confirmed to be the one that this follows
/// from, and only then is anything written, with the versions that were seen. So a process that
/// comes late with an older plan changes nothing that a newer one has applied since.
pub(crate) async fn apply(release: &Release<'_>, plan: &Plan) -> Result<Vec<String>, ApplyError> {
    let mut refused = Vec::new();
    let mut applied = Vec::new();
    for object in &plan.objects {
        applied.push((object, look(release, &object.object).await?));
    }
    let mut pruned = Vec::new();
    for object in &plan.prune {
        pruned.push((object, look(release, object).await?));
    }
    if let Some(message) =
        release.records().newer(plan.revision).await.map_err(ApplyError::Error)?
    {
        return Err(ApplyError::Refused(message));
    }
    release.confirm().await.map_err(ApplyError::Error)?;

    let mut waiting = Vec::new();
    for (object, seen) in applied {
        match apply_one(release, &object.object, &object.manifest, seen).await {
            Ok(live) => waiting.extend(gather::not_ready(&object.object, Some(&live))),
            Err(ApplyError::Refused(message)) => refused.push(message),
            Err(error @ ApplyError::Error(_)) => return Err(error),
        }
    }
    if !refused.is_empty() {
        return Err(ApplyError::Refused(refused.join("; ")));
    }
    for (object, seen) in pruned {
        prune_one(release, object, seen).await?;
    }
    Ok(waiting)
}

/// Prunes once more: a leader that was deposed while the operation ran may have created late what
/// it was about to, of an older plan. That gap is between two leaders only, see [`crate::lease`].
pub(crate) async fn prune_again(release: &Release<'_>, plan: &Plan) -> Result<(), ApplyError> {
    let mut pruned = Vec::new();
    for object in &plan.prune {
        pruned.push((object, look(release, object).await?));
    }
    release.confirm().await.map_err(ApplyError::Error)?;
    for (object, seen) in pruned {
        prune_one(release, object, seen).await?;
    }
    Ok(())
}

/// An object as it was when it was looked at.
struct Seen {
    uid: Value,
    resource_version: Value,
    /// Why it is not the release's; `None` where it is.
    foreign: Option<String>,
    /// Whether it stays when the release no longer has it.
    kept: bool,
}

async fn look(release: &Release<'_>, object: &ObjectRef) -> Result<Option<Seen>, ApplyError> {
    let live = match release.tenant.get(object).await {
        Ok(live) => live,
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(classify(error)),
    };
    Ok(live.map(|live| Seen {
        uid: live["metadata"]["uid"].clone(),
        resource_version: live["metadata"]["resourceVersion"].clone(),
        foreign: ownership::check(&live, &release.name, &release.namespace)
            .err()
            .map(|error| error.to_string()),
        kept: ownership::kept_when_removed(&live),
    }))
}

async fn apply_one(
    release: &Release<'_>,
    object: &ObjectRef,
    manifest: &Value,
    mut seen: Option<Seen>,
) -> Result<Value, ApplyError> {
    for _ in 0..TRIES {
        let mut body = manifest.clone();
        ownership::mark(&mut body, &release.name, &release.namespace);
        if let Some(namespace) = &object.namespace {
            body["metadata"]["namespace"] = json!(namespace);
        }
        if let Some(seen) = seen {
            if let Some(foreign) = seen.foreign {
                return Err(ApplyError::Refused(foreign));
            }
            // Both: with the resourceVersion alone, an object that was removed comes back to life.
            body["metadata"]["uid"] = seen.uid;
            body["metadata"]["resourceVersion"] = seen.resource_version;
        } else if !release.ctx.lease.is_held() {
            // Nothing but the lease keeps a process that was paused from making it late.
            return Err(ApplyError::Error(Error::Outrun));
        }
        match release.tenant.apply(object, &body).await {
            Ok(applied) => return Ok(applied),
            Err(error @ ApiError { cause: Cause::Conflict(_), .. })
                if !is_field_conflict(&error) => {}
            Err(error) => return Err(classify(error)),
        }
        seen = look(release, object).await?;
        release.confirm().await.map_err(ApplyError::Error)?;
    }
    Err(ApplyError::Error(Error::Api(ApiError {
        what: format!("apply {object}"),
        cause: Cause::Unavailable("somebody else keeps changing it".to_owned()),
    })))
}

/// Another field manager owns a field that the release sets to another value.
pub(crate) fn is_field_conflict(error: &ApiError) -> bool {
    matches!(&error.cause, Cause::Conflict(message) if message.starts_with("Apply failed with"))
}

async fn prune_one(
    release: &Release<'_>,
    object: &ObjectRef,
    seen: Option<Seen>,
) -> Result<(), ApplyError> {
    let Some(seen) = seen.filter(|seen| !seen.kept) else { return Ok(()) };
    if let Some(foreign) = seen.foreign {
        let text = format!("{object} is no longer in the release but is left alone: {foreign}");
        release.warn("PruneSkipped", text);
        return Ok(());
    }
    let uid = seen.uid.as_str().unwrap_or_default();
    release.tenant.delete(object, uid).await.map_err(classify)
}

fn classify(error: ApiError) -> ApplyError {
    match &error.cause {
        Cause::Refused { .. } | Cause::NotFound(_) => ApplyError::Refused(error.to_string()),
        Cause::Conflict(_) if is_field_conflict(&error) => ApplyError::Refused(error.to_string()),
        _ => ApplyError::Error(Error::Api(error)),
    }
}
