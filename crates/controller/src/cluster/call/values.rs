//! Words of others without the values that they quote. Pure.

use serde_json::Value;

/// What stands for a value.
const CUT: &str = "…";

/// The message of one field, as `field.Error` of `k8s.io/apimachinery` makes it, without the value
/// and without what its detail quotes: `Invalid value: "x": must be …`.
pub(super) fn without_value(message: &str) -> String {
    /// These have a value.
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
        // Where the value of another kind ends, nobody can tell; but that it ends with its own bracket
        // or quote, and what comes after the last colon has none.
        None => match rest.rfind(": ").map(|colon| rest.split_at(colon)) {
            Some((_, after)) if !after.contains(['"', '{', '}', '[', ']']) => after,
            _ => "",
        },
    };
    // What it may be is the schema's.
    let detail = after.strip_prefix(": ").unwrap_or_default();
    let detail = if detail.starts_with("supported values: ") {
        on_one_line(detail)
    } else {
        without_values(detail)
    };
    let kind = kind.trim_end_matches(": ");
    if detail.is_empty() { kind.to_owned() } else { format!("{kind}: {detail}") }
}

/// A text in Go's quotes at the beginning of `text`, and what comes after it.
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

/// Without what stands in quotes, unless it is a name, and without the values of typed patches.
pub(super) fn without_values(text: &str) -> String {
    /// What these are followed by is a name.
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
            // It does not end.
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

/// A path without the keys of maps, which templates may have made of anything: `labels[…]`.
pub(super) fn without_keys(path: &str) -> String {
    let mut told = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, from)) = rest.split_once('[') {
        told.push_str(before);
        told.push('[');
        let (key, after) = from
            .rsplit_once(']')
            .filter(|_| !from.contains('['))
            .unwrap_or_else(|| from.split_once(']').unwrap_or((from, "")));
        let is_index = key.bytes().all(|it| it.is_ascii_digit());
        told.push_str(if is_index { key } else { CUT });
        told.push(']');
        rest = after;
    }
    told.push_str(rest);
    told
}

/// Somebody else's words without the values of the object that was sent, or, where that is not known,
/// without what they quote.
pub(super) fn hidden(words: &str, sent: Option<&Value>) -> String {
    let Some(sent) = sent.filter(|sent| sent.get("kind").is_some()) else {
        return without_quotes(words);
    };
    let mut values = Vec::new();
    scalars(sent, &mut values, true);
    // The longest first: one may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.dedup();
    let mut words = words.to_owned();
    for value in values {
        if words.contains(&value) {
            words = words.replace(&value, CUT);
        }
    }
    words
}

/// So short a value is not looked for: it is a part of any word.
const SHORTEST: usize = 4;
/// What is looked for in all.
const MOST_VALUES: usize = 10_000;

/// The values of an object that are not its kind or a name.
fn scalars(value: &Value, into: &mut Vec<String>, is_top: bool) {
    if into.len() >= MOST_VALUES {
        return;
    }
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => push(number.to_string(), into),
        Value::String(text) => {
            push(text.clone(), into);
            // A line of a file is quoted alone.
            if text.contains('\n') {
                text.lines().for_each(|line| push(line.trim().to_owned(), into));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| scalars(item, into, false)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match (&**key, value) {
                    ("kind" | "apiVersion", _) if is_top => {}
                    // Of a container or a variable: without it, nobody knows which is meant.
                    ("name", Value::String(_)) => {}
                    ("metadata", Value::Object(metadata)) if is_top => {
                        let own = metadata.iter();
                        let own = own.filter(|(key, _)| !matches!(&***key, "name" | "namespace"));
                        own.for_each(|(_, value)| scalars(value, into, false));
                    }
                    _ => scalars(value, into, false),
                }
            }
        }
    }
}

fn push(value: String, into: &mut Vec<String>) {
    if value.len() >= SHORTEST && into.len() < MOST_VALUES {
        into.push(value);
    }
}

/// Without what stands in quotes of any kind.
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
        // An apostrophe stands in a word.
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
