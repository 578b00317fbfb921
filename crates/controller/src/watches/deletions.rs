//! The watch also reports that an object is gone which this process itself has deleted, and has looked
//! for since. That is no reason to look again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{support::sync::lock, watches::triggers::Trigger};

/// The number of deletions that are remembered, since the watch reports them, and what goes with them,
/// later.
const MOST: usize = 4096;

/// Deletions of hooks' objects by this process, by their UIDs.
#[derive(Clone, Default)]
pub(crate) struct Deletions(Arc<Mutex<HashMap<String, State>>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is not known yet whether the object is gone.
    Open,
    /// The same, and the watch has reported that it is.
    Reported,
    /// The object is gone, or nobody waits for that.
    Over,
}

/// A deletion whose end is not known yet. Unless it is ended, its report wakes the release.
pub(crate) struct Deletion {
    all: Deletions,
    trigger: Trigger,
    key: String,
    uid: String,
}

impl Deletions {
    /// Notes a deletion before it is sent, by the release of this key.
    pub(super) fn begin(&self, trigger: Trigger, key: &str, uid: &str) -> Deletion {
        let mut all = lock(&self.0);
        if all.len() >= MOST {
            all.retain(|_, state| *state != State::Over);
        }
        all.insert(uid.to_owned(), State::Open);
        Deletion { all: self.clone(), trigger, key: key.to_owned(), uid: uid.to_owned() }
    }

    /// Returns true if the report that this object is gone wakes nobody for now.
    pub(super) fn hears(&self, uid: &str) -> bool {
        let mut all = lock(&self.0);
        match all.get_mut(uid) {
            None => return false,
            Some(state @ State::Open) => *state = State::Reported,
            Some(State::Reported | State::Over) => {}
        }
        true
    }

    /// Returns true if this process has deleted the object, and nobody waits for its end.
    pub(super) fn has_deleted(&self, uid: &str) -> bool {
        lock(&self.0).get(uid) == Some(&State::Over)
    }
}

impl Deletion {
    /// Ends the deletion: the object is gone, or nobody waits for that.
    pub(crate) fn end(self) {
        lock(&self.all.0).insert(self.uid.clone(), State::Over);
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        let mut all = lock(&self.all.0);
        match all.get(&self.uid) {
            Some(State::Open) => drop(all.remove(&self.uid)),
            Some(State::Reported) => {
                all.remove(&self.uid);
                self.trigger.pull(&self.key);
            }
            Some(State::Over) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::watches::triggers::Triggers;

    fn woken(triggers: &Triggers) -> bool {
        triggers.listen().next().now_or_never().is_some()
    }

    #[test]
    fn the_end_of_an_own_deletion_wakes_nobody_who_has_seen_it() {
        let (deletions, triggers) = (Deletions::default(), Triggers::default());
        let begin = || deletions.begin(triggers.trigger().clone(), "shop/web", "1");
        assert!(!deletions.hears("1"), "somebody else deleted it");

        begin().end();
        assert!(deletions.hears("1"));
        assert!(deletions.has_deleted("1"));

        let early = begin();
        assert!(deletions.hears("1"));
        assert!(!deletions.has_deleted("1"), "it is not known whether anybody waits");
        early.end();
        assert!(deletions.has_deleted("1") && !deletions.has_deleted("2"));
        assert!(!woken(&triggers));
    }

    #[test]
    fn the_end_of_a_deletion_that_is_waited_for_wakes_its_release() {
        let (deletions, triggers) = (Deletions::default(), Triggers::default());
        let waits = deletions.begin(triggers.trigger().clone(), "shop/web", "1");
        drop(waits);
        assert!(!deletions.hears("1"), "it wakes the release itself");

        let waits = deletions.begin(triggers.trigger().clone(), "shop/web", "1");
        assert!(deletions.hears("1"), "it is not known yet whether anybody waits");
        drop(waits);
        assert!(woken(&triggers));
    }

    #[test]
    fn what_no_watch_reports_has_a_bound() {
        let (deletions, triggers) = (Deletions::default(), Triggers::default());
        for uid in 0..2 * MOST {
            deletions.begin(triggers.trigger().clone(), "shop/web", &uid.to_string()).end();
        }
        assert!(lock(&deletions.0).len() <= MOST);
    }
}
