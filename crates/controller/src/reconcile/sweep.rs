//! Removes what a request made that came too late: hook objects that are still held although their
//! run is not the present one. They never start; this is only so that they do not stay.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use api::names;
use kube::{Api, Resource as _};
use lifecycle::object::ObjectRef;
use live::observe;
use serde_json::Value;

use crate::{
    cluster::{
        call,
        call::{ApiError, optional},
        impersonation::Identity,
        resource::Guarded,
        tenant::Tenant,
    },
    release::{
        Release,
        context::{Context, Tenancy},
    },
    support::{key::key, panics},
};

/// How often orphans are looked for, and how long a hook is held before it may be one.
const ORPHANS: Duration = Duration::from_secs(5);

/// Held hook objects that a watch has shown, by the key of their custom resource. Anybody can make
/// an object that looks like one: they are looked at again before anything is done.
#[derive(Default)]
pub(crate) struct Held {
    objects: Mutex<HashMap<String, HashMap<String, HeldObject>>>,
}

#[derive(Clone)]
pub(crate) struct HeldObject {
    pub(crate) object: ObjectRef,
    pub(crate) uid: String,
    /// The UID of the custom resource whose hook it is.
    pub(crate) owner: String,
    /// The ServiceAccount as which it was made; `None`: the operator itself.
    pub(crate) account: Option<String>,
    pub(crate) since: Instant,
}

impl Held {
    pub(crate) fn saw(&self, key: &str, held: bool, object: HeldObject) {
        if held {
            self.lock().entry(key.to_owned()).or_default().insert(object.uid.clone(), object);
        } else {
            self.forget(key, &object.uid);
        }
    }

    fn forget(&self, key: &str, uid: &str) {
        let mut all = self.lock();
        if let Some(objects) = all.get_mut(key) {
            objects.remove(uid);
            if objects.is_empty() {
                all.remove(key);
            }
        }
    }

    pub(crate) fn any(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }

    pub(crate) fn of(&self, key: &str) -> Vec<HeldObject> {
        let all = self.lock();
        all.get(key).map_or_else(Vec::new, |objects| objects.values().cloned().collect())
    }

    /// Those that have been held for longer than any hook is between two steps.
    fn older_than(&self, age: Duration) -> Vec<(String, HeldObject)> {
        let all = self.lock();
        let each = all.iter().flat_map(|(key, held)| held.values().map(move |held| (key, held)));
        let old = each.filter(|(_, held)| held.since.elapsed() >= age);
        old.map(|(key, held)| (key.clone(), held.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, HashMap<String, HeldObject>>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Deletes those of `held` whose run is not the one that the journal is at. They were shown before
/// the journal was read, so that none of a later run can be among them. Whatever goes wrong here
/// must not keep the release from going on.
pub(crate) async fn sweep(release: &Release<'_>, held: Vec<HeldObject>) {
    let key = key(&release.object);
    for held in held {
        match sweep_one(release, &held).await {
            Ok(Swept::Keep) => {}
            Ok(Swept::Forget) => release.ctx.held.forget(&key, &held.uid),
            Err(error) => give_up(release.ctx, &key, &held, &error),
        }
    }
}

enum Swept {
    /// It is the present one, or may be.
    Keep,
    /// It is gone, open, or not of this release.
    Forget,
}

async fn sweep_one(release: &Release<'_>, held: &HeldObject) -> Result<Swept, ApiError> {
    // Of a custom resource of this name that is gone.
    if held.owner != release.uid() {
        return Ok(Swept::Keep);
    }
    let Some(live) = still_held(&release.tenant, held).await? else { return Ok(Swept::Forget) };
    let annotation = |name: &str| live["metadata"]["annotations"][name].as_str();
    // Where the status was lost, it may be the present one, and about to start.
    let is_present = release.journal().is_none_or(|journal| {
        let uid = journal.operation.hook.as_ref().and_then(|cursor| cursor.uid.as_ref());
        let run = journal.present_run();
        run.is_some()
            && run.as_deref() == annotation(names::RUN_ANNOTATION)
            && uid.is_none_or(|uid| *uid == held.uid)
    });
    if is_present {
        return Ok(Swept::Keep);
    }
    release.tenant.delete(&held.object, &held.uid).await?;
    tracing::info!("deleted {}, which came too late to run", held.object);
    Ok(Swept::Forget)
}

/// What is refused is refused again; the rest is tried again.
fn give_up(ctx: &Context, key: &str, held: &HeldObject, error: &ApiError) {
    tracing::warn!(object = key, "{} is held, and stays: {error}", held.object);
    if !error.may_pass() {
        ctx.held.forget(key, &held.uid);
    }
}

/// The object as it is now, if it is still held and by whom it was.
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

/// Removes, for as long as it is polled, what came too late for a custom resource that is gone by
/// now, as whom it was made.
pub(crate) async fn sweep_orphans(ctx: &Context) {
    loop {
        tokio::time::sleep(ORPHANS).await;
        for (key, held) in ctx.held.older_than(ORPHANS) {
            match panics::caught(sweep_orphan(ctx, &key, &held)).await {
                Ok(Ok(Swept::Keep)) => {}
                // A fault would only happen again.
                Ok(Ok(Swept::Forget)) | Err(_) => ctx.held.forget(&key, &held.uid),
                Ok(Err(error)) => give_up(ctx, &key, &held, &error),
            }
        }
    }
}

async fn sweep_orphan(ctx: &Context, key: &str, held: &HeldObject) -> Result<Swept, ApiError> {
    let Some((namespace, name)) = key.split_once('/') else { return Ok(Swept::Forget) };
    let api: Api<Guarded> = Api::namespaced(ctx.operator.clone(), namespace);
    let what = format!("get ReleaseLifecycle {key}");
    let owner = optional(call::read(&ctx.metrics, what, || api.get(name)).await)?;
    if owner.is_some_and(|owner| owner.meta().uid.as_deref() == Some(&held.owner)) {
        return Ok(Swept::Keep);
    }
    let identity = match (&held.account, &ctx.tenancy) {
        (Some(name), _) => {
            Identity::ServiceAccount { namespace: namespace.to_owned(), name: name.clone() }
        }
        (None, Tenancy::Single) => Identity::Operator,
        (None, Tenancy::Named | Tenancy::Default(_)) => return Ok(Swept::Forget),
    };
    // Whoever wrote the annotation gets no reach beyond the account's own namespace by it.
    let elsewhere = held.object.namespace.as_deref() != Some(namespace);
    if elsewhere && !matches!(ctx.tenancy, Tenancy::Single) {
        return Ok(Swept::Forget);
    }
    let tenant = Tenant::new(ctx, identity)?;
    if still_held(&tenant, held).await?.is_some() {
        tenant.delete(&held.object, &held.uid).await?;
        tracing::info!("deleted {}, whose ReleaseLifecycle {key} is gone", held.object);
    }
    Ok(Swept::Forget)
}
