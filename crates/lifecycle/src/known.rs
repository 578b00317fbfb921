//! The plans that are executed. A plan stands in a record, which a tenant can write; its digest
//! stands in status, which only the operator can write. A plan without its digest there is not
//! executed, and its record counts as one of Helm's.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{event::Event, plan::Plan};

/// The maximum number of revisions whose plans are known, however many are kept.
const MOST: usize = 64;

/// The number of revisions whose plans stay known, however few are kept.
const LEAST: usize = 8;

/// The maximum number of plans of one operation.
const MOST_OF_ONE: usize = 4;

/// A plan that the operator has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownPlan {
    /// Revision that the operation makes or works on.
    pub revision: i32,
    /// Event of the operation.
    pub event: Event,
    /// Digest of the plan, as it stands in the record of the revision.
    pub digest: String,
}

impl KnownPlan {
    /// Returns how a plan of this digest is known.
    pub fn of(plan: &Plan, digest: String) -> Self {
        Self { revision: plan.revision, event: plan.event, digest }
    }
}

/// Adds a plan, before its record is written. Those of as many revisions as are kept (`kept`;
/// `None`: all) stay, also that of the `pinned` one, and of tests and deletions only those of this
/// operation. A plan may be made more than once, and a late request may record any of them: the first
/// one and the last ones stay.
pub fn note(known: &mut Vec<KnownPlan>, plan: KnownPlan, kept: Option<usize>, pinned: Option<i32>) {
    if known.contains(&plan) {
        return;
    }
    let is_same = |it: &KnownPlan| (it.revision, it.event) == (plan.revision, plan.event);
    known.retain(|it| it.event.makes_revision() || is_same(it));
    let mut same = (0..known.len()).filter(|at| known.get(*at).is_some_and(is_same));
    if same.clone().count() >= MOST_OF_ONE
        && let Some(second) = same.nth(1)
    {
        known.remove(second);
    }
    known.push(plan);
    let kept = kept.unwrap_or(MOST).clamp(LEAST, MOST);
    let mut revisions: Vec<_> = known.iter().map(|it| it.revision).collect();
    revisions.dedup();
    let surplus = revisions.len().saturating_sub(kept);
    revisions.truncate(surplus);
    known.retain(|it| Some(it.revision) == pinned || !revisions.contains(&it.revision));
}

/// The plans of one release that are known.
#[derive(Clone, Debug, Default)]
pub struct KnownPlans(Arc<[KnownPlan]>);

impl KnownPlans {
    /// Returns true if the operator has made this plan for the record of `revision`.
    pub fn has(&self, revision: i32, plan: &Plan, digest: &str) -> bool {
        plan.revision == revision
            && self.0.iter().any(|known| {
                (known.revision, known.event, &*known.digest) == (revision, plan.event, digest)
            })
    }
}

impl FromIterator<KnownPlan> for KnownPlans {
    fn from_iter<I: IntoIterator<Item = KnownPlan>>(known: I) -> Self {
        Self(known.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Owner;

    fn plan(event: Event, revision: i32) -> Plan {
        let owner = Owner { uid: "uid".to_owned(), name: "shop".to_owned() };
        Plan::new("op".to_owned(), owner, event, revision)
    }

    fn known(event: Event, revision: i32, digest: &str) -> KnownPlan {
        KnownPlan::of(&plan(event, revision), digest.to_owned())
    }

    #[test]
    fn a_plan_is_known_in_the_record_that_it_was_made_for() {
        let plans: KnownPlans = [known(Event::Upgrade, 2, "a")].into_iter().collect();
        assert!(plans.has(2, &plan(Event::Upgrade, 2), "a"));
        assert!(!plans.has(2, &plan(Event::Upgrade, 2), "b"), "another plan");
        assert!(!plans.has(3, &plan(Event::Upgrade, 2), "a"), "copied into another record");
        assert!(!plans.has(2, &plan(Event::Delete, 2), "a"), "of another event");
        assert!(!KnownPlans::default().has(2, &plan(Event::Upgrade, 2), "a"));
    }

    #[test]
    fn as_many_are_known_as_there_are_records_of() {
        let mut plans = Vec::new();
        for revision in 1..=100 {
            note(&mut plans, known(Event::Upgrade, revision, "a"), Some(10), Some(3));
        }
        assert_eq!(
            plans.iter().map(|it| it.revision).collect::<Vec<_>>(),
            [3].into_iter().chain(91..=100).collect::<Vec<_>>()
        );
        for revision in 101..=200 {
            note(&mut plans, known(Event::Upgrade, revision, "a"), None, None);
        }
        assert_eq!(plans.len(), MOST);
    }

    #[test]
    fn a_test_pushes_no_revision_out_and_the_next_operation_forgets_it() {
        let mut plans = vec![known(Event::Install, 1, "a")];
        note(&mut plans, known(Event::Test, 1, "t"), Some(10), None);
        // The same test, whose plan was made again.
        note(&mut plans, known(Event::Test, 1, "u"), Some(10), None);
        note(&mut plans, known(Event::Test, 1, "u"), Some(10), None);
        let digests =
            |plans: &[KnownPlan]| plans.iter().map(|it| it.digest.clone()).collect::<String>();
        assert_eq!(digests(&plans), "atu");
        note(&mut plans, known(Event::Upgrade, 2, "b"), Some(10), None);
        assert_eq!(digests(&plans), "ab");
    }

    #[test]
    fn of_a_plan_that_is_made_again_and_again_the_first_and_the_last_ones_stay() {
        let mut plans = vec![known(Event::Install, 1, "a")];
        for digest in ["b", "c", "d", "e", "f"] {
            note(&mut plans, known(Event::Upgrade, 2, digest), Some(10), None);
        }
        let digests = plans.iter().map(|it| it.digest.clone()).collect::<String>();
        assert_eq!(digests, "abdef");
    }
}
