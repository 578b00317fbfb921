//! Removes what a request made that came too late: hook objects that are still held although their
//! run is not the present one. They never start; this is only so that they do not stay.

use std::{collections::HashMap, sync::Mutex};

use api::names;
use lifecycle::plan::ObjectRef;
use serde_json::Value;

use crate::{client::ApiError, observe, reconcile::key, release::Release};

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
            Err(error) => {
                tracing::warn!(object = key, "{} is held, and stays: {error}", held.object);
                release.ctx.held.forget(&key, &held.uid);
            }
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
    let live = release.tenant.get(&held.object).await?;
    let Some(live) = live.filter(|live| live["metadata"]["uid"] == held.uid.as_str()) else {
        return Ok(Swept::Forget);
    };
    let text = |map: &str, name: &str| {
        live.pointer(map).and_then(|map| map.get(name)).and_then(Value::as_str)
    };
    let annotation = |name: &str| text("/metadata/annotations", name);
    if text("/metadata/labels", names::UID_LABEL) != Some(release.uid())
        || annotation(names::GATE_ANNOTATION) != Some(names::HELD)
        || observe::has_ended(&live)
    {
        return Ok(Swept::Forget);
    }
    let journal = release.journal();
    let is_present = journal.is_some_and(|journal| {
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
