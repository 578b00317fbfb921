//! The values of objects, to be removed from what other programs say of them. Pure.

use std::cmp::Reverse;

use serde_json::Value;

/// The placeholder for a value.
const CUT: &str = "…";
/// The minimum length of a value that is searched for: a shorter one is a part of any word.
const SHORTEST: usize = 4;
/// The minimum length of a value that is searched for in upper and lower case.
const LONG: usize = 8;
/// The maximum number of values that are searched for.
const MOST: usize = 10_000;

/// Values that are in no message.
#[derive(Debug, Default)]
pub struct Values {
    texts: Vec<String>,
    /// The names that a value may be a part of without being hidden.
    names: Vec<String>,
}

impl Values {
    /// Adds those of `object` that are neither its kind nor a name.
    pub fn add(&mut self, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let own = ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"];
        own.into_iter().filter_map(text).for_each(|name| self.add_name(name));
        self.add_value(object, true);
    }

    /// Adds a name: a value that is a part of it is not hidden. A text that cannot be a name is
    /// hidden itself.
    pub fn add_name(&mut self, name: &str) {
        let is_odd = |letter: char| {
            !letter.is_ascii_alphanumeric() && !['-', '.', '_', '/', ':', '@'].contains(&letter)
        };
        if name.contains(is_odd) { self.add_text(name) } else { self.names.push(name.to_owned()) }
    }

    /// Adds a text, and each of its lines: a message may quote a single line of a file.
    pub fn add_text(&mut self, text: &str) {
        self.push(text);
        for line in text.lines() {
            self.push(line.trim());
            // As in a message that is on one line itself.
            self.push(&on_one_line(line));
        }
        let escaped = Value::from(text).to_string();
        if escaped.len() > text.len().saturating_add(2) {
            let escaped = escaped.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            self.push(escaped.unwrap_or_default());
        }
    }

    /// Adds all texts and numbers in `value`, except names.
    pub fn add_value(&mut self, value: &Value, is_object: bool) {
        if self.texts.len() >= MOST {
            return;
        }
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.push(&number.to_string()),
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item, false)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (&**key, value) {
                        ("kind" | "apiVersion", _) if is_object => {}
                        // Without the name of a container, a variable or another object, the
                        // message does not say which one is meant.
                        (key, Value::String(name)) if is_name(key) => self.add_name(name),
                        ("metadata", Value::Object(metadata)) if is_object => {
                            let is_own =
                                |key: &str| ["name", "namespace", "managedFields"].contains(&key);
                            let others = metadata.iter().filter(|(key, _)| !is_own(key));
                            others.for_each(|(_, value)| self.add_value(value, false));
                        }
                        _ => self.add_value(value, false),
                    }
                }
            }
        }
    }

    fn push(&mut self, text: &str) {
        let is_known = self.texts.last().is_some_and(|last| last == text);
        if text.len() >= SHORTEST && !is_known && self.texts.len() < MOST {
            self.texts.push(text.to_owned());
        }
    }

    /// Returns `words` without them; `None` if they are too many to be searched for.
    pub fn hide(&self, words: &str) -> Option<String> {
        if self.texts.len() >= MOST {
            return None;
        }
        let mut words = words.to_owned();
        let mut lower = words.to_ascii_lowercase();
        let is_of_name = |text: &str| self.names.iter().any(|name| name.contains(text));
        // The longest first: one may be a part of another.
        let mut texts: Vec<_> = self.texts.iter().collect();
        texts.sort_by_key(|text| Reverse(text.len()));
        for text in texts {
            let (found, wanted) = if text.len() < LONG {
                (words.contains(&**text), text.clone())
            } else {
                let wanted = text.to_ascii_lowercase();
                (lower.contains(&wanted), wanted)
            };
            if found && !is_of_name(text) {
                // Places in one are places in the other.
                let searched = if text.len() < LONG { &words } else { &lower };
                words = cut(&words, searched, &wanted);
                lower = words.to_ascii_lowercase();
            }
        }
        Some(words)
    }
}

/// Returns whether a field has a name: `name`, `serviceAccountName`, and what the operator adds.
pub fn is_name(field: &str) -> bool {
    field == "name" || field.ends_with("Name") || field.starts_with("meta.helm.sh/release-")
}

/// Cuts the parts out of `words` at which `searched`, a text of the same length, has `wanted`.
pub fn cut(words: &str, searched: &str, wanted: &str) -> String {
    let mut told = String::with_capacity(words.len());
    let mut from = 0;
    for (at, found) in searched.match_indices(wanted) {
        told.push_str(words.get(from..at).unwrap_or_default());
        told.push_str(CUT);
        from = at.saturating_add(found.len());
    }
    told.push_str(words.get(from..).unwrap_or_default());
    told
}

/// Returns the text with single spaces between its words.
pub fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_hidden_and_names_are_not() {
        let mut values = Values::default();
        values.add(&json!({"kind": "Job", "metadata": {"name": "shop", "labels": {"app": "shop"}},
            "spec": {"nodeName": "node-a", "e": "node", "f": {"name": "Hunter2 and"}, "a": "Hunter2-and", "b": "abcd", "c": "no", "d": 4711, "name": "main",
                     "file": "one:\n  two:   \"x\"\n", "x": "a \"b\""}}));
        for (words, told) in [
            ("shop, app, Job, main, no, node-a", "shop, app, Job, main, no, node-a"),
            ("no hunter2 and is there", "no … is there"),
            ("hunter2-AND abcd ABCD 4711", "… … ABCD …"),
            ("line two: \"x\" of it", "line … of it"),
            ("{\"x\":\"a \\\"b\\\"\"}", "{\"x\":\"…\"}"),
        ] {
            assert_eq!(values.hide(words).unwrap(), told);
        }
    }
}
