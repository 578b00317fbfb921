//! The watch also reports what this process itself wrote to a custom resource, which is no reason to
//! look at it again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Mutex,
};

use kube::core::ObjectMeta;

use crate::support::sync::lock;

/// The number of own versions of one object that are remembered until the watch reports them.
const KEPT: usize = 16;

/// The versions of custom resources that this process wrote, by their UIDs, oldest first, until the
/// watch reports them.
#[derive(Default)]
pub(crate) struct Echoes(Mutex<HashMap<String, VecDeque<String>>>);

impl Echoes {
    /// Notes the version in the answer to a write that had the version before as its condition.
    pub(crate) fn wrote(&self, written: &ObjectMeta) {
        if let (Some(uid), Some(version)) = (&written.uid, &written.resource_version) {
            let mut all = lock(&self.0);
            let own = all.entry(uid.clone()).or_default();
            if own.len() == KEPT {
                own.pop_front();
            }
            own.push_back(version.clone());
        }
    }

    /// Returns true if the watch reports a version that this process wrote. A watch reports the
    /// versions of an object in their order, so earlier ones are forgotten with it.
    pub(crate) fn hears(&self, reported: &ObjectMeta) -> bool {
        let (Some(uid), Some(version)) = (&reported.uid, &reported.resource_version) else {
            return false;
        };
        let mut all = lock(&self.0);
        let Some(own) = all.get_mut(uid) else { return false };
        let is_own = own.contains(version);
        // What was reported before its answer came is not reported again.
        own.retain(|it| is_later(it, version));
        if own.is_empty() {
            all.remove(uid);
        }
        is_own
    }

    /// Returns true if this process wrote the object after this version of it, and the watch has not
    /// reported that yet.
    pub(crate) fn is_behind(&self, cached: &ObjectMeta) -> bool {
        let all = lock(&self.0);
        let last = cached.uid.as_ref().and_then(|uid| all.get(uid)?.back());
        let version = cached.resource_version.as_deref();
        last.is_some_and(|last| version.is_none_or(|version| is_later(last, version)))
    }

    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }

    pub(crate) fn retain(&self, uids: &HashSet<String>) {
        lock(&self.0).retain(|uid, _| uids.contains(uid));
    }
}

/// Returns whether `one` is a later version of an object than `other`: versions are whole numbers
/// (KEP-5504, comparable resource versions). Others are different, and nothing else is known of them.
fn is_later(one: &str, other: &str) -> bool {
    let number = |version: &str| version.parse::<u128>().ok();
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one > other,
        _ => one != other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn each_own_write_is_heard_once() {
        let echoes = Echoes::default();
        assert!(!echoes.hears(&version("a", "1")));
        for written in ["2", "3", "5"] {
            echoes.wrote(&version("a", written));
        }
        assert!(!echoes.hears(&version("b", "3")));
        assert!(echoes.is_behind(&version("a", "1")));
        assert!(!echoes.is_behind(&version("a", "5")));
        assert!(!echoes.is_behind(&version("b", "1")));
        assert!(echoes.hears(&version("a", "2")));
        assert!(!echoes.hears(&version("a", "4")), "somebody else wrote it");
        assert!(echoes.hears(&version("a", "5")));
        assert!(!echoes.hears(&version("a", "3")), "a later one was reported");
        assert!(!echoes.hears(&version("a", "5")), "a list after a gap of the watch repeats it");
        assert!(lock(&echoes.0).is_empty());
    }

    #[test]
    fn what_was_reported_before_its_answer_came_is_not_waited_for() {
        let echoes = Echoes::default();
        assert!(!echoes.hears(&version("a", "9")));
        echoes.wrote(&version("a", "9"));
        assert!(!echoes.is_behind(&version("a", "9")));
        assert!(!echoes.hears(&version("a", "10")), "somebody else wrote it");
        assert!(!echoes.is_behind(&version("a", "10")));
    }

    #[test]
    fn what_no_watch_reports_has_a_bound() {
        let echoes = Echoes::default();
        for written in 0..3 * KEPT {
            echoes.wrote(&version("a", &written.to_string()));
        }
        assert_eq!(lock(&echoes.0)["a"].len(), KEPT);
        echoes.forget("a");
        assert!(lock(&echoes.0).is_empty());
    }
}
