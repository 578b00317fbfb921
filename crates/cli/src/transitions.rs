//! The changes from one status to the next, a line each: for logs, and for `grep`. Pure.

use api::ReleaseLifecycle;
use jiff::Timestamp;
use lifecycle::{
    conditions,
    journal::{HookPhase, HookStatus, HookStep, Operation, Phase},
};

use crate::{
    state::State,
    timeline::outcome,
    words::{clock, printable, took},
};

/// Returns the lines for what is in `after` and was not in `before`. At the first check, without
/// `before`: the present state, and all that a running operation has done so far.
pub(crate) fn lines(
    before: Option<&ReleaseLifecycle>,
    after: &ReleaseLifecycle,
    now: Timestamp,
) -> Vec<String> {
    let after = State::new(after);
    let before = before.map(State::new);
    let mut lines = Lines { title: after.title(), now, text: Vec::new() };
    unobserved(before, after, &mut lines);
    let same = |operation: &Operation| {
        before.filter(|before| before.operation().is_some_and(|old| old.id == operation.id))
    };
    if let Some(operation) = after.operation() {
        match same(operation) {
            Some(before) => progress(Some(before), after, operation, &mut lines),
            None if before.is_some() || after.running().is_some() => {
                let what = format!("{} of revision {} began", operation.event, operation.revision);
                lines.push(operation.started_at, &what);
                progress(None, after, operation, &mut lines);
            }
            None if operation.generation >= after.generation() => {
                ended(after, operation, &mut lines);
            }
            None => {}
        }
    }
    condition(before, after, &mut lines);
    lines.text
}

struct Lines {
    title: String,
    now: Timestamp,
    text: Vec<String>,
}

impl Lines {
    fn push(&mut self, at: Timestamp, what: &str) {
        for line in what.lines() {
            self.text.push(format!("{} {} {}", clock(at, self.now), self.title, printable(line)));
        }
    }
}

fn unobserved(before: Option<State<'_>>, after: State<'_>, lines: &mut Lines) {
    let generation = after.generation();
    let news = before.is_none_or(|before| before.generation() != generation);
    if news && after.observed() < generation {
        let then = match after.running() {
            Some(running) => format!("comes after the {} that runs", running.event),
            None => "is not observed by a controller yet".to_owned(),
        };
        lines.push(lines.now, &format!("generation {generation} {then}"));
    }
    if after.is_being_deleted() && !before.is_some_and(State::is_being_deleted) {
        lines.push(lines.now, "the object is being deleted");
    }
}

fn progress(before: Option<State<'_>>, after: State<'_>, operation: &Operation, lines: &mut Lines) {
    for hook in after.hooks() {
        hook_lines(before, after, hook, lines);
    }
    let was = before.and_then(State::operation).map(|old| old.phase);
    if was != Some(operation.phase) {
        phase_line(operation, lines);
    }
    let waiting = after.waiting();
    if let Some(waiting) = &waiting
        && before.and_then(State::waiting).as_ref() != Some(waiting)
    {
        lines.push(lines.now, waiting);
    }
    let had_ended = before.and_then(State::operation).is_some_and(|old| old.completed_at.is_some());
    if !had_ended {
        ended(after, operation, lines);
    }
}

fn phase_line(operation: &Operation, lines: &mut Lines) {
    let what = match operation.phase {
        Phase::Applying => "applying the objects".to_owned(),
        Phase::Deleting => "deleting the objects".to_owned(),
        Phase::WaitingForDeletion => "waiting until the objects are gone".to_owned(),
        Phase::WaitingForReady => {
            let until = operation
                .deadline
                .map_or(String::new(), |until| format!(", until {}", clock(until, lines.now)));
            format!("waiting until the objects are ready{until}")
        }
        // The hooks' own lines say these, and the other phases are short.
        _ => return,
    };
    lines.push(lines.now, &what);
}

fn hook_lines(before: Option<State<'_>>, after: State<'_>, hook: &HookStatus, lines: &mut Lines) {
    let old = before.and_then(|before| before.hooks().find(|old| old.index == hook.index));
    let was = old.map_or(HookPhase::Pending, |old| old.phase);
    let again = old.is_some_and(|old| old.attempt != hook.attempt);
    let what = format!("hook {}/{} ({})", hook.kind, hook.name, hook.event);
    if let Some(at) = hook.started_at.filter(|_| was == HookPhase::Pending || again) {
        let cursor = after.cursor_of(hook);
        let until = cursor.map_or(String::new(), |cursor| {
            format!(", until {}", clock(cursor.deadline, lines.now))
        });
        lines.push(at, &format!("{what} started, attempt {}{until}", hook.attempt));
    }
    if is_stopping(after, hook) && !before.is_some_and(|before| is_stopping(before, hook)) {
        lines.push(lines.now, &format!("{what} is being stopped"));
    }
    if was == hook.phase && !again {
        return;
    }
    let at = hook.completed_at.unwrap_or(lines.now);
    let after = hook.started_at.map_or(String::new(), |from| format!(" after {}", took(from, at)));
    match hook.phase {
        HookPhase::Pending | HookPhase::Running | HookPhase::Unknown => {}
        HookPhase::Skipped => {
            let why = outcome(hook).unwrap_or_default();
            lines.push(lines.now, &format!("{what} was skipped: {why}"));
        }
        HookPhase::Succeeded => lines.push(at, &format!("{what} succeeded{after}")),
        HookPhase::Failed => {
            let why = outcome(hook).unwrap_or_default();
            let ignored = if hook.ignored { ", which its rule ignores" } else { "" };
            lines.push(at, &format!("{what} failed{after}{ignored}: {why}"));
            for line in hook.log.iter().flat_map(|log| log.lines()) {
                lines.push(at, &format!("{}/{} | {line}", hook.kind, hook.name));
            }
        }
    }
}

fn is_stopping(state: State<'_>, hook: &HookStatus) -> bool {
    state.cursor_of(hook).is_some_and(|cursor| cursor.step == HookStep::Stop)
}

/// Adds how the operation ended, if it has.
fn ended(state: State<'_>, operation: &Operation, lines: &mut Lines) {
    let Some(at) = operation.completed_at else { return };
    let (how, why) = match &operation.failure {
        None => ("succeeded", String::new()),
        Some(failure) => ("failed", format!(": {}", failure.message)),
    };
    let what = format!("{} of revision {} {how}", operation.event, operation.revision);
    let took = took(operation.started_at, at);
    if let Some((words, message)) = state.verdict_of_tests() {
        let what = format!("{} of revision {} ended", operation.event, operation.revision);
        return lines.push(at, &format!("{what} after {took}, {words}: {message}"));
    }
    lines.push(at, &format!("{what} after {took}, {}{why}", state.ready_words()));
}

/// Adds conditions that no operation explains: nothing can begin, or nothing needs to be done.
fn condition(before: Option<State<'_>>, after: State<'_>, lines: &mut Lines) {
    let Some(ready) = after.ready().filter(|_| after.running().is_none()) else { return };
    let explained = after.operation().is_some_and(|last| last.generation == after.observed());
    let key = |state: State<'_>| {
        state.ready().map(|ready| (state.observed(), ready.reason.clone(), ready.message.clone()))
    };
    let news = before.is_none_or(|before| key(before) != key(after));
    if news && !explained && after.observed() >= after.generation() {
        let message = conditions::flat(&ready.message);
        lines.push(lines.now, &format!("{}: {message}", after.ready_words()));
    }
}
