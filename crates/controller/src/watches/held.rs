//! The hook objects that are held back, as a watch has reported them.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use lifecycle::object::ObjectRef;

use crate::support::sync::lock;

/// The maximum number of held objects of one custom resource that are remembered. An operation holds
/// one.
const MOST_PER_RELEASE: usize = 64;

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
    /// Notes whether the object is held. Of many objects of one key only some are remembered: the
    /// others are found when the operator lists all hooks again.
    pub(crate) fn saw(&self, key: &str, held: bool, object: HeldObject) {
        if held {
            let mut all = lock(&self.objects);
            let objects = all.entry(key.to_owned()).or_default();
            if objects.len() < MOST_PER_RELEASE || objects.contains_key(&object.uid) {
                objects.insert(object.uid.clone(), object);
            }
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

    /// Returns true if a hook object of the custom resource with this UID is held. Those of a former
    /// one of the same key are left to the search for orphans.
    pub(crate) fn any(&self, key: &str, owner: &str) -> bool {
        let all = lock(&self.objects);
        all.get(key).is_some_and(|objects| objects.values().any(|it| it.owner == owner))
    }

    /// Returns the held objects of the custom resource with this UID, `most` of them if they are
    /// many.
    pub(crate) fn of(&self, key: &str, owner: &str, most: usize) -> Vec<HeldObject> {
        let all = lock(&self.objects);
        let objects = all.get(key).into_iter().flat_map(HashMap::values);
        objects.filter(|it| it.owner == owner).take(most).cloned().collect()
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
        let of = |key, owner| held.of(key, owner, 9).len();
        assert_eq!(
            (of("ns/shop", "owner"), of("ns/shop", "former"), of("ns/other", "owner")),
            (2, 0, 0)
        );
        assert_eq!(held.of("ns/shop", "owner", 1).len(), 1);
        assert_eq!(held.older_than(Duration::ZERO).len(), 2);
        assert!(held.older_than(Duration::from_hours(1)).is_empty());
        held.saw("ns/shop", false, object("1"));
        assert!(held.any("ns/shop", "owner") && !held.any("ns/shop", "former"));
        held.forget("ns/shop", "2");
        assert!(!held.any("ns/shop", "owner"));
    }

    #[test]
    fn of_thousands_some_are_remembered() {
        let held = Held::default();
        for uid in 0..10_000 {
            let object = HeldObject {
                object: ObjectRef {
                    api_version: "batch/v1".to_owned(),
                    kind: "Job".to_owned(),
                    namespace: Some("ns".to_owned()),
                    name: format!("forged-{uid}"),
                },
                uid: uid.to_string(),
                owner: "owner".to_owned(),
                account: None,
                since: Instant::now(),
            };
            held.saw("ns/shop", true, object);
        }
        assert_eq!(held.of("ns/shop", "owner", usize::MAX).len(), MOST_PER_RELEASE);
    }
}
