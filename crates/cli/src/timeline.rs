//! The timeline of one release's operation. Pure.

use api::ReleaseLifecycle;
use jiff::Timestamp;
use lifecycle::{
    conditions,
    journal::{HookAttempt, HookPhase, HookStatus, HookStep, Operation},
};

use crate::{
    pending,
    state::State,
    steps::{Mark, Step, steps},
    words::{Colour, Look, clock, elapsed, pad_columns, printable, took},
};

pub(crate) fn render(object: &ReleaseLifecycle, now: Timestamp, look: Look) -> String {
    let state = State::new(object);
    let mut lines = vec![header(state, now, look)];
    lines.extend(notes(state).iter().flat_map(|note| look.wrap("  ", note)));
    if let Some(plan) = state.pending_plan() {
        lines.extend(pending::lines(plan, look));
    }
    if let Some(operation) = state.operation() {
        lines.extend(body(state, operation, now, look));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn header(state: State<'_>, now: Timestamp, look: Look) -> String {
    let title = look.paint(Colour::Bold, &state.title()).into_owned();
    if state.ready().is_none() && state.operation().is_none() {
        return format!("{title}  {}", look.paint(Colour::Yellow, "nothing observed yet"));
    }
    let mut parts = vec![title];
    if let Some(operation) = state.operation() {
        // A blocked spec, or one that changes nothing, has no operation of its own.
        let older = operation.completed_at.is_some() && operation.generation < state.observed();
        let last = if older { "last: " } else { "" };
        parts.push(format!("{last}{} of revision {}", operation.event, operation.revision));
    }
    let colour = Colour::of_ready(state.ready_status());
    parts.push(look.paint(colour, &state.ready_words()).into_owned());
    parts.extend(state.verdict_of_tests().map(|(words, _)| words));
    parts.extend(state.operation().map(|operation| when(operation, now)));
    parts.join("  ")
}

fn when(operation: &Operation, now: Timestamp) -> String {
    let from = operation.started_at;
    match operation.completed_at {
        Some(to) => format!("took {}, ended {}", took(from, to), clock(to, now)),
        None => format!("since {}, {}…", clock(from, now), elapsed(from, now)),
    }
}

/// Returns the text below the header: sentences that are in no step.
pub(crate) fn notes(state: State<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    // While an operation runs, its steps say the same as `Ready`.
    if let Some(ready) = state.ready().filter(|_| state.running().is_none()) {
        notes.push(conditions::flat(&ready.message));
    } else if let Some(failure) = state.running().and_then(|running| running.failure.as_ref()) {
        notes.push(format!("it failed: {}", failure.message));
    }
    notes.extend(state.drift().map(|drifted| drifted.message.clone()));
    notes.extend(state.warning().map(|warned| format!("warning: {}", warned.message)));
    let (generation, observed) = (state.generation(), state.observed());
    if state.is_being_deleted() {
        notes.push("The object is being deleted.".to_owned());
    } else if observed < 0 {
        notes.push(format!(
            "No controller has observed it: is one running, and does it serve namespace {}?",
            state.namespace()
        ));
    } else if observed < generation
        && let Some(running) = state.running()
    {
        let way_out = match running.cancel {
            None => format!("; to end this one now: {}", state.object.commands().cancel()),
            Some(_) => String::new(),
        };
        notes.push(format!(
            "This operation serves generation {observed} of the object; generation {generation} \
             comes after it{way_out}."
        ));
    } else if observed < generation {
        notes.push(format!(
            "No controller has observed generation {generation} yet; this is generation {observed}. \
             If it stays so: is a controller running?"
        ));
    }
    notes
}

fn body(state: State<'_>, operation: &Operation, now: Timestamp, look: Look) -> Vec<String> {
    let steps = steps(state, operation);
    let mut cells: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Hook(mark, hook) => Some(hook_cells(state, *mark, hook, now)),
            Step::Phase(..) => None,
        })
        .collect();
    pad_columns(&mut cells);
    let mut cells = cells.into_iter().map(|row| row.concat());
    let mut lines = Vec::new();
    for step in &steps {
        let (mark, text) = match step {
            Step::Phase(mark, words) => (*mark, phase_text(*mark, words, operation, now)),
            Step::Hook(mark, _) => (*mark, cells.next().unwrap_or_default()),
        };
        lines.push(format!("  {}", marked(mark, text.trim_end(), look)));
        if (mark == Mark::Active || stands(state, step))
            && let Some(waiting) = state.waiting()
        {
            lines.extend(look.wrap("      ", &waiting));
        }
        if let Step::Hook(_, hook) = step {
            for earlier in hook.attempts.iter().filter(|it| it.attempt != hook.attempt) {
                lines.extend(look.wrap("      ", &attempt_text(earlier, now)));
                lines.extend(log_lines(earlier.log.as_deref(), look));
            }
            lines.extend(outcome(hook).iter().flat_map(|line| look.wrap("      ", line)));
            lines.extend(log_lines(hook.log.as_deref(), look));
            if hook.phase == HookPhase::Failed && hook.log.is_some() {
                let named = format!("{}/{}", hook.kind, hook.name);
                let command = state.object.commands().logs(&named);
                lines.extend(look.wrap("      ", &format!("the whole log: {command}")));
            }
        }
    }
    lines
}

/// Writes an attempt that failed and was followed by another.
fn attempt_text(attempt: &HookAttempt, now: Timestamp) -> String {
    let HookAttempt { attempt, started_at, completed_at, reason, message, .. } = attempt;
    let time = match (started_at, completed_at) {
        (Some(from), Some(to)) => format!(" after {} at {}", took(*from, *to), clock(*to, now)),
        (_, Some(to)) => format!(" at {}", clock(*to, now)),
        _ => String::new(),
    };
    format!("attempt {attempt} failed{time}: {reason}: {message}")
}

fn log_lines(log: Option<&str>, look: Look) -> impl Iterator<Item = String> {
    log.unwrap_or_default().lines().map(move |line| {
        let line = format!("      │ {}", printable(line));
        look.paint(Colour::Dim, &line).into_owned()
    })
}

/// Returns whether somebody has to decide how to continue here.
pub(crate) fn stands(state: State<'_>, step: &Step<'_>) -> bool {
    let Step::Hook(_, hook) = step else { return false };
    state.cursor_of(hook).is_some_and(|cursor| cursor.step == HookStep::Blocked)
}

fn marked(mark: Mark, text: &str, look: Look) -> String {
    match mark {
        Mark::Pending => look.paint(Colour::Dim, &format!("○ {text}")).into_owned(),
        Mark::NotReached | Mark::Skipped => {
            look.paint(Colour::Dim, &format!("- {text}")).into_owned()
        }
        Mark::Active => format!("{} {text}", look.paint(Colour::Yellow, "●")),
        Mark::Done => format!("{} {text}", look.paint(Colour::Green, "✔")),
        Mark::Failed => format!("{} {text}", look.paint(Colour::Red, "✖")),
    }
}

fn phase_text(mark: Mark, words: &str, operation: &Operation, now: Timestamp) -> String {
    match (mark, operation.deadline) {
        (Mark::NotReached, _) => format!("{words}: not reached"),
        (Mark::Failed, _) => format!("{words}: failed"),
        (Mark::Active, Some(until)) => format!("{words}, until {}", clock(until, now)),
        _ => words.to_owned(),
    }
}

fn hook_cells(state: State<'_>, mark: Mark, hook: &HookStatus, now: Timestamp) -> Vec<String> {
    let cursor = state.cursor_of(hook);
    let attempt = cursor.map_or(hook.attempt, |cursor| cursor.attempt);
    let (time, more) = match (mark, hook.started_at, hook.completed_at) {
        (Mark::NotReached, ..) => (String::new(), "not reached".to_owned()),
        (Mark::Skipped, ..) => (String::new(), "skipped".to_owned()),
        (Mark::Active, started, _) => {
            let began = cursor.map(|cursor| cursor.started_at);
            let from = started.or(began).unwrap_or(now);
            if let Some(until) = cursor.and_then(|cursor| cursor.not_before) {
                let next = format!("the next attempt begins at {}", clock(until, now));
                return row(state, hook, attempt, String::new(), next);
            }
            let (what, since) = match cursor.map(|cursor| cursor.step) {
                Some(HookStep::Create) => ("creating", began),
                Some(HookStep::Stop) => ("stopping", began),
                Some(HookStep::Blocked) => ("blocked", began),
                _ => ("running", started),
            };
            let since = since.unwrap_or(from);
            let until = cursor
                .map_or(String::new(), |cursor| format!(", until {}", clock(cursor.deadline, now)));
            (
                format!("{}…", elapsed(from, now)),
                format!("{what} since {}{until}", clock(since, now)),
            )
        }
        (_, Some(from), Some(to)) => (took(from, to), clock(from, now)),
        (_, Some(from), None) => {
            (String::new(), format!("{}, its end was not seen", clock(from, now)))
        }
        _ => (String::new(), String::new()),
    };
    row(state, hook, attempt, time, more)
}

/// Writes a hook: `time` is how long it took, `more` what is known beside that.
fn row(
    state: State<'_>,
    hook: &HookStatus,
    attempt: i32,
    time: String,
    more: String,
) -> Vec<String> {
    let more = match &hook.rule {
        Some(rule) if more.is_empty() => format!("by {rule}"),
        Some(rule) if hook.ignored => format!("{more}, ignored by {rule}"),
        Some(rule) => format!("{more}, by {rule}"),
        None => more,
    };
    let attempt = if attempt > 0 { format!("attempt {attempt}") } else { String::new() };
    let weight = format!("weight {}", hook.weight);
    vec![hook.event.to_string(), name(state, hook), weight, attempt, time, more]
}

/// Returns `Job/name`, with the namespace if it is another than the release's.
pub(crate) fn name(state: State<'_>, hook: &HookStatus) -> String {
    match &hook.namespace {
        Some(namespace) if namespace != state.namespace() => {
            format!("{}/{} in {namespace}", hook.kind, hook.name)
        }
        _ => format!("{}/{}", hook.kind, hook.name),
    }
}

/// Returns why the hook failed, or what else is known of it: `exit code 3, Timeout: it did not end
/// …`.
pub(crate) fn outcome(hook: &HookStatus) -> Option<String> {
    let code = hook.exit_code_apart().map(|code| format!("exit code {code}"));
    let why = match (&hook.reason, &hook.message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (why, None) | (None, why) => why.clone(),
    };
    let parts: Vec<_> = [code, why].into_iter().flatten().collect();
    if parts.is_empty() {
        // A failure always has a text, or a reader would search for it elsewhere.
        return (hook.phase == HookPhase::Failed).then(|| "no reason is known".to_owned());
    }
    Some(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_behind_an_operation_is_told_how_to_end_it_once() {
        let mut object = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "prod", "generation": 2},
            "spec": {"source": {"objects": []}},
            "status": {
                "observedGeneration": 1,
                "operation": {"id": "op", "event": "Install", "revision": 1, "generation": 1,
                              "phase": "Applying", "startedAt": "2026-11-22T11:02:09Z"},
            },
        });
        let read = |object: &serde_json::Value| -> ReleaseLifecycle {
            serde_json::from_value(object.clone()).unwrap()
        };
        let journal = read(&object).status.unwrap().journal().unwrap();
        let commands = read(&object).commands();
        let known = lifecycle::conditions::of(&journal, None, &commands).remove(0).message;
        let newer = lifecycle::conditions::newer_spec(2, &commands);
        object["status"]["conditions"] = json!([{
            "type": "Ready", "status": "Unknown", "reason": "Progressing",
            "message": format!("{known}: ConfigMap/main: busy{newer}"),
            "lastTransitionTime": "2026-11-22T11:02:09Z"}]);
        let text = render(&read(&object), "2026-11-22T11:03:09Z".parse().unwrap(), Look::PLAIN);
        let note = "This operation serves generation 1 of the object; generation 2 comes after it; to \
                    end this one now: `kubectl lifecycle cancel shop -n prod`.";
        assert!(text.contains(note), "{text}");
        assert_eq!(text.matches("kubectl lifecycle cancel").count(), 1, "{text}");
        assert!(text.contains("      ConfigMap/main: busy\n"), "{text}");
    }
}
