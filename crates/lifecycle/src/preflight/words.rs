//! Whether an init container waits for what a hook does: by the words of both.

use serde_json::Value;

use super::needs::items;
use crate::plan::PlannedHook;

/// Words of fewer letters are found everywhere.
const STEM: usize = 4;
/// As much of a command is read.
const MOST_TEXT: usize = 4096;

/// The name of the init container of `spec` that says it waits, and names what `hook` is called by.
/// Words in `common` are in every name of the release.
pub(super) fn waits_for(spec: &Value, hook: &PlannedHook, common: &[&str]) -> Option<String> {
    let common: Vec<_> = common.iter().flat_map(|text| words(text)).collect();
    let is_telling =
        |word: &String| word.len() >= STEM && !word.starts_with("wait") && !common.contains(word);
    let named: Vec<_> = words(&hook.object.name).into_iter().filter(is_telling).collect();
    let waits = |container: &&Value| {
        let found: Vec<_> = text(container).iter().flat_map(|text| words(text)).collect();
        let names = |word: &String| named.iter().any(|name| is_one_word(name, word));
        found.iter().any(|word| word.starts_with("wait"))
            && found.iter().any(|word| is_telling(word) && names(word))
    };
    let container = items(spec, "initContainers").find(waits)?;
    container.get("name").and_then(Value::as_str).map(str::to_owned)
}

/// Whether both are forms of one word, as `migrate`, `migrated` and `migrations` are.
fn is_one_word(a: &str, b: &str) -> bool {
    a.starts_with(cut(b, STEM + 1)) || b.starts_with(cut(a, STEM + 1))
}

fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// The name, the command and its arguments.
fn text(container: &Value) -> Vec<&str> {
    let name = container.get("name").into_iter();
    let rest = ["command", "args"].into_iter().flat_map(|key| items(container, key));
    let texts = name.chain(rest).filter_map(Value::as_str);
    texts.map(|text| cut(text, MOST_TEXT)).collect()
}

fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !c.is_ascii_alphabetic());
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase).collect()
}
