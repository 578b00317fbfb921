//! The hook objects that are held back, as a watch has reported them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lifecycle::object::ObjectRef;

use crate::support::{key::LONGEST_KEY, sync::lock};

/// The maximum number of held objects of one custom resource that are remembered. An operation holds
/// one.
const MOST_PER_RELEASE: usize = 64;

/// The maximum number of held objects that are remembered of those that are in one namespace, whose
/// tenant may have forged them.
const MOST_PER_NAMESPACE: usize = 1000;
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// Held hook objects that a watch has reported, by the key of their custom resource. Anybody can
/// create an object that looks like one: they are checked again before anything is done.
#[derive(Clone, Default)]
pub(crate) struct Held {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: HashMap<String, HashMap<String, HeldObject>>,
    /// The number of those in each namespace.
    taken: HashMap<String, usize>,
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
    /// Notes that the object is held, and returns true if it was not known. Of many objects of one key
    /// or one namespace only some are remembered: the others are found when the operator lists all
    /// hooks again.
    pub(crate) fn note(&self, key: &str, object: HeldObject) -> bool {
        lock(&self.state).note(key, object)
    }

    pub(crate) fn forget(&self, key: &str, uid: &str) {
        lock(&self.state).forget(key, uid);
    }

    /// Returns true if the object of this UID is held.
    pub(crate) fn has(&self, key: &str, uid: &str) -> bool {
        lock(&self.state).objects.get(key).is_some_and(|objects| objects.contains_key(uid))
    }

    /// Returns true if a hook object of the custom resource with this UID is held. Those of a former
    /// one of the same key are left to the search for orphans.
    pub(crate) fn any(&self, key: &str, owner: &str) -> bool {
        let objects = &lock(&self.state).objects;
        objects.get(key).is_some_and(|objects| objects.values().any(|it| it.owner == owner))
    }

    /// Returns the held objects of the custom resource with this UID, `most` of them if they are
    /// many.
    pub(crate) fn of(&self, key: &str, owner: &str, most: usize) -> Vec<HeldObject> {
        let state = lock(&self.state);
        let objects = state.objects.get(key).into_iter().flat_map(HashMap::values);
        objects.filter(|it| it.owner == owner).take(most).cloned().collect()
    }

    /// Returns the objects that have been held for longer than any hook is between two steps.
    pub(crate) fn older_than(&self, age: Duration) -> Vec<(String, HeldObject)> {
        let state = lock(&self.state);
        let each =
            state.objects.iter().flat_map(|(key, held)| held.values().map(move |held| (key, held)));
        let old = each.filter(|(_, held)| held.since.elapsed() >= age);
        old.map(|(key, held)| (key.clone(), held.clone())).collect()
    }
}

impl State {
    fn note(&mut self, key: &str, object: HeldObject) -> bool {
        // No object of the operator has longer ones.
        let account = object.account.as_deref().unwrap_or_default();
        if key.len() > LONGEST_KEY || account.len() > LONGEST_NAME {
            return false;
        }
        let of_key = self.objects.get(key);
        let is_new = !of_key.is_some_and(|objects| objects.contains_key(&object.uid));
        if is_new {
            let taken = self.taken.entry(namespace(&object).to_owned()).or_default();
            let is_full = of_key.is_some_and(|objects| objects.len() >= MOST_PER_RELEASE);
            if is_full || *taken >= MOST_PER_NAMESPACE {
                return false;
            }
            *taken += 1;
        }
        self.objects.entry(key.to_owned()).or_default().insert(object.uid.clone(), object);
        is_new
    }

    fn forget(&mut self, key: &str, uid: &str) {
        let Some(objects) = self.objects.get_mut(key) else { return };
        let Some(gone) = objects.remove(uid) else { return };
        if objects.is_empty() {
            self.objects.remove(key);
        }
        if let Some(taken) = self.taken.get_mut(namespace(&gone)) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(namespace(&gone));
            }
        }
    }
}

fn namespace(object: &HeldObject) -> &str {
    object.object.namespace.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, uid: &str) -> HeldObject {
        HeldObject {
            object: ObjectRef {
                api_version: "batch/v1".to_owned(),
                kind: "Job".to_owned(),
                namespace: Some(namespace.to_owned()),
                name: "migrate".to_owned(),
            },
            uid: uid.to_owned(),
            owner: "owner".to_owned(),
            account: None,
            since: Instant::now(),
        }
    }

    #[test]
    fn an_object_is_known_until_it_is_opened_or_forgotten() {
        let held = Held::default();
        let news = ["1", "1", "2"].map(|uid| held.note("ns/shop", object("ns", uid)));
        assert_eq!(news, [true, false, true]);
        let of = |key, owner| held.of(key, owner, 9).len();
        assert_eq!(
            (of("ns/shop", "owner"), of("ns/shop", "former"), of("ns/other", "owner")),
            (2, 0, 0)
        );
        assert_eq!(held.of("ns/shop", "owner", 1).len(), 1);
        assert_eq!(held.older_than(Duration::ZERO).len(), 2);
        assert!(held.older_than(Duration::from_hours(1)).is_empty());
        held.forget("ns/shop", "1");
        assert!(!held.has("ns/shop", "1") && held.has("ns/shop", "2"));
        assert!(held.any("ns/shop", "owner") && !held.any("ns/shop", "former"));
        held.forget("ns/shop", "2");
        assert!(!held.any("ns/shop", "owner"));
    }

    #[test]
    fn of_thousands_some_are_remembered() {
        let held = Held::default();
        for uid in 0..10_000 {
            held.note("ns/shop", object("ns", &uid.to_string()));
        }
        assert_eq!(held.of("ns/shop", "owner", usize::MAX).len(), MOST_PER_RELEASE);
    }

    #[test]
    fn a_namespace_with_thousands_leaves_room_for_others() {
        let held = Held::default();
        for uid in 0..10_000 {
            held.note(&format!("bad/{uid}"), object("bad", &uid.to_string()));
        }
        assert_eq!(held.older_than(Duration::ZERO).len(), MOST_PER_NAMESPACE);
        held.note("ns/shop", object("ns", "1"));
        assert!(held.any("ns/shop", "owner"));
        for uid in 0..10_000 {
            held.forget(&format!("bad/{uid}"), &uid.to_string());
        }
        held.forget("ns/shop", "1");
        let state = lock(&held.state);
        assert!(state.objects.is_empty() && state.taken.is_empty());
    }

    #[test]
    fn what_is_longer_than_a_name_is_not_remembered() {
        let held = Held::default();
        held.note(&format!("ns/{}", "x".repeat(240_000)), object("ns", "1"));
        let account = Some("x".repeat(240_000));
        held.note("ns/shop", HeldObject { account, ..object("ns", "1") });
        assert!(held.older_than(Duration::ZERO).is_empty());
    }
}
