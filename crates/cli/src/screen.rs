//! Standard output: its properties, and a picture on it that is redrawn in place.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
};

use crate::words::Look;

/// Returns whether a picture can be redrawn.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Returns the look: colours on terminals only, and not if <https://no-color.org> is requested.
pub(crate) fn look() -> Look {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look { colour: is_terminal() && !refused, width: size().map(|(_, columns)| columns) }
}

/// Returns rows and columns.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}

/// Writes to standard output. It may be closed early, as by `head`; then there is no reader.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
}

/// Writes to standard error.
pub(crate) fn complain(text: &str) -> anyhow::Result<()> {
    Ok(io::stderr().lock().write_all(text.as_bytes())?)
}

pub(crate) struct Screen {
    /// The number of rows of the last picture above the cursor.
    drawn: usize,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { drawn: 0 }
    }

    /// Returns the look. It is asked each time: windows change their size.
    #[expect(clippy::unused_self, reason = "it is the screen's")]
    pub(crate) fn look(&self) -> Look {
        look()
    }

    /// Replaces the picture. Rows are cut at the right edge, or they could not be counted.
    pub(crate) fn draw(&mut self, text: &str) -> anyhow::Result<()> {
        let rows = size().map_or(usize::MAX, |(rows, _)| rows);
        let lines = fit(text.lines().collect(), rows);
        let picture: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let up = self.up();
        self.drawn = lines.len();
        write(&format!("{up}\x1b[?7l{picture}\x1b[?7h"))
    }

    /// Draws the last picture, whole: it stays.
    pub(crate) fn finish(&mut self, text: &str) -> anyhow::Result<()> {
        let up = self.up();
        self.drawn = 0;
        write(&format!("{up}{text}"))
    }

    fn up(&self) -> String {
        match self.drawn {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }
}

/// Returns as many lines as there are rows: the header, and those around the present step.
fn fit(mut lines: Vec<&str>, rows: usize) -> Vec<&str> {
    // The cursor's row stays empty.
    let room = rows.saturating_sub(1).max(3);
    if lines.len() <= room {
        return lines;
    }
    let active = lines.iter().position(|line| line.contains('●')).unwrap_or(lines.len());
    let room = room - 2;
    let rest = lines.split_off(1);
    let start = active.saturating_sub(1 + room / 2).min(rest.len() - room);
    lines.push("  …");
    lines.extend(rest.into_iter().skip(start).take(room));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_screen_shows_what_is_going_on() {
        let lines = vec!["header", "1", "2", "3", "● 4", "5", "6", "7"];
        assert_eq!(fit(lines.clone(), 9), lines);
        assert_eq!(fit(lines.clone(), 6), ["header", "  …", "3", "● 4", "5"]);
        assert_eq!(fit(vec!["header", "1", "2", "3", "4"], 4), ["header", "  …", "4"]);
    }
}
