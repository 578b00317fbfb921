//! Helm's hook annotations: the events at which an object runs, its weight, and when it is deleted.
//!
//! The rules are those of Helm's `pkg/release/v1/util/manifest_sorter.go` (`manifestFile.sort`,
//! `calculateHookWeight`, `operateAnnotationValues`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::event::HookEvent;

/// The annotation that makes an object a hook.
pub const HOOK: &str = "helm.sh/hook";
/// The annotation that orders hooks; lower runs first.
pub const HOOK_WEIGHT: &str = "helm.sh/hook-weight";
/// The annotation that says when a hook's object is deleted.
pub const HOOK_DELETE_POLICY: &str = "helm.sh/hook-delete-policy";
pub(crate) const OUTPUT_LOG_POLICY: &str = "helm.sh/hook-output-log-policy";

/// Every event and its repetition, which Helm runs.
const MOST_EVENTS: usize = 2 * HookEvent::ALL.len();

/// The time at which a hook's object is deleted (Helm's `release.HookDeletePolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeletePolicy {
    /// A leftover of the same name is deleted before the hook is created.
    BeforeHookCreation,
    /// Deleted after all hooks of its event succeeded.
    HookSucceeded,
    /// Deleted when this hook failed.
    HookFailed,
}

impl DeletePolicy {
    /// Every policy, in the order of a hook's life.
    pub const ALL: [Self; 3] = [Self::BeforeHookCreation, Self::HookSucceeded, Self::HookFailed];

    /// Returns the name as it is in the annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeHookCreation => "before-hook-creation",
            Self::HookSucceeded => "hook-succeeded",
            Self::HookFailed => "hook-failed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }
}

/// The annotations of one hook, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookAnnotations {
    /// In the order of the annotation, duplicates kept as in Helm.
    pub events: Vec<HookEvent>,
    /// Zero if the annotation is absent or not a number.
    pub weight: i64,
    /// The effective policies: `before-hook-creation` if the annotation is absent. Words that Helm
    /// does not know are left out, but they do suppress the default, as in Helm.
    pub delete_policies: Vec<DeletePolicy>,
}

/// The reason why annotations cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HookError {
    /// Helm drops such a manifest silently; objects that a user wrote are refused instead.
    #[error(
        "annotation {HOOK}: unknown hook event {value:?} in {annotation:?}; use one of pre-install, \
         post-install, pre-upgrade, post-upgrade, pre-rollback, post-rollback, pre-delete, \
         post-delete, test, or remove the annotation to apply the object with the release"
    )]
    UnknownEvent {
        /// The word that is not an event.
        value: String,
        /// The whole annotation.
        annotation: String,
    },
    /// Each event costs a run; more of one than Helm's alias allows is a mistake, or malice.
    #[error("annotation {HOOK}: {count} events; name each event once")]
    TooManyEvents {
        /// The number of events in the annotation.
        count: usize,
    },
    /// Kubernetes only takes strings as annotation values.
    #[error("annotation {name}: the value {value} is not a string; put it in quotes")]
    NotAString {
        /// The annotation's name.
        name: String,
        /// The value as JSON.
        value: String,
    },
}

impl HookAnnotations {
    /// Returns those of a hook in a record, which keeps the events and the weight as Helm parsed
    /// them. Its policies are in `manifest`: those in the record may be only a default.
    pub fn recorded(manifest: &Value, events: &[String], weight: i64) -> Self {
        Self {
            events: events.iter().filter_map(|word| HookEvent::parse(word)).collect(),
            weight,
            delete_policies: policy_words(manifest)
                .iter()
                .filter_map(|word| DeletePolicy::parse(word))
                .collect(),
        }
    }
}

/// Returns the words of the annotation `helm.sh/hook-delete-policy` of `manifest`, as Helm keeps
/// them in its record; the default if the annotation is absent.
pub fn policy_words(manifest: &Value) -> Vec<String> {
    let annotations = manifest.pointer("/metadata/annotations");
    let text = annotations.and_then(|annotations| annotations.get(HOOK_DELETE_POLICY)?.as_str());
    text.map_or_else(
        || vec![DeletePolicy::BeforeHookCreation.as_str().to_owned()],
        |text| words(text).collect(),
    )
}

/// Returns the words of the annotation `helm.sh/hook-output-log-policy` of `manifest`, as Helm
/// keeps them in its record.
pub fn log_policy_words(manifest: &Value) -> Vec<String> {
    let annotations = manifest.pointer("/metadata/annotations");
    let text = annotations.and_then(|annotations| annotations.get(OUTPUT_LOG_POLICY)?.as_str());
    text.map_or_else(Vec::new, |text| words(text).collect())
}

/// The end of a hook for which its log is kept (Helm's `release.HookOutputLogPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPolicy {
    /// The hook succeeded.
    HookSucceeded,
    /// The hook failed.
    HookFailed,
}

impl LogPolicy {
    /// All policies.
    pub const ALL: [Self; 2] = [Self::HookSucceeded, Self::HookFailed];

    /// Returns the policy as the annotation has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HookSucceeded => "hook-succeeded",
            Self::HookFailed => "hook-failed",
        }
    }
}

/// Returns the policies of the annotation `helm.sh/hook-output-log-policy` of `manifest`; other words
/// mean nothing.
pub fn log_policies(manifest: &Value) -> Vec<LogPolicy> {
    let words = log_policy_words(manifest);
    let is_named = |policy: &LogPolicy| words.iter().any(|word| word == policy.as_str());
    LogPolicy::ALL.into_iter().filter(is_named).collect()
}

/// Reads the hook annotations of `object`; `None` if it is not a hook.
///
/// # Errors
/// [`HookError::UnknownEvent`] for an unknown or empty event, [`HookError::NotAString`] for a value
/// of any annotation that is not a string.
pub fn parse(object: &Value) -> Result<Option<HookAnnotations>, HookError> {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let Some(annotations) = annotations else {
        return Ok(None);
    };
    // Go reads null as an empty text, and templates produce it.
    let is_text = |value: &Value| value.is_string() || value.is_null();
    if let Some((name, value)) = annotations.iter().find(|(_, value)| !is_text(value)) {
        return Err(HookError::NotAString { name: name.clone(), value: value.to_string() });
    }
    let text = |name: &str| annotations.get(name).map(|it| it.as_str().unwrap_or_default());
    let Some(hook) = text(HOOK) else {
        return Ok(None);
    };
    let count = words(hook).count();
    if count > MOST_EVENTS {
        return Err(HookError::TooManyEvents { count });
    }
    let events = words(hook)
        .map(|word| {
            HookEvent::parse(&word).ok_or_else(|| HookError::UnknownEvent {
                value: word.clone(),
                annotation: hook.to_owned(),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(HookAnnotations {
        events,
        weight: text(HOOK_WEIGHT).and_then(weight).unwrap_or(0),
        delete_policies: policy_words(object)
            .iter()
            .filter_map(|word| DeletePolicy::parse(word))
            .collect(),
    }))
}

/// Go's `strconv.Atoi`; Helm reads every error as zero.
pub(crate) fn weight(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(',').map(|word| word.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hook(annotations: &Value) -> Result<Option<HookAnnotations>, HookError> {
        parse(&json!({"metadata": {"annotations": annotations}}))
    }

    #[test]
    fn events_are_trimmed_lowered_and_aliased() {
        let check = |text: &str, expect: &[HookEvent]| {
            assert_eq!(hook(&json!({HOOK: text})).unwrap().unwrap().events, expect, "{text:?}");
        };
        check(" Pre-Install , POST-UPGRADE", &[HookEvent::PreInstall, HookEvent::PostUpgrade]);
        check("test,test-success", &[HookEvent::Test, HookEvent::Test]);
        check("pre-delete", &[HookEvent::PreDelete]);
    }

    #[test]
    fn an_unknown_event_is_refused_by_name() {
        for text in ["pre-install,foo", "pre-install,", "", "crd-install", "test-failure", "true"] {
            let error = hook(&json!({HOOK: text})).unwrap_err();
            assert!(matches!(error, HookError::UnknownEvent { .. }), "{text:?}: {error}");
        }
        let error = hook(&json!({HOOK: "pre-install,foo"})).unwrap_err();
        assert!(error.to_string().contains("\"foo\""), "{error}");
    }

    #[test]
    fn repetitions_are_bounded() {
        let error = hook(&json!({HOOK: "test,".repeat(30) + "test"})).unwrap_err();
        assert_eq!(error, HookError::TooManyEvents { count: 31 });
    }

    #[test]
    fn a_value_that_is_not_a_string_is_refused_by_name() {
        let error = hook(&json!({HOOK: "test", HOOK_WEIGHT: 5})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "annotation helm.sh/hook-weight: the value 5 is not a string; put it in quotes"
        );
        // As a template produces it; Go reads an empty text.
        assert_eq!(hook(&json!({"example.com/x": null})), Ok(None));
        assert_eq!(hook(&json!({HOOK: null})), hook(&json!({HOOK: ""})));
    }

    #[test]
    fn weights_are_read_as_go_reads_them() {
        for (text, expect) in [
            ("-5", Some(-5)),
            ("+5", Some(5)),
            ("010", Some(10)),
            (" 5", None),
            ("5.0", None),
            ("0x10", None),
            ("abc", None),
            ("", None),
            ("-", None),
            ("+-5", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(weight(text), expect, "{text:?}");
        }
    }

    #[test]
    fn the_default_policy_needs_an_absent_annotation() {
        use DeletePolicy::{BeforeHookCreation, HookFailed, HookSucceeded};
        let check = |annotations: &Value, expect: &[DeletePolicy]| {
            assert_eq!(hook(annotations).unwrap().unwrap().delete_policies, expect);
        };
        check(&json!({HOOK: "test"}), &[BeforeHookCreation]);
        check(&json!({HOOK: "test", HOOK_DELETE_POLICY: ""}), &[]);
        check(&json!({HOOK: "test", HOOK_DELETE_POLICY: "never"}), &[]);
        check(
            &json!({HOOK: "test", HOOK_DELETE_POLICY: " Hook-Succeeded,nope,hook-failed"}),
            &[HookSucceeded, HookFailed],
        );
    }

    #[test]
    fn an_object_without_the_annotation_is_no_hook() {
        assert_eq!(parse(&json!({"metadata": {"labels": {HOOK: "test"}}})), Ok(None));
        assert_eq!(parse(&json!({})), Ok(None));
    }
}
