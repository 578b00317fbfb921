//! Applies the release's objects as Helm 4 does, in install order, and prunes what the plan lacks.

use helm::ownership;
use lifecycle::plan::{ObjectRef, Plan};
use serde_json::{Value, json};

use crate::{
    client::{ApiError, Cause},
    gather,
    release::Release,
};

/// How often an object that changes under our hands is looked at again.
const TRIES: usize = 3;

/// What could not be done.
pub(crate) enum ApplyError {
    /// Waiting may help.
    Api(ApiError),
    /// Nothing but a change by a user helps. Like Helm, the other objects were applied, and nothing
    /// was pruned.
    Refused(String),
}

/// Applies every object, then prunes. Answers with what is not ready yet.
pub(crate) async fn apply(release: &Release<'_>, plan: &Plan) -> Result<Vec<String>, ApplyError> {
    let mut refused = Vec::new();
    let mut waiting = Vec::new();
    for object in &plan.objects {
        match apply_one(release, &object.object, &object.manifest).await {
            Ok(live) => waiting.extend(gather::not_ready(&object.object, Some(&live))),
            Err(ApplyError::Refused(message)) => refused.push(message),
            Err(error @ ApplyError::Api(_)) => return Err(error),
        }
    }
    if !refused.is_empty() {
        return Err(ApplyError::Refused(refused.join("; ")));
    }
    for object in &plan.prune {
        prune_one(release, object).await?;
    }
    Ok(waiting)
}

async fn apply_one(
    release: &Release<'_>,
    object: &ObjectRef,
    manifest: &Value,
) -> Result<Value, ApplyError> {
    let mut body = manifest.clone();
    ownership::mark(&mut body, &release.name, &release.namespace);
    if let Some(namespace) = &object.namespace {
        body["metadata"]["namespace"] = json!(namespace);
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let live = release.tenant.get(object).await.map_err(classify)?;
        if let Some(live) = &live {
            ownership::check(live, &release.name, &release.namespace)
                .map_err(|error| ApplyError::Refused(error.to_string()))?;
            // Both: with the resourceVersion alone, an object that was removed comes back to life.
            body["metadata"]["uid"] = live["metadata"]["uid"].clone();
            body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        }
        match release.tenant.apply(object, &body).await {
            Ok(applied) => return Ok(applied),
            Err(ApiError { cause: Cause::Conflict(message), .. })
                if tries < TRIES && !is_field_conflict(&message) => {}
            Err(error) => return Err(classify(error)),
        }
        if let Some(metadata) = body["metadata"].as_object_mut() {
            metadata.remove("uid");
            metadata.remove("resourceVersion");
        }
    }
}

/// Another field manager owns a field that the release sets to another value.
fn is_field_conflict(message: &str) -> bool {
    message.starts_with("Apply failed with")
}

async fn prune_one(release: &Release<'_>, object: &ObjectRef) -> Result<(), ApplyError> {
    let live = match release.tenant.get(object).await {
        Ok(live) => live,
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(classify(error)),
    };
    let Some(live) = live else { return Ok(()) };
    if ownership::kept_when_removed(&live) {
        return Ok(());
    }
    if let Err(error) = ownership::check(&live, &release.name, &release.namespace) {
        let text = format!("{object} is no longer in the release but is left alone: {error}");
        release.warn("PruneSkipped", text);
        return Ok(());
    }
    let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
    release.tenant.delete(object, uid).await.map_err(classify)
}

fn classify(error: ApiError) -> ApplyError {
    match &error.cause {
        Cause::Refused { .. } | Cause::NotFound => ApplyError::Refused(error.to_string()),
        Cause::Conflict(message) if is_field_conflict(message) => {
            ApplyError::Refused(error.to_string())
        }
        _ => ApplyError::Api(error),
    }
}
