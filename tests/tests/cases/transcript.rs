//! The deeds and the end of a case, line by line.
//!
//! A case has one text for all sides: `4 3  | create jobs/a` is a line of Helm 4 and Helm 3 alone,
//! `o | …` of the operator alone; a line without a mark is everybody's.

use std::{fmt::Write, fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{program::Program, side::Ran};

/// The text of a case.
pub(crate) fn read(number: u8) -> Result<String> {
    let path = path(number);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

pub(crate) fn write(number: u8, text: &str) -> Result<()> {
    let path = path(number);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn path(number: u8) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/transcripts");
    PathBuf::from(folder).join(format!("{number:02}.txt"))
}

/// The lines of `program` in a case's text.
pub(crate) fn of(program: Program, text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once("| "))
        .filter(|(marks, _)| marks.trim().is_empty() || marks.contains(program.mark()))
        .map(|(_, line)| line.trim_end().to_owned())
        .collect()
}

/// One text for all sides, as a case has it.
pub(crate) fn merge(sides: &[Ran]) -> String {
    let mut merged: Vec<(Vec<Program>, &str)> = Vec::new();
    for Ran { program, lines, .. } in sides {
        merged = fold(merged, *program, lines);
    }
    let mut text = String::new();
    for (programs, line) in merged {
        let marks: String = if programs.len() == sides.len() {
            " ".repeat(sides.len())
        } else {
            let mark = |Ran { program, .. }: &Ran| {
                if programs.contains(program) { program.mark() } else { ' ' }
            };
            sides.iter().map(mark).collect()
        };
        let _ = writeln!(text, "{marks} | {line}");
    }
    text
}

/// Adds one more side along the longest common subsequence.
fn fold<'a>(
    merged: Vec<(Vec<Program>, &'a str)>,
    program: Program,
    lines: &'a [String],
) -> Vec<(Vec<Program>, &'a str)> {
    let (rows, columns) = (merged.len(), lines.len());
    let mut common = vec![vec![0; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = if merged[row].1 == lines[column] {
                common[row + 1][column + 1] + 1
            } else {
                common[row + 1][column].max(common[row][column + 1])
            };
        }
    }
    let mut result = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < rows || column < columns {
        let line = lines.get(column).map(String::as_str);
        match merged.get(row) {
            Some((programs, other)) if Some(*other) == line => {
                result.push(([&programs[..], &[program]].concat(), *other));
                row += 1;
                column += 1;
            }
            Some(other)
                if column == columns || common[row + 1][column] >= common[row][column + 1] =>
            {
                result.push(other.clone());
                row += 1;
            }
            _ => {
                result.push((vec![program], line.unwrap_or_default()));
                column += 1;
            }
        }
    }
    result
}
