//! The tables of ARCHITECTURE.md that tests print.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};

/// Holds `table` against what stands between the markers `name:begin` and `name:end`.
///
/// # Errors
/// With the table, where ARCHITECTURE.md says something else or lacks the markers.
pub fn compare(name: &str, table: &str) -> Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(&path).context("read ARCHITECTURE.md")?;
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let shown = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    ensure!(
        shown.is_some_and(|(shown, _)| shown.trim() == table.trim()),
        "ARCHITECTURE.md does not say this between {begin} and {end}:\n\n{table}"
    );
    Ok(())
}
