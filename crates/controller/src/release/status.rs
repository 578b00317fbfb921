//! The status of a release's object, computed from a report. Pure.

use api::{DriftMode, OnTestFailure, ReleaseLifecycle, ReleaseLifecycleStatus, set_conditions};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use lifecycle::{
    conditions::{self, Condition, Remediated},
    drift::Baseline,
    event::Event,
    journal::{Failure, Journal},
    known::KnownPlan,
    object::ObjectRef,
    plan::Chart,
    reason::Reason,
    step::Hold,
};

use crate::{
    cluster::call::ApiError,
    release::{
        outcome::{conclude, forgive, no_drift, note_plan},
        settled::is_at_work,
    },
};

/// A report on a release.
pub(crate) enum Report<'a> {
    /// An operation runs, or has ended.
    Operation {
        journal: &'a Journal,
        hold: Option<&'a Hold>,
        /// The objects of the operation outside of the namespace, if they are known.
        outside: Option<&'a [ObjectRef]>,
        /// The additional remark for the message of a release that is ready.
        remark: Option<&'a str>,
        /// The content of the condition `Warned`; `None`: unchanged.
        warned: Option<Vec<Condition>>,
        /// The plan of the operation, if this is the first journal of it.
        plan: Option<KnownPlan>,
    },
    /// This plan may be executed.
    Plan {
        plan: KnownPlan,
        /// The value of the request for a retry that is handled by that.
        retry: Option<String>,
    },
    /// The deployed revision is the desired one. Any other request needs no answer.
    InSync {
        revision: i32,
        chart: Option<Chart>,
        /// The result of the check for drift, if there was one.
        drift: Option<Drift>,
        /// The objects of the revision outside of the namespace, if they are known.
        outside: Option<&'a [ObjectRef]>,
        /// The additional remark.
        remark: Option<&'a str>,
    },
    /// The configuration was given up.
    GivenUp,
    /// The next attempt at the configuration begins at this time.
    RetryAt(Timestamp),
    /// Something else has to be ready first.
    Dependencies(&'a str),
    /// Nothing is begun for now.
    Suspended,
    /// The release waits before anything can be begun, or before an operation continues.
    Waiting(&'a Failure),
    /// Only a change helps.
    Blocked(&'a Failure),
    /// Nothing can be read for now. It is reported once for each kind of trouble: each write of
    /// status triggers a reconciliation at once, and an error whose text always differs would cause
    /// an endless loop.
    Trouble(&'a ApiError),
}

/// The result of a check for drift.
pub(crate) struct Drift {
    /// `None`: unchanged.
    pub(crate) condition: Option<Condition>,
    pub(crate) baseline: Baseline,
}

/// Returns the status of `object` once `report` is written to it.
pub(crate) fn status(
    object: &ReleaseLifecycle,
    report: Report<'_>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    match report {
        Report::Operation { journal, hold, outside, remark, warned, plan } => {
            let mut status = of_operation(object, journal, hold, outside, remark, warned, now);
            if let Some(plan) = plan {
                note_plan(object, &mut status, plan);
            }
            status
        }
        Report::Plan { plan, retry } => {
            let mut status = object.status.clone().unwrap_or_default();
            note_plan(object, &mut status, plan);
            status.last_handled_retry_at = retry.or(status.last_handled_retry_at);
            status
        }
        Report::InSync { revision, chart, drift, outside, remark } => {
            let mut status = object.status.clone().unwrap_or_default();
            status.chart = chart;
            status.outside = status.outside.or_else(|| outside.map(<[_]>::to_vec));
            in_sync(object, status, revision, drift, remark, now)
        }
        Report::GivenUp => given_up(object, None, now),
        Report::RetryAt(at) => given_up(object, Some(at), now),
        Report::Dependencies(message) => {
            says(object, conditions::waiting_for_dependencies(message), now)
        }
        Report::Suspended => says(object, conditions::suspended(), now),
        Report::Waiting(failure) => {
            let wanted = match running_journal(object) {
                Some(journal) => {
                    of_journal(object, &journal, Some(&Hold::Waiting(failure.message.clone())))
                }
                None => conditions::waiting(failure),
            };
            says(object, wanted, now)
        }
        Report::Blocked(failure) => says(object, conditions::blocked(failure), now),
        Report::Trouble(error) => trouble(object, error, now),
    }
}

/// Returns the condition that reports why only a person can end the running operation, if that is
/// new. A failed operation has an Event object of its own.
pub(super) fn new_stall<'a>(
    object: &ReleaseLifecycle,
    next: &'a ReleaseLifecycleStatus,
) -> Option<&'a v1::Condition> {
    let is_stall = |it: &&v1::Condition| it.type_ == conditions::STALLED;
    let stalled = next.conditions.iter().find(is_stall)?;
    let is_done = next.journal().is_some_and(|journal| journal.is_done());
    let before = object.status.iter().flat_map(|status| &status.conditions);
    let is_known = before.filter(is_stall).any(|it| it.message == stalled.message);
    let is_told = is_known
        || running_journal(object).is_none()
        || is_done && stalled.reason == Reason::HookFailed;
    (!is_told).then_some(stalled)
}

/// Returns true if the object reports that it is blocked by `failure`.
pub(super) fn is_blocked_by(object: &ReleaseLifecycle, failure: &Failure) -> bool {
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|it| it.type_ == conditions::STALLED && it.message == failure.message)
}

fn of_operation(
    object: &ReleaseLifecycle,
    journal: &Journal,
    hold: Option<&Hold>,
    outside: Option<&[ObjectRef]>,
    remark: Option<&str>,
    warned: Option<Vec<Condition>>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let operation = &journal.operation;
    let mut status = object.status.clone().unwrap_or_default();
    status.set_journal(journal.clone());
    status.observed_generation = Some(operation.generation);
    if let Some(outside) = outside.filter(|_| operation.event.makes_revision()) {
        let succeeded = journal.is_done() && operation.failure.is_none();
        status.set_outside(outside, succeeded);
    }
    let mut wanted = of_journal(object, journal, hold);
    if journal.is_done() {
        conclude(&mut status, journal);
        let remediation = object.remediation(operation.event);
        let remediation = remediation.filter(|_| operation.has_failed_at_work());
        match (&status.last_attempt, remediation) {
            (Some(attempt), Some(remediation)) => {
                wanted = conditions::to_be_remediated(attempt, remediation);
            }
            (Some(attempt), None) if operation.remedies.is_some() => {
                wanted = conditions::remediated(attempt, operation, &object.commands());
            }
            (Some(attempt), None) if operation.has_failed_at_work() => {
                let most = object.retries(operation.event);
                if let Some(at) = attempt.next_at(most).filter(|_| operation.event.makes_revision())
                {
                    wanted = conditions::to_be_retried(attempt, at, None, &object.commands());
                }
            }
            _ => {}
        }
        if let Some(remark) = remark {
            conditions::add_remark(&mut wanted, remark);
        }
    }
    if let Some(warned) = warned {
        if warned.is_empty() {
            status.conditions.retain(|it| it.type_ != conditions::WARNED);
        }
        wanted.extend(warned);
    }
    set_conditions(&mut status.conditions, wanted, operation.generation, now);
    status
}

fn in_sync(
    object: &ReleaseLifecycle,
    mut status: ReleaseLifecycleStatus,
    revision: i32,
    drift: Option<Drift>,
    remark: Option<&str>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    status.revision = Some(revision);
    forgive(&mut status);
    status.set_handled(object.requests());
    let fails = object.on_test_failure() == OnTestFailure::Fail;
    let tests = status.conditions.iter().find(|it| it.type_ == conditions::TEST_SUCCESS);
    let failed = tests
        .filter(|it| fails && it.status == "False" && status.tested_revision == Some(revision));
    let mut wanted = match failed {
        Some(failed) => conditions::tests_failed(&failed.message),
        None => conditions::in_sync(revision, object.spec.pin_revision),
    };
    if let Some(remark) = remark {
        conditions::add_remark(&mut wanted, remark);
    }
    match drift {
        Some(drift) => {
            status.baseline = Some(drift.baseline);
            wanted.extend(drift.condition);
        }
        None if object.drift_mode() == DriftMode::Disabled => no_drift(&mut status),
        // While it is suspended, the last report of drift stays.
        None => {}
    }
    with_conditions(object, status, wanted, now)
}

/// Returns the status of a release whose configuration failed; `retry_at`: the time of the next
/// attempt, if there is one.
fn given_up(
    object: &ReleaseLifecycle,
    retry_at: Option<Timestamp>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let last = object.status.as_ref().and_then(ReleaseLifecycleStatus::journal);
    let deletion = last
        .filter(|last| last.operation.event == Event::Delete && last.operation.remedies.is_none());
    if let Some(failure) = deletion.and_then(|last| last.operation.failure) {
        return says(object, conditions::blocked(&failure), now);
    }
    let commands = object.commands();
    let mut status = object.status.clone().unwrap_or_default();
    status.set_handled(object.requests());
    let mut conditions = status.conditions.iter();
    let remediated = conditions.find(|it| it.type_ == conditions::REMEDIATED);
    let remediated =
        remediated.map(|it| Remediated { succeeded: it.status == "True", said: &it.message });
    let wanted = match &mut status.last_attempt {
        Some(attempt) => {
            // A change since then has nothing to do with the failure.
            attempt.generation = object.metadata.generation.unwrap_or_default();
            match retry_at {
                Some(at) => conditions::to_be_retried(attempt, at, remediated, &commands),
                None => conditions::given_up(attempt, remediated, &commands),
            }
        }
        None => conditions::blocked(&Failure::new(
            Reason::GivenUp,
            format!(
                "the newest revision failed with this very configuration; see `helm history`. \
                 Change the spec, or start again, with every hook: {}",
                commands.restart()
            ),
        )),
    };
    with_conditions(object, status, wanted, now)
}

fn trouble(object: &ReleaseLifecycle, error: &ApiError, now: Timestamp) -> ReleaseLifecycleStatus {
    let status = object.status.as_ref();
    let is_known = status.into_iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.type_ == conditions::READY
            && conditions::flat(&condition.message).contains(&error.what)
    });
    if let Some(status) = status.filter(|_| is_known) {
        return status.clone();
    }
    let wanted = match running_journal(object) {
        Some(journal) => of_journal(object, &journal, Some(&Hold::Waiting(error.to_string()))),
        None => conditions::retrying(&error.to_string()),
    };
    says(object, wanted, now)
}

fn running_journal(object: &ReleaseLifecycle) -> Option<Journal> {
    let journal = object.status.as_ref().and_then(ReleaseLifecycleStatus::journal);
    journal.filter(|journal| !journal.is_done())
}

/// Returns the conditions of `object`, whose operation is `journal`'s. Requests that arrive
/// meanwhile wait.
fn of_journal(object: &ReleaseLifecycle, journal: &Journal, hold: Option<&Hold>) -> Vec<Condition> {
    let commands = object.commands();
    let mut wanted = conditions::of(journal, hold, &commands);
    let operation = &journal.operation;
    let newer = object.metadata.generation.filter(|newest| *newest > operation.generation);
    let can_be_cancelled = !journal.is_done()
        && operation.event != Event::Delete
        && operation.cancel.is_none()
        && operation.failure.is_none()
        && object.metadata.deletion_timestamp.is_none()
        && hold != Some(&Hold::Suspended);
    if let Some(generation) = newer.filter(|_| can_be_cancelled) {
        for condition in &mut wanted {
            condition.message.push_str(&conditions::newer_spec(generation, &commands));
        }
    }
    wanted
}

/// Returns the status with these conditions, and otherwise unchanged.
fn says(
    object: &ReleaseLifecycle,
    wanted: Vec<Condition>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let mut status = object.status.clone().unwrap_or_default();
    if status.observed_generation.is_none_or(|seen| seen < 0) {
        // Annotations that were on the object before it was first observed request nothing, nor
        // will they once this is written.
        status.last_handled_retry_at = object.requests().retry;
    }
    if !is_at_work(object) {
        // It must not be kept for a deletion, whose first hook may be the backup.
        status.last_handled_skip_at = object.requests().skip;
    }
    with_conditions(object, status, wanted, now)
}

/// Sets the conditions. While an operation runs, they are about the generation that it serves.
fn with_conditions(
    object: &ReleaseLifecycle,
    mut status: ReleaseLifecycleStatus,
    wanted: Vec<Condition>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let running = status.operation.as_ref().filter(|operation| operation.completed_at.is_none());
    let generation = running.map(|operation| operation.generation);
    let generation = generation.or(object.metadata.generation).unwrap_or_default();
    status.observed_generation = Some(generation);
    set_conditions(&mut status.conditions, wanted, generation, now);
    status
}

#[cfg(test)]
mod tests {
    use lifecycle::{
        journal::{LastAttempt, Phase, Requests},
        plan::Begin,
    };
    use serde_json::json;

    use super::*;
    use crate::cluster::call::Cause;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn journal(event: Event, failure: Option<Reason>, phase: Phase) -> Journal {
        let begin = Begin {
            id: "a".to_owned(),
            event,
            revision: 3,
            target: None,
            remedies: None,
            generation: 4,
        };
        let mut journal = Journal::begin(begin, "digest".to_owned(), Requests::default(), NOW);
        journal.operation.phase = phase;
        journal.operation.completed_at = (phase == Phase::Done).then_some(NOW);
        journal.operation.plan_digest = Some("plan".to_owned());
        journal.operation.failure = failure.map(|reason| Failure::new(reason, "it failed"));
        journal
    }

    /// Returns an object of generation 5, with `status`.
    fn object(status: Option<ReleaseLifecycleStatus>) -> ReleaseLifecycle {
        let mut object: ReleaseLifecycle = serde_json::from_value(json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1",
            "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "prod", "generation": 5,
                         "annotations": {"releaselifecycle.dev/retryAt": "now"}},
            "spec": {"source": {"objects": []}},
        }))
        .unwrap();
        object.status = status;
        object
    }

    fn at<'a>(
        journal: &'a Journal,
        hold: Option<&'a Hold>,
        warned: Option<Vec<Condition>>,
    ) -> Report<'a> {
        Report::Operation { journal, hold, outside: None, remark: None, warned, plan: None }
    }

    fn reported(object: &ReleaseLifecycle, journal: &Journal) -> ReleaseLifecycleStatus {
        status(object, at(journal, None, None), NOW)
    }

    fn running() -> ReleaseLifecycleStatus {
        reported(&object(None), &journal(Event::Upgrade, None, Phase::PreHooks))
    }

    fn done() -> ReleaseLifecycleStatus {
        reported(&object(Some(running())), &journal(Event::Upgrade, None, Phase::Done))
    }

    fn failed() -> ReleaseLifecycleStatus {
        let journal = journal(Event::Upgrade, Some(Reason::HookFailed), Phase::Done);
        reported(&object(Some(running())), &journal)
    }

    /// Returns type, status and reason of each condition.
    fn words(status: &ReleaseLifecycleStatus) -> Vec<(&str, &str, &str)> {
        let words = status.conditions.iter().map(|it| (&*it.type_, &*it.status, &*it.reason));
        words.collect()
    }

    fn trouble_with(what: &str, words: &str) -> ApiError {
        ApiError { what: what.to_owned(), cause: Cause::Unavailable(words.to_owned()) }
    }

    #[test]
    fn each_report_has_its_conditions_and_its_generation() {
        let failure = Failure::new(Reason::SourceNotFound, "it is missing");
        let trouble = trouble_with("get it", "no answer");
        let in_sync = || Report::InSync {
            revision: 3,
            chart: None,
            drift: None,
            outside: None,
            remark: None,
        };
        let released = ("Released", "True", "UpgradeSucceeded");
        let given_up = [("Ready", "False", "GivenUp"), ("Stalled", "True", "GivenUp")];
        for (what, before, report, generation, expected) in [
            (
                "blocked",
                None,
                Report::Blocked(&failure),
                5,
                vec![("Ready", "False", "SourceNotFound"), ("Stalled", "True", "SourceNotFound")],
            ),
            (
                "blocked at work",
                Some(running()),
                Report::Blocked(&failure),
                4,
                vec![("Ready", "False", "SourceNotFound"), ("Stalled", "True", "SourceNotFound")],
            ),
            (
                "waiting",
                None,
                Report::Waiting(&failure),
                5,
                vec![
                    ("Ready", "Unknown", "SourceNotFound"),
                    ("Reconciling", "True", "SourceNotFound"),
                ],
            ),
            (
                "trouble",
                None,
                Report::Trouble(&trouble),
                5,
                vec![("Ready", "Unknown", "Retrying"), ("Reconciling", "True", "Retrying")],
            ),
            (
                "dependencies",
                None,
                Report::Dependencies("db is not ready"),
                5,
                vec![
                    ("Ready", "False", "DependencyNotReady"),
                    ("Reconciling", "True", "DependencyNotReady"),
                ],
            ),
            ("suspended", None, Report::Suspended, 5, vec![("Ready", "Unknown", "Suspended")]),
            ("given up and forgotten", None, Report::GivenUp, 5, given_up.to_vec()),
            ("in sync", Some(done()), in_sync(), 5, vec![("Ready", "True", "InSync"), released]),
        ] {
            let next = status(&object(before), report, NOW);
            assert_eq!(words(&next), expected, "{what}");
            assert_eq!(next.observed_generation, Some(generation), "{what}");
        }
    }

    #[test]
    fn a_report_at_work_says_what_runs_and_that_there_is_a_newer_spec() {
        let failure = Failure::new(Reason::SourceNotFound, "it is missing");
        let next = status(&object(Some(running())), Report::Waiting(&failure), NOW);
        let ready = &next.conditions[0];
        assert!(ready.message.contains("it is missing"), "{}", ready.message);
        let newer = conditions::newer_spec(5, &object(None).commands());
        assert!(conditions::flat(&ready.message).contains(newer.trim()), "{}", ready.message);
        assert_eq!(next.observed_generation, Some(4));
    }

    #[test]
    fn what_was_asked_before_it_was_seen_asks_for_nothing() {
        let failure = Failure::new(Reason::SourceNotFound, "it is missing");
        let first = status(&object(None), Report::Blocked(&failure), NOW);
        assert_eq!(first.last_handled_retry_at.as_deref(), Some("now"));
        let seen = ReleaseLifecycleStatus {
            observed_generation: Some(5),
            ..ReleaseLifecycleStatus::default()
        };
        let later = status(&object(Some(seen)), Report::Blocked(&failure), NOW);
        assert_eq!(later.last_handled_retry_at, None);
    }

    #[test]
    fn a_skip_that_nothing_waits_for_is_not_kept() {
        let deleted = Some(v1::Time(NOW));
        for (what, before, deletion, noted) in [
            ("at rest", Some(done()), None, Some("now")),
            ("at work", Some(running()), None, None),
            ("in a deletion", Some(done()), deleted, None),
        ] {
            let mut object = object(before);
            let asks = [(api::names::SKIP_AT.to_owned(), "now".to_owned())];
            object.metadata.annotations = Some(asks.into());
            object.metadata.deletion_timestamp = deletion;
            let next = status(&object, Report::Suspended, NOW);
            assert_eq!(next.last_handled_skip_at.as_deref(), noted, "{what}");
        }
    }

    #[test]
    fn what_is_said_already_is_not_said_in_other_words() {
        let first = status(&object(None), Report::Trouble(&trouble_with("get it", "a")), NOW);
        let known = object(Some(first.clone()));
        assert_eq!(status(&known, Report::Trouble(&trouble_with("get it", "b")), NOW), first);
        assert_ne!(status(&known, Report::Trouble(&trouble_with("list it", "b")), NOW), first);
    }

    #[test]
    fn what_succeeds_ends_what_failed() {
        let failed = failed();
        let last = failed.last_attempt.as_ref().map(|last| (last.revision, last.failures));
        assert_eq!(last, Some((3, 1)));
        let before = object(Some(failed));
        let (chart, drift, outside, remark) = (None, None, None, None);
        let report = Report::InSync { revision: 2, chart, drift, outside, remark };
        let next = status(&before, report, NOW);
        assert_eq!((next.revision, next.last_attempt), (Some(2), None));
    }

    #[test]
    fn what_was_given_up_stands_for_a_newer_generation() {
        let attempt = LastAttempt {
            config_digest: "digest".to_owned(),
            generation: 4,
            event: Event::Upgrade,
            revision: 3,
            failures: 1,
            failure: Failure::new(Reason::HookFailed, "it failed"),
        };
        let before = ReleaseLifecycleStatus {
            last_attempt: Some(attempt),
            ..ReleaseLifecycleStatus::default()
        };
        let next = status(&object(Some(before)), Report::GivenUp, NOW);
        assert_eq!(next.last_attempt.map(|last| last.generation), Some(5));
        assert_eq!(next.last_handled_retry_at.as_deref(), Some("now"));
    }

    #[test]
    fn a_stall_of_what_runs_is_told_once() {
        let hold = Hold::Stalled(Failure::new(Reason::Forbidden, "it may not"));
        let journal = journal(Event::Upgrade, None, Phase::PreHooks);
        let stalled =
            |object: &ReleaseLifecycle| status(object, at(&journal, Some(&hold), None), NOW);
        let idle = object(None);
        assert_eq!(new_stall(&idle, &stalled(&idle)), None, "nothing ran");
        let at_work = object(Some(running()));
        let next = stalled(&at_work);
        let stall = new_stall(&at_work, &next).map(|it| &*it.reason);
        assert_eq!(stall, Some("Forbidden"));
        let known = object(Some(next));
        assert_eq!(new_stall(&known, &stalled(&known)), None, "it is known");
        assert_eq!(new_stall(&at_work, &failed()), None, "it has an Event object of its own");
    }

    #[test]
    fn warnings_stand_until_others_are_noted() {
        let warning = |message: &str| Condition {
            type_: conditions::WARNED,
            status: "True",
            reason: Reason::PreflightWarning.into(),
            message: message.to_owned(),
        };
        let journal = journal(Event::Upgrade, None, Phase::PreHooks);
        let noted =
            |object: &ReleaseLifecycle, warned| status(object, at(&journal, None, warned), NOW);
        let warned = |status: &ReleaseLifecycleStatus| {
            status.conditions.iter().any(|it| it.type_ == conditions::WARNED)
        };
        let first = noted(&object(None), Some(vec![warning("a")]));
        assert!(warned(&first));
        let known = object(Some(first));
        assert!(warned(&noted(&known, None)));
        assert!(!warned(&noted(&known, Some(vec![]))));
    }
}
