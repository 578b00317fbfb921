//! The log: each entry is one line, whatever a message contains. A text of a tenant must not look
//! like an entry of the operator's own.

use std::io::{self, Write};

const ESCAPE: char = '\u{1b}';

/// Writes each entry, which comes in one call, on a line of its own.
pub(crate) struct Lines<W> {
    pub(crate) to: W,
    /// True if the entries are coloured. The formatter escapes colours in messages itself.
    pub(crate) colored: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let end = if text.ends_with('\n') { "\n" } else { "" };
        let mut line = String::with_capacity(text.len());
        for letter in text.trim_end_matches('\n').chars() {
            let is_safe = !is_break(letter) || (self.colored && letter == ESCAPE);
            if is_safe {
                line.push(letter);
            } else {
                line.extend(letter.escape_default());
            }
        }
        line.push_str(end);
        self.to.write_all(line.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Returns true for a character that begins a line, or moves the cursor.
fn is_break(letter: char) -> bool {
    (letter.is_control() && letter != '\t') || ['\u{2028}', '\u{2029}'].contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line() {
        for (entry, colored, line) in [
            ("a\nb\r\u{1b}[2Kc\n", false, "a\\nb\\r\\u{1b}[2Kc\n"),
            ("\u{1b}[32mINFO\u{1b}[0m é\u{2028}\n", true, "\u{1b}[32mINFO\u{1b}[0m é\\u{2028}\n"),
            ("{\"a\":\"b\\nc\"}\n", false, "{\"a\":\"b\\nc\"}\n"),
        ] {
            let mut to = Vec::new();
            Lines { to: &mut to, colored }.write_all(entry.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(to).unwrap(), line);
        }
    }
}
