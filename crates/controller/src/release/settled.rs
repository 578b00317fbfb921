//! Checks that a release is settled, by its object alone. Pure.

use api::ReleaseLifecycle;
use lifecycle::{conditions, journal::Phase, reason::Reason};

use crate::release::finalizer;

/// Returns true if there is nothing to do, by the object alone; a cached one is enough, since every
/// change that unsettles it arrives as an event.
pub(crate) fn is_settled(object: &ReleaseLifecycle) -> bool {
    if object.metadata.deletion_timestamp.is_some() {
        // Without our finalizer only others hold it.
        return !finalizer::is_held(object);
    }
    let Some(status) = &object.status else {
        return false;
    };
    let running = status.operation.as_ref().is_some_and(|last| last.phase != Phase::Done);
    let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
    let reason = ready.and_then(|ready| Reason::parse(&ready.reason));
    let at_rest = ready.is_some_and(|ready| match reason {
        // Due tests, and a missing finalizer, are handled when it is next reconciled.
        _ if ready.status == "True" => {
            finalizer::is_held(object)
                && (!object.tests_enabled() || status.tested_revision == status.revision)
        }
        Some(Reason::TestFailed) => object.tests_count(),
        Some(Reason::Suspended) => object.suspended(),
        _ => false,
    });
    let last_attempt = status
        .last_attempt
        .as_ref()
        .filter(|last| Some(last.generation) == object.metadata.generation);
    let gave_up = last_attempt.zip(ready).is_some_and(|(last, ready)| {
        // A remediation that cannot begin has reported why.
        let says_so = ready.reason == last.failure.reason;
        let is_at_rest = says_so || !remedy_is_due(object);
        let goes_on = object.retry_at().is_some();
        ready.status == "False" && reason != Some(Reason::InternalError) && is_at_rest && !goes_on
    });
    let (requests, handled) = (object.requests(), status.handled());
    // A skip that nothing waits for is noted, or it would count for a deletion that comes later. A
    // request to cancel is noted when the next operation begins.
    let asked = requests.retry != handled.retry
        || requests.restart != handled.restart
        || requests.test != handled.test
        || requests.skip != handled.skip;
    let observed = status.observed_generation == object.metadata.generation;
    !running && !asked && observed && (at_rest || gave_up)
}

/// Returns true if there is a running operation, or a deletion that waits for nothing.
pub(crate) fn is_at_work(object: &ReleaseLifecycle) -> bool {
    let running = object.status.as_ref().and_then(|status| status.operation.as_ref());
    running.is_some_and(|last| last.phase != Phase::Done)
        || object.metadata.deletion_timestamp.is_some()
}

/// Returns true if Ready was reported for the current generation, and nothing runs.
pub(crate) fn is_ready(object: &ReleaseLifecycle) -> bool {
    let status = object.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    !is_at_work(object)
        && conditions.any(|it| {
            it.type_ == conditions::READY
                && it.status == "True"
                && it.observed_generation == object.metadata.generation
        })
}

/// Returns true if tests run by their schedule: the deployed revision is the desired one, whatever its
/// last tests said, and nothing runs.
pub(crate) fn is_tested(object: &ReleaseLifecycle) -> bool {
    let find = |type_: &str| {
        let mut all = object.status.iter().flat_map(|status| &status.conditions);
        all.find(|it| it.type_ == type_)
    };
    // An upgrade that was rolled back for its tests is stalled by that reason.
    let is_in_sync = find(conditions::STALLED).is_none()
        && find(conditions::READY).is_some_and(|ready| {
            ready.status == "True" || Reason::parse(&ready.reason) == Some(Reason::TestFailed)
        });
    is_in_sync && !is_at_work(object) && !object.suspended()
}

/// Returns true if the last operation is to be remediated, as far as the object shows.
fn remedy_is_due(object: &ReleaseLifecycle) -> bool {
    let last = object.status.as_ref().and_then(|status| status.operation.as_ref());
    let failed = last.filter(|last| last.has_failed_at_work());
    failed.is_some_and(|failed| object.remediation(failed.event).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns an object whose revision 2 is deployed and Ready, with `changes` merged over it.
    fn object(changes: Value) -> ReleaseLifecycle {
        let mut object = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1",
            "kind": "ReleaseLifecycle",
            "metadata": {
                "name": "shop",
                "namespace": "prod",
                "generation": 3,
                "finalizers": [api::names::FINALIZER],
            },
            "spec": {"source": {"objects": []}},
            "status": {
                "observedGeneration": 3,
                "revision": 2,
                "conditions": [ready("True", "InSync")],
                "operation": operation("Upgrade", "Done"),
            },
        });
        merge(&mut object, changes);
        serde_json::from_value(object).unwrap()
    }

    /// Applies a merge patch: a null removes.
    fn merge(object: &mut Value, changes: Value) {
        let Value::Object(changes) = changes else { return *object = changes };
        for (key, value) in changes {
            match value {
                Value::Null => drop(object.as_object_mut().unwrap().remove(&key)),
                value => merge(&mut object[key], value),
            }
        }
    }

    fn ready(status: &str, reason: &str) -> Value {
        json!({"type": "Ready", "status": status, "reason": reason, "message": "",
               "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn operation(event: &str, phase: &str) -> Value {
        json!({"id": "a", "event": event, "revision": 2, "generation": 3, "phase": phase,
               "startedAt": "2026-01-01T00:00:00Z"})
    }

    /// Like [`operation`], failed at its work.
    fn failed(event: &str) -> Value {
        let mut operation = operation(event, "Done");
        let failure = json!({"reason": "HookFailed", "message": "it failed"});
        merge(
            &mut operation,
            json!({"completedAt": "2026-01-01T00:01:00Z", "planDigest": "b", "failure": failure}),
        );
        operation
    }

    fn attempt(generation: i64) -> Value {
        json!({"configDigest": "c", "generation": generation, "event": "Upgrade", "revision": 2,
               "failures": 1, "reason": "HookFailed", "message": "it failed"})
    }

    fn given_up(reason: &str, generation: i64, spec: Value) -> Value {
        json!({"spec": spec, "status": {"conditions": [ready("False", reason)],
               "operation": failed("Upgrade"), "lastAttempt": attempt(generation)}})
    }

    #[test]
    fn it_is_settled_once_all_is_done_that_it_asks_for() {
        let asks = |what: &str| json!({"metadata": {"annotations": {(format!("releaselifecycle.dev/{what}")): "now"}}});
        let says = |status, reason| json!({"status": {"conditions": [ready(status, reason)]}});
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let mut handled = asks("testAt");
        merge(&mut handled, json!({"status": {"lastHandledTestAt": "now"}}));
        let mut noted = asks("skipAt");
        merge(&mut noted, json!({"status": {"lastHandledSkipAt": "now"}}));
        let mut suspended = says("Unknown", "Suspended");
        merge(&mut suspended, json!({"spec": {"suspend": true}}));
        let mut tests_count = says("False", "TestFailed");
        merge(&mut tests_count, json!({"spec": {"test": {"onFailure": "Fail"}}}));
        let tests = json!({"test": {"enable": true}});
        let mut to_be_retried = given_up("HookFailed", 3, json!({"upgrade": {"retries": 1}}));
        let failed_at = json!({"failedAt": "2026-01-01T00:01:00Z"});
        merge(&mut to_be_retried, json!({"status": {"lastAttempt": failed_at}}));
        let remediation = json!({"upgrade": {"onFailure": "Rollback"}});
        for (what, changes, expected) in [
            ("it is deployed", json!({}), true),
            ("nothing was said yet", json!({"status": null}), false),
            ("the finalizer is missing", json!({"metadata": {"finalizers": []}}), false),
            ("there is a newer spec", json!({"metadata": {"generation": 4}}), false),
            (
                "an operation runs",
                json!({"status": {"operation": operation("Upgrade", "Applying")}}),
                false,
            ),
            ("a retry is asked for", asks("retryAt"), false),
            ("a restart is asked for", asks("restartAt"), false),
            ("a test is asked for", asks("testAt"), false),
            ("that test was run", handled, true),
            ("a request to cancel what does not run", asks("cancelAt"), true),
            ("a request to skip what does not wait", asks("skipAt"), false),
            ("that request was noted", noted, true),
            ("tests are due", json!({"spec": tests}), false),
            ("tests were run", json!({"spec": tests, "status": {"testedRevision": 2}}), true),
            ("tests failed that count", tests_count, true),
            ("tests failed that count no more", says("False", "TestFailed"), false),
            ("it is suspended", suspended, true),
            ("it was suspended", says("Unknown", "Suspended"), false),
            ("it is tried again", says("Unknown", "Retrying"), false),
            ("something is wrong", says("False", "SourceNotFound"), false),
            ("it was given up", given_up("HookFailed", 3, json!({})), true),
            ("an older spec was given up", given_up("HookFailed", 2, json!({})), false),
            (
                "what was given up has a remediation",
                given_up("HookFailed", 3, remediation.clone()),
                true,
            ),
            ("the remediation is to begin", given_up("RemediationPending", 3, remediation), false),
            ("this program has a fault", given_up("InternalError", 3, json!({})), false),
            ("another attempt is to begin", to_be_retried, false),
            ("it is being deleted", json!({"metadata": deleted}), false),
            (
                "others hold what is being deleted",
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z",
                                    "finalizers": ["example.com/other"]}}),
                true,
            ),
        ] {
            assert_eq!(is_settled(&object(changes)), expected, "{what}");
        }
    }

    #[test]
    fn it_is_at_work_while_an_operation_or_a_deletion_goes_on() {
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let running = json!({"status": {"operation": operation("Test", "PostHooks")}});
        for (what, changes, at_work, ready) in [
            ("it is deployed", json!({}), false, true),
            ("nothing was said yet", json!({"status": null}), false, false),
            ("an operation runs", running, true, false),
            ("it is being deleted", deleted, true, false),
            ("there is a newer spec", json!({"metadata": {"generation": 4}}), false, false),
            ("it failed", given_up("HookFailed", 3, json!({})), false, false),
        ] {
            let object = object(changes);
            assert_eq!((is_at_work(&object), is_ready(&object)), (at_work, ready), "{what}");
        }
    }
}
