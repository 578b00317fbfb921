//! The format of times, marks and sentences. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use lifecycle::terminal;

/// The device for which the text is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) colour: bool,
    /// The columns of the terminal; sentences are wrapped to it. `None`: never.
    pub(crate) width: Option<usize>,
}

impl Look {
    /// The look for a device that is not a terminal, or may not be one.
    pub(crate) const PLAIN: Self = Self { colour: false, width: None };

    pub(crate) fn paint(self, colour: Colour, text: &str) -> Cow<'_, str> {
        if self.colour && colour != Colour::None && !text.is_empty() {
            Cow::Owned(format!("\x1b[{}m{text}\x1b[0m", colour.code()))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Returns one line, cut at the terminal's edge.
    pub(crate) fn cut(self, line: &str) -> String {
        let room = self.width.unwrap_or(usize::MAX);
        if line.chars().count() <= room {
            return line.to_owned();
        }
        line.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    }

    /// Returns `text` with `indent` before each line, broken between words if it is too long.
    pub(crate) fn wrap(self, indent: &str, text: &str) -> Vec<String> {
        let room = self
            .width
            .map_or(usize::MAX, |width| width.saturating_sub(indent.chars().count()).max(40));
        let mut lines: Vec<String> = Vec::new();
        for paragraph in text.lines() {
            let mut line = String::new();
            let paragraph = printable(paragraph);
            for word in paragraph.split(' ') {
                if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                    lines.push(format!("{indent}{}", std::mem::take(&mut line)));
                } else if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            lines.push(format!("{indent}{line}"));
        }
        lines
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    None,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
        }
    }

    /// Returns the mark of the condition `Ready`.
    pub(crate) fn of_ready(status: &str) -> Self {
        match status {
            "True" => Self::Green,
            "False" => Self::Red,
            _ => Self::Yellow,
        }
    }
}

/// Returns a printable line. A hook may print anything, but not move the cursor of a person who
/// reads it here.
pub(crate) fn printable(line: &str) -> String {
    terminal::printable(line)
}

/// Returns the time of day, with the date if it is not that of `now`.
pub(crate) fn clock(at: Timestamp, now: Timestamp) -> String {
    let day = |at: Timestamp| at.strftime("%F").to_string();
    let format = if day(at) == day(now) { "%H:%M:%SZ" } else { "%F %H:%M:%SZ" };
    at.strftime(format).to_string()
}

/// Returns how long something took: `3.2s`, `59s`, `4m05s`, `2h07m`, `3d04h`.
pub(crate) fn took(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = milliseconds(from, to);
    if milliseconds < 9_950 {
        let tenths = (milliseconds + 50) / 100;
        format!("{}.{}s", tenths / 10, tenths % 10)
    } else {
        coarse((milliseconds + 500) / 1000)
    }
}

/// Returns how long something has been running, in whole seconds, so that it ticks evenly.
pub(crate) fn elapsed(from: Timestamp, now: Timestamp) -> String {
    coarse(milliseconds(from, now) / 1000)
}

/// Returns the time between both. Two machines' clocks differ: what began "in the future" has just
/// begun.
fn milliseconds(from: Timestamp, to: Timestamp) -> i128 {
    to.duration_since(from).as_millis().max(0)
}

fn coarse(seconds: i128) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Returns a bar of the time that has passed between both.
pub(crate) fn bar(from: Timestamp, until: Timestamp, now: Timestamp) -> String {
    const CELLS: i128 = 10;
    let whole = milliseconds(from, until).max(1);
    let full = (milliseconds(from, now) * CELLS / whole).min(CELLS);
    let cells = (0..CELLS).map(|cell| if cell < full { '#' } else { '-' });
    format!("[{}]", cells.collect::<String>())
}

/// Returns the rows as lines with aligned columns, cut at the terminal's edge.
pub(crate) fn aligned(mut rows: Vec<Vec<String>>, look: Look) -> String {
    pad_columns(&mut rows);
    rows.iter().map(|row| look.cut(row.concat().trim_end()) + "\n").collect()
}

/// Aligns columns: each is as wide as its widest cell, and two blanks follow. Cells may be painted
/// afterwards, since colours have no width but do have characters.
pub(crate) fn pad_columns(rows: &mut [Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    for column in 0..columns {
        let cells = || rows.iter().filter_map(|row| row.get(column));
        let width = cells().map(|cell| cell.chars().count()).max().unwrap_or_default();
        for row in rows.iter_mut() {
            let last = row.len() == column + 1;
            if let Some(cell) = row.get_mut(column).filter(|_| width > 0 && !last) {
                let missing = width - cell.chars().count();
                cell.push_str(&" ".repeat(missing + 2));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_as_exact_as_they_are_long() {
        let from = at("2026-11-22T11:00:00Z");
        for (to, expected) in [
            ("2026-11-22T10:59:00Z", "0.0s"),
            ("2026-11-22T11:00:03.249Z", "3.2s"),
            ("2026-11-22T11:00:09.96Z", "10s"),
            ("2026-11-22T11:04:05Z", "4m05s"),
            ("2026-11-22T13:07:59Z", "2h07m"),
            ("2026-11-25T15:00:00Z", "3d04h"),
        ] {
            assert_eq!(took(from, at(to)), expected);
        }
        assert_eq!(elapsed(from, at("2026-11-22T11:00:05.9Z")), "5s");
    }

    #[test]
    fn the_date_is_shown_where_it_is_another() {
        let noon = at("2026-11-22T12:00:00Z");
        assert_eq!(clock(noon, noon), "12:00:00Z");
        assert_eq!(clock(noon, at("2026-11-23T00:00:00Z")), "2026-11-22 12:00:00Z");
    }

    #[test]
    fn sentences_are_wrapped_between_words() {
        let look = Look { colour: false, width: Some(44) };
        let text = "a sentence that is somewhat longer than forty columns";
        assert_eq!(
            look.wrap("  ", text),
            ["  a sentence that is somewhat longer than", "  forty columns"]
        );
        assert_eq!(Look::PLAIN.wrap("", text), [text]);
    }
}
