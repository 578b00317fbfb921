//! Ends of hooks that failed: what is kept and reported of them, and what their rules make of it.

use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    conditions,
    decide::{Controls, decide},
    effect::Effect,
    event::{Event, HookEvent},
    journal::{Cancel, Failure, HookPhase, HookStatus, HookStep, Journal, Requests},
    object::PlannedObject,
    observation::{Cause, Evidence, Gate, HookObservation, Observation, Unstarted, Verdict},
    plan::Plan,
    reason::Reason,
    rule::{OnFailure, Rule},
    step::{Hold, Step},
    testing,
};
use serde_json::json;

fn plan(kind: &str) -> Plan {
    Plan {
        timeout_seconds: 60,
        hooks: vec![testing::hook(HookEvent::PreInstall, testing::object(kind, "hook"))],
        ..testing::plan(Event::Install)
    }
}

fn seen() -> HookObservation {
    HookObservation {
        uid: "u".to_owned(),
        run: Some("op/0/1".to_owned()),
        gate: Gate::Open,
        foreign: None,
        terminating: false,
        stopping: false,
        verdict: None,
        waiting: None,
        evidence: Evidence::default(),
        unstarted: None,
        look_again_at: None,
    }
}

fn failing(reason: Option<&str>, message: &str) -> Evidence {
    let reason = reason.map(str::to_owned);
    let cause = Some(Box::new(Cause { reason, message: message.to_owned() }));
    let log = Some("last words".to_owned());
    Evidence { exit_code: Some(3), log, cause, infrastructure: false }
}

/// A hook that runs, in the hands of the step rule.
struct Hook {
    plan: Plan,
    journal: Journal,
    now: Timestamp,
}

impl Hook {
    fn running(kind: &str) -> Self {
        Self::of(plan(kind))
    }

    /// A backup before a deletion, which is tried again where it fails.
    fn backup() -> Self {
        let mut plan = plan("Job");
        plan.event = Event::Delete;
        plan.hooks[0].event = HookEvent::PreDelete;
        Self::of(plan)
    }

    fn of(plan: Plan) -> Self {
        let now = Timestamp::UNIX_EPOCH;
        let journal = Journal::begin(plan.begin(1), String::new(), Requests::default(), now);
        let mut hook = Self { plan, journal, now };
        let plan_digest = hook.plan.freeze().1;
        hook.step(&Observation::Recorded { plan_digest, open: true });
        hook.sees(seen());
        hook
    }

    fn step(&mut self, observation: &Observation) -> Step {
        let step = decide(&self.plan, &self.journal, observation, &Controls::default(), self.now);
        self.journal = step.journal.clone();
        step
    }

    fn sees(&mut self, object: HookObservation) -> Step {
        self.step(&Observation::Hook(Some(object)))
    }

    fn status(&self) -> &HookStatus {
        &self.journal.hooks[0]
    }

    /// Its reason and message, after it has failed.
    fn failure(&self) -> (&str, &str) {
        let status = self.status();
        assert_eq!(status.phase, HookPhase::Failed);
        let reason = status.reason.as_deref().unwrap_or_default();
        (reason, status.message.as_deref().unwrap_or_default())
    }
}

fn limit_exceeded() -> HookObservation {
    let verdict = Some(Verdict::Failed {
        reason: "BackoffLimitExceeded".to_owned(),
        message: "Job has reached the specified backoff limit".to_owned(),
    });
    HookObservation { verdict, ..seen() }
}

#[test]
fn a_failed_job_says_what_happened_to_its_last_pod() {
    let mut hook = Hook::running("Job");
    let evidence = failing(None, "pod p container main ended with exit code 3");
    hook.sees(HookObservation { evidence, ..limit_exceeded() });
    let said = "Job has reached the specified backoff limit; pod p container main ended with exit \
                code 3";
    assert_eq!(hook.failure(), ("BackoffLimitExceeded", said));
    let failure = hook.journal.operation.failure.as_ref().unwrap();
    assert!(failure.message.ends_with(said), "{}", failure.message);
}

#[test]
fn it_is_said_too_where_the_pod_was_gone_before_the_verdict() {
    let mut hook = Hook::running("Job");
    let evidence = failing(None, "pod p container main ended with exit code 3");
    hook.sees(HookObservation { evidence, ..seen() });
    assert_eq!(hook.status().phase, HookPhase::Running);
    hook.sees(limit_exceeded());
    assert!(hook.failure().1.ends_with("; pod p container main ended with exit code 3"));
    assert_eq!(hook.status().exit_code, Some(3));
    assert_eq!(hook.status().log.as_deref(), Some("last words"));
}

#[test]
fn nothing_of_earlier_pods_is_left_of_a_success() {
    let mut hook = Hook::running("Job");
    let evidence = failing(Some("Evicted"), "pod p Evicted");
    hook.sees(HookObservation { evidence, ..seen() });
    hook.sees(HookObservation { verdict: Some(Verdict::Succeeded), ..seen() });
    let status = hook.status();
    assert_eq!(status.phase, HookPhase::Succeeded);
    assert_eq!((status.exit_code, &status.reason), (None, &None));
    assert_eq!((&status.message, &status.log), (&None, &None));
}

#[test]
fn a_pod_that_was_evicted_has_not_just_vanished() {
    let mut hook = Hook::running("Pod");
    let evidence = failing(Some("Evicted"), "pod hook Evicted: Eviction API: evicting");
    hook.sees(HookObservation { terminating: true, evidence, ..seen() });
    hook.step(&Observation::Hook(None));
    let said = "Pod/hook was deleted before its end was seen; last seen: pod hook Evicted: Eviction \
                API: evicting";
    assert_eq!(hook.failure(), ("Evicted", said));

    let mut hook = Hook::running("Pod");
    hook.step(&Observation::Hook(None));
    assert_eq!(hook.failure(), ("Vanished", "Pod/hook was deleted before its end was seen"));
}

#[test]
fn a_timeout_says_what_was_waited_for_last() {
    let mut hook = Hook::running("Job");
    let evidence = failing(None, "pod p container main ended with exit code 3");
    hook.sees(HookObservation { evidence, ..seen() });
    hook.now = hook.now.checked_add(SignedDuration::from_secs(60)).unwrap();
    let waiting = Some("no Pod can be made: quota".to_owned());
    hook.sees(HookObservation { waiting, ..seen() });
    hook.sees(limit_exceeded());
    let said = "Job/hook did not end within 60 s (spec.timeout) and was stopped; last seen: no Pod can be made: \
                quota";
    assert_eq!(hook.failure(), ("Timeout", said));
}

#[test]
fn it_is_looked_again_where_no_watch_reports() {
    let mut hook = Hook::running("Job");
    let soon = hook.now.checked_add(SignedDuration::from_secs(2)).unwrap();
    let step = hook.sees(HookObservation { look_again_at: Some(soon), ..seen() });
    assert_eq!(step.wake_at, Some(soon));
}

#[test]
fn how_the_attempt_before_has_failed_is_said_while_the_next_one_runs() {
    let mut hook = Hook::backup();
    for attempt in 1..4 {
        let evidence = failing(None, "pod p container main ended with exit code 3");
        hook.sees(HookObservation { evidence, ..limit_exceeded() });
        assert_eq!(hook.failure().1.matches("exit code 3").count(), 1, "{}", hook.failure().1);
        hook.now += SignedDuration::from_secs(60);
        // The leftover goes, and the next one is made.
        hook.step(&Observation::Hook(None));
        let run = Some(format!("op/0/{}", attempt + 1));
        let step = hook.sees(HookObservation { run, ..seen() });
        assert_eq!((step.hold, hook.status().attempt), (None, attempt + 1));
        let ready = conditions::of(&hook.journal, None, &lifecycle::commands::Commands::default())
            .remove(0)
            .message;
        let said = format!(
            "attempt {attempt} failed: BackoffLimitExceeded: Job has reached the specified backoff \
             limit; pod p container main ended with exit code 3"
        );
        assert!(conditions::flat(&ready).ends_with(&said), "{ready}");
    }
    hook.sees(HookObservation { verdict: Some(Verdict::Succeeded), ..seen() });
    assert_eq!(hook.status().message, None);
}

#[test]
fn what_is_said_of_several_objects_is_said_once() {
    let mut plan = plan("Job");
    plan.wait = true;
    plan.hooks.clear();
    plan.objects =
        vec![PlannedObject { object: testing::object("ConfigMap", "c"), manifest: json!({}) }];
    let mut hook = Hook::of(plan);
    let twice = "Namespace/x: it is still there".to_owned();
    let waiting = vec![twice.clone(), "ConfigMap/c: it is still there".to_owned(), twice];
    let step = hook.step(&Observation::Readiness { waiting: waiting.clone(), failed: None });
    let said = "Namespace/x: it is still there; ConfigMap/c: it is still there";
    assert_eq!(step.hold, Some(Hold::Waiting(said.to_owned())));
    hook.now += SignedDuration::from_secs(61);
    hook.step(&Observation::Readiness { waiting, failed: None });
    let failure = hook.journal.operation.failure.as_ref().unwrap();
    let text = format!("the release's objects were not ready within 60 s (spec.timeout): {said}");
    assert_eq!((failure.reason.as_str(), failure.message.as_str()), ("ReadyTimeout", &*text));
}

/// A migration before an install, with this rule.
fn ruled(rule: Rule) -> Hook {
    let mut plan = plan("Job");
    plan.hooks[0].rule = Rule { from: Some("spec.hooks.rules[0]".to_owned()), ..rule };
    Hook::of(plan)
}

impl Hook {
    /// The present attempt fails; returns the seconds until the next one.
    fn fails(&mut self) -> Option<i64> {
        let evidence = failing(None, "pod p container main ended with exit code 3");
        self.sees(HookObservation { evidence, ..limit_exceeded() });
        let next = self.journal.operation.hook.as_ref()?.not_before?;
        Some(next.duration_since(self.now).as_secs())
    }

    /// The next attempt begins.
    fn begins(&mut self, attempt: i32) {
        self.now += SignedDuration::from_mins(5);
        self.step(&Observation::Hook(None));
        self.sees(HookObservation { run: Some(format!("op/0/{attempt}")), ..seen() });
        assert_eq!((self.status().phase, self.status().attempt), (HookPhase::Running, attempt));
    }
}

#[test]
fn a_rule_retries_after_longer_and_longer_and_keeps_each_attempt() {
    let mut hook = ruled(Rule { retries: Some(7), ..Rule::default() });
    for (attempt, pause) in (1..8).zip([5, 10, 20, 40, 80, 160, 300]) {
        assert_eq!(hook.fails(), Some(pause));
        hook.begins(attempt + 1);
    }
    assert_eq!(hook.fails(), None);
    assert!(hook.journal.operation.failure.is_some());
    let kept: Vec<_> = hook.status().attempts.iter().map(|it| it.attempt).collect();
    assert_eq!(kept, [3, 4, 5, 6, 7], "the last five");
    let last = hook.status().attempts.last().unwrap();
    assert_eq!((last.exit_code, last.log.as_deref()), (Some(3), Some("last words")));
    assert!(last.message.ends_with("; pod p container main ended with exit code 3"));
}

#[test]
fn an_attempt_has_the_time_that_its_rule_says() {
    let mut hook = ruled(Rule { timeout_seconds: Some(600), ..Rule::default() });
    hook.now += SignedDuration::from_secs(599);
    assert_eq!(hook.sees(seen()).effect, None);
    hook.now += SignedDuration::from_secs(1);
    hook.sees(seen());
    hook.sees(limit_exceeded());
    let said = "Job/hook did not end within 600 s (spec.hooks.rules[0].timeout) and was stopped";
    assert_eq!(hook.failure(), ("Timeout", said));
}

#[test]
fn a_failure_is_ignored_after_the_last_attempt() {
    let on_failure = OnFailure::Ignore;
    let mut hook = ruled(Rule { retries: Some(1), on_failure, ..Rule::default() });
    assert_eq!(hook.fails(), Some(5));
    assert!(!hook.status().ignored);
    hook.begins(2);
    assert_eq!(hook.fails(), None);
    assert!(hook.status().ignored);
    assert_eq!(hook.journal.operation.failure, None);
    assert_eq!(hook.journal.operation.hook, None, "the operation continues");
}

#[test]
fn a_deletion_has_as_many_attempts_as_a_rule_says() {
    let mut hook = Hook::backup();
    hook.plan.hooks[0].rule.retries = Some(0);
    assert_eq!(hook.fails(), None);
    let cursor = hook.journal.operation.hook.as_ref().unwrap();
    assert_eq!(cursor.step, HookStep::Blocked);
}

#[test]
fn what_cannot_start_fails_in_the_time_that_its_rule_says() {
    let mut hook = ruled(Rule { fail_fast_seconds: Some(20), ..Rule::default() });
    let message = "pod p ImagePullBackOff: no such tag".to_owned();
    let unstarted = Some(Box::new(Unstarted { since: hook.now, message }));
    let stuck = || HookObservation { unstarted: unstarted.clone(), ..seen() };
    let step = hook.sees(stuck());
    let at = hook.now + SignedDuration::from_secs(20);
    assert_eq!((step.effect, step.wake_at), (None, Some(at)));
    hook.now = at;
    assert_eq!(hook.sees(seen()).effect, None, "it has started");
    assert!(matches!(hook.sees(stuck()).effect, Some(Effect::StopHook { .. })));
    hook.sees(limit_exceeded());
    let said = "no container of Job/hook could start for 20 s (spec.hooks.rules[0].failFast), and it was \
                stopped: pod p ImagePullBackOff: no such tag";
    assert_eq!(hook.failure(), ("NotStarted", said));
}

#[test]
fn what_is_not_the_hooks_own_doing_does_not_count() {
    let rule = Rule { retries: Some(1), retry_infrastructure: Some(2), ..Rule::default() };
    let mut hook = ruled(rule);
    let mut evicted = || {
        let evidence = failing(None, "pod p Evicted");
        let evidence = Evidence { infrastructure: true, ..evidence };
        hook.sees(HookObservation { evidence, ..limit_exceeded() });
        let cursor = hook.journal.operation.hook.clone()?;
        let counts = (cursor.retried, cursor.retried_infrastructure);
        hook.begins(cursor.attempt);
        Some(counts)
    };
    assert_eq!(evicted(), Some((0, 1)));
    assert_eq!(evicted(), Some((0, 2)));
    assert_eq!(evicted(), Some((1, 2)), "as any other failure");
    assert_eq!(evicted(), None);
}

#[test]
fn what_is_held_back_is_stopped_again_and_again_whatever_its_author_wrote() {
    let mut hook = Hook::running("Job");
    let failure = Failure::new(Reason::Cancelled, "it was cancelled");
    hook.journal.operation.cancel = Some(Cancel { now: true, failure });
    // Its author wrote activeDeadlineSeconds: 1, as the operator does where it stops a Job.
    let held = || HookObservation { gate: Gate::Held, stopping: true, ..seen() };
    assert!(matches!(hook.sees(held()).effect, Some(Effect::StopHook { .. })));
    hook.now += SignedDuration::from_mins(5);
    assert!(matches!(hook.sees(held()).effect, Some(Effect::StopHook { .. })));
    hook.step(&Observation::Hook(None));
    assert_eq!(hook.failure().0, "Cancelled");
}
