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
    let [begin, end] = markers(name);
    let shown = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    ensure!(
        shown.is_some_and(|(shown, _)| shown.trim() == table.trim()),
        "{page} has another table between {begin} and {end}:\n\n{table}"
    );
    Ok(())
}

/// Replaces what is between the markers `name:begin` and `name:end` of `page`.
///
/// # Errors
/// If the page cannot be read or written, or lacks the markers.
pub fn write_in(page: &str, name: &str, text: &str) -> Result<()> {
    let path = root().join(page);
    let before = fs::read_to_string(&path).with_context(|| format!("read {page}"))?;
    let after = replaced(&before, name, text);
    let after = after.with_context(|| format!("{page} lacks the markers of {name}"))?;
    fs::write(&path, after).with_context(|| format!("write {page}"))
}

/// Returns the page with another text between the markers of `name`.
fn replaced(page: &str, name: &str, text: &str) -> Option<String> {
    let [begin, end] = markers(name);
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", text.trim()))
}

fn markers(name: &str) -> [String; 2] {
    [format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->")]
}

#[test]
fn only_what_is_between_the_markers_is_replaced() {
    let page = "a\n<!-- t:begin -->\nold\n<!-- t:end -->\nz\n";
    let expected = "a\n<!-- t:begin -->\nnew\n<!-- t:end -->\nz\n";
    assert_eq!(replaced(page, "t", "new\n").as_deref(), Some(expected));
    assert_eq!(replaced(page, "u", "new"), None);
}
