//! Text that programs wrote for a terminal, without the parts that only a terminal understands:
//! escape sequences (ECMA-48), other control characters, and lines that were overwritten
//! repeatedly.

use std::str::Chars;

const ESC: char = '\u{1b}';
const BEL: char = '\u{7}';
/// The one-character forms of `ESC [` and `ESC \`.
const CSI: char = '\u{9b}';
const ST: char = '\u{9c}';
const REPLACEMENT: char = '\u{fffd}';

/// The log as a reader of a terminal saw it last: of a line that was overwritten with `\r`, as
/// progress bars are, the last state stays. Bytes that are not UTF-8 are replaced.
///
/// The cost is linear, and the result is never longer than three times the input: each invalid byte
/// becomes U+FFFD.
pub fn log(bytes: &[u8]) -> String {
    let decoded = decoded(bytes);
    let mut text = String::with_capacity(decoded.len());
    let mut line_start = 0;
    // The line is kept until something is written over it.
    let mut returned = false;
    for char in Visible::of(&decoded) {
        match char {
            '\n' => {
                text.push(char);
                line_start = text.len();
                returned = false;
            }
            '\r' => returned = true,
            '\u{8}' => {
                if text.len() > line_start {
                    text.pop();
                }
            }
            '\t' => text.push(char),
            _ if char.is_control() => {}
            _ => {
                if std::mem::take(&mut returned) {
                    text.truncate(line_start);
                }
                text.push(char);
            }
        }
    }
    text
}

/// Returns the text on one line, so that it can be part of a sentence.
pub fn sentence(text: &str) -> String {
    let text = log(text.as_bytes());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the line as it may be shown in a terminal: nothing of it moves the cursor or hides the
/// rest.
pub fn printable(line: &str) -> String {
    Visible::of(line).filter(|char| !char.is_control()).collect()
}

/// A lone byte 0x9b is a CSI of a program that does not write UTF-8.
fn decoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        match chunk.invalid() {
            [] => {}
            [0x9b] => text.push(CSI),
            _ => text.push(REPLACEMENT),
        }
    }
    text
}

/// The characters outside of escape sequences, control characters among them.
struct Visible<'a> {
    rest: Chars<'a>,
}

impl<'a> Visible<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text.chars() }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    /// Skips the characters that satisfy `is_part`.
    fn skip(&mut self, is_part: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&is_part) {
            self.rest.next();
        }
    }

    /// Skips the next character if it satisfies `is_end`.
    fn skip_one(&mut self, is_end: impl Fn(char) -> bool) {
        if self.peek().is_some_and(is_end) {
            self.rest.next();
        }
    }

    /// Skips the rest of a sequence after an ESC.
    fn escape(&mut self) {
        match self.peek() {
            Some('[') => {
                self.rest.next();
                self.control_sequence();
            }
            Some(']' | 'P' | 'X' | '^' | '_') => {
                self.rest.next();
                self.string();
            }
            _ => {
                self.skip(|char| matches!(char, ' '..='/'));
                self.skip_one(|char| matches!(char, '0'..='~'));
            }
        }
    }

    /// Skips the rest of a sequence after a CSI: parameters and one final character.
    fn control_sequence(&mut self) {
        self.skip(|char| matches!(char, ' '..='?'));
        self.skip_one(|char| matches!(char, '@'..='~'));
    }

    /// Skips the rest of a string after an OSC, such as one that sets the title. The log may begin
    /// or end in the middle of one: it does not go beyond its line.
    fn string(&mut self) {
        self.skip(|char| !matches!(char, '\n' | BEL | ESC | ST));
        // The ESC of `ESC \`, or of another sequence, is handled separately.
        self.skip_one(|char| matches!(char, BEL | ST));
    }
}

impl Iterator for Visible<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            match self.rest.next()? {
                ESC => self.escape(),
                CSI => self.control_sequence(),
                '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.string(),
                // They change the direction of the text that follows.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
                char => return Some(char),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_log_is_kept_as_a_terminal_shows_it() {
        for (written, shown) in [
            // Colours, erasing, and a title that ends in BEL or in ST.
            (
                "\x1b[31mERROR\x1b[0m table \x1b[1musers\x1b[0m missing\r\n\x1b[2J\x1b]0;title\x07after\n",
                "ERROR table users missing\nafter\n",
            ),
            ("\x1b]2;title\x1b\\text", "text"),
            ("\x1b]8;;http://example.com\x07link\x1b]8;;\x07", "link"),
            ("\x1bPq#0;2;0;0;0\x1b\\picture", "picture"),
            ("\x1b[38;2;255;100;0mtrue colour\x1b[m", "true colour"),
            ("\x1b[?25lhidden cursor\x1b[?25h", "hidden cursor"),
            ("\x1b(B\x1b7\x1b=\x1bcreset", "reset"),
            // The same as single characters.
            ("\u{9b}1mbold\u{9d}0;title\u{9c}text\u{85}", "boldtext"),
            ("bell\x07 null\0 delete\x7f form\x0c", "bell null delete form"),
            // An incomplete sequence ends with its line.
            ("\x1b]0;no end\nsecond", "\nsecond"),
            ("\x1b[31", ""),
            ("\x1b", ""),
            ("\x1b\x1b[0mtext", "text"),
            ("\x1b[3\n1m", "\n1m"),
            // Progress bars, spinners, overstrike.
            ("\r0%\r50%\r100%", "100%"),
            ("\r0%\r50%\r100%\r", "100%"),
            ("loading 10%\rdone\nnext\r\n", "done\nnext\n"),
            ("50%\r\x1b[Kdone", "done"),
            ("|\x08/\x08-\x08ok", "ok"),
            ("N\x08NA\x08A\n\x08\x08", "NA\n"),
            ("column\tcolumn", "column\tcolumn"),
            ("\u{202e}drow", "drow"),
            ("Füße ✓ 日本", "Füße ✓ 日本"),
        ] {
            assert_eq!(log(written.as_bytes()), shown, "{written:?}");
        }
    }

    #[test]
    fn what_is_no_utf_8_is_replaced() {
        assert_eq!(log(b"caf\xe9 \xff\xfe"), "caf\u{fffd} \u{fffd}\u{fffd}");
        assert_eq!(log(b"\x9b31mred\x9b0m"), "red");
        // A text that a kubelet cut in the middle of a character.
        assert_eq!(log(b"\xa9 end"), "\u{fffd} end");
    }

    #[test]
    fn a_line_to_be_shown_hides_nothing() {
        assert_eq!(printable("\x1b[31mred\x1b[0m\x07"), "red");
        assert_eq!(printable("evil\rgood"), "evilgood");
        assert_eq!(sentence(" two\n\x1b[1mlines\x1b[0m\n"), "two lines");
    }

    fn is_clean(text: &str) -> bool {
        text.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t'))
    }

    proptest! {
        #[test]
        fn whatever_was_written_no_control_character_stays(bytes: Vec<u8>) {
            let text = log(&bytes);
            prop_assert!(is_clean(&text), "{text:?}");
            prop_assert!(text.len() <= 3 * bytes.len());
            prop_assert_eq!(log(text.as_bytes()), text.clone(), "once is enough");
        }

        #[test]
        fn sequences_leave_nothing_behind(
            words in prop::collection::vec("[a-z ]{0,5}", 1..8),
            codes in prop::collection::vec("[0-9;?]{0,6}[A-HJKSTfmnsulh]", 8),
        ) {
            let written: String = words
                .iter()
                .zip(&codes)
                .map(|(word, code)| format!("\x1b[{code}{word}\x1b]0;{word}\x07"))
                .collect();
            prop_assert_eq!(log(written.as_bytes()), words.concat());
        }

        #[test]
        fn plain_lines_stay_as_they_are(text in "[ -~é日\\n\\t]*") {
            prop_assert_eq!(log(text.as_bytes()), text);
        }
    }
}
