//! The texts that must be in no message, though a template may put them there: Helm quotes values
//! in some of its own, and `fail` prints any text of a chart.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use manifests::values;
use serde_json::Value;

/// Shorter ones are in any text, and are hidden only where they stand in quotes.
const SHORTEST: usize = 4;
/// The shortest text in base64 that is decoded.
const SHORTEST_BASE64: usize = 6;
/// More are not searched for: that would take long.
const MOST: usize = 20_000;
/// The most bytes of them that are kept.
const MOST_BYTES: usize = 8 << 20;
/// The placeholder.
const CUT: &str = "…";

/// Takes a text that was cut anywhere.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The texts and numbers of Secrets, those of the values and those that were looked up.
#[derive(Default)]
pub struct Secrets(Mutex<Known>);

/// A set with a bound: a chart may look the same Secret up a thousand times.
#[derive(Clone, Default)]
struct Known {
    texts: BTreeSet<String>,
    bytes: usize,
    /// True if there were more than are kept; then none are.
    is_full: bool,
}

impl Known {
    fn extend(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            if self.is_full || self.texts.contains(&text) {
                continue;
            }
            self.bytes = self.bytes.saturating_add(text.len());
            if self.bytes > MOST_BYTES || self.texts.len() >= MOST {
                *self = Self { is_full: true, ..Self::default() };
            } else {
                self.texts.insert(text);
            }
        }
    }
}

impl Clone for Secrets {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

impl Secrets {
    /// Adds the data of a Secret, or of each Secret of a list, encoded as it is and decoded.
    pub fn add_data(&self, found: &Value) {
        let items = found["items"].as_array();
        for secret in items.map_or(std::slice::from_ref(found), Vec::as_slice) {
            let data = secret["data"].as_object().into_iter().flatten();
            for text in data.filter_map(|(_, value)| value.as_str()) {
                self.add(&Value::from(text));
                let decoded = STANDARD.decode(text).ok().and_then(|it| String::from_utf8(it).ok());
                self.add(&decoded.map_or(Value::Null, Value::String));
            }
        }
    }

    pub(crate) fn add(&self, value: &Value) {
        match value {
            Value::String(text) => {
                // A template may print one line of it, or all of it quoted.
                for line in text.lines() {
                    // Without the characters that YAML does not take for text, as in `*anchor`.
                    let words = line.trim_matches(|it: char| !it.is_alphanumeric());
                    let line = line.trim();
                    let long = Some(words).filter(|words| words.len() >= SHORTEST);
                    let all = [line].into_iter().chain(long).filter(|it| !it.is_empty());
                    self.lock().extend(all.map(str::to_owned));
                    let quoted = Value::from(line).to_string();
                    let quoted = quoted.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
                    let quoted = quoted.unwrap_or(line);
                    if quoted != line {
                        // As Go's `%q` and `toJson` print it.
                        let escaped =
                            ["<", ">", "&"].into_iter().fold(quoted.to_owned(), |it, c| {
                                let code = c.bytes().next().unwrap_or_default();
                                it.replace(c, &format!("\\u00{code:02x}"))
                            });
                        self.lock().extend([quoted.to_owned(), escaped]);
                    }
                }
            }
            Value::Number(number) => {
                let exponent = number.as_f64().map(|it| format!("{it:e}"));
                // As Go prints a large number: `1.2345678e+07`.
                let as_go = exponent.map(|it| it.replacen('e', "e+0", 1));
                let all = [Some(number.to_string()), as_go].into_iter().flatten();
                self.lock().extend(all.filter(|text| text.len() >= SHORTEST));
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(entries) => entries.values().for_each(|value| self.add(value)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        let all = self.lock();
        all.texts.is_empty() && !all.is_full
    }

    /// Returns `message` without any of them, in whatever case they are written, in base64, and in
    /// quotes that contain a part of one.
    pub fn hide(&self, message: &str) -> String {
        let all = self.lock();
        if all.is_full {
            return format!(
                "(the message is withheld: it may quote one of the Secrets of the values, which have \
                 more than {MOST} lines, or {} MiB)",
                MOST_BYTES >> 20
            );
        }
        if all.texts.is_empty() {
            return message.to_owned();
        }
        let mut secrets: Vec<_> = all.texts.iter().map(|it| it.to_ascii_lowercase()).collect();
        // One may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        let text = without(message, &secrets);
        let text = without_base64(&text, &secrets);
        without_fragments(&text, &secrets)
    }
}

/// Replaces each of `secrets`, which are in lower case.
fn without(message: &str, secrets: &[String]) -> String {
    let mut text = message.to_owned();
    // Of the same length, so that places in one are places in the other.
    let mut lower = text.to_ascii_lowercase();
    for secret in secrets.iter().filter(|it| it.len() >= SHORTEST) {
        if !lower.contains(secret.as_str()) {
            continue;
        }
        text = values::cut(&text, &lower, secret);
        lower = text.to_ascii_lowercase();
    }
    text
}

/// Replaces what decodes to a text that contains one of `secrets`.
fn without_base64(message: &str, secrets: &[String]) -> String {
    let is_base64 = |it: char| it.is_ascii_alphanumeric() || it == '+' || it == '/';
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|it| !is_base64(it)).filter(|it| it.len() >= SHORTEST_BASE64);
        words.map(decoded).collect()
    };
    let tells = |decoded: &str| {
        secrets.iter().any(|it| it.len() >= SHORTEST && decoded.contains(it.as_str()))
    };
    if !tells(&words(message).join("\n")) {
        return message.to_owned();
    }
    let mut told = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_base64(c)).unwrap_or(rest.len()));
        let is_told = word.len() >= SHORTEST_BASE64 && tells(&decoded(word));
        told.push_str(if is_told { CUT } else { word });
        let (other, after) = after.split_at(after.find(is_base64).unwrap_or(after.len()));
        told.push_str(other);
        rest = after;
    }
    told
}

/// Returns what a word is in base64, in lower case, wherever the group of four letters begins that
/// it is a part of.
fn decoded(word: &str) -> String {
    let parts = (0..4).filter_map(|skip| {
        let part = word.get(skip..)?;
        // A single letter more is no byte.
        let whole = part.len().saturating_sub(usize::from(part.len() % 4 == 1));
        LENIENT.decode(part.get(..whole)?).ok()
    });
    let parts = parts.map(|part| String::from_utf8_lossy(&part).to_ascii_lowercase());
    parts.collect::<Vec<_>>().join("\n")
}

/// Replaces quoted text that is a part of one of `secrets`: parsers quote what they stopped at. Such
/// a quotation may be cut short (`abc...`).
fn without_fragments(message: &str, secrets: &[String]) -> String {
    let is_part = |inner: &str| {
        let inner = inner.trim_end_matches('.').to_ascii_lowercase();
        let is_short = inner.len() < SHORTEST;
        !inner.is_empty()
            && secrets
                .iter()
                .any(|it| if is_short { *it == inner } else { it.contains(inner.as_str()) })
    };
    let mut told = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(['"', '\'', '`']) {
        let mark = rest.get(at..).and_then(|it| it.chars().next()).unwrap_or('"');
        let (before, from) = rest.split_at(at.saturating_add(1));
        told.push_str(before);
        rest = match from.split_once(mark) {
            Some((inner, after)) if is_part(inner) => {
                told.push_str(CUT);
                told.push(mark);
                after
            }
            _ => from,
        };
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_secret_holds_is_hidden_wherever_it_stands() {
        let secrets = Secrets::default();
        secrets
            .add(&json!({"db": {"password": "hunter2", "port": 54321, "tls": true}, "on": "no"}));
        secrets.add(&json!(["hunter2-and-more", "two\nlines of it"]));
        let message = "a.yaml:7: hunter2-and-more, \"hunter2\", 54321, no, true; lines of it";
        assert_eq!(secrets.hide(message), "a.yaml:7: …, \"…\", …, no, true; …");
        assert_eq!(Secrets::default().hide(message), message);
        secrets.add(&json!("*s3cret"));
        let looked_up = json!({"items": [{"data": {"a": "bG9va2VkLXVw", "b": "/w=="}}, {}]});
        secrets.add_data(&looked_up);
        assert_eq!(secrets.hide("bG9va2VkLXVw is looked-up"), "… is …");
        assert_eq!(secrets.hide("a.yaml: unknown anchor 's3cret'"), "a.yaml: unknown anchor '…'");
    }

    #[test]
    fn other_forms_of_a_secret_are_hidden_too() {
        let secrets = Secrets::default();
        secrets.add(&json!(["Hunter2[x", "abc", "say \"<yes>\"", 12_345_678]));
        for (message, told) in [
            ("HUNTER2[X, hunter2[x", "…, …"),
            ("SHVudGVyMlt4 is base64", "… is base64"),
            ("error in bWU6SHVudGVyMlt4OnlvdQ==.", "error in …==."),
            ("missing closing ]: `[x`", "missing closing ]: `[x`"),
            ("missing closing ]: `r2[x`", "missing closing ]: `…`"),
            ("cannot unmarshal !!str `Hunter2...` into int", "cannot unmarshal !!str `…` into int"),
            ("abc is \"abc\", it's no 'abc' or `d`", "abc is \"…\", it's no '…' or `d`"),
            (r#"printed "say \"<yes>\"""#, r#"printed "…""#),
            (r#"printed "say \"\u003cyes\u003e\"""#, r#"printed "…""#),
            ("1.2345678e+07, 12345678", "…, …"),
            (
                "templates/configmap.yaml:3:4: at <.Values.a>",
                "templates/configmap.yaml:3:4: at <.Values.a>",
            ),
        ] {
            assert_eq!(secrets.hide(message), told, "{message}");
        }
    }

    #[test]
    fn what_a_chart_looks_up_a_thousand_times_is_kept_once_and_too_much_withholds_the_message() {
        let secrets = Secrets::default();
        let text = format!("{}hunter2-hunter2", "line of a secret\n".repeat(1000));
        for _ in 0..1000 {
            secrets.add(&Value::from(&*text));
        }
        assert!(secrets.lock().bytes < 1000);
        assert_eq!(secrets.hide("a hunter2-hunter2"), "a …");
        let many: Vec<_> = (0..=MOST).map(|n| Value::from(format!("secret {n}"))).collect();
        secrets.add(&many.into());
        assert!(secrets.lock().texts.is_empty() && !secrets.is_empty());
        assert!(secrets.hide("a hunter2-hunter2").contains("withheld"));
    }
}
