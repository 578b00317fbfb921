//! Caches of running operations. Missing entries are read or derived again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

use engine::protocol::Verdict;
use jiff::{SignedDuration, Timestamp};
use lifecycle::{observation::Evidence, plan::Plan};
use live::observe::pods::Culprit;

use crate::support::sync::lock;

/// The time for which an object that may soon be ready is not checked.
const GRACE: SignedDuration = SignedDuration::from_secs(2);

/// Caches of running operations, by the UID of their object.
#[derive(Default)]
pub(crate) struct Running {
    /// The plan and its digest, which identifies the right one.
    plans: Mutex<HashMap<String, (String, Arc<Plan>)>>,
    /// The evidence that was taken last, and its container.
    evidence: Mutex<HashMap<String, (Culprit, Evidence)>>,
    /// The objects of hooks whose logs are kept, and whether they had succeeded.
    logs: Mutex<HashMap<String, HashSet<(String, bool)>>>,
    /// The reasons why objects are not ready.
    explanations: Mutex<HashMap<String, Explanations>>,
    /// The verdicts of health checks, and the operation whose checks they are.
    verdicts: Mutex<HashMap<String, (String, Verdicts)>>,
}

/// The verdicts of health checks, by the UIDs of the objects.
pub(crate) type Verdicts = HashMap<String, Judged>;

/// The verdict of a health check.
pub(crate) struct Judged {
    /// The version of the object.
    pub(crate) version: String,
    pub(crate) verdict: Verdict,
    /// The time until which it holds; `None` while the object is the same.
    pub(crate) until: Option<Timestamp>,
}

/// The explanations of the objects of one release that are not ready, by their UIDs.
pub(crate) type Explanations = HashMap<String, Explanation>;

/// The reason why an object is not ready.
pub(crate) struct Explanation {
    /// The time since when the object is observed not to be ready.
    pub(crate) since: Timestamp,
    /// The time of the next check.
    pub(crate) next: Timestamp,
    /// The version of the object at the last check.
    pub(crate) version: String,
    pub(crate) said: Option<String>,
    /// The last line of a container's log, read once for each of its runs.
    pub(crate) line: Option<(Culprit, String)>,
}

impl Explanation {
    pub(crate) fn new(now: Timestamp) -> Self {
        let next = now.saturating_add(GRACE).unwrap_or(now);
        Self { since: now, next, version: String::new(), said: None, line: None }
    }

    /// Returns true if the object, which has this version by now, is due for a check.
    pub(crate) fn is_due(&self, version: &str, now: Timestamp) -> bool {
        let asked = !self.version.is_empty();
        // The object has changed.
        let changed = asked && self.version != version && now.duration_since(self.since) >= GRACE;
        now >= self.next || changed
    }
}

impl Running {
    pub(crate) fn plan(&self, uid: &str, digest: &str) -> Option<Arc<Plan>> {
        let plans = lock(&self.plans);
        plans.get(uid).filter(|(known, _)| known == digest).map(|(_, plan)| Arc::clone(plan))
    }

    pub(crate) fn keep_plan(&self, uid: &str, digest: &str, plan: &Arc<Plan>) {
        lock(&self.plans).insert(uid.to_owned(), (digest.to_owned(), Arc::clone(plan)));
    }

    pub(crate) fn evidence(&self, uid: &str, culprit: &Culprit) -> Option<Evidence> {
        let evidence = lock(&self.evidence);
        evidence.get(uid).filter(|(known, _)| known == culprit).map(|(_, found)| found.clone())
    }

    pub(crate) fn keep_evidence(&self, uid: &str, culprit: Culprit, evidence: Evidence) {
        lock(&self.evidence).insert(uid.to_owned(), (culprit, evidence));
    }

    /// Returns whether the log of the hook's object is kept, as one that has ended so.
    pub(crate) fn has_kept_log(&self, uid: &str, object: &str, has_succeeded: bool) -> bool {
        let logs = lock(&self.logs);
        logs.get(uid).is_some_and(|kept| kept.contains(&(object.to_owned(), has_succeeded)))
    }

    pub(crate) fn kept_log(&self, uid: &str, object: &str, has_succeeded: bool) {
        let mut logs = lock(&self.logs);
        logs.entry(uid.to_owned()).or_default().insert((object.to_owned(), has_succeeded));
    }

    /// Takes the explanations out. One reconciliation of an object runs at a time: until they are
    /// put back, they are not needed elsewhere.
    pub(crate) fn take_explanations(&self, uid: &str) -> Explanations {
        lock(&self.explanations).remove(uid).unwrap_or_default()
    }

    pub(crate) fn keep_explanations(&self, uid: &str, explanations: Explanations) {
        lock(&self.explanations).insert(uid.to_owned(), explanations);
    }

    /// Takes the verdicts of an operation out, as [`Running::take_explanations`] does.
    pub(crate) fn take_verdicts(&self, uid: &str, operation: &str) -> Verdicts {
        let known = lock(&self.verdicts).remove(uid);
        let known = known.filter(|(of, _)| of == operation);
        known.map(|(_, verdicts)| verdicts).unwrap_or_default()
    }

    pub(crate) fn keep_verdicts(&self, uid: &str, operation: &str, verdicts: Verdicts) {
        lock(&self.verdicts).insert(uid.to_owned(), (operation.to_owned(), verdicts));
    }

    /// Forgets the operations of all objects but those with these UIDs.
    pub(crate) fn retain(&self, uids: &HashSet<String>) {
        lock(&self.plans).retain(|uid, _| uids.contains(uid));
        lock(&self.evidence).retain(|uid, _| uids.contains(uid));
        lock(&self.logs).retain(|uid, _| uids.contains(uid));
        lock(&self.explanations).retain(|uid, _| uids.contains(uid));
        lock(&self.verdicts).retain(|uid, _| uids.contains(uid));
    }

    /// Forgets an operation that has ended.
    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.plans).remove(uid);
        lock(&self.evidence).remove(uid);
        lock(&self.logs).remove(uid);
        lock(&self.explanations).remove(uid);
        lock(&self.verdicts).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_object_is_asked_about_when_it_is_time_or_something_has_happened_to_it() {
        let mut explanation = Explanation::new(at(0));
        assert!(!explanation.is_due("1", at(1)), "it may be about to be ready");
        assert!(explanation.is_due("1", at(2)));
        (explanation.version, explanation.next) = ("1".to_owned(), at(60));
        assert!(!explanation.is_due("1", at(30)));
        assert!(explanation.is_due("2", at(30)), "it has changed");
        assert!(explanation.is_due("1", at(60)));
        explanation.since = at(29);
        assert!(!explanation.is_due("2", at(30)), "it has not been unready for long");
    }

    #[test]
    fn what_is_kept_of_an_operation_ends_with_it() {
        let running = Running::default();
        let explanations = Explanations::from([("pod".to_owned(), Explanation::new(at(0)))]);
        running.keep_explanations("uid", explanations);
        assert_eq!(running.take_explanations("other").len(), 0);
        assert_eq!(running.take_explanations("uid").len(), 1);
        assert_eq!(running.take_explanations("uid").len(), 0, "they were taken");
        running.keep_explanations(
            "uid",
            Explanations::from([("pod".to_owned(), Explanation::new(at(0)))]),
        );
        running.forget("uid");
        assert_eq!(running.take_explanations("uid").len(), 0);
    }
}
