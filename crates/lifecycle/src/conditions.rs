//! The status of a release as a user reads it: the conditions of the custom resource, as kstatus
//! understands them. `Ready` sums up; `Reconciling` and `Stalled` are there only while true.

use jiff::Timestamp;

use crate::{
    commands::Commands,
    event::{Event, Remediation},
    journal::{Failure, HookPhase, HookStatus, HookStep, Journal, LastAttempt, Operation, Phase},
    reason::Reason,
    step::Hold,
};

/// The longest first line of the message of [`READY`]; the rest follows below it.
pub const LEAD_CHARS: usize = 200;

/// The release is as its object requests.
pub const READY: &str = "Ready";
/// The operator is at work.
pub const RECONCILING: &str = "Reconciling";
/// Nothing continues until somebody changes something.
pub const STALLED: &str = "Stalled";
/// Says whether the last install, upgrade or rollback succeeded.
pub const RELEASED: &str = "Released";
/// Says whether the last tests succeeded.
pub const TEST_SUCCESS: &str = "TestSuccess";
/// Says whether the release's objects have drifted from what was deployed.
pub const DRIFTED: &str = "Drifted";
/// Says whether the remediation of the last install or upgrade, which failed, succeeded.
pub const REMEDIATED: &str = "Remediated";
/// Says whether the last operation passed the checks before it began: false if it had parts that can
/// only fail, or that have no effect.
pub const PREFLIGHT_PASSED: &str = "PreflightPassed";

/// One condition, without the times that the writer adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The type, one of the constants here.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One word in `PascalCase`.
    pub reason: String,
    /// A sentence that names the thing and the time, never a ticking count.
    pub message: String,
}

fn condition(
    type_: &'static str,
    status: &'static str,
    reason: impl Into<String>,
    message: &str,
) -> Condition {
    let message = match type_ {
        READY | RECONCILING | STALLED => led(message),
        _ => message.to_owned(),
    };
    Condition { type_, status, reason: reason.into(), message }
}

/// Returns the message with a first line that fits into a table: a line break replaces the blank
/// after the last part of the sentence that fits. [`flat`] reverts this.
fn led(message: &str) -> String {
    let message = flat(message);
    let Some((end, _)) = message.char_indices().nth(LEAD_CHARS) else { return message };
    let room = message.get(..end).unwrap_or_default();
    let after = |part: &str| room.rfind(part)?.checked_add(part.len());
    let parts = [". ", "; ", ": "].into_iter().filter_map(after).max();
    // The last character of each is the blank.
    if let Some(end) = parts.or_else(|| after(", ")).or_else(|| after(" ")) {
        let (first, rest) = message.split_at(end);
        format!("{}\n{rest}", first.strip_suffix(' ').unwrap_or(first))
    } else {
        // None of our sentences has so long a word.
        let first: String = room.chars().take(LEAD_CHARS - 1).collect();
        format!("{first}…\n{}", message.split_at(first.len()).1)
    }
}

/// Returns the message of a condition on one line.
pub fn flat(message: &str) -> String {
    message.replace('\n', " ")
}

/// The conditions of a release for which no operation can begin.
pub fn blocked(failure: &Failure) -> Vec<Condition> {
    let Failure { reason, message } = failure;
    let mut blocked = vec![
        condition(READY, "False", reason, message),
        condition(STALLED, "True", reason, message),
    ];
    if *reason == Reason::PreflightFailed {
        blocked.push(condition(PREFLIGHT_PASSED, "False", reason, message));
    }
    blocked
}

/// The conditions of a release that cannot be checked for now; the check is retried.
pub fn retrying(message: &str) -> Vec<Condition> {
    vec![
        condition(READY, "Unknown", Reason::Retrying, message),
        condition(RECONCILING, "True", Reason::Retrying, message),
    ]
}

/// The conditions of a release whose source is unknown for now; it is checked again.
pub fn waiting(failure: &Failure) -> Vec<Condition> {
    let Failure { reason, message } = failure;
    vec![
        condition(READY, "Unknown", reason, message),
        condition(RECONCILING, "True", reason, message),
    ]
}

/// The conditions of a release that waits until others are ready.
pub fn waiting_for_dependencies(message: &str) -> Vec<Condition> {
    let reason = Reason::DependencyNotReady;
    vec![
        condition(READY, "False", reason, message),
        condition(RECONCILING, "True", reason, message),
    ]
}

/// The conditions of a release whose deployed revision is the desired one; `pin` is the revision
/// that it is held at.
pub fn in_sync(revision: i32, pin: Option<i32>) -> Vec<Condition> {
    vec![match pin {
        None => {
            condition(READY, "True", Reason::InSync, &format!("revision {revision} is deployed"))
        }
        Some(pin) => {
            let message = format!("revision {revision} is deployed: spec.pinRevision is {pin}");
            condition(READY, "True", Reason::RevisionPinned, &message)
        }
    }]
}

/// Adds to the message of a release that is ready: `remark` continues the sentence.
pub fn add_remark(conditions: &mut [Condition], remark: &str) {
    let is_ready = |it: &&mut Condition| it.type_ == READY && it.status == "True";
    if let Some(ready) = conditions.iter_mut().find(is_ready) {
        ready.message.push_str(remark);
    }
}

/// The conditions of a release that is in sync, but whose tests have failed and count.
pub fn tests_failed(message: &str) -> Vec<Condition> {
    vec![condition(READY, "False", Reason::TestFailed, message)]
}

/// The condition of a release whose operation was checked before it begins: the parts that can only
/// fail, and those that have no effect.
pub fn preflight(fails: &[String], meaningless: &[String]) -> Condition {
    let reason =
        if fails.is_empty() { Reason::MeaninglessAnnotation } else { Reason::PreflightWarning };
    let all: Vec<_> = fails.iter().chain(meaningless).map(String::as_str).collect();
    if let Some(message) = listed(&all) {
        return condition(PREFLIGHT_PASSED, "False", reason, &message);
    }
    let message = "nothing was found that can only fail or has no effect";
    condition(PREFLIGHT_PASSED, "True", Reason::PreflightPassed, message)
}

/// As many of the texts as fit into a message, and the number of the others.
pub fn listed(texts: &[&str]) -> Option<String> {
    const MOST: usize = 900;
    let (first, rest) = texts.split_first()?;
    let mut text = first.get(..first.floor_char_boundary(MOST)).unwrap_or_default().to_owned();
    for (index, next) in rest.iter().enumerate() {
        if text.len().saturating_add(next.len()) > MOST {
            return Some(format!("{text}; and {} more", rest.len().saturating_sub(index)));
        }
        text = format!("{text}; {next}");
    }
    Some(text)
}

/// The conditions of a release whose next operation has not begun, for a reason that is no trouble.
pub fn held(failure: &Failure) -> Vec<Condition> {
    vec![condition(READY, "Unknown", &failure.reason, &failure.message)]
}

/// The reason why nothing begins while `spec.suspend` is true.
pub fn suspended() -> Failure {
    let message = "spec.suspend is true: no operation begins until it is false";
    Failure::new(Reason::Suspended, message)
}

/// The outcome of the remediation of a failed install or upgrade.
#[derive(Clone, Copy, Debug)]
pub struct Remediated<'a> {
    /// True if it succeeded.
    pub succeeded: bool,
    /// Its kind and its outcome, in words.
    pub said: &'a str,
}

/// The conditions of a release whose configuration was given up; `remediated` is the remediation that
/// followed, which [`REMEDIATED`] continues to report.
pub fn given_up(
    attempt: &LastAttempt,
    remediated: Option<Remediated<'_>>,
    commands: &Commands,
) -> Vec<Condition> {
    let LastAttempt { event, revision, failure, .. } = attempt;
    let Some(Remediated { succeeded, said }) = remediated else {
        return failed(*event, *revision, failure, "resume where it failed", commands);
    };
    let retry = if succeeded { "try it again" } else { "resume where that failed" };
    let failure =
        Failure { reason: failure.reason.clone(), message: format!("{}; {said}", failure.message) };
    failed(*event, *revision, &failure, retry, commands)
}

/// The conditions of a release whose last install or upgrade has failed, before its remediation.
pub fn to_be_remediated(attempt: &LastAttempt, remediation: Remediation) -> Vec<Condition> {
    let LastAttempt { event, revision, failure, .. } = attempt;
    let what = match remediation {
        Remediation::Rollback => "it is rolled back, as spec.upgrade.onFailure says",
        Remediation::Uninstall => "it is uninstalled, as spec.install.onFailure says",
    };
    let message = format!("{event} of revision {revision} failed: {}; {what}", failure.message);
    vec![
        condition(READY, "Unknown", Reason::Progressing, &message),
        condition(RECONCILING, "True", Reason::Progressing, &message),
        condition(RELEASED, "False", event.facts().failed, &message),
    ]
}

/// The conditions of a release whose last attempt failed, and whose next one begins at `at`.
pub fn to_be_retried(
    attempt: &LastAttempt,
    at: Timestamp,
    remediated: Option<Remediated<'_>>,
    commands: &Commands,
) -> Vec<Condition> {
    let LastAttempt { event, revision, failure, failures, .. } = attempt;
    let said = remediated.map_or(String::new(), |remediated| format!("; {}", remediated.said));
    let message = format!(
        "{event} of revision {revision} failed: {}{said}. Attempt {} begins at {at:.0}; to begin it now: \
         {}",
        failure.message,
        failures.saturating_add(1),
        commands.restart()
    );
    vec![
        condition(READY, "False", Reason::RetryPending, &message),
        condition(RECONCILING, "True", Reason::RetryPending, &message),
        condition(RELEASED, "False", event.facts().failed, &message),
    ]
}

/// The conditions of a release whose install or upgrade failed, and which `remediation` repaired, or
/// failed to remediate. The next attempt begins at `retry_at`, if there is one.
pub fn remediated(
    attempt: &LastAttempt,
    remediation: &Operation,
    retry_at: Option<Timestamp>,
    commands: &Commands,
) -> Vec<Condition> {
    let (succeeded, failed, what) = match remediation.target {
        Some(target) => (
            Reason::RollbackSucceeded,
            Reason::RollbackFailed,
            format!("rollback to revision {target}"),
        ),
        None => (
            Reason::UninstallSucceeded,
            Reason::UninstallFailed,
            format!("uninstallation of revision {}", remediation.revision),
        ),
    };
    let (status, reason, said) = match &remediation.failure {
        None => ("True", succeeded, format!("{what} succeeded")),
        Some(failure) => ("False", failed, format!("{what} failed: {}", failure.message)),
    };
    let remediated = Some(Remediated { succeeded: remediation.failure.is_none(), said: &said });
    let mut conditions = match retry_at {
        Some(at) => to_be_retried(attempt, at, remediated, commands),
        None => given_up(attempt, remediated, commands),
    };
    conditions.push(condition(REMEDIATED, status, reason, &said));
    conditions
}

/// `retry` says what happens when a retry is requested.
fn failed(
    event: Event,
    revision: i32,
    failure: &Failure,
    retry: &str,
    commands: &Commands,
) -> Vec<Condition> {
    let message = format!(
        "{event} of revision {revision} failed: {}. Change the spec, or {retry}: {}",
        failure.message,
        commands.retry()
    );
    vec![
        condition(READY, "False", &failure.reason, &message),
        condition(STALLED, "True", &failure.reason, &message),
        condition(RELEASED, "False", event.facts().failed, &message),
    ]
}

/// The conditions of a release whose operation is `journal`'s. `hold` is what blocks it, beyond
/// what the journal says.
pub fn of(journal: &Journal, hold: Option<&Hold>, commands: &Commands) -> Vec<Condition> {
    let operation = &journal.operation;
    let (event, revision) = (operation.event, operation.revision);
    if !journal.is_done() {
        return running(journal, hold);
    }
    match (&operation.failure, event) {
        (_, Event::Test) => tested(journal),
        (Some(failure), Event::Delete) => blocked(failure),
        (None, Event::Delete) => {
            let without = journal.without();
            let message = format!("release of revision {revision} is deleted{without}");
            vec![condition(READY, "False", Reason::Deleted, &message)]
        }
        (Some(failure), _) => failed(event, revision, failure, "resume where it failed", commands),
        (None, _) => {
            let ran = journal.hooks.iter().filter(|hook| !hook.is_left_out()).count();
            let (hooks, without) = (count(ran, "hook"), journal.without());
            let message = format!("{event} of revision {revision} succeeded with {hooks}{without}");
            let reason = event.facts().succeeded;
            let ready = match operation.target {
                Some(target) => in_sync(revision, Some(target)).remove(0),
                None => condition(READY, "True", reason, &message),
            };
            vec![ready, condition(RELEASED, "True", reason, &message)]
        }
    }
}

/// A test does not say whether the release is as desired: that is checked again.
fn tested(journal: &Journal) -> Vec<Condition> {
    let operation = &journal.operation;
    let revision = operation.revision;
    let verdict = match &operation.failure {
        None if journal.hooks.iter().all(HookStatus::is_left_out) => {
            let why =
                if journal.hooks.is_empty() { "has no tests" } else { "has no tests that run" };
            condition(TEST_SUCCESS, "True", Reason::NoTests, &format!("revision {revision} {why}"))
        }
        None => {
            let ran = |hook: &&HookStatus| hook.phase == HookPhase::Succeeded;
            let tests = count(journal.hooks.iter().filter(ran).count(), "test");
            let without = journal.without();
            let message = format!("{tests} of revision {revision} succeeded{without}");
            condition(TEST_SUCCESS, "True", Reason::TestSucceeded, &message)
        }
        Some(failure) => {
            let message = format!("test of revision {revision} failed: {}", failure.message);
            condition(TEST_SUCCESS, "False", Reason::TestFailed, &message)
        }
    };
    let message = format!("the tests of revision {revision} have ended");
    vec![
        condition(READY, "Unknown", Reason::Progressing, &message),
        condition(RECONCILING, "True", Reason::Progressing, &message),
        verdict,
    ]
}

/// The addition to the message of a running operation while the object, now at `generation`, may
/// ask for something else.
pub fn newer_spec(generation: i64, commands: &Commands) -> String {
    format!(
        ". Generation {generation} of the object comes after this; to end this now: {}",
        commands.cancel()
    )
}

fn running(journal: &Journal, hold: Option<&Hold>) -> Vec<Condition> {
    let message = progress(journal);
    match hold {
        Some(Hold::Stalled(failure)) => {
            // Both are short, and the way out is at the end.
            let message = format!("{message}: {}", failure.message);
            blocked(&Failure { reason: failure.reason.clone(), message })
        }
        Some(Hold::Suspended) => {
            let message = format!("spec.suspend is true: nothing new is started. {message}");
            vec![condition(READY, "Unknown", Reason::Suspended, &message)]
        }
        Some(Hold::Waiting(waiting)) => {
            let message = format!("{message}: {waiting}");
            vec![
                condition(READY, "Unknown", Reason::Progressing, &message),
                condition(RECONCILING, "True", Reason::Progressing, &message),
            ]
        }
        None => {
            let known = known(journal).map_or(String::new(), |known| format!(": {known}"));
            let message = format!("{message}{known}");
            vec![
                condition(READY, "Unknown", Reason::Progressing, &message),
                condition(RECONCILING, "True", Reason::Progressing, &message),
            ]
        }
    }
}

/// The known failures of a hook's earlier attempts, while the next one runs.
fn known(journal: &Journal) -> Option<&str> {
    let mut running = journal.operation.cursors().filter(|it| it.step == HookStep::Run);
    running.find_map(|cursor| journal.hooks.get(cursor.index)?.message.as_deref())
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn progress(journal: &Journal) -> String {
    let operation = &journal.operation;
    let event = operation.event;
    match operation.phase {
        Phase::PreHooks | Phase::PostHooks => hook_progress(journal),
        Phase::Recording => {
            format!("{event}: recording the plan of revision {}", operation.revision)
        }
        Phase::PreCleanup | Phase::PostCleanup => {
            format!("{event}: deleting hooks as their policies say")
        }
        Phase::Applying => {
            format!("{event}: applying the objects of revision {}", operation.revision)
        }
        Phase::WaitingForReady => {
            let until = operation.deadline.unwrap_or(operation.started_at);
            format!("{event}: waiting until {until:.0} for the release's objects to be ready")
        }
        Phase::Deleting => {
            format!("{event}: deleting the objects of revision {}", operation.revision)
        }
        Phase::WaitingForDeletion => {
            format!("{event}: waiting for the release's objects to be gone")
        }
        Phase::Closing | Phase::Done => {
            format!("{event}: closing the record of revision {}", operation.revision)
        }
    }
}

fn hook_progress(journal: &Journal) -> String {
    let cursor = journal.operation.hook.as_ref();
    let found = cursor.and_then(|cursor| Some((cursor, journal.hooks.get(cursor.index)?)));
    let Some((cursor, hook)) = found else {
        return format!("{}: running hooks", journal.operation.event);
    };
    let same_event = || journal.hooks.iter().filter(|other| other.event == hook.event);
    let number = same_event().filter(|other| other.index <= hook.index).count();
    let total = same_event().count();
    let what = format!(
        "hook {}/{} ({}, {number} of {total}, attempt {})",
        hook.kind, hook.name, hook.event, cursor.attempt
    );
    let beside: Vec<_> = (journal.operation.beside.iter())
        .filter_map(|cursor| journal.hooks.get(cursor.index))
        .map(|hook| format!("{}/{}", hook.kind, hook.name))
        .collect();
    let what = if beside.is_empty() {
        what
    } else {
        format!("{what} and, beside it, {}", beside.join(", "))
    };
    let (since, until) = (cursor.started_at, cursor.deadline);
    match cursor.step {
        HookStep::Create => format!("creating {what} since {since:.0}, until {until:.0}"),
        HookStep::Run => format!("waiting for {what} since {since:.0}, until {until:.0}"),
        HookStep::Stop => format!("stopping {what} since {since:.0}, until {until:.0}"),
        HookStep::Blocked => format!("blocked at {what} since {since:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first_line(message: &str) -> &str {
        message.lines().next().unwrap_or_default()
    }

    #[test]
    fn a_short_message_is_one_line() {
        let message = "install of revision 1 succeeded with 2 hooks";
        assert_eq!(led(message), message);
        assert_eq!(led(&"é".repeat(LEAD_CHARS)), "é".repeat(LEAD_CHARS));
    }

    fn commands() -> Commands {
        Commands { namespace: "prod".to_owned(), name: "shop".to_owned() }
    }

    #[test]
    fn a_long_message_begins_with_a_whole_part_of_its_sentence() {
        let failure = Failure::new(
            Reason::HookFailed,
            format!(
                "pre-install hook Job/migrate failed: BackoffLimitExceeded: Job has reached the \
                 specified backoff limit; pod migrate-x container main ended with exit code 3: {}",
                "no such table ".repeat(20)
            ),
        );
        let conditions = failed(Event::Install, 1, &failure, "resume where it failed", &commands());
        let message = &conditions[0].message;
        let first = first_line(message);
        assert!(first.ends_with("container main ended with exit code 3:"), "{first}");
        assert!(
            message.ends_with("resume where it failed: `kubectl lifecycle retry shop -n prod`"),
            "{message}"
        );
        assert!(!flat(message).contains('\n'));
    }

    #[test]
    fn the_worst_of_names_and_words_leave_a_first_line_that_fits() {
        let long = "n".repeat(253);
        let words = [
            format!("Deployment/{long}: 0 of 1 updated replicas available: pod {long} container"),
            format!("{long}{long}{long}"),
            format!("{long}; {long}: {long}. {long}"),
            "word ".repeat(300),
            "日本".repeat(300),
            "a: ".repeat(300),
        ];
        for words in &words {
            let failure = Failure::new(Reason::HookFailed, words);
            let attempt = LastAttempt {
                config_digest: String::new(),
                generation: 1,
                event: Event::Upgrade,
                revision: i32::MAX,
                failures: 1,
                failed_at: None,
                failure: failure.clone(),
            };
            let remediated = Remediated { succeeded: false, said: words };
            let all = [
                blocked(&failure),
                retrying(words),
                waiting(&failure),
                waiting_for_dependencies(words),
                tests_failed(words),
                given_up(&attempt, Some(remediated), &commands()),
                to_be_remediated(&attempt, Remediation::Rollback),
                failed(Event::Rollback, i32::MAX, &failure, "resume where it failed", &commands()),
            ];
            for condition in all.iter().flatten().filter(|it| it.type_ == READY) {
                let first = first_line(&condition.message);
                assert!(first.chars().count() <= LEAD_CHARS, "{first}");
                assert!(first.chars().count() >= 3, "{:?}", condition.message);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_the_first_line_fits_and_nothing_is_lost(message in "([a-zé日]{0,90}[:;.,]? ?\n?){0,20}") {
            let led = led(&message);
            prop_assert!(first_line(&led).chars().count() <= LEAD_CHARS);
            prop_assert!(led.matches('\n').count() <= 1);
            prop_assert_eq!(flat(&led).replace("… ", ""), flat(&message));
        }
    }
}
