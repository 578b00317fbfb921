//! What a user reads about a release: the conditions of the custom resource, as kstatus
//! understands them. `Ready` sums up; `Reconciling` and `Stalled` are there only while true.

use crate::journal::{Failure, HookStep, Journal, Phase};

/// The release is what its object asks for.
pub const READY: &str = "Ready";
/// The operator is at work.
pub const RECONCILING: &str = "Reconciling";
/// Nothing goes on until somebody changes something.
pub const STALLED: &str = "Stalled";
/// Whether the last operation succeeded.
pub const RELEASED: &str = "Released";

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

fn condition(type_: &'static str, status: &'static str, reason: &str, message: &str) -> Condition {
    Condition { type_, status, reason: reason.to_owned(), message: message.to_owned() }
}

/// The conditions of a release that nothing can be begun for.
pub fn blocked(failure: &Failure) -> Vec<Condition> {
    let Failure { reason, message } = failure;
    vec![condition(READY, "False", reason, message), condition(STALLED, "True", reason, message)]
}

/// The conditions of a release that cannot be looked into for now; it is tried again.
pub fn retrying(message: &str) -> Vec<Condition> {
    vec![
        condition(READY, "Unknown", "Retrying", message),
        condition(RECONCILING, "True", "Retrying", message),
    ]
}

/// The conditions of a release whose deployed revision is what is desired.
pub fn in_sync(revision: i32) -> Vec<Condition> {
    let message = format!("revision {revision} is deployed");
    vec![condition(READY, "True", "InSync", &message)]
}

/// The conditions of a release whose operation is `journal`'s. `waiting` is what is waited for
/// beyond what the journal says.
pub fn of(journal: &Journal, waiting: Option<&str>) -> Vec<Condition> {
    let operation = &journal.operation;
    let (event, revision) = (operation.event, operation.revision);
    if !journal.is_done() {
        let message = progress(journal, waiting);
        return vec![
            condition(READY, "Unknown", "Progressing", &message),
            condition(RECONCILING, "True", "Progressing", &message),
        ];
    }
    let name = match event {
        crate::event::Event::Install => "Install",
        crate::event::Event::Upgrade => "Upgrade",
    };
    if let Some(failure) = &operation.failure {
        let message = format!(
            "{event} of revision {revision} failed: {}. Change the spec to try again",
            failure.message
        );
        vec![
            condition(READY, "False", &failure.reason, &message),
            condition(STALLED, "True", &failure.reason, &message),
            condition(RELEASED, "False", &format!("{name}Failed"), &message),
        ]
    } else {
        let hooks = journal.hooks.len();
        let plural = if hooks == 1 { "" } else { "s" };
        let message = format!("{event} of revision {revision} succeeded with {hooks} hook{plural}");
        let reason = format!("{name}Succeeded");
        vec![
            condition(READY, "True", &reason, &message),
            condition(RELEASED, "True", &reason, &message),
        ]
    }
}

fn progress(journal: &Journal, waiting: Option<&str>) -> String {
    let operation = &journal.operation;
    let event = operation.event;
    let message = match operation.phase {
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
        Phase::Ready => {
            let until = operation.deadline.unwrap_or(operation.started_at);
            format!("{event}: waiting until {until:.0} for the release's objects to be ready")
        }
        Phase::Closing | Phase::Done => {
            format!("{event}: closing the record of revision {}", operation.revision)
        }
    };
    match waiting {
        Some(waiting) => format!("{message}: {waiting}"),
        None => message,
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
    let (since, until) = (cursor.started_at, cursor.deadline);
    match cursor.step {
        HookStep::Create => format!("creating {what} since {since:.0}, until {until:.0}"),
        HookStep::Run => format!("waiting for {what} since {since:.0}, until {until:.0}"),
        HookStep::Stop => {
            format!("stopping {what}, whose time ran out, since {since:.0}, until {until:.0}")
        }
    }
}
