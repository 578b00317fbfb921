//! A release as the page shows it. Pure.

use api::ReleaseLifecycle;
use kube::ResourceExt as _;
use lifecycle::{
    conditions,
    journal::{HookAttempt, HookStatus, HookStep},
};
use serde_json::{Value, json};

use super::actions::offers;
use crate::{
    pending,
    state::State,
    steps::{self, Mark, Step},
    timeline,
    words::Look,
};

/// Returns a release in a line of the table.
pub(super) fn summary(object: &ReleaseLifecycle) -> Value {
    let state = State::new(object);
    let operation = state.operation();
    json!({
        "key": state.title(),
        "uid": object.metadata.uid,
        "namespace": state.namespace(),
        "name": object.name_any(),
        "mood": mood(state),
        "ready": state.ready_words(),
        "message": message(state),
        "event": operation.map(|operation| operation.event),
        "operation": operation.map(|operation| &operation.id),
        "revision": operation.map(|operation| operation.revision),
        "from": operation.map(|operation| operation.started_at),
        "to": operation.and_then(|operation| operation.completed_at),
        "chart": object.status.as_ref().and_then(|status| status.chart.as_ref()),
        "suspended": object.suspended(),
        "deleting": state.is_being_deleted(),
    })
}

/// Returns a release with the steps of its operation, and what may be requested of it.
pub(super) fn detail(object: &ReleaseLifecycle) -> Value {
    let state = State::new(object);
    let steps = state.operation().map_or_else(Vec::new, |operation| steps::steps(state, operation));
    let plan = state.pending_plan();
    json!({
        "release": summary(object),
        "notes": timeline::notes(state),
        "tests": state.verdict_of_tests().map(|(words, message)| format!("{words}: {message}")),
        "until": state.running().and_then(|running| running.deadline),
        "steps": steps.iter().map(|it| step(state, it)).collect::<Value>(),
        "plan": plan.map(|plan| pending::render(plan, Look::PLAIN)),
        "digest": plan.map(|plan| &plan.digest),
        "actions": offers(object),
    })
}

/// Returns how urgent the state of a release is: `bad` and `held` wait for somebody, `busy` and `unknown`
/// do not.
fn mood(state: State<'_>) -> &'static str {
    let is_running = state.running().is_some();
    let is_outdated = state.observed() < state.generation();
    match state.ready_status() {
        _ if state.is_stalled() => "bad",
        _ if state.needs_somebody() || state.is_blocked() => "held",
        _ if is_running => "busy",
        "False" => "bad",
        "True" if !is_outdated => "good",
        _ => "unknown",
    }
}

/// Returns the message of the table: where the operation is, or what the conditions say.
fn message(state: State<'_>) -> String {
    let active = steps::active(state);
    let said = match active {
        Some(active) => [Some(active), state.waiting()].into_iter().flatten().collect::<Vec<_>>(),
        None if state.observed() < state.generation() => timeline::notes(state),
        None => state.ready().map(|ready| conditions::flat(&ready.message)).into_iter().collect(),
    };
    said.join(": ")
}

fn step(state: State<'_>, step: &Step<'_>) -> Value {
    let (mark, stands) = match step {
        Step::Phase(mark, _) => (*mark, false),
        Step::Hook(mark, _) => (*mark, timeline::stands(state, step)),
    };
    let waiting = (mark == Mark::Active || stands).then(|| state.waiting()).flatten();
    match step {
        Step::Phase(_, words) => json!({"mark": word(mark), "title": words, "waiting": waiting}),
        Step::Hook(_, hook) => {
            let mut shown = shown_hook(state, mark, hook);
            shown["waiting"] = json!(waiting);
            shown
        }
    }
}

fn shown_hook(state: State<'_>, mark: Mark, hook: &HookStatus) -> Value {
    let cursor = state.cursor_of(hook).filter(|_| mark == Mark::Active);
    let doing = cursor.map(|cursor| match cursor.step {
        _ if cursor.not_before.is_some() => "waiting for its next attempt",
        HookStep::Create => "being created",
        HookStep::Stop => "being stopped",
        HookStep::Blocked => "blocked",
        HookStep::Run => "running",
    });
    let earlier = hook.attempts.iter().filter(|it| it.attempt != hook.attempt);
    json!({
        "mark": word(mark),
        "title": timeline::name(state, hook),
        "hook": format!("{}/{}", hook.kind, hook.name),
        "event": hook.event.as_str(),
        "weight": hook.weight,
        "attempt": cursor.map_or(hook.attempt, |cursor| cursor.attempt),
        "from": hook.started_at.or(cursor.map(|cursor| cursor.started_at)),
        "to": hook.completed_at,
        "until": cursor.map(|cursor| cursor.deadline),
        "next": cursor.and_then(|cursor| cursor.not_before),
        "doing": doing,
        "rule": hook.rule,
        "ignored": hook.ignored,
        "outcome": timeline::outcome(hook),
        "log": hook.log,
        "attempts": earlier.map(attempt).collect::<Value>(),
    })
}

fn attempt(attempt: &HookAttempt) -> Value {
    let HookAttempt { attempt, started_at, completed_at, reason, message, log, .. } = attempt;
    json!({"attempt": attempt, "from": started_at, "to": completed_at,
           "outcome": format!("{reason}: {message}"), "log": log})
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Pending => "pending",
        Mark::Active => "active",
        Mark::Done => "done",
        Mark::Failed => "failed",
        Mark::NotReached => "not reached",
        Mark::Skipped => "skipped",
    }
}
