//! Hooks in another namespace than their release. Anybody can write the name of any release on a Job,
//! and each of its changes wakes that release: so many wake it at once, and the others all together,
//! a little later.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    support::{allowances::Allowances, key::LONGEST_KEY, sync::lock},
    watches::triggers::Trigger,
};

/// The maximum number of changes of one namespace that wake releases of others at once.
const MOST_AT_ONCE: u32 = 100;
/// The time after which it is one more.
const EACH: Duration = Duration::from_millis(200);
/// The time after which the other changes wake a release.
const LATER: Duration = Duration::from_secs(1);

pub(crate) struct Elsewhere {
    allowances: Allowances,
    later: Duration,
    /// The keys of the releases that are woken later.
    late: Arc<Mutex<HashSet<String>>>,
    trigger: Trigger,
}

impl Elsewhere {
    pub(super) fn new(trigger: Trigger) -> Self {
        let allowances = Allowances::new(MOST_AT_ONCE, EACH);
        Self { allowances, later: LATER, late: Arc::default(), trigger }
    }

    /// Returns true if a change of a hook in `namespace` wakes the release of this key at once;
    /// otherwise it is woken later.
    pub(crate) fn wakes(&self, namespace: &str, key: &str) -> bool {
        if key.len() > LONGEST_KEY {
            return false;
        }
        let is_elsewhere = key.split_once('/').is_none_or(|(of, _)| of != namespace);
        if !is_elsewhere || self.allowances.take(namespace) {
            return true;
        }
        if lock(&self.late).insert(key.to_owned()) {
            let (late, trigger, key) =
                (Arc::clone(&self.late), self.trigger.clone(), key.to_owned());
            let later = self.later;
            tokio::spawn(async move {
                tokio::time::sleep(later).await;
                // First, so that no change is missed in between.
                lock(&late).remove(&key);
                trigger.pull(&key);
            });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;
    use crate::watches::triggers::Triggers;

    #[tokio::test]
    async fn changes_in_another_namespace_wake_a_release_at_once_or_all_together() {
        let triggers = Triggers::default();
        let mut elsewhere = Elsewhere::new(triggers.trigger().clone());
        elsewhere.allowances = Allowances::new(1, Duration::from_hours(1));
        elsewhere.later = Duration::from_millis(50);
        assert!(elsewhere.wakes("hooks", "ns/shop"));
        for _ in 0..100 {
            assert!(elsewhere.wakes("ns", "ns/shop"), "its own");
            assert!(!elsewhere.wakes("hooks", "ns/shop"));
        }
        assert!(elsewhere.wakes("others", "ns/shop"));
        assert!(!elsewhere.wakes("more", &format!("ns/{}", "x".repeat(400))));
        let mut woken = Box::pin(triggers.listen());
        let name = woken.next().await.map(|woken| woken.name);
        assert_eq!(name.as_deref(), Some("shop"));
        assert!(lock(&elsewhere.late).is_empty());
        let more = tokio::time::timeout(elsewhere.later * 4, woken.next()).await;
        assert!(more.is_err(), "once for all of them");
    }
}
