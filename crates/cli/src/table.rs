//! Several releases, a line each. Pure.

use api::ReleaseLifecycle;
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    state::State,
    words::{Colour, Look, elapsed, pad_columns, printable},
};

/// Renders the table. `namespaces`: says whether each line names its own.
pub(crate) fn render(
    objects: &[ReleaseLifecycle],
    namespaces: bool,
    now: Timestamp,
    look: Look,
) -> String {
    let columns = ["NAMESPACE", "NAME", "READY", "EVENT", "REVISION", "SINCE", "STATUS"];
    let mut rows: Vec<Vec<String>> = vec![columns.map(str::to_owned).to_vec()];
    rows.extend(objects.iter().map(|object| row(State::new(object), now)));
    if !namespaces {
        for row in &mut rows {
            row.remove(0);
        }
    }
    pad_columns(&mut rows);
    let ready = if namespaces { 2 } else { 1 };
    rows.iter().map(|row| line(row, ready, look) + "\n").collect()
}

fn row(state: State<'_>, now: Timestamp) -> Vec<String> {
    let dash = || "-".to_owned();
    let operation = state.operation();
    let since = operation.map(|last| last.completed_at.unwrap_or(last.started_at));
    let message = match state.ready() {
        Some(ready) if state.observed() >= state.generation() => ready.message.clone(),
        _ => format!("no controller has observed generation {} yet", state.generation()),
    };
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
