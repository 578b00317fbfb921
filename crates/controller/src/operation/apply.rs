//! Applies the release's objects as Helm 4 does, in install order, and prunes the objects that the
//! plan lacks.

use api::names::FIELD_MANAGER;
use helm::{
    managed,
    ownership::{self, OwnershipError, Stays},
};
use jiff::Timestamp;
use lifecycle::{
    event::Event,
    health::check_of,
    object::{ObjectRef, PlannedObject},
    plan::{Claims, Plan},
    reason::Reason,
};
use manifests::json;
use serde_json::{Value, json};

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
        permit::Permit,
    },
    operation::gather,
    records::Records,
    release::{
        Release,
        conflicts::{Refusal, message},
    },
};

/// The number of attempts at an object that changes concurrently; its controller writes its status
/// while we apply.
const TRIES: usize = 5;

/// The reason why an apply failed.
pub(crate) enum ApplyError {
    /// Waiting may help, or another process was faster.
    Error(Error),
    /// Only a change by a user helps. As in Helm, the other objects were applied, and nothing was
    /// pruned.
    Refused(String),
}

impl From<Error> for ApplyError {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Applies every object, then prunes. Returns the objects that are not ready yet. `kinds_come`: a
/// kind that the cluster does not serve may be one that a hook has just installed.
///
/// First everything is read. Then the journal is confirmed to be the one that this apply is based
/// on. Only then is anything written, with the versions that were read. So a process that is late,
/// with an older plan, changes nothing that a newer one has applied since.
pub(crate) async fn apply(
    release: &Release<'_>,
    plan: &Plan,
    kinds_come: bool,
) -> Result<Vec<String>, ApplyError> {
    let mut applied = Vec::new();
    for object in &plan.objects {
        let seen = look_once(release, &object.object).await?;
        applied.push((object, seen.map(|live| LiveFields::of(release, plan.claims, &live))));
    }
    let pruned = look_at_pruned(release, plan).await?;
    if let Some(message) = Records::of(release).newer(plan.revision).await? {
        return Err(ApplyError::Refused(message));
    }
    let permit = release.fence().guard().await?;

    let mut refused = Vec::new();
    let mut waiting = Vec::new();
    for (object, seen) in applied {
        match apply_one(release, permit, plan.claims, object, seen).await {
            // An engine may have no time now, and nothing is to be applied again for it.
            Ok(_) if check_of(&plan.health_checks, &object.object).is_some() => {
                let object = &object.object;
                waiting.push(format!("{object}: its health check is not evaluated yet"));
            }
            Ok(live) => waiting.extend(gather::not_ready(&object.object, Some(&live))),
            Err(Failed::Refused(refusal)) => refused.push(refusal),
            Err(Failed::Unknown(what, message)) if kinds_come => {
                return Err(
                    Error::Api(ApiError { what, cause: Cause::Unavailable(message) }).into()
                );
            }
            Err(Failed::Unknown(what, message)) => {
                refused.push(Refusal::Other(format!("{what}: {message}")));
            }
            Err(Failed::Error(error)) => return Err(error.into()),
        }
    }
    if !refused.is_empty() {
        let text = message(&refused, plan.event, &release.name, &release.namespace);
        return Err(ApplyError::Refused(text));
    }
    for (object, seen) in pruned {
        prune_one(release, permit, object, seen).await?;
    }
    Ok(waiting)
}

/// Prunes once more: a leader that was deposed while the operation ran may have written late, and
/// created objects of an older plan. That gap exists only between two leaders, see the crate
/// `election`.
pub(crate) async fn prune_again(release: &Release<'_>, plan: &Plan) -> Result<(), ApplyError> {
    let pruned = look_at_pruned(release, plan).await?;
    let permit = release.fence().guard().await?;
    for (object, seen) in pruned {
        prune_one(release, permit, object, seen).await?;
    }
    Ok(())
}

/// Returns the live object; `None` if it, or its kind, does not exist.
async fn live_of(release: &Release<'_>, object: &ObjectRef) -> Result<Option<Value>, ApplyError> {
    found(release.tenant.get(object).await)
}

/// Like [`live_of`], unless the object was read a moment ago, when the plan was made.
async fn look_once(release: &Release<'_>, object: &ObjectRef) -> Result<Option<Value>, ApplyError> {
    found(release.tenant.get_once(object).await)
}

fn found(answer: Result<Option<Value>, ApiError>) -> Result<Option<Value>, ApplyError> {
    match answer {
        Ok(live) => Ok(live),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(classify(error)),
    }
}

/// An object to apply, as it was when it was read.
struct LiveFields {
    uid: Value,
    resource_version: Value,
    /// The reason why the release does not own the object; `None` if it does.
    foreign: Option<OwnershipError>,
    /// Its managed fields, if they must change before it is applied.
    handed_on: Option<Vec<Value>>,
}

impl LiveFields {
    fn of(release: &Release<'_>, claims: Claims, live: &Value) -> Self {
        let foreign = ownership::check(live, &release.name, &release.namespace).err();
        // Objects that are not adopted are not touched.
        let is_applied = foreign.is_none() || claims.take_ownership;
        Self {
            uid: live["metadata"]["uid"].clone(),
            resource_version: live["metadata"]["resourceVersion"].clone(),
            handed_on: is_applied
                .then(|| managed::handed_on(live, FIELD_MANAGER, foreign.is_some()))
                .flatten(),
            foreign,
        }
    }
}

/// The reason why one object was not applied.
enum Failed {
    Refused(Refusal),
    /// The cluster does not serve the kind: the action that was tried, and the message.
    Unknown(String, String),
    Error(Error),
}

async fn apply_one(
    release: &Release<'_>,
    mut permit: Permit,
    claims: Claims,
    planned: &PlannedObject,
    mut seen: Option<LiveFields>,
) -> Result<Value, Failed> {
    let object = &planned.object;
    for _ in 0..TRIES {
        let body = release.body(planned);
        let tried = if let Some(seen) = seen {
            apply_over(release, permit, claims, object, body, seen).await?
        } else {
            // Only the lease keeps a process that was paused from creating it late.
            let permit = release.fence().lead().map_err(Failed::Error)?;
            outcome(object, release.tenant.apply(permit, object, &body, false).await)?
        };
        if let Some(applied) = tried {
            return Ok(applied);
        }
        let live = live_of(release, object).await.map_err(Failed::from)?;
        seen = live.map(|live| LiveFields::of(release, claims, &live));
        permit = release.fence().guard().await.map_err(Failed::Error)?;
    }
    Err(Failed::Error(Error::Api(ApiError {
        what: format!("apply {object}"),
        cause: Cause::Unavailable("another client keeps changing it".to_owned()),
    })))
}

/// Applies over a live object; returns `None` if it has changed since it was read.
async fn apply_over(
    release: &Release<'_>,
    permit: Permit,
    claims: Claims,
    object: &ObjectRef,
    body: Value,
    mut seen: LiveFields,
) -> Result<Option<Value>, Failed> {
    let former = seen.foreign.take();
    if let Some(foreign) = former {
        if !claims.take_ownership {
            return Err(Failed::Refused(Refusal::NotOwned(foreign)));
        }
        let applied = over(release, permit, object, body, seen, claims.force_conflicts).await?;
        if applied.is_some() {
            tell_of_taken(release, object, &foreign);
        }
        return Ok(applied);
    }
    over(release, permit, object, body, seen, claims.force_conflicts).await
}

fn tell_of_taken(release: &Release<'_>, object: &ObjectRef, former: &OwnershipError) {
    let text = format!("{object} is the release's now; it belonged to {}", former.whose());
    match former.holder {
        // Whoever is responsible for that release has to know.
        Some(_) => release.warn(Reason::OwnershipTaken, text),
        None => release.tell(Reason::OwnershipTaken, text),
    }
}

/// Applies the object of a hook over `live`, after the journal was confirmed; returns `None` if it
/// has changed.
pub(crate) async fn apply_hook(
    release: &Release<'_>,
    permit: Permit,
    event: Event,
    object: &ObjectRef,
    body: Value,
    live: &Value,
    forced: bool,
) -> Result<Option<Value>, ApplyError> {
    let mut seen =
        LiveFields::of(release, Claims { take_ownership: true, ..Claims::default() }, live);
    // Helm does not mark hooks. An object that another release has written remains its own.
    if seen.foreign.take().is_some_and(|foreign| foreign.holder.is_some()) {
        seen.handed_on = None;
    }
    over(release, permit, object, body, seen, forced).await.map_err(|failed| match failed {
        Failed::Refused(refusal) => {
            ApplyError::Refused(message(&[refusal], event, &release.name, &release.namespace))
        }
        Failed::Unknown(what, message) => ApplyError::Refused(format!("{what}: {message}")),
        Failed::Error(error) => ApplyError::Error(error),
    })
}

/// Applies over an object that is unchanged since it was read; returns `None` if it has changed.
async fn over(
    release: &Release<'_>,
    permit: Permit,
    object: &ObjectRef,
    mut body: Value,
    mut seen: LiveFields,
    forced: bool,
) -> Result<Option<Value>, Failed> {
    if let Some(fields) = seen.handed_on.take() {
        let patched = hand_on(release, permit, object, &seen, fields).await?;
        let Some(live) = patched else { return Ok(None) };
        seen.resource_version = live["metadata"]["resourceVersion"].clone();
    }
    // Both: with the resourceVersion alone, an object that was removed would be created again.
    json::set(&mut body, &["metadata", "uid"], seen.uid);
    json::set(&mut body, &["metadata", "resourceVersion"], seen.resource_version);
    outcome(object, release.tenant.apply(permit, object, &body, forced).await)
}

/// Writes the managed fields of an object that is unchanged since it was read; returns `None` if it
/// has changed.
async fn hand_on(
    release: &Release<'_>,
    permit: Permit,
    object: &ObjectRef,
    seen: &LiveFields,
    fields: Vec<Value>,
) -> Result<Option<Value>, Failed> {
    // With the version that was read it is this very object, and a change is a conflict: a failed
    // `test` would be reported as if the patch were wrong.
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": fields},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": seen.resource_version},
    ]);
    match release.tenant.json_patch(permit, object, patch).await {
        Err(ApiError { cause: Cause::NotFound(_), .. }) => Ok(None),
        patched => outcome(object, patched),
    }
}

/// Returns the object that was written; `None` if the object has changed since it was read.
fn outcome(object: &ObjectRef, written: Result<Value, ApiError>) -> Result<Option<Value>, Failed> {
    match written {
        Ok(written) => Ok(Some(written)),
        Err(ApiError { cause: Cause::Conflict(_), .. }) => Ok(None),
        Err(ApiError { what, cause: Cause::NotFound(message) }) => {
            Err(Failed::Unknown(what, message))
        }
        Err(error) => Err(match Refusal::of(object, error) {
            Ok(refusal) => Failed::Refused(refusal),
            Err(error) => Failed::Error(Error::Api(error)),
        }),
    }
}

impl From<ApplyError> for Failed {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Error(error) => Self::Error(error),
            ApplyError::Refused(text) => Self::Refused(Refusal::Other(text)),
        }
    }
}

/// An object to prune, as it was when it was read.
struct Going {
    uid: String,
    /// The reason why the object is left alone; `None` if it is pruned.
    stays: Option<Stays>,
    /// True if it was pruned before and came back.
    is_late: bool,
}

impl Going {
    fn of(release: &Release<'_>, live: &Value) -> Self {
        Self {
            uid: live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            stays: ownership::stays_when_removed(live, &release.name, &release.namespace),
            is_late: false,
        }
    }
}

/// Returns true if an apply of this operator created the object since then. An object that somebody
/// restored was not created so.
fn came_late(live: &Value, since: Option<Timestamp>) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_applied = entries
        .into_iter()
        .flatten()
        .any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply");
    let made = live.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    let made = made.and_then(|made| made.parse::<Timestamp>().ok());
    is_applied && made.zip(since).is_some_and(|(made, since)| made >= since)
}

async fn look_at_pruned<'a>(
    release: &Release<'_>,
    plan: &'a Plan,
) -> Result<Vec<(&'a ObjectRef, Going)>, ApplyError> {
    let mut pruned = Vec::new();
    for object in &plan.prune {
        if let Some(live) = live_of(release, object).await? {
            pruned.push((object, Going::of(release, &live)));
        }
    }
    for object in &plan.pruned_before.objects {
        let live = match live_of(release, object).await {
            // The object is no longer in any revision, and the tenant may have no right to it.
            Err(ApplyError::Refused(_)) => None,
            live => live?,
        };
        let is_late = |live: &Value| came_late(live, plan.pruned_before.since);
        if let Some(live) = live.filter(is_late) {
            let going = Going { is_late: true, ..Going::of(release, &live) };
            // The revision before has reported it.
            if going.stays.is_none() {
                pruned.push((object, going));
            }
        }
    }
    Ok(pruned)
}

async fn prune_one(
    release: &Release<'_>,
    permit: Permit,
    object: &ObjectRef,
    going: Going,
) -> Result<(), ApplyError> {
    if let Some(Stays::Foreign(foreign)) = going.stays {
        let text = format!("{object} is no longer in the release but is left alone: {foreign}");
        release.warn(Reason::PruneSkipped, text);
        return Ok(());
    }
    if object.is_namespace(&release.namespace) {
        let text =
            format!("{object} is no longer in the release but stays: the release itself is in it");
        release.warn(Reason::PruneSkipped, text);
        return Ok(());
    }
    if going.stays == Some(Stays::Kept) {
        let text = format!(
            "{object} is no longer in the release and stays, as its annotation \
             helm.sh/resource-policy says"
        );
        release.tell(Reason::ObjectKept, text);
        return Ok(());
    }
    // While the objects were applied, another release may have adopted it.
    let live = live_of(release, object).await?;
    let is_ours = |live: &Value| ownership::check(live, &release.name, &release.namespace).is_ok();
    if live.is_none_or(|live| live["metadata"]["uid"] != going.uid || !is_ours(&live)) {
        return Ok(());
    }
    match release.tenant.delete(permit, object, &going.uid).await.map_err(classify) {
        // The object is no longer in any revision, and the tenant may have no right to it.
        Err(ApplyError::Refused(_)) if going.is_late => Ok(()),
        deleted => deleted,
    }
}

fn classify(error: ApiError) -> ApplyError {
    match &error.cause {
        Cause::Refused(_) | Cause::NotFound(_) => ApplyError::Refused(error.message()),
        _ => ApplyError::Error(Error::Api(error)),
    }
}
