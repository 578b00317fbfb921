//! The tables of `docs/src` that tests print.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::root;

/// Compares `table` with the one between the markers `name:begin` and `name:end` of the page
/// `name`.
///
/// # Errors
/// With the table, if the page has another one or lacks the markers.
pub fn compare(name: &str, table: &str) -> Result<()> {
    compare_in(&format!("docs/src/internals/{name}.md"), name, table)
}

/// Compares `table` with the one between the markers `name:begin` and `name:end` of `page`.
///
/// # Errors
/// As [`compare`].
pub fn compare_in(page: &str, name: &str, table: &str) -> Result<()> {
    let text = fs::read_to_string(root().join(page)).with_context(|| format!("read {page}"))?;
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let shown = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    ensure!(
        shown.is_some_and(|(shown, _)| shown.trim() == table.trim()),
        "{page} has another table between {begin} and {end}:\n\n{table}"
    );
    Ok(())
}
