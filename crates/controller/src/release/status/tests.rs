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
    preflight: Option<Condition>,
) -> Report<'a> {
    Report::Operation { journal, hold, outside: None, remark: None, preflight, plan: None }
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
    let in_sync =
        || Report::InSync { revision: 3, chart: None, drift: None, outside: None, remark: None };
    let released = ("Released", "True", "UpgradeSucceeded");
    let suspended = conditions::suspended();
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
            vec![("Ready", "Unknown", "SourceNotFound"), ("Reconciling", "True", "SourceNotFound")],
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
        ("suspended", None, Report::Held(&suspended), 5, vec![("Ready", "Unknown", "Suspended")]),
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
        let next = status(&object, Report::Held(&conditions::suspended()), NOW);
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
        failed_at: None,
        failure: Failure::new(Reason::HookFailed, "it failed"),
    };
    let before =
        ReleaseLifecycleStatus { last_attempt: Some(attempt), ..ReleaseLifecycleStatus::default() };
    let next = status(&object(Some(before)), Report::GivenUp, NOW);
    assert_eq!(next.last_attempt.map(|last| last.generation), Some(5));
    assert_eq!(next.last_handled_retry_at.as_deref(), Some("now"));
}

#[test]
fn a_stall_of_what_runs_is_told_once() {
    let hold = Hold::Stalled(Failure::new(Reason::Forbidden, "it may not"));
    let journal = journal(Event::Upgrade, None, Phase::PreHooks);
    let stalled = |object: &ReleaseLifecycle| status(object, at(&journal, Some(&hold), None), NOW);
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
fn the_result_of_the_checks_stands_until_the_next_ones() {
    let journal = journal(Event::Upgrade, None, Phase::PreHooks);
    let noted = |object: &ReleaseLifecycle, found| status(object, at(&journal, None, found), NOW);
    let passed = |status: &ReleaseLifecycleStatus| {
        let found = status.conditions.iter().find(|it| it.type_ == conditions::PREFLIGHT_PASSED);
        found.map(|it| (it.status.clone(), it.reason.clone()))
    };
    let is = |status: &str, reason: Reason| Some((status.to_owned(), reason.to_string()));
    let warning = conditions::preflight(&["a".to_owned()], &[]);
    let mut first = noted(&object(None), Some(warning));
    assert_eq!(passed(&first), is("False", Reason::PreflightWarning));
    // As an earlier version has written it.
    let older = v1::Condition { type_: "Warned".to_owned(), ..first.conditions[0].clone() };
    first.conditions.push(older);
    let known = object(Some(first));
    let next = noted(&known, None);
    assert_eq!(passed(&next), is("False", Reason::PreflightWarning));
    assert!(next.conditions.iter().all(|it| it.type_ != "Warned"));
    let good = noted(&known, Some(conditions::preflight(&[], &[])));
    assert_eq!(passed(&good), is("True", Reason::PreflightPassed));
    let mut off = known.clone();
    off.spec.preflight = Some(Preflight::Off);
    assert_eq!(passed(&noted(&off, None)), None);
    assert_eq!(passed(&status(&off, Report::Held(&conditions::suspended()), NOW)), None);
}

#[test]
fn a_release_that_the_checks_hold_back_says_so_in_their_condition() {
    let failure = Failure::new(Reason::PreflightFailed, "it does not begin");
    let held = status(&object(None), Report::Blocked(&failure), NOW);
    let of = |type_: &str| {
        let found = held.conditions.iter().find(|it| it.type_ == type_);
        found.map(|it| (&*it.status, &*it.reason)).unwrap_or_default()
    };
    assert_eq!(of(conditions::READY), ("False", "PreflightFailed"));
    assert_eq!(of(conditions::STALLED), ("True", "PreflightFailed"));
    assert_eq!(of(conditions::PREFLIGHT_PASSED), ("False", "PreflightFailed"));
    let other = Failure::new(Reason::Forbidden, "it may not");
    let other = status(&object(None), Report::Blocked(&other), NOW);
    assert!(other.conditions.iter().all(|it| it.type_ != conditions::PREFLIGHT_PASSED));
}

#[test]
fn what_the_checks_find_is_told_as_it_is_and_makes_no_event_object_for_a_number() {
    let held = |text: &str| {
        let text = format!("it does not begin: {}; {text}", "a word. ".repeat(40));
        Failure::new(Reason::PreflightFailed, text)
    };
    let first = status(&object(None), Report::Blocked(&held("Job/web-1 and Job/web-2")), NOW);
    let mut known = object(Some(first));
    let next = held("Job/web-2");
    let of = |object: &ReleaseLifecycle| status(object, Report::Blocked(&next), NOW);
    let next_status = of(&known);
    let stalled = next_status.conditions.iter().find(|it| it.type_ == conditions::STALLED).unwrap();
    assert!(stalled.message.ends_with("; Job/web-2"), "web-1 is mended: {}", stalled.message);
    // An old request must not skip the hooks of a later deletion.
    known.metadata.annotations = Some([(api::names::SKIP_AT.to_owned(), "now".to_owned())].into());
    assert_eq!(of(&known).last_handled_skip_at.as_deref(), Some("now"));
    known = object(Some(status(&known, Report::Blocked(&held("request 1a")), NOW)));
    assert!(is_blocked_by(&known, &held("request 2b")));
    assert!(!is_blocked_by(&known, &held("another request 2b")));
    let other = Failure::new(Reason::Forbidden, held("request 2b").message);
    assert!(!is_blocked_by(&known, &other));
    known.metadata.generation = Some(6);
    assert!(!is_blocked_by(&known, &held("request 2b")), "the spec is another one");
}

#[test]
fn what_held_an_operation_back_is_gone_with_the_operation() {
    let failure = Failure::new(Reason::PreflightFailed, "it does not begin");
    let is_checked = |status: &ReleaseLifecycleStatus| {
        status.conditions.iter().any(|it| it.type_ == conditions::PREFLIGHT_PASSED)
    };
    let held = |before| status(&object(Some(before)), Report::Blocked(&failure), NOW);
    let reverted = object(Some(held(done())));
    let (chart, drift, outside, remark) = (None, None, None, None);
    let report = Report::InSync { revision: 2, chart, drift, outside, remark };
    assert!(!is_checked(&status(&reverted, report, NOW)));
    let given_up = object(Some(held(failed())));
    assert!(is_checked(&held(failed())) && !is_checked(&status(&given_up, Report::GivenUp, NOW)));
}
