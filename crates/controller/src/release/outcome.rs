//! The part of status that outlasts an operation. Pure.

use api::{ReleaseLifecycle, ReleaseLifecycleStatus};
use lifecycle::{
    conditions,
    drift::Baseline,
    event::Event,
    journal::{Failure, Journal, LastAttempt},
    known::{self, KnownPlan},
    reason::Reason,
    test_run,
};

/// Notes that the plan may be executed.
pub(super) fn note_plan(
    object: &ReleaseLifecycle,
    status: &mut ReleaseLifecycleStatus,
    plan: KnownPlan,
) {
    let (kept, pinned) = (object.max_history(), object.spec.pin_revision);
    known::note(&mut status.plans, plan, kept, pinned);
}

/// Records the result of an operation that has ended.
pub(super) fn conclude(status: &mut ReleaseLifecycleStatus, journal: &Journal) {
    let operation = &journal.operation;
    if operation.event == Event::Test {
        let tested = status.tested_revision.replace(operation.revision);
        test_run::remember(&mut status.tests, operation, tested);
    }
    if let Some(failed) = operation.remedies {
        return remediated(status, journal, failed);
    }
    if !operation.event.makes_revision() {
        return;
    }
    // If the release was created again, its revisions start again, too.
    status.tested_revision.take_if(|tested| *tested >= operation.revision);
    status.tests.retain(|run| run.revision < operation.revision);
    match &operation.failure {
        None => {
            status.revision = Some(operation.revision);
            status.chart.clone_from(&operation.chart);
            forgive(status);
            was_applied(status, journal);
        }
        Some(failure) => {
            forget_remedy(status);
            let before = status.last_attempt.take();
            // After an uninstallation revisions begin anew, and so does the key of digests: only the
            // generation tells whether it is the same configuration.
            let is_anew = |last: &LastAttempt| {
                operation.event == Event::Install
                    && last.event == Event::Install
                    && last.revision >= operation.revision
                    && last.generation == operation.generation
            };
            let again = before
                .filter(|last| last.config_digest == operation.config_digest || is_anew(last));
            status.last_attempt = Some(LastAttempt {
                config_digest: operation.config_digest.clone(),
                generation: operation.generation,
                event: operation.event,
                revision: operation.revision,
                failures: again.map_or(0, |last| last.failures).saturating_add(1),
                failed_at: operation.completed_at.filter(|_| operation.is_to_be_retried()),
                failure: failure.clone(),
            });
        }
    }
}

/// Records that all objects have been applied.
fn was_applied(status: &mut ReleaseLifecycleStatus, journal: &Journal) {
    let operation = &journal.operation;
    status.corrected_at = None;
    no_drift(status);
    status.baseline = operation.completed_at.map(|deployed_at| Baseline {
        revision: operation.revision,
        deployed_at,
        // Without hooks, only another client can have removed anything.
        removed: journal.hooks.is_empty().then(Vec::new),
    });
}

/// Removes the report of drift of the deployed revision.
pub(super) fn no_drift(status: &mut ReleaseLifecycleStatus) {
    status.conditions.retain(|condition| condition.type_ != conditions::DRIFTED);
}

/// Records the result of an operation that remediates the failure of revision `failed`. The failure
/// stays in status, or the revision would be retried for ever.
fn remediated(status: &mut ReleaseLifecycleStatus, journal: &Journal, failed: i32) {
    let operation = &journal.operation;
    let is_deletion = operation.event == Event::Delete;
    if operation.failure.is_none() {
        status.revision = (!is_deletion).then_some(operation.revision);
        status.chart = operation.chart.clone().filter(|_| !is_deletion);
        if is_deletion {
            no_drift(status);
            status.baseline = None;
        } else {
            was_applied(status, journal);
        }
    }
    let failure = why_it_failed(status, failed);
    let attempt = status.last_attempt.get_or_insert_with(|| LastAttempt {
        config_digest: operation.config_digest.clone(),
        generation: operation.generation,
        event: if is_deletion { Event::Install } else { Event::Upgrade },
        revision: failed,
        failures: 1,
        failed_at: None,
        failure,
    });
    if operation.failure.is_some() {
        // Nobody knows what the next attempt would meet.
        attempt.failed_at = None;
    }
    // Changes before the remediation began had nothing to do with the failure; after an uninstall
    // there is only the generation to detect a later change.
    attempt.generation = operation.generation;
}

/// Returns why revision `failed` was remediated, if no failed attempt at it is noted: its tests failed,
/// or nobody knows any more.
fn why_it_failed(status: &ReleaseLifecycleStatus, failed: i32) -> Failure {
    let tests = status.tests.last().filter(|tests| tests.revision == failed);
    match tests.and_then(|tests| tests.failure.as_ref()) {
        Some(message) => Failure::new(Reason::TestFailed, format!("its tests failed: {message}")),
        None => Failure::new(
            Reason::GivenUp,
            "with what is not known any more, since the object's status was lost; see `helm history`",
        ),
    }
}

/// Clears earlier failures, since the desired state is deployed.
pub(super) fn forgive(status: &mut ReleaseLifecycleStatus) {
    status.last_attempt = None;
    forget_remedy(status);
}

/// Removes the remediation of an earlier failure, which does not concern a later one.
fn forget_remedy(status: &mut ReleaseLifecycleStatus) {
    status.conditions.retain(|condition| condition.type_ != conditions::REMEDIATED);
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lifecycle::journal::{Phase, Requests};
    use lifecycle::plan::Begin;

    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    /// Returns the journal of an operation that has ended.
    fn ended(
        event: Event,
        revision: i32,
        remedies: Option<i32>,
        failure: Option<Reason>,
    ) -> Journal {
        let begin =
            Begin { id: "a".to_owned(), event, revision, target: None, remedies, generation: 7 };
        let mut journal = Journal::begin(begin, "digest".to_owned(), Requests::default(), AT);
        journal.operation.phase = Phase::Done;
        journal.operation.completed_at = Some(AT);
        journal.operation.failure = failure.map(|reason| Failure::new(reason, "it failed"));
        journal
    }

    fn attempt(digest: &str, failures: i32) -> LastAttempt {
        LastAttempt {
            config_digest: digest.to_owned(),
            generation: 6,
            event: Event::Upgrade,
            revision: 3,
            failures,
            failed_at: None,
            failure: Failure::new(Reason::HookFailed, "it failed"),
        }
    }

    /// Returns a status in which revision 2 is deployed and tested, and revision 3 of `digest` has
    /// failed.
    fn before(digest: &str) -> ReleaseLifecycleStatus {
        ReleaseLifecycleStatus {
            revision: Some(2),
            tested_revision: Some(2),
            last_attempt: Some(attempt(digest, 1)),
            baseline: Some(Baseline { revision: 2, deployed_at: AT, removed: None }),
            ..ReleaseLifecycleStatus::default()
        }
    }

    #[test]
    fn what_remains_of_an_operation_is_what_is_deployed_and_what_was_given_up() {
        let revisions = |status: &ReleaseLifecycleStatus| {
            let failures = status.last_attempt.as_ref().map(|last| (last.revision, last.failures));
            let baseline = status.baseline.as_ref().map(|baseline| baseline.revision);
            (status.revision, status.tested_revision, failures, baseline)
        };
        for (what, journal, digest, expected) in [
            (
                "an upgrade that succeeds is deployed, and what failed before is over",
                ended(Event::Upgrade, 4, None, None),
                "digest",
                (Some(4), Some(2), None, Some(4)),
            ),
            (
                "one that fails again is counted",
                ended(Event::Upgrade, 4, None, Some(Reason::HookFailed)),
                "digest",
                (Some(2), Some(2), Some((4, 2)), Some(2)),
            ),
            (
                "one of another configuration is the first",
                ended(Event::Upgrade, 4, None, Some(Reason::HookFailed)),
                "another",
                (Some(2), Some(2), Some((4, 1)), Some(2)),
            ),
            (
                "revisions that begin anew were not tested",
                ended(Event::Install, 1, None, None),
                "digest",
                (Some(1), None, None, Some(1)),
            ),
            (
                "a test says which revision was tested",
                ended(Event::Test, 2, None, Some(Reason::HookFailed)),
                "digest",
                (Some(2), Some(2), Some((3, 1)), Some(2)),
            ),
            (
                "a deletion that was asked for leaves all as it was",
                ended(Event::Delete, 2, None, None),
                "digest",
                (Some(2), Some(2), Some((3, 1)), Some(2)),
            ),
            (
                "what is rolled back is deployed, and the failure stands",
                ended(Event::Rollback, 4, Some(3), None),
                "digest",
                (Some(4), Some(2), Some((3, 1)), Some(4)),
            ),
            (
                "what is uninstalled is not deployed, and the failure stands",
                ended(Event::Delete, 3, Some(3), None),
                "digest",
                (None, Some(2), Some((3, 1)), None),
            ),
            (
                "what makes up for a failure and fails changes nothing",
                ended(Event::Rollback, 4, Some(3), Some(Reason::HookFailed)),
                "digest",
                (Some(2), Some(2), Some((3, 1)), Some(2)),
            ),
        ] {
            let mut status = before(digest);
            conclude(&mut status, &journal);
            assert_eq!(revisions(&status), expected, "{what}");
        }
    }

    #[test]
    fn the_failure_that_is_made_up_for_stands_even_where_status_was_lost() {
        for (event, failed) in [(Event::Rollback, Event::Upgrade), (Event::Delete, Event::Install)]
        {
            let mut status = ReleaseLifecycleStatus::default();
            conclude(&mut status, &ended(event, 4, Some(3), None));
            let last = status.last_attempt.unwrap();
            assert_eq!((last.event, last.revision, last.generation), (failed, 3, 7));
            assert_eq!(last.config_digest, "digest");
        }
    }

    #[test]
    fn failures_are_counted_across_an_uninstallation() {
        let failures = |last: LastAttempt, revision| {
            let mut status =
                ReleaseLifecycleStatus { last_attempt: Some(last), ..Default::default() };
            let journal = ended(Event::Install, revision, None, Some(Reason::HookFailed));
            conclude(&mut status, &journal);
            status.last_attempt.map(|last| last.failures)
        };
        let before = LastAttempt {
            event: Event::Install,
            revision: 1,
            generation: 7,
            ..attempt("another", 1)
        };
        assert_eq!(failures(before.clone(), 1), Some(2), "revisions began anew");
        assert_eq!(failures(before.clone(), 2), Some(1), "another configuration");
        assert_eq!(failures(LastAttempt { generation: 6, ..before }, 1), Some(1), "a newer spec");
    }

    #[test]
    fn nothing_is_retried_after_a_remediation_that_failed() {
        for (failure, is_retried) in [(None, true), (Some(Reason::HookFailed), false)] {
            let mut status = before("digest");
            status.last_attempt.as_mut().unwrap().failed_at = Some(AT);
            conclude(&mut status, &ended(Event::Rollback, 4, Some(3), failure));
            assert_eq!(status.last_attempt.unwrap().failed_at.is_some(), is_retried);
        }
    }
}
