//! Helm's annotations that have no effect: words that Helm does not know, keys that are almost
//! Helm's own, and hook annotations in places where nothing reads them.
//!
//! Helm ignores each of them silently, and does something other than the author expects.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::hooks::{
    self, DeletePolicy, HOOK, HOOK_DELETE_POLICY, HOOK_WEIGHT, LogPolicy, OUTPUT_LOG_POLICY,
};

/// The annotation that keeps an object when its release is deleted.
pub const RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// The keys that Helm reads on an object of a release.
const KEYS: [&str; 5] = [HOOK, HOOK_WEIGHT, HOOK_DELETE_POLICY, OUTPUT_LOG_POLICY, RESOURCE_POLICY];
const PREFIX: &str = "helm.sh/";
/// Longer keys are not compared letter by letter.
const LONGEST_KEY: usize = 64;
/// The walk goes no deeper into an object.
const DEEPEST: usize = 64;
/// The most findings that are reported for one object.
const MOST_PER_OBJECT: usize = 20;
/// The length to which a quoted value is cut.
const QUOTED: usize = 60;

/// An annotation, or a word in one, that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Meaningless {
    /// A policy that Helm does not know.
    #[error(
        "annotation {key}: unknown policy {:?} in {:?}; use {known}, or remove the annotation",
        clip(word),
        clip(annotation)
    )]
    Policy {
        /// The annotation's key.
        key: &'static str,
        /// The unknown word.
        word: String,
        /// The whole annotation.
        annotation: String,
        /// The words that exist.
        known: String,
    },
    /// A weight that Go's `strconv.Atoi` cannot parse; Helm takes it for zero.
    #[error(
        "annotation {HOOK_WEIGHT}: {:?} is no whole number, and Helm takes it for 0; use one such as \
         \"-5\" or \"10\"",
        clip(value)
    )]
    Weight {
        /// The value.
        value: String,
    },
    /// A key that Helm does not read.
    #[error("annotation {}: there is no such key; {}", clip(key), suggestion(*meant))]
    Key {
        /// The key.
        key: String,
        /// The key that was probably meant.
        meant: Option<&'static str>,
    },
    /// An annotation that only hooks have, on an object that is not a hook.
    #[error("annotation {key}: it does nothing without the annotation {HOOK}")]
    WithoutHook {
        /// The key.
        key: &'static str,
    },
    /// An annotation that was written as a label.
    #[error(
        "label {}: as a label it does nothing; put the annotation {meant} into metadata.annotations",
        clip(key)
    )]
    Label {
        /// The key.
        key: String,
        /// The annotation that was meant.
        meant: &'static str,
    },
    /// An annotation below the object's own metadata.
    #[error(
        "{} in {path}: {place} it does nothing; put the annotation {meant} into \
         metadata.annotations of the {kind} itself",
        clip(key)
    )]
    Below {
        /// The path of the annotations or labels.
        path: String,
        /// The key.
        key: String,
        /// The place in words, such as `on a Pod template`.
        place: &'static str,
        /// The annotation that was meant.
        meant: &'static str,
        /// The kind of the object.
        kind: String,
    },
}

fn suggestion(meant: Option<&'static str>) -> String {
    match meant {
        Some(key) => format!("did you mean {key}?"),
        None => format!("there are {}", KEYS.join(", ")),
    }
}

impl Meaningless {
    /// Returns whether an object with it is refused if a user wrote the object: it is a hook, and
    /// its run would differ from what its author asks for.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Policy { key, .. } => *key == HOOK_DELETE_POLICY,
            Self::Weight { .. } => true,
            Self::Key { .. }
            | Self::WithoutHook { .. }
            | Self::Label { .. }
            | Self::Below { .. } => false,
        }
    }
}

impl Meaningless {
    /// Returns the same without the values that it quotes.
    #[must_use]
    pub fn without_values(self) -> Self {
        let hidden = || "…".to_owned();
        match self {
            Self::Policy { key, known, .. } => {
                Self::Policy { key, word: hidden(), annotation: hidden(), known }
            }
            Self::Weight { .. } => Self::Weight { value: hidden() },
            Self::Key { .. }
            | Self::WithoutHook { .. }
            | Self::Label { .. }
            | Self::Below { .. } => self,
        }
    }
}

/// Returns all annotations without effect in the metadata of `manifest`, and below it.
pub fn meaningless(manifest: &Value) -> Vec<Meaningless> {
    let mut found = Vec::new();
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or("object");
    if let Some(annotations) = map(manifest, "/metadata/annotations") {
        own(annotations, &mut found);
    }
    // An object made for a hook has a label beside its annotation.
    let has = |key| map(manifest, "/metadata/annotations").is_some_and(|it| it.contains_key(key));
    for key in map(manifest, "/metadata/labels").into_iter().flat_map(Map::keys) {
        if found.len() >= MOST_PER_OBJECT {
            break;
        }
        if let Key::Known(meant) | Key::Near(meant) = Key::of(key)
            && !has(meant)
        {
            found.push(Meaningless::Label { key: key.clone(), meant });
        }
    }
    let mut walk = Walk { kind: &clip(kind), path: Vec::new(), found };
    walk.fields(manifest);
    walk.found
}

/// Collects those of the object itself.
fn own(annotations: &Map<String, Value>, found: &mut Vec<Meaningless>) {
    let is_hook = annotations.contains_key(HOOK);
    for (key, value) in annotations {
        if found.len() >= MOST_PER_OBJECT {
            return;
        }
        let value = value.as_str().unwrap_or_default();
        match Key::of(key) {
            Key::Known(RESOURCE_POLICY) => found.extend(policy(RESOURCE_POLICY, value, &["keep"])),
            // The hook's own reader reports an unknown event.
            Key::Known(HOOK) | Key::Other => {}
            Key::Known(key) if !is_hook => found.push(Meaningless::WithoutHook { key }),
            Key::Known(HOOK_WEIGHT) if hooks::weight(value).is_none() => {
                found.push(Meaningless::Weight { value: value.to_owned() });
            }
            Key::Known(HOOK_DELETE_POLICY) => {
                found.extend(policy(
                    HOOK_DELETE_POLICY,
                    value,
                    &DeletePolicy::ALL.map(DeletePolicy::as_str),
                ));
            }
            Key::Known(OUTPUT_LOG_POLICY) => {
                found.extend(policy(
                    OUTPUT_LOG_POLICY,
                    value,
                    &LogPolicy::ALL.map(LogPolicy::as_str),
                ));
            }
            Key::Known(_) => {}
            Key::Near(meant) => {
                found.push(Meaningless::Key { key: key.clone(), meant: Some(meant) });
            }
            Key::Unknown => found.push(Meaningless::Key { key: key.clone(), meant: None }),
        }
    }
}

/// Returns the first word that is not in `known`. An empty annotation tells Helm that no policy
/// applies, and an empty word beside others changes nothing.
fn policy(key: &'static str, annotation: &str, known: &[&str]) -> Option<Meaningless> {
    let exist = match known {
        [word] => (*word).to_owned(),
        words => format!("one of {}", words.join(", ")),
    };
    let mut words = annotation.split(',').map(str::trim);
    let unknown = words
        .find(|word| !word.is_empty() && !known.iter().any(|it| word.to_lowercase() == **it))?;
    Some(Meaningless::Policy {
        key,
        word: unknown.to_owned(),
        annotation: annotation.to_owned(),
        known: exist,
    })
}

/// A key as Helm sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Known(&'static str),
    /// Almost that key.
    Near(&'static str),
    /// It has Helm's prefix, but is not similar to any of its keys.
    Unknown,
    /// Not Helm's.
    Other,
}

impl Key {
    fn of(key: &str) -> Self {
        if let Some(known) = KEYS.into_iter().find(|known| *known == key) {
            return Self::Known(known);
        }
        if key.len() > LONGEST_KEY {
            return if key.starts_with(PREFIX) { Self::Unknown } else { Self::Other };
        }
        let lower = key.to_lowercase();
        match lower.split_once('/') {
            // The label by which charts name themselves.
            Some(("helm.sh", "chart")) => Self::Other,
            Some(("helm.sh", name)) => nearest(name).map_or(Self::Unknown, Self::Near),
            // `helm.io/hook`, but neither Flux's nor Argo CD's own keys.
            Some((prefix, name)) if distance(prefix, "helm.sh") <= 2 || prefix.contains("helm") => {
                named(name).map_or(Self::Other, Self::Near)
            }
            Some(_) => Self::Other,
            None => without_prefix(&lower).map_or(Self::Other, Self::Near),
        }
    }
}

/// The key that is meant by `helm.sh.hook`, `helm-hook` and `hook-weight`.
fn without_prefix(key: &str) -> Option<&'static str> {
    let name = key.strip_prefix("helm.sh").or(key.strip_prefix("helm"));
    match name {
        Some(name) => named(name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric())),
        None => named(key).filter(|known| *known != HOOK && *known != RESOURCE_POLICY),
    }
}

/// The key of exactly this name.
fn named(name: &str) -> Option<&'static str> {
    KEYS.into_iter().find(|known| known.strip_prefix(PREFIX) == Some(name))
}

/// The key most similar to `name`, if any is similar.
fn nearest(name: &str) -> Option<&'static str> {
    let names = KEYS.into_iter().filter_map(|key| Some((key, key.strip_prefix(PREFIX)?)));
    let like = |(key, known): (&'static str, &str)| {
        let distance = distance(name, known);
        let longer = name.len().max(known.len());
        let is_part = name.len() >= 5 && known.contains(name);
        (is_part || distance.saturating_mul(5) <= longer.saturating_mul(2))
            .then_some((distance, key))
    };
    names.filter_map(like).min().map(|(_, key)| key)
}

/// The number of letters to change, remove or insert (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, x) in a.bytes().enumerate() {
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (y, pair) in b.bytes().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            let changed = diagonal.saturating_add(usize::from(x != y));
            left = changed.min(left.min(above).saturating_add(1));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// Searches for metadata below the object's own.
struct Walk<'a> {
    kind: &'a str,
    path: Vec<Step<'a>>,
    found: Vec<Meaningless>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

impl<'a> Walk<'a> {
    fn value(&mut self, step: Step<'a>, value: &'a Value) {
        if self.path.len() == DEEPEST || self.found.len() >= MOST_PER_OBJECT {
            return;
        }
        self.path.push(step);
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(Step::Item(index), item);
                }
            }
            // An object within an object, such as the source of another release, has its own reader.
            Value::Object(fields) if self.is_item() || !is_whole(fields) => {
                self.metadata(value);
                self.fields(value);
            }
            _ => {}
        }
        self.path.pop();
    }

    fn fields(&mut self, value: &'a Value) {
        let fields = value.as_object().into_iter().flatten();
        // The claims of a StatefulSet stay in any case.
        for (key, field) in
            fields.filter(|(key, _)| !["metadata", "volumeClaimTemplates"].contains(&key.as_str()))
        {
            self.value(Step::Field(key), field);
        }
    }

    /// Returns whether this is an item of a `List`.
    fn is_item(&self) -> bool {
        matches!(&*self.path, [Step::Field("items"), Step::Item(_)])
    }

    fn metadata(&mut self, value: &Value) {
        for part in ["annotations", "labels"] {
            let keys = map(value, &format!("/metadata/{part}")).into_iter().flat_map(Map::keys);
            for key in keys {
                if self.found.len() >= MOST_PER_OBJECT {
                    return;
                }
                if let Key::Known(meant) | Key::Near(meant) = Key::of(key) {
                    let path = format!("{}.metadata.{part}", self.path());
                    let place = self.place(value);
                    let (key, kind) = (key.clone(), self.kind.to_owned());
                    self.found.push(Meaningless::Below { path, key, place, meant, kind });
                }
            }
        }
    }

    fn place(&self, value: &Value) -> &'static str {
        match self.path.last() {
            _ if self.is_item() => "on an item of a List",
            Some(Step::Field("jobTemplate")) => "on a Job template",
            Some(Step::Field("template")) if value.get("spec").is_some() => "on a Pod template",
            _ => "there",
        }
    }

    fn path(&self) -> String {
        const MOST: usize = 200;
        let mut text = String::new();
        for step in &self.path {
            if text.len() > MOST {
                text.push('…');
                break;
            }
            match step {
                Step::Item(index) => text.extend(["[", &index.to_string(), "]"]),
                Step::Field(name) if text.is_empty() => text.push_str(&clip(name)),
                Step::Field(name) => text.extend([".", &clip(name)]),
            }
        }
        text
    }
}

fn is_whole(fields: &Map<String, Value>) -> bool {
    fields.get("apiVersion").is_some_and(Value::is_string)
        && fields.get("kind").is_some_and(Value::is_string)
}

fn map<'a>(value: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    value.pointer(pointer)?.as_object()
}

fn clip(text: &str) -> String {
    match text.get(..text.floor_char_boundary(QUOTED)) {
        Some(head) if head.len() < text.len() => format!("{head}…"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(manifest: &Value, expected: &[&str]) {
        let found: Vec<_> = meaningless(manifest).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    fn annotated(annotations: &Value) -> Value {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a",
            "labels": {"helm.sh/chart": "shop-1.0.0", "app": "hook"}, "annotations": annotations}})
    }

    #[test]
    fn what_helm_knows_is_right() {
        let all = json!({
            HOOK: "pre-install", HOOK_WEIGHT: "-010",
            HOOK_DELETE_POLICY: " Hook-Succeeded,before-hook-creation,hook-failed",
            OUTPUT_LOG_POLICY: "hook-failed,hook-succeeded", RESOURCE_POLICY: " Keep ",
            "meta.helm.sh/release-name": "shop", "argocd.argoproj.io/hook": "PreSync",
            "argocd.argoproj.io/hook-delete-policy": "HookSucceeded", "hook": "yes",
            "example.com/hooks": "", "helm.toolkit.fluxcd.io/driftDetection": "disabled",
        });
        check(&annotated(&all), &[]);
        check(&annotated(&json!({HOOK: "test", HOOK_DELETE_POLICY: ""})), &[]);
        check(&json!("no object"), &[]);
        check(&annotated(&json!("no mapping")), &[]);
    }

    #[test]
    fn words_that_helm_does_not_know_are_named_with_those_that_exist() {
        check(
            &annotated(&json!({HOOK: "pre-install", HOOK_WEIGHT: "high",
                HOOK_DELETE_POLICY: "hook-failed, hook-success"})),
            &[
                "annotation helm.sh/hook-delete-policy: unknown policy \"hook-success\" in \
                 \"hook-failed, hook-success\"; use one of before-hook-creation, hook-succeeded, \
                 hook-failed, or remove the annotation",
                "annotation helm.sh/hook-weight: \"high\" is no whole number, and Helm takes it for 0; \
                 use one such as \"-5\" or \"10\"",
            ],
        );
        for weight in ["", " 5", "5.0", "0x10", "1e3", "99999999999999999999", "1_000"] {
            let found = meaningless(&annotated(&json!({HOOK: "test", HOOK_WEIGHT: weight})));
            assert_eq!(found, [Meaningless::Weight { value: weight.to_owned() }]);
            assert!(found[0].is_refused());
        }
        let other = json!({HOOK: "test", OUTPUT_LOG_POLICY: "all", RESOURCE_POLICY: "kept"});
        let found = meaningless(&annotated(&other));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(!found.iter().any(Meaningless::is_refused));
    }

    #[test]
    fn no_part_of_a_value_is_quoted() {
        let secret = format!("Hunter2,{}", "x".repeat(100));
        let words = json!({HOOK: "test", HOOK_WEIGHT: secret, HOOK_DELETE_POLICY: secret,
                           RESOURCE_POLICY: secret});
        let found = meaningless(&annotated(&words));
        assert_eq!(found.len(), 3, "{found:?}");
        for word in found {
            let text = word.without_values().to_string().to_lowercase();
            assert!(text.contains("\"…\"") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn near_misses_are_told_what_was_meant() {
        let near = |key: &str| match Key::of(key) {
            Key::Near(meant) => meant,
            other => panic!("{key}: {other:?}"),
        };
        for (key, meant) in [
            ("helm.sh/hooks", HOOK),
            ("helm.sh/Hook", HOOK),
            ("helm.sh/hok", HOOK),
            ("helm.io/hook", HOOK),
            ("helms.sh/hook", HOOK),
            ("helm/hook", HOOK),
            ("meta.helm.sh/hook", HOOK),
            ("helm.sh.hook", HOOK),
            ("helm-hook", HOOK),
            ("helm.sh/hook-wieght", HOOK_WEIGHT),
            ("helm.sh/hook-weigth", HOOK_WEIGHT),
            ("helm.sh/hookweight", HOOK_WEIGHT),
            ("helm.sh/weight", HOOK_WEIGHT),
            ("helm.sh/hook_weight", HOOK_WEIGHT),
            ("hook-weight", HOOK_WEIGHT),
            ("helm.sh/hook-delete-policies", HOOK_DELETE_POLICY),
            ("helm.sh/hook-deletion-policy", HOOK_DELETE_POLICY),
            ("helm.sh/hook-delete", HOOK_DELETE_POLICY),
            ("helm.sh/delete-policy", HOOK_DELETE_POLICY),
            ("helm.sh/resource-policies", RESOURCE_POLICY),
            ("helm.sh/ressource-policy", RESOURCE_POLICY),
        ] {
            assert_eq!(near(key), meant, "{key}");
        }
        let long = format!("helm.sh/{}", "hook".repeat(50));
        for key in ["helm.sh/timeout", "helm.sh/hook-timeout", &long] {
            assert_eq!(Key::of(key), Key::Unknown, "{key}");
        }
        check(
            &annotated(&json!({"helm.sh/hooks": "pre-install", HOOK_WEIGHT: "5",
                "helm.sh/timeout": "5m"})),
            &[
                "annotation helm.sh/hook-weight: it does nothing without the annotation helm.sh/hook",
                "annotation helm.sh/hooks: there is no such key; did you mean helm.sh/hook?",
                "annotation helm.sh/timeout: there is no such key; there are helm.sh/hook, \
                 helm.sh/hook-weight, helm.sh/hook-delete-policy, helm.sh/hook-output-log-policy, \
                 helm.sh/resource-policy",
            ],
        );
    }

    #[test]
    fn a_label_is_no_annotation() {
        let both = json!({"labels": {HOOK: "test"}, "annotations": {HOOK: "test"}});
        check(&json!({"kind": "Job", "metadata": both}), &[]);
        check(
            &json!({"kind": "Job", "metadata": {"labels": {HOOK: "pre-install", "helm.sh/x": ""}}}),
            &[
                "label helm.sh/hook: as a label it does nothing; put the annotation helm.sh/hook into \
               metadata.annotations",
            ],
        );
    }

    #[test]
    fn nobody_reads_hook_annotations_on_templates() {
        let template = json!({"metadata": {"annotations": {HOOK: "test", "checksum/config": "1"}},
            "spec": {"containers": []}});
        check(
            &json!({"kind": "Job", "spec": {"template": template}}),
            &[
                "helm.sh/hook in spec.template.metadata.annotations: on a Pod template it does nothing; \
               put the annotation helm.sh/hook into metadata.annotations of the Job itself",
            ],
        );
        let labels = json!({"labels": {"helm.sh/hook-wieght": "1"}});
        let job = json!({"metadata": labels, "spec": {"template": template}});
        check(
            &json!({"kind": "CronJob", "spec": {"jobTemplate": job}}),
            &[
                "helm.sh/hook-wieght in spec.jobTemplate.metadata.labels: on a Job template it does \
                 nothing; put the annotation helm.sh/hook-weight into metadata.annotations of the \
                 CronJob itself",
                "helm.sh/hook in spec.jobTemplate.spec.template.metadata.annotations: on a Pod \
                 template it does nothing; put the annotation helm.sh/hook into \
                 metadata.annotations of the CronJob itself",
            ],
        );
        let item = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
            "metadata": {"annotations": {HOOK: "test"}}});
        check(
            &json!({"kind": "List", "items": [item]}),
            &[
                "helm.sh/hook in items[0].metadata.annotations: on an item of a List it does nothing; \
               put the annotation helm.sh/hook into metadata.annotations of the List itself",
            ],
        );
    }

    #[test]
    fn an_object_within_an_object_is_another_readers() {
        let job = annotated(&json!({HOOK: "pre-install"}));
        let release = json!({"apiVersion": "releaselifecycle.dev/v1alpha1",
            "kind": "ReleaseLifecycle", "spec": {"source": {"objects": [job]}}});
        check(&release, &[]);
    }

    #[test]
    fn what_is_said_is_bounded() {
        let keys = (0..1000).map(|index| (format!("helm.sh/x{index}"), json!("")));
        assert_eq!(meaningless(&annotated(&Value::Object(keys.collect()))).len(), MOST_PER_OBJECT);
        let mut deep = json!({"metadata": {"annotations": {HOOK: "test"}}});
        for _ in 0..1000 {
            deep = json!({"a": deep});
        }
        check(&deep, &[]);
    }
}
