//! The watch also reports what this process itself wrote to a custom resource, which is no reason to
//! look at it again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Mutex,
    time::Duration,
};

use kube::core::ObjectMeta;
use tokio::sync::watch;

use crate::support::sync::lock;

/// The number of own versions of one object that are remembered until the watch reports them.
const KEPT: usize = 16;

/// The time for which a report of the watch waits for the answer to a write of the same object.
const PATIENCE: Duration = Duration::from_millis(100);

/// The versions of custom resources that this process wrote, by their UIDs, oldest first, until the
/// watch reports them.
#[derive(Default)]
pub(crate) struct Echoes {
    own: Mutex<HashMap<String, VecDeque<String>>>,
    /// The writes that have no answer yet. The watch may report what they wrote before.
    under_way: Mutex<HashMap<String, watch::Sender<()>>>,
}

/// A write that has no answer yet. One reconciliation at a time writes an object.
pub(crate) struct Writing<'a> {
    echoes: &'a Echoes,
    uid: String,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        lock(&self.echoes.under_way).remove(&self.uid);
    }
}

impl Echoes {
    /// Notes a write, from before it is sent until its answer is noted.
    pub(crate) fn writing(&self, object: &ObjectMeta) -> Writing<'_> {
        let uid = object.uid.clone().unwrap_or_default();
        lock(&self.under_way).insert(uid.clone(), watch::Sender::new(()));
        Writing { echoes: self, uid }
    }

    /// Returns true if the watch reports a version that this process wrote. It waits a moment for the
    /// answer to a write of this object, if there is one under way.
    pub(crate) async fn hears(&self, reported: &ObjectMeta) -> bool {
        if self.has_written(reported) {
            return true;
        }
        let uid = reported.uid.as_deref().unwrap_or_default();
        let under_way = lock(&self.under_way).get(uid).map(watch::Sender::subscribe);
        let Some(mut under_way) = under_way else { return false };
        // It ends with its sender.
        let _ = tokio::time::timeout(PATIENCE, under_way.changed()).await;
        self.has_written(reported)
    }

    /// Notes the version in the answer to a write that had the version before as its condition.
    pub(crate) fn wrote(&self, written: &ObjectMeta) {
        if let (Some(uid), Some(version)) = (&written.uid, &written.resource_version) {
            let mut all = lock(&self.own);
            let own = all.entry(uid.clone()).or_default();
            if own.len() == KEPT {
                own.pop_front();
            }
            own.push_back(version.clone());
        }
    }

    /// Returns true if the watch reports a version that this process wrote. A watch reports the
    /// versions of an object in their order, so earlier ones are forgotten with it.
    fn has_written(&self, reported: &ObjectMeta) -> bool {
        let (Some(uid), Some(version)) = (&reported.uid, &reported.resource_version) else {
            return false;
        };
        let mut all = lock(&self.own);
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
        let all = lock(&self.own);
        let last = cached.uid.as_ref().and_then(|uid| all.get(uid)?.back());
        let version = cached.resource_version.as_deref();
        last.is_some_and(|last| version.is_none_or(|version| is_later(last, version)))
    }

    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.own).remove(uid);
    }

    pub(crate) fn retain(&self, uids: &HashSet<String>) {
        lock(&self.own).retain(|uid, _| uids.contains(uid));
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
        assert!(!echoes.has_written(&version("a", "1")));
        for written in ["2", "3", "5"] {
            echoes.wrote(&version("a", written));
        }
        assert!(!echoes.has_written(&version("b", "3")));
        assert!(echoes.is_behind(&version("a", "1")));
        assert!(!echoes.is_behind(&version("a", "5")));
        assert!(!echoes.is_behind(&version("b", "1")));
        assert!(echoes.has_written(&version("a", "2")));
        assert!(!echoes.has_written(&version("a", "4")), "somebody else wrote it");
        assert!(echoes.has_written(&version("a", "5")));
        assert!(!echoes.has_written(&version("a", "3")), "a later one was reported");
        assert!(
            !echoes.has_written(&version("a", "5")),
            "a list after a gap of the watch repeats it"
        );
        assert!(lock(&echoes.own).is_empty());
    }

    #[test]
    fn what_was_reported_before_its_answer_came_is_not_waited_for() {
        let echoes = Echoes::default();
        assert!(!echoes.has_written(&version("a", "9")));
        echoes.wrote(&version("a", "9"));
        assert!(!echoes.is_behind(&version("a", "9")));
        assert!(!echoes.has_written(&version("a", "10")), "somebody else wrote it");
        assert!(!echoes.is_behind(&version("a", "10")));
    }

    #[test]
    fn what_no_watch_reports_has_a_bound() {
        let echoes = Echoes::default();
        for written in 0..3 * KEPT {
            echoes.wrote(&version("a", &written.to_string()));
        }
        assert_eq!(lock(&echoes.own)["a"].len(), KEPT);
        echoes.forget("a");
        assert!(lock(&echoes.own).is_empty());
    }

    #[tokio::test]
    async fn a_report_that_comes_before_the_answer_waits_for_it() {
        let echoes = Echoes::default();
        let writing = echoes.writing(&version("a", "1"));
        let own = version("a", "2");
        let (is_own, ()) = tokio::join!(echoes.hears(&own), async {
            tokio::task::yield_now().await;
            echoes.wrote(&version("a", "2"));
            drop(writing);
        });
        assert!(is_own);

        let writing = echoes.writing(&version("a", "2"));
        assert!(!echoes.hears(&version("b", "3")).await, "nobody writes it");
        assert!(!echoes.hears(&version("a", "3")).await, "its answer does not come");
        drop(writing);
        assert!(lock(&echoes.under_way).is_empty());
    }
}
