//! Messages of others without the values that they quote. Pure.

use serde_json::Value;

/// The placeholder for a value.
const CUT: &str = "…";

/// Returns the message of one field, as `field.Error` of `k8s.io/apimachinery` builds it, without
/// the value and without the values that its detail quotes: `Invalid value: "x": must be …`.
pub(super) fn without_value(message: &str) -> String {
    /// The kinds of error that have a value.
    const KINDS: [&str; 5] = [
        "Invalid value: ",
        "Unsupported value: ",
        "Duplicate value: ",
        "Not found: ",
        "Too long: ",
    ];
    let Some(kind) = KINDS.iter().find(|kind| message.starts_with(**kind)) else {
        // `Required value`, `Forbidden`, `Too many`, `Internal error`.
        return without_values(message);
    };
    let rest = message.get(kind.len()..).unwrap_or_default();
    let after = match quoted(rest) {
        Some((_, after)) => after,
        // The end of a value of another kind is unknown. But such a value ends with its own bracket
        // or quote, and the text after the last colon contains none.
        None => match rest.rfind(": ").map(|colon| rest.split_at(colon)) {
            Some((_, after)) if !after.contains(['"', '{', '}', '[', ']']) => after,
            _ => "",
        },
    };
    // The allowed values come from the schema.
    let detail = after.strip_prefix(": ").unwrap_or_default();
    let detail = if detail.starts_with("supported values: ") {
        on_one_line(detail)
    } else {
        without_values(detail)
    };
    let kind = kind.trim_end_matches(": ");
    if detail.is_empty() { kind.to_owned() } else { format!("{kind}: {detail}") }
}

/// Returns a text in Go's quotes at the beginning of `text`, and the text after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (index, letter) in inner.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((inner.get(..index)?, inner.get(index.saturating_add(1)..)?)),
            _ => {}
        }
    }
    None
}

/// Removes quoted text, unless it is a name, and the values of typed patches.
pub(super) fn without_values(text: &str) -> String {
    /// The quoted text after these words is a name.
    const NAMES: [&str; 13] = [
        "field ",
        "webhook ",
        "Post ",
        "version ",
        "user ",
        "User ",
        "resource ",
        "group ",
        "namespace ",
        "kind ",
        "Kind ",
        "class ",
        "path ",
    ];
    let mut told = String::with_capacity(text.len());
    // A conversion webhook has words of its own, and the object is not known.
    let text = match text.split_once("conversion webhook for ") {
        Some((_, rest)) if !rest.contains(" failed: Post \"") => {
            let end = text.find(" failed: ").map_or(text.len(), |at| at.saturating_add(7));
            text.get(..end).unwrap_or_default()
        }
        _ => text,
    };
    // `.spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:"x"}`.
    let lines = text.lines().map(|line| match line.split_once(", got &") {
        Some((line, _)) => line,
        None => line,
    });
    let text = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let mut rest = &*text;
    while let Some(index) = rest.find('"') {
        let (before, from) = rest.split_at(index);
        told.push_str(before);
        let Some((inner, after)) = quoted(from) else {
            // The quoted text does not end.
            told.push_str(CUT);
            return told;
        };
        let is_name = NAMES.iter().any(|name| before.ends_with(name))
            // `ConfigMap "x" is invalid`, `pods "x" is forbidden`, `secrets "x" not found`.
            || [" is invalid", " is forbidden", " not found"].iter().any(|it| after.starts_with(it));
        told.push('"');
        told.push_str(if is_name { inner } else { CUT });
        told.push('"');
        rest = after;
    }
    told.push_str(rest);
    told
}

/// Returns a path without the keys of maps, which templates may have made from any value:
/// `labels[…]`.
pub(super) fn without_keys(path: &str) -> String {
    let mut told = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, from)) = rest.split_once('[') {
        told.push_str(before);
        let index = from.split_once(']').filter(|(index, after)| {
            index.bytes().all(|it| it.is_ascii_digit())
                && (after.is_empty() || after.starts_with(['.', '[']))
        });
        rest = if let Some((index, after)) = index {
            told.push_str(&format!("[{index}]"));
            after
        } else {
            // A key may contain brackets.
            told.push_str(&format!("[{CUT}]"));
            from.rsplit_once(']').map_or("", |(_, after)| after)
        };
    }
    told.push_str(rest);
    told
}

/// Returns the API server's list of conflicts without the values by which it names items of lists,
/// except names: `.spec.ports[port=…,protocol=…].nodePort`.
pub(super) fn without_items(conflicts: &str) -> String {
    let mut told = String::with_capacity(conflicts.len());
    let mut rest = conflicts;
    while let Some((before, from)) = rest.split_once('[') {
        told.push_str(before);
        told.push('[');
        // Each is `name="value"`; an item that is a value itself has no name.
        let mut first = true;
        rest = loop {
            let (name, value) = from_name(if first { from } else { rest });
            if !first {
                told.push(',');
            }
            first = false;
            told.push_str(name);
            let (shown, after) = match quoted(value) {
                Some((text, after)) if name == "name=" => (format!("\"{text}\""), after),
                Some((_, after)) => (CUT.to_owned(), after),
                None => {
                    let end = value.find([',', ']']).unwrap_or(value.len());
                    let is_index = name.is_empty()
                        && value
                            .get(..end)
                            .is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit()));
                    let shown = if is_index { value.get(..end).unwrap_or_default() } else { CUT };
                    (shown.to_owned(), value.get(end..).unwrap_or_default())
                }
            };
            told.push_str(&shown);
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => break after,
            }
        };
    }
    told.push_str(rest);
    told
}

/// Returns the `name=` that `text` begins with, and the text after it.
fn from_name(text: &str) -> (&str, &str) {
    let end = text.find(|it: char| !it.is_alphanumeric()).unwrap_or(text.len());
    match text.get(end..) {
        Some(rest) if rest.starts_with('=') => text.split_at(end.saturating_add(1)),
        _ => ("", text),
    }
}

/// The minimum length of a value that is searched for: a shorter one is a part of any word.
const SHORTEST: usize = 4;
/// The maximum number of values that are searched for.
const MOST_VALUES: usize = 10_000;

/// The values of the objects that a call is about: the one that was sent, and the one that is there.
#[derive(Default)]
pub(crate) struct Values {
    texts: Vec<String>,
    /// What a value may be a part of without being hidden.
    names: Vec<String>,
    /// True if one of the objects is not known.
    pub(crate) is_unknown: bool,
}

impl Values {
    /// Adds those of `object` that are neither its kind nor a name.
    pub(crate) fn add(&mut self, object: &Value) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let own = ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace"];
        self.names.extend(own.into_iter().filter_map(text));
        self.scalars(object, true);
    }

    /// Returns the message of another program without them; without anything in quotes if one of
    /// the objects is not known. Returns `None` if they are too many.
    pub(super) fn hide(&self, words: &str) -> Option<String> {
        let words = self.hide_known(words)?;
        Some(if self.is_unknown { without_quotes(&words) } else { words })
    }

    /// Does the same as [`Self::hide`], but keeps what is in quotes.
    pub(super) fn hide_known(&self, words: &str) -> Option<String> {
        if self.texts.len() >= MOST_VALUES {
            return None;
        }
        let is_found = |text: &&String| {
            words.contains(text.as_str()) && !self.names.iter().any(|name| name.contains(&**text))
        };
        let mut texts: Vec<_> = self.texts.iter().filter(is_found).collect();
        // The longest first: one may be a part of another.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Some(texts.into_iter().fold(words.to_owned(), |words, it| words.replace(it, CUT)))
    }

    fn scalars(&mut self, value: &Value, is_top: bool) {
        if self.texts.len() >= MOST_VALUES {
            return;
        }
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.push(&number.to_string()),
            Value::String(text) => {
                self.push(text);
                // A message may quote a single line of a file, and is on one line itself.
                for line in text.lines() {
                    self.push(line.trim());
                    self.push(&on_one_line(line));
                }
                let escaped = value.to_string();
                if escaped.len() > text.len().saturating_add(2) {
                    let escaped = escaped.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
                    self.push(escaped.unwrap_or_default());
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.scalars(item, false)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (&**key, value) {
                        ("kind" | "apiVersion", _) if is_top => {}
                        // The name of a container or a variable: without it, the message does not
                        // say which one is meant.
                        ("name", Value::String(name)) => self.names.push(name.clone()),
                        ("metadata", Value::Object(metadata)) if is_top => {
                            for (key, value) in metadata {
                                let is_own = ["name", "namespace", "managedFields"];
                                if !is_own.contains(&&**key) {
                                    self.scalars(value, false);
                                }
                            }
                        }
                        _ => self.scalars(value, false),
                    }
                }
            }
        }
    }

    fn push(&mut self, text: &str) {
        let is_known = self.texts.last().is_some_and(|last| last == text);
        if text.len() >= SHORTEST && !is_known {
            self.texts.push(text.to_owned());
        }
    }
}

/// Removes text in quotes of any kind.
fn without_quotes(words: &str) -> String {
    let mut told = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(index) = rest.find(['"', '\'', '`']) {
        let (before, from) = rest.split_at(index);
        let mut letters = from.chars();
        let mark = letters.next().unwrap_or('"');
        told.push_str(before);
        told.push(mark);
        let inner = letters.as_str();
        // An apostrophe is inside a word.
        if mark == '\'' && before.ends_with(char::is_alphanumeric) {
            rest = inner;
            continue;
        }
        told.push_str(CUT);
        let Some((_, after)) = inner.split_once(mark) else { return told };
        told.push(mark);
        rest = after;
    }
    told.push_str(rest);
    told
}

pub(super) fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
