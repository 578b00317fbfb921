//! Several releases, a line each. Pure.

use api::ReleaseLifecycle;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    state::State,
    steps,
    words::{Colour, Look, bar, elapsed, pad_columns, printable},
};

/// Renders the table. `namespaces`: says whether each line names its own.
pub(crate) fn render(
    objects: &[&ReleaseLifecycle],
    namespaces: bool,
    now: Timestamp,
    look: Look,
) -> String {
    lines(objects, namespaces, now, look, status)
}

/// Renders the table, with the hook that runs and its time in place of the message.
pub(crate) fn render_live(
    objects: &[&ReleaseLifecycle],
    namespaces: bool,
    now: Timestamp,
    look: Look,
) -> String {
    lines(objects, namespaces, now, look, |state| live(state, now).unwrap_or_else(|| status(state)))
}

fn lines(
    objects: &[&ReleaseLifecycle],
    namespaces: bool,
    now: Timestamp,
    look: Look,
    status: impl Fn(State<'_>) -> String,
) -> String {
    let columns = ["NAMESPACE", "NAME", "READY", "EVENT", "REVISION", "SINCE", "STATUS"];
    let mut rows: Vec<Vec<String>> = vec![columns.map(str::to_owned).to_vec()];
    rows.extend(objects.iter().map(|object| {
        let state = State::new(object);
        row(state, now, &status(state))
    }));
    if !namespaces {
        for row in &mut rows {
            row.remove(0);
        }
    }
    pad_columns(&mut rows);
    let ready = if namespaces { 2 } else { 1 };
    rows.iter().map(|row| line(row, ready, look) + "\n").collect()
}

fn status(state: State<'_>) -> String {
    match state.ready() {
        Some(ready) if state.observed() >= state.generation() => ready.message.clone(),
        _ => format!("no controller has observed generation {} yet", state.generation()),
    }
}

/// Returns the step that is at work, with a bar of a hook's time; `None` if nothing runs.
fn live(state: State<'_>, now: Timestamp) -> Option<String> {
    let active = steps::active(state)?;
    let cursor = state.hooks().find_map(|hook| state.cursor_of(hook));
    let Some(cursor) = cursor else { return Some(active) };
    let (from, until) = (cursor.started_at, cursor.deadline);
    let (spent, whole) = (elapsed(from, now), elapsed(from, until));
    Some(format!("{} {spent} of {whole}  {active}", bar(from, until, now)))
}

fn row(state: State<'_>, now: Timestamp, message: &str) -> Vec<String> {
    let dash = || "-".to_owned();
    let operation = state.operation();
    let since = operation.map(|last| last.completed_at.unwrap_or(last.started_at));
    vec![
        state.namespace().to_owned(),
        state.object.name_any(),
        state.ready_status().to_owned(),
        operation.map_or_else(dash, |last| last.event.to_string()),
        operation.map_or_else(dash, |last| last.revision.to_string()),
        since.map_or_else(dash, |since| elapsed(since, now)),
        printable(&message.replace('\n', " ")),
    ]
}

/// Returns a line for each, cut at the terminal's edge.
fn line(row: &[String], ready: usize, look: Look) -> String {
    let mut room = look.width.unwrap_or(usize::MAX);
    let mut line = String::new();
    for (column, cell) in row.iter().enumerate() {
        let length = cell.chars().count();
        let shown: String = if length > room && room > 0 {
            cell.chars().take(room - 1).chain(['…']).collect()
        } else {
            cell.chars().take(room).collect()
        };
        room -= length.min(room);
        let colour = match cell.trim_end() {
            status @ ("True" | "False" | "Unknown") if column == ready => Colour::of_ready(status),
            _ => Colour::None,
        };
        line.push_str(&look.paint(colour, &shown));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_running_hook_has_a_bar() {
        let object: ReleaseLifecycle = serde_json::from_value(json!({
            "metadata": {"name": "shop", "namespace": "prod", "generation": 1},
            "spec": {"source": {"objects": []}},
            "status": {
                "observedGeneration": 1,
                "operation": {"id": "op", "event": "Upgrade", "revision": 2, "generation": 1,
                    "phase": "PreHooks", "startedAt": "2026-11-22T11:00:00Z",
                    "hook": {"index": 0, "step": "Run", "attempt": 1, "runId": "r",
                             "startedAt": "2026-11-22T11:00:00Z", "deadline": "2026-11-22T11:05:00Z"}},
                "hooks": [{"index": 0, "event": "pre-upgrade", "weight": 0, "apiVersion": "batch/v1",
                           "kind": "Job", "name": "migrate", "phase": "Running", "attempt": 1}],
            },
        }))
        .unwrap();
        let now = "2026-11-22T11:02:30Z".parse().unwrap();
        let text = render_live(&[&object], false, now, Look::PLAIN);
        assert!(text.contains("[#####-----] 2m30s of 5m00s  pre-upgrade Job/migrate"), "{text}");
        assert!(!render(&[&object], false, now, Look::PLAIN).contains('#'));
    }
}
