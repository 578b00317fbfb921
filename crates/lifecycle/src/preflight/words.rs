//! A check whether Pods wait for the work of a hook: by the words of both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::needs::items;
use crate::plan::PlannedHook;

/// Shorter words are found everywhere.
const STEM: usize = 4;
/// The words that are in any script.
const COMMON: [&str; 10] =
    ["done", "echo", "else", "exec", "exit", "sleep", "test", "then", "until", "while"];
/// The most of a container's command that is read.
const MOST_TEXT: usize = 4096;
/// The most words with the same beginning that are kept apart.
const MOST_ALIKE: usize = 8;

/// The words that name hooks, with the hook of each, by their first letters.
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

    /// The part of the Pods of `spec` that seems to wait for a hook, and that hook: an init
    /// container that says it waits, or a probe that runs a command, and uses a word of the hook's
    /// name. Words in `common` are in every name of the release.
    pub(super) fn waited_for(
        &self,
        spec: &Value,
        common: &[&str],
    ) -> Option<(String, &'a PlannedHook)> {
        let common: BTreeSet<_> = common.iter().flat_map(|text| words(text)).collect();
        let name = |container: &Value| container.get("name")?.as_str().map(str::to_owned);
        let by_init = |container: &Value| {
            let text = text(container.get("name").into_iter().chain(run_by(container)));
            let waits = words(&text).any(|word| word.starts_with("wait"));
            let hook = self.named_in(&text, &common).filter(|_| waits)?;
            Some((format!("init container {}", name(container)?), hook))
        };
        let by_probe = |container: &Value| {
            ["readinessProbe", "startupProbe"].into_iter().find_map(|probe| {
                let text = text(items(container.get(probe)?.get("exec")?, "command"));
                let hook = self.named_in(&text, &common)?;
                Some((format!("{probe} of container {}", name(container)?), hook))
            })
        };
        items(spec, "initContainers")
            .find_map(by_init)
            .or_else(|| items(spec, "containers").find_map(by_probe))
    }

    /// The hook of which a word of `text` is a form.
    fn named_in(&self, text: &str, common: &BTreeSet<String>) -> Option<&'a PlannedHook> {
        telling(text).filter(|word| !common.contains(word)).find_map(|word| {
            let alike = self.0.get(cut(&word, STEM))?;
            let is_it = |(name, _): &&(String, _)| !common.contains(name) && is_form(name, &word);
            alike.iter().find(is_it).map(|(_, hook)| *hook)
        })
    }
}

/// Returns whether both are forms of one word, as `migrate`, `migrated` and `migrations` are.
fn is_form(a: &str, b: &str) -> bool {
    a.starts_with(cut(b, STEM + 1)) || b.starts_with(cut(a, STEM + 1))
}

/// The command of a container and its arguments.
fn run_by(container: &Value) -> impl Iterator<Item = &Value> {
    ["command", "args"].into_iter().flat_map(|key| items(container, key))
}

/// The texts, cut to the length that is read.
fn text<'a>(parts: impl Iterator<Item = &'a Value>) -> String {
    let mut text = String::new();
    for part in parts.filter_map(Value::as_str) {
        let room = MOST_TEXT.saturating_sub(text.len());
        text.extend([cut(part, room), " "]);
        if room == 0 {
            break;
        }
    }
    text
}

/// The words that say what is waited for.
fn telling(text: &str) -> impl Iterator<Item = String> {
    let tells = |word: &String| !word.starts_with("wait") && !COMMON.contains(&word.as_str());
    words(text).filter(move |word| word.len() >= STEM && tells(word))
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !c.is_ascii_alphabetic());
    parts.filter(|part| !part.is_empty()).map(str::to_lowercase)
}

fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}
