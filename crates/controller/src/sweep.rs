//! Removes what a request made that came too late: hook objects that are still held although their
//! run is not the present one. They never start; this is only so that they do not stay.

use std::{collections::HashMap, sync::Mutex};

use api::names;
use lifecycle::plan::ObjectRef;
use serde_json::Value;

use crate::{error::Error, reconcile::key, release::Release};

/// Held hook objects that a watch has shown, by the key of their custom resource. They are looked
/// at again before anything is done.
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
        let mut all = self.lock();
        if held {
            all.entry(key.to_owned()).or_default().insert(object.uid.clone(), object);
        } else if let Some(objects) = all.get_mut(key) {
            objects.remove(&object.uid);
            if objects.is_empty() {
                all.remove(key);
            }
        }
    }

    pub(crate) fn any(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }

    fn of(&self, key: &str) -> Vec<HeldObject> {
        self.lock().get(key).into_iter().flatten().map(|(_, object)| object.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, HashMap<String, HeldObject>>> {
        self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Deletes held objects whose run is not the one that the journal is at. The journal was read just
/// now, after the watch had shown the object, so none of a later run can be among them.
pub(crate) async fn sweep(release: &Release<'_>) -> Result<(), Error> {
    let key = key(&release.object);
    let present = release.journal().and_then(|journal| {
        let operation = journal.operation;
        let cursor = operation.hook?;
        Some((format!("{}/{}/{}", operation.id, cursor.index, cursor.attempt), cursor.uid))
    });
    for held in release.ctx.held.of(&key) {
        let live = release.tenant.get(&held.object).await?;
        let live = live.filter(|live| live["metadata"]["uid"] == held.uid.as_str());
        let annotation = |name: &str| {
            let found = live.as_ref()?.pointer("/metadata/annotations")?.get(name)?;
            found.as_str().map(str::to_owned)
        };
        let still_held = annotation(names::GATE_ANNOTATION).as_deref() == Some(names::HELD);
        if still_held && is_ours(live.as_ref(), &key) {
            let run = annotation(names::RUN_ANNOTATION);
            let is_present = present.as_ref().is_some_and(|(present, uid)| {
                run.as_ref() == Some(present) && uid.as_ref().is_none_or(|uid| *uid == held.uid)
            });
            if is_present {
                continue;
            }
            release.tenant.delete(&held.object, &held.uid).await?;
            tracing::info!(object = key, "deleted {}, which came too late to run", held.object);
        }
        release.ctx.held.saw(&key, false, held);
    }
    Ok(())
}

fn is_ours(live: Option<&Value>, key: &str) -> bool {
    let owner =
        live.and_then(|live| live.pointer("/metadata/annotations")?.get(names::OWNER_ANNOTATION));
    owner.and_then(Value::as_str) == Some(key)
}
