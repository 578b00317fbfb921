//! The configuration of hooks: the rules that say what happens when one fails, hangs or need not
//! run.

use std::{collections::BTreeMap, time};

use kube::{KubeSchema, core::Duration};
use lifecycle::{
    event::HookEvent,
    hooks::DeletePolicy,
    object::ObjectRef,
    rule::{MOST_RETRIES, OnFailure, Readiness, Run},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{DurationField, names};

/// Configures the hooks.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Number of log lines of a failed hook that are kept in status.hooks, counted from the end; 0
    /// keeps none. Defaults to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 200))]
    pub log_lines: Option<i32>,

    /// Whole logs of hooks that are kept: of those that failed, of all, or of none. A log is kept in a
    /// Secret beside the release's records, since it may hold secrets: the last 256 KiB of each attempt,
    /// and of a release the last 10 logs. `kubectl lifecycle logs` shows them. A hook's annotation
    /// helm.sh/hook-output-log-policy adds to it. Defaults to Failed; to None if logLines is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_logs: Option<KeepLogs>,

    /// Rules for hooks. The first rule that matches a hook applies to it as a whole, in place of the
    /// annotations releaselifecycle.dev/… of the hook. A changed rule applies from the next
    /// operation on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub rules: Vec<HookRule>,
}

/// Hooks whose whole logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeepLogs {
    /// No logs are kept, but for `logLines` in status.
    None,
    /// Logs of attempts that failed are kept.
    Failed,
    /// Logs of all attempts are kept.
    All,
}

/// Rule for hooks.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.run) && self.run == 'Never') || (!has(self.timeout) && !has(self.retries) && !has(self.retryInfrastructure) && !has(self.failFast) && !has(self.onFailure) && !has(self.readiness) && !has(self.deletePolicy) && !has(self.interruptible) && !has(self.parallel) && !has(self.logLines))").message("a rule with run: Never takes no other setting: the hook does not run"))]
pub struct HookRule {
    /// Selects the hooks of the rule. Defaults to all hooks.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub selects: Option<HookMatch>,

    /// Timeout of the hook, such as 90s or 1h30m. Defaults to spec.timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("spec.hooks.rules[].timeout must be between 1s and 8760h, such as 90s or 1h30m"))]
    pub timeout: Option<Duration>,

    /// Number of attempts after a failed one, each with an object of its own, after 5s, 10s, 20s and
    /// so on up to 5m. Defaults to 0; in a deletion, to as many as spec.deletion.timeout allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<i32>,

    /// Number of further attempts after one that failed not by the hook's own doing: by an eviction, a
    /// preemption or the loss of its node, or because nothing of it started within failFast. They do
    /// not count as retries. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub retry_infrastructure: Option<i32>,

    /// Time in which a container of the hook has to start, such as 2m, where its image, its
    /// configuration, a quota or the scheduler prevents that. After it the attempt has failed. Defaults
    /// to the timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("spec.hooks.rules[].failFast must be between 1s and 8760h, such as 90s or 1h30m"))]
    pub fail_fast: Option<Duration>,

    /// Effect of the hook's last failed attempt: `Fail` fails the operation, `Ignore` continues it
    /// with the next hook. Defaults to `Fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,

    /// State at which a hook of another kind than Job and Pod has succeeded: `Created`, as in Helm, or
    /// `Ready`, by spec.healthChecks or its status. Defaults to `Created`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,

    /// Decides when the hook runs at its events: `Always`; `WhenChanged`, unless its last run
    /// succeeded with the same manifest and the same `ConfigMaps` and Secrets that it names; `Once`,
    /// until it has succeeded once under such a rule; `Never`. Defaults to `Always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,

    /// Delete policies of the hook's object, in place of its annotation
    /// helm.sh/hook-delete-policy. An empty list never deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    pub delete_policy: Option<Vec<DeletePolicy>>,

    /// Lets a cancellation and a newer spec (`spec.onNewSpec: CancelNow`) stop the running hook. If
    /// false, they end the operation after it. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruptible: Option<bool>,

    /// Runs the hook side by side with those next to it that have the same event and weight and say
    /// so too, at most 10 at a time. If one of them fails, the operation ends once the others have
    /// ended. Defaults to false: hooks run one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,

    /// Number of log lines that are kept of the failed hook. Defaults to spec.hooks.logLines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 200))]
    pub log_lines: Option<i32>,
}

/// Selects hooks. A hook is selected if all fields that are set match.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookMatch {
    /// Hook events, such as pre-upgrade. Defaults to all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    pub events: Vec<HookEvent>,

    /// Kind of the hook's object, such as Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,

    /// Name of the hook's object. A * stands for any characters, such as in *-migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,

    /// Labels of the hook's object, all of which it must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
}

impl HookRule {
    /// Returns whether the rule is for the hook.
    pub fn is_for(&self, event: HookEvent, object: &ObjectRef, manifest: &Value) -> bool {
        self.selects.as_ref().is_none_or(|selects| selects.selects(event, object, manifest))
    }

    /// Reads the rule that a hook has by its annotations; `None` if it has none.
    ///
    /// # Errors
    /// With the annotation that has no such value, or that does not exist.
    pub fn of_annotations(manifest: &Value) -> Result<Option<Self>, RuleError> {
        let annotations = manifest.pointer("/metadata/annotations").and_then(Value::as_object);
        let own = annotations.into_iter().flatten().filter_map(|(key, value)| {
            Some((key.strip_prefix(names::RULE_PREFIX)?, value.as_str().unwrap_or_default()))
        });
        let mut rule = Map::new();
        for (name, text) in own {
            let field = FIELDS.iter().find(|field| field.annotation == name);
            let error = |expected: String| RuleError {
                annotation: format!("{}{}", names::RULE_PREFIX, clip(name)),
                expected,
            };
            let Some(field) = field else {
                let known: Vec<_> = FIELDS.iter().map(|field| field.annotation).collect();
                return Err(error(format!(
                    "there is no such annotation; there are {}{}",
                    names::RULE_PREFIX,
                    known.join(&format!(", {}", names::RULE_PREFIX))
                )));
            };
            // The value is not quoted: a chart may have made it from a Secret.
            let value =
                (field.parse)(text).ok_or_else(|| error(format!("must be {}", field.values)))?;
            rule.insert(field.name.to_owned(), value);
        }
        if rule.is_empty() {
            return Ok(None);
        }
        // Each value was checked.
        Ok(serde_json::from_value(Value::Object(rule)).ok())
    }

    /// Returns the timeout of the hook.
    pub fn timeout(&self) -> Option<time::Duration> {
        self.timeout.map(time::Duration::from)
    }

    /// Returns the time in which something of the hook has to start.
    pub fn fail_fast(&self) -> Option<time::Duration> {
        self.fail_fast.map(time::Duration::from)
    }
}

impl HookMatch {
    fn selects(&self, event: HookEvent, object: &ObjectRef, manifest: &Value) -> bool {
        let labels = manifest.pointer("/metadata/labels");
        let has = |(key, value): (&String, &String)| {
            labels.and_then(|labels| labels.get(key)?.as_str()) == Some(value)
        };
        (self.events.is_empty() || self.events.contains(&event))
            && self.kind.as_ref().is_none_or(|kind| *kind == object.kind)
            && self.name.as_ref().is_none_or(|name| matches(name, &object.name))
            && self.labels.iter().all(has)
    }
}

/// The reason why the annotations of a hook are no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("annotation {annotation}: {expected}")]
pub struct RuleError {
    annotation: String,
    expected: String,
}

/// A field of a rule that an annotation can set.
struct Field {
    /// The end of the annotation's name.
    annotation: &'static str,
    /// The name of the field in the spec.
    name: &'static str,
    /// The values that it takes, in words.
    values: &'static str,
    parse: fn(&str) -> Option<Value>,
}

const FIELDS: [Field; 10] = [
    Field {
        annotation: "timeout",
        name: "timeout",
        values: "a duration between 1s and 8760h, such as 90s or 1h30m",
        parse: |text| DurationField::accepts(text, 1).then(|| text.into()),
    },
    Field {
        annotation: "retries",
        name: "retries",
        values: "a number between 0 and 20",
        parse: |text| number(text, MOST_RETRIES),
    },
    Field {
        annotation: "retry-infrastructure",
        name: "retryInfrastructure",
        values: "a number between 0 and 20",
        parse: |text| number(text, MOST_RETRIES),
    },
    Field {
        annotation: "fail-fast",
        name: "failFast",
        values: "a duration between 1s and 8760h, such as 90s or 1h30m",
        parse: |text| DurationField::accepts(text, 1).then(|| text.into()),
    },
    Field {
        annotation: "on-failure",
        name: "onFailure",
        values: "Fail or Ignore",
        parse: one_of::<OnFailure>,
    },
    Field {
        annotation: "readiness",
        name: "readiness",
        values: "Created or Ready",
        parse: one_of::<Readiness>,
    },
    Field {
        annotation: "run",
        name: "run",
        values: "Always, WhenChanged, Once or Never",
        parse: one_of::<Run>,
    },
    Field {
        annotation: "interruptible",
        name: "interruptible",
        values: "true or false",
        parse: true_or_false,
    },
    Field {
        annotation: "parallel",
        name: "parallel",
        values: "true or false",
        parse: true_or_false,
    },
    Field {
        annotation: "log-lines",
        name: "logLines",
        values: "a number between 0 and 200",
        parse: |text| number(text, MOST_LOG_LINES),
    },
];

/// The most log lines that are kept of a hook.
const MOST_LOG_LINES: i32 = 200;

fn number(text: &str, most: i32) -> Option<Value> {
    let number: i32 = text.parse().ok()?;
    (0..=most).contains(&number).then(|| number.into())
}

fn true_or_false(text: &str) -> Option<Value> {
    text.parse::<bool>().ok().map(Value::from)
}

fn one_of<T: DeserializeOwned>(text: &str) -> Option<Value> {
    let value = Value::from(text);
    serde_json::from_value::<T>(value.clone()).ok().map(|_| value)
}

/// Cuts a tenant's text for a message.
fn clip(text: &str) -> &str {
    text.get(..text.floor_char_boundary(60)).unwrap_or_default()
}

/// Returns whether `pattern`, in which each `*` stands for any characters, matches the whole name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The leftmost place of each part leaves most for those after it.
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use lifecycle::testing;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("shop-migration", "shop-migration", true),
            ("shop", "shop-migration", false),
            ("*", "anything", true),
            ("*-migration", "shop-migration", true),
            ("*-migration", "shop-migration-2", false),
            ("shop-*", "shop-", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
            ("*b*", "abc", true),
            ("*b*", "ac", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn all_fields_that_are_set_must_match() {
        let object = testing::object("Job", "shop-migration");
        let manifest = json!({"metadata": {"labels": {"app": "shop", "tier": "db"}}});
        let selects = |selects: Value| {
            let rule: HookRule = serde_json::from_value(json!({"match": selects})).unwrap();
            rule.is_for(HookEvent::PreUpgrade, &object, &manifest)
        };
        assert!(selects(json!(null)));
        assert!(selects(json!({})));
        assert!(selects(json!({"events": ["pre-install", "pre-upgrade"], "kind": "Job",
            "name": "*-migration", "labels": {"app": "shop"}})));
        for other in [
            json!({"events": ["pre-install"]}),
            json!({"kind": "Pod"}),
            json!({"name": "shop"}),
            json!({"labels": {"app": "shop", "tier": "web"}}),
            json!({"labels": {"none": ""}}),
        ] {
            assert!(!selects(other.clone()), "{other}");
        }
    }
}
