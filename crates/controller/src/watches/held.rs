//! The hook objects that are held back, as a watch has reported them.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use lifecycle::object::ObjectRef;

use crate::support::sync::lock;

/// Held hook objects that a watch has reported, by the key of their custom resource. Anybody can
/// create an object that looks like one: they are checked again before anything is done.
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
    /// The ServiceAccount that created it; `None`: the operator itself.
    pub(crate) account: Option<String>,
    pub(crate) since: Instant,
}

impl Held {
    pub(crate) fn saw(&self, key: &str, held: bool, object: HeldObject) {
        if held {
            lock(&self.objects)
                .entry(key.to_owned())
                .or_default()
                .insert(object.uid.clone(), object);
        } else {
            self.forget(key, &object.uid);
        }
    }

    pub(crate) fn forget(&self, key: &str, uid: &str) {
        let mut all = lock(&self.objects);
        if let Some(objects) = all.get_mut(key) {
            objects.remove(uid);
            if objects.is_empty() {
                all.remove(key);
            }
        }
    }

    pub(crate) fn any(&self, key: &str) -> bool {
        lock(&self.objects).contains_key(key)
    }

    pub(crate) fn of(&self, key: &str) -> Vec<HeldObject> {
        let all = lock(&self.objects);
        all.get(key).map_or_else(Vec::new, |objects| objects.values().cloned().collect())
    }

    /// Returns the objects that have been held for longer than any hook is between two steps.
    pub(crate) fn older_than(&self, age: Duration) -> Vec<(String, HeldObject)> {
        let all = lock(&self.objects);
        let each = all.iter().flat_map(|(key, held)| held.values().map(move |held| (key, held)));
        let old = each.filter(|(_, held)| held.since.elapsed() >= age);
        old.map(|(key, held)| (key.clone(), held.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_until_it_is_opened_or_forgotten() {
        let object = |uid: &str| HeldObject {
            object: ObjectRef {
                api_version: "batch/v1".to_owned(),
                kind: "Job".to_owned(),
                namespace: Some("ns".to_owned()),
                name: "migrate".to_owned(),
            },
            uid: uid.to_owned(),
            owner: "owner".to_owned(),
            account: None,
            since: Instant::now(),
        };
        let held = Held::default();
        for uid in ["1", "1", "2"] {
            held.saw("ns/shop", true, object(uid));
        }
        assert_eq!((held.of("ns/shop").len(), held.of("ns/other").len()), (2, 0));
        assert_eq!(held.older_than(Duration::ZERO).len(), 2);
        assert!(held.older_than(Duration::from_hours(1)).is_empty());
        held.saw("ns/shop", false, object("1"));
        assert!(held.any("ns/shop"));
        held.forget("ns/shop", "2");
        assert!(!held.any("ns/shop"));
    }
}
