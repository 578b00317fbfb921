//! Whether an init container waits for what a hook does: by the words of both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::needs::items;
use crate::plan::PlannedHook;

/// Words of fewer letters are found everywhere.
const STEM: usize = 4;
/// As much of what a container runs is read.
const MOST_TEXT: usize = 4096;
/// So many of the words that begin alike are told apart.
const MOST_ALIKE: usize = 8;

/// The words that hooks are called by, with the hook of each, by their first letters.
#[derive(Default)]
pub(super) struct HookWords<'a>(BTreeMap<String, Vec<(String, &'a PlannedHook)>>);

impl<'a> HookWords<'a> {
    pub(super) fn of(hooks: impl Iterator<Item = &'a PlannedHook>) -> Self {
        let mut found = Self::default();
        for hook in hooks {
            for word in telling(&hook.object.name) {
                let alike = found.0.entry(cut(&word, STEM).to_owned()).or_default();
                if alike.len() < MOST_ALIKE && !alike.iter().any(|(known, _)| *known == word) {
                    alike.push((word, hook));
                }
            }
        }
        found
    }

    /// The first init container of `spec` that says it waits and names what a hook is called by, and that
    /// hook. Words in `common` are in every name of the release.
    pub(super) fn waited_for<'b>(
        &self,
        spec: &'b Value,
        common: &[&str],
    ) -> Option<(&'b str, &'a PlannedHook)> {
        let common: BTreeSet<_> = common.iter().flat_map(|text| words(text)).collect();
        items(spec, "initContainers").find_map(|container| {
            let text = text(container);
            if !words(&text).any(|word| word.starts_with("wait")) {
                return None;
            }
            let hook = telling(&text).filter(|word| !common.contains(word)).find_map(|word| {
                let alike = self.0.get(cut(&word, STEM))?;
                let is_it =
                    |(name, _): &&(String, _)| !common.contains(name) && is_form(name, &word);
                alike.iter().find(is_it).map(|(_, hook)| *hook)
            })?;
            Some((container.get("name")?.as_str()?, hook))
        })
    }
}

/// Whether both are forms of one word, as `migrate`, `migrated` and `migrations` are.
fn is_form(a: &str, b: &str) -> bool {
    a.starts_with(cut(b, STEM + 1)) || b.starts_with(cut(a, STEM + 1))
}

/// The name of a container, its command and its arguments.
fn text(container: &Value) -> String {
    let name = container.get("name").into_iter();
    let rest = ["command", "args"].into_iter().flat_map(|key| items(container, key));
    let mut text = String::new();
    for part in name.chain(rest).filter_map(Value::as_str) {
        let room = MOST_TEXT.saturating_sub(text.len());
        text.extend([cut(part, room), " "]);
        if room == 0 {
            break;
        }
    }
    text
}

/// Those that say what is waited for.
fn telling(text: &str) -> impl Iterator<Item = String> {
    words(text).filter(|word| word.len() >= STEM && !word.starts_with("wait"))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !c.is_ascii_alphabetic());
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase)
}

fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}
