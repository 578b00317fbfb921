//! Removes the objects of late requests: hook objects that are still held although their run is not
//! the current one. They never start; they are removed only so that they do not remain.

use std::time::Duration;

use api::names;
use kube::{Api, Resource as _};
use live::observe;
use serde_json::Value;

use crate::{
    cluster::{
        Cluster, call,
        call::{ApiError, optional},
        impersonation::Identity,
        permit::Permit,
        resource::Tolerant,
        tenancy::Tenancy,
        tenant::Tenant,
    },
    release::Release,
    support::{key::key, panics},
    watches::held::{Held, HeldObject},
};

/// The interval of the search for orphans, and the time for which a hook is held before it may be
/// one.
const ORPHANS: Duration = Duration::from_secs(5);

/// The number of held objects that are checked in one reconciliation: anybody can create some.
pub(crate) const MOST_AT_ONCE: usize = 10;

/// Deletes those of `held` whose run is not the current one of the journal. The watch saw them
/// before the journal was read, so that none of a later run can be among them. An error here must
/// not block the release.
pub(crate) async fn sweep(release: &Release<'_>, held: Vec<HeldObject>) {
    let (key, all) = (key(&release.object), &release.ctx.watches.held);
    for held in held {
        match sweep_one(release, &held).await {
            Ok(Swept::Keep) => {}
            Ok(Swept::Forget) => all.forget(&key, &held.uid),
            Err(error) => give_up(all, &key, &held, &error),
        }
    }
}

enum Swept {
    /// The run is the current one, or may be.
    Keep,
    /// The object is gone, open, or owned by another release.
    Forget,
}

async fn sweep_one(release: &Release<'_>, held: &HeldObject) -> Result<Swept, ApiError> {
    let Some(live) = still_held(&release.tenant, held).await? else { return Ok(Swept::Forget) };
    let annotation = |name: &str| live["metadata"]["annotations"][name].as_str();
    // If the status was lost, it may be the current one, and about to start.
    let is_present = release.journal().is_none_or(|journal| {
        let run = annotation(names::RUN_ANNOTATION).unwrap_or_default();
        let cursor = journal.cursor_of_run(run);
        cursor.is_some_and(|cursor| cursor.uid.as_ref().is_none_or(|uid| *uid == held.uid))
    });
    if is_present {
        return Ok(Swept::Keep);
    }
    release.tenant.delete(Permit::of_uid(), &held.object, &held.uid).await?;
    tracing::info!("deleted {}, which came too late to run", held.object);
    Ok(Swept::Forget)
}

/// Forgets the object if its deletion was refused, since it would be refused again; other errors
/// are retried.
fn give_up(all: &Held, key: &str, held: &HeldObject, error: &ApiError) {
    tracing::warn!(object = key, "{} is held, and stays: {error}", held.object);
    if !error.may_pass() {
        all.forget(key, &held.uid);
    }
}

/// Returns the live object, if it is still held for the same owner and account.
async fn still_held(tenant: &Tenant<'_>, held: &HeldObject) -> Result<Option<Value>, ApiError> {
    let live = tenant.get(&held.object).await?;
    Ok(live.filter(|live| {
        let metadata = &live["metadata"];
        metadata["uid"] == held.uid.as_str()
            && metadata["labels"][names::UID_LABEL] == held.owner.as_str()
            && metadata["annotations"][names::GATE_ANNOTATION] == names::HELD
            && !observe::has_ended(live)
    }))
}

/// Removes, for as long as it is polled, the objects of late requests whose custom resource is gone
/// by now, with the identity that created them.
pub(crate) async fn sweep_orphans(cluster: &Cluster, tenancy: &Tenancy, all: &Held) {
    loop {
        tokio::time::sleep(ORPHANS).await;
        for (key, held) in all.older_than(ORPHANS) {
            match panics::caught(sweep_orphan(cluster, tenancy, &key, &held)).await {
                Ok(Ok(Swept::Keep)) => {}
                // A fault would only happen again.
                Ok(Ok(Swept::Forget)) | Err(_) => all.forget(&key, &held.uid),
                Ok(Err(error)) => give_up(all, &key, &held, &error),
            }
        }
    }
}

async fn sweep_orphan(
    cluster: &Cluster,
    tenancy: &Tenancy,
    key: &str,
    held: &HeldObject,
) -> Result<Swept, ApiError> {
    let Some((namespace, name)) = key.split_once('/') else { return Ok(Swept::Forget) };
    let api: Api<Tolerant> = Api::namespaced(cluster.operator.clone(), namespace);
    let what = format!("get ReleaseLifecycle {key}");
    let owner = optional(call::read(&cluster.metrics, what, || api.get(name)).await)?;
    if owner.is_some_and(|owner| owner.meta().uid.as_deref() == Some(&held.owner)) {
        return Ok(Swept::Keep);
    }
    let identity = match (&held.account, tenancy) {
        (Some(name), _) => {
            Identity::ServiceAccount { namespace: namespace.to_owned(), name: name.clone() }
        }
        (None, Tenancy::Single) => Identity::Operator,
        (None, Tenancy::Named | Tenancy::Default(_)) => return Ok(Swept::Forget),
    };
    // The author of the annotation gets no access beyond the account's own namespace by it.
    let elsewhere = held.object.namespace.as_deref() != Some(namespace);
    if elsewhere && !matches!(tenancy, Tenancy::Single) {
        return Ok(Swept::Forget);
    }
    let tenant = Tenant::new(cluster, identity)?;
    if still_held(&tenant, held).await?.is_some() {
        tenant.delete(Permit::of_uid(), &held.object, &held.uid).await?;
        tracing::info!("deleted {}, whose ReleaseLifecycle {key} is gone", held.object);
    }
    Ok(Swept::Forget)
}
