//! Messages of others without the values that they quote. Pure.

pub(super) use manifests::values::on_one_line;

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
    const BRACKETS: [char; 5] = ['"', '{', '}', '[', ']'];
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
            Some((_, after)) if !after.contains(BRACKETS) => after,
            // The rules of a CustomResourceDefinition have a message in place of the value.
            None if rest.contains(' ') && !rest.contains(BRACKETS) => rest,
            _ => "",
        },
    };
    // The allowed values come from the schema.
    let detail = after.strip_prefix(": ").unwrap_or(after);
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
            told.extend(["[", index, "]"]);
            after
        } else {
            // A key may contain brackets.
            told.extend(["[", CUT, "]"]);
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

/// The values of the objects that a call is about: the one that was sent, and the one that is there.
#[derive(Default)]
pub(crate) struct Values {
    pub(crate) known: manifests::values::Values,
    /// True if one of the objects is not known.
    pub(crate) is_unknown: bool,
}

impl Values {
    /// Returns the message of another program without them; without anything in quotes if one of
    /// the objects is not known. Returns `None` if they are too many.
    pub(super) fn hide(&self, words: &str) -> Option<String> {
        let words = self.known.hide(words)?;
        Some(if self.is_unknown { without_quotes(&words) } else { words })
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
