//! Whether a release is at rest, by its object alone. Pure.

use api::{OnTestFailure, ReleaseLifecycle};
use lifecycle::{conditions, journal::Phase};

use crate::{release::finalizer, support::panics::INTERNAL_ERROR};

/// Whether there is an operation that goes on, or a deletion that waits for nothing.
pub(crate) fn is_at_work(object: &ReleaseLifecycle) -> bool {
    let running = object.status.as_ref().and_then(|status| status.operation.as_ref());
    running.is_some_and(|last| last.phase != Phase::Done)
        || object.metadata.deletion_timestamp.is_some()
}

/// Whether there is nothing to do, by the object alone; a cached one will do, since whatever
/// unsettles it arrives as an event.
pub(crate) fn is_settled(object: &ReleaseLifecycle) -> bool {
    if object.metadata.deletion_timestamp.is_some() {
        // Without our finalizer it is only others that hold it.
        return !finalizer::is_held(object);
    }
    let Some(status) = &object.status else {
        return false;
    };
    let running = status.operation.as_ref().is_some_and(|last| last.phase != Phase::Done);
    let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
    let at_rest = ready.is_some_and(|ready| match ready.reason.as_str() {
        // Due tests, and a finalizer that is missing, are seen to when it is looked at again.
        _ if ready.status == "True" => {
            finalizer::is_held(object)
                && (!object.tests_enabled() || status.tested_revision == status.revision)
        }
        "TestFailed" => object.on_test_failure() == OnTestFailure::Fail,
        conditions::SUSPENDED => object.suspended(),
        _ => false,
    });
    let last_attempt = status
        .last_attempt
        .as_ref()
        .filter(|last| Some(last.generation) == object.metadata.generation);
    let gave_up = last_attempt.zip(ready).is_some_and(|(last, ready)| {
        // What is to make up for it, and cannot begin, has said why.
        let says_so = ready.reason == last.failure.reason;
        let is_at_rest = says_so || !remedy_is_due(object);
        ready.status == "False" && ready.reason != INTERNAL_ERROR && is_at_rest
    });
    let (requests, handled) = (object.requests(), status.handled());
    let asked = requests.retry != handled.retry
        || requests.restart != handled.restart
        || requests.test != handled.test;
    let observed = status.observed_generation == object.metadata.generation;
    !running && !asked && observed && (at_rest || gave_up)
}

/// Whether something makes up for the last operation, as far as the object tells.
fn remedy_is_due(object: &ReleaseLifecycle) -> bool {
    let last = object.status.as_ref().and_then(|status| status.operation.as_ref());
    let failed = last.filter(|last| last.has_failed_at_work());
    failed.is_some_and(|failed| object.remedy(failed.event).is_some())
}
