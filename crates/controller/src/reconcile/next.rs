//! Decides which operation comes next, if any.

use api::{OnTestFailure, ReleaseLifecycle};
use lifecycle::{
    event::Event,
    journal::Requests,
    next::{self, Disposal, Next, RecordState, Retry, Situation},
};

use crate::{
    desired::digest,
    plan::history,
    records::{self, Stored},
    release::Release,
    support::clock::now,
};

/// Returns whether `next` is impossible for a release whose source is unknown.
pub(crate) fn needs_source(next: &Next) -> bool {
    match next {
        Next::Begin { event, .. } => event.needs_source(),
        Next::Adopt { .. } | Next::InSync { .. } | Next::GivenUp | Next::AwaitRetry { .. } => true,
        Next::Resume
        | Next::Reopen
        | Next::CloseLate { .. }
        | Next::JournalLost { .. }
        | Next::PlanUnknown { .. }
        | Next::Trust { .. }
        | Next::AwaitHelm { .. }
        | Next::Foreign { .. }
        | Next::Finish => false,
    }
}

/// Returns whether an operation begins, or the release of another client is adopted.
pub(crate) fn begins(next: &Next) -> bool {
    match next {
        Next::Begin { .. } | Next::Reopen | Next::Adopt { .. } | Next::AwaitHelm { .. } => true,
        Next::Resume
        | Next::InSync { .. }
        | Next::GivenUp
        | Next::AwaitRetry { .. }
        | Next::CloseLate { .. }
        | Next::JournalLost { .. }
        | Next::PlanUnknown { .. }
        | Next::Trust { .. }
        | Next::Foreign { .. }
        | Next::Finish => false,
    }
}

/// The facts that were read besides the records.
pub(crate) struct Facts {
    /// True if the source is known. An unknown one counts as unchanged.
    pub(crate) is_known: bool,
    /// True if the newest record is of a custom resource that no longer exists: the release counts as
    /// unowned.
    pub(crate) orphaned: bool,
    /// The revision that was deployed before the one whose first tests have failed.
    pub(crate) before_failed_tests: Option<i32>,
}

/// Returns the next step.
pub(crate) fn next(release: &Release<'_>, history: &[Stored], facts: &Facts) -> Next {
    let Facts { is_known, orphaned, .. } = *facts;
    let inputs = digest::input(release);
    let me = release.object_name();
    let summary = |stored: &Stored| {
        let mut record = stored.summary(|digest, plan| inputs.have(digest, &plan.config_key));
        record.matches |= !is_known;
        record.owner.take_if(|owner| orphaned && owner != me);
        // If the object was deleted and created again, the same configuration may be written
        // differently.
        let of_former = stored.owner_uid().is_some_and(|uid| uid != release.uid());
        let is_open = of_former
            && !record.matches
            && record.state == RecordState::Deployed
            && !release.is_being_deleted();
        record.owner.take_if(|_| is_open);
        // Of the operation of a former object nothing is executed: what runs of it is stopped, and
        // its record is closed.
        let is_at_work = matches!(record.state, RecordState::Pending | RecordState::Uninstalling);
        record.is_known |= of_former && is_at_work && !release.is_being_deleted();
        record
    };
    let records: Vec<_> = history.iter().map(summary).collect();
    let object = &release.object;
    let status = object.status.as_ref();
    let generation = release.generation();
    let last = status.and_then(|status| status.last_attempt.as_ref());
    let gave_up = last.is_some_and(|last| match history::key(history) {
        _ if !is_known => true,
        Some(key) => digest::is_wanted(release, &last.config_digest, &key),
        // Without a record there is no key to compare digests by.
        None => last.generation == generation,
    });
    let handled = handled(release);
    let tested = status.and_then(|status| status.tested_revision);
    let newest = records::newest(history);
    let disposal = if object.keeps_objects() { Disposal::Keep } else { Disposal::Delete };
    let operation = status.and_then(|status| status.operation.as_ref());
    next::next(&Situation {
        operation,
        gave_up,
        retry: object.retry_at().map(|at| Retry { at, is_due: at <= now() }),
        remediation: operation.and_then(|last| object.remediation(last.event)),
        test_due: object.next_test_at(now()).is_some_and(|at| at <= now())
            || object.tests_enabled()
                && newest.is_some_and(|newest| {
                    !newest.is_adopted() && tested != Some(newest.release.version)
                }),
        before_failed_tests: facts.before_failed_tests,
        records: &records,
        owner: release.object_name(),
        generation,
        deletion: release.is_being_deleted().then_some(disposal),
        was_ours: status.is_some_and(|status| status.revision.is_some()),
        knows_nothing: status.is_none_or(api::ReleaseLifecycleStatus::knows_nothing),
        pin: object.spec.pin_revision,
        requests: &object.requests(),
        handled: &handled,
    })
}

/// Returns the revision whose first tests have failed, if that is to be remediated.
pub(crate) fn failed_first_tests(object: &ReleaseLifecycle) -> Option<i32> {
    let status = object.status.as_ref()?;
    let last = status.operation.as_ref()?;
    let is_to_be_remediated = last.event == Event::Test
        && last.has_failed_at_work()
        && object.on_test_failure() == OnTestFailure::Rollback
        && status.tests.last().is_some_and(|run| run.first);
    is_to_be_remediated.then_some(last.revision)
}

/// Returns the requests that were answered. If the status was never written, or was lost, old
/// requests cannot be told from new ones; old ones are not answered again.
pub(crate) fn handled(release: &Release<'_>) -> Requests {
    let status = release.object.status.as_ref();
    let seen = status.filter(|status| status.observed_generation.is_some_and(|seen| seen >= 0));
    seen.map_or_else(|| release.object.requests(), api::ReleaseLifecycleStatus::handled)
}
