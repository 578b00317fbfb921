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

/// Returns the message of another program without the values of the object that was sent or, if
/// that object is not known, without quoted text.
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

/// The minimum length of a value that is searched for: a shorter one is a part of any word.
const SHORTEST: usize = 4;
/// The maximum number of values that are searched for.
const MOST_VALUES: usize = 10_000;

/// Collects the values of an object that are not its kind or a name.
fn scalars(value: &Value, into: &mut Vec<String>, is_top: bool) {
    if into.len() >= MOST_VALUES {
        return;
    }
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => push(number.to_string(), into),
        Value::String(text) => {
            push(text.clone(), into);
            // A message may quote a single line of a file.
            if text.contains('\n') {
                text.lines().for_each(|line| push(line.trim().to_owned(), into));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| scalars(item, into, false)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match (&**key, value) {
                    ("kind" | "apiVersion", _) if is_top => {}
                    // The name of a container or a variable: without it, the message does not say
                    // which one is meant.
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
