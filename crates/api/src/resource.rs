use std::{borrow::Cow, fmt, time};

use kube::{CustomResource, KubeSchema, core::Duration};
use lifecycle::{commands::Commands, health::HealthCheck, journal::Requests};
use manifests::patches::Patch;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    apply::{Install, Upgrade},
    approval::Approval,
    chart::{Chart, SourceRef, Values, ValuesFrom},
    drift::DriftDetection,
    hooks::{HookRule, Hooks, KeepLogs},
    names,
    preflight::Preflight,
    status::ReleaseLifecycleStatus,
    test_hooks::Test,
    windows::Window,
};

/// Desired state of a release.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "releaselifecycle.dev",
    version = "v1alpha1",
    kind = "ReleaseLifecycle",
    plural = "releaselifecycles",
    shortname = "rl",
    namespaced,
    derive = "PartialEq",
    doc = "ReleaseLifecycle is a Helm release that the operator installs, upgrades, rolls back, tests and deletes. It runs Helm's hooks at each of these events, and resumes at the same hook after any interruption.",
    status = "ReleaseLifecycleStatus",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Event", type_ = "string", json_path = ".status.operation.event"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.operation.phase", priority = 1),
    printcolumn(name = "Chart", type_ = "string", json_path = ".status.chart.name", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name is used in labels: use at most 63 characters"),
    validation = Rule::new("has(self.spec.releaseName) || size(self.metadata.name) <= 53").message("Helm takes release names of at most 53 characters: shorten metadata.name, or set spec.releaseName"),
    validation = Rule::new("!has(self.spec.dependsOn) || self.spec.dependsOn.all(it, it.name != self.metadata.name)").message("spec.dependsOn names this object itself: remove it there"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.releaseName) == has(oldSelf.releaseName) && (!has(self.releaseName) || self.releaseName == oldSelf.releaseName)").message("spec.releaseName cannot be changed, set or removed later: delete this object and create another").field_path(".releaseName"))]
#[x_kube(validation = Rule::new("(!has(self.values) && !has(self.valuesFrom)) || has(self.source.chart) || has(self.source.sourceRef)").message("spec.values and spec.valuesFrom are for charts: remove them, or set spec.source.chart or spec.source.sourceRef"))]
pub struct ReleaseLifecycleSpec {
    /// Source of the release's objects and hooks. Exactly one of its fields must be set.
    pub source: Source,

    /// Values for the chart. They override those of `valuesFrom` and the chart's defaults. Only for
    /// charts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::chart::values")]
    pub values: Option<Values>,

    /// `ConfigMaps` and Secrets of this namespace that hold values for the chart. They are merged
    /// in order: later ones override earlier ones. Only for charts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub values_from: Vec<ValuesFrom>,

    /// Patches of the source's objects and hooks, in kustomize's format. They are applied in order,
    /// before the operation is planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub patches: Vec<Patch>,

    /// Name of the Helm release, as `helm list` shows it. Defaults to metadata.name. Cannot be
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 53),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub release_name: Option<String>,

    /// Name of the ServiceAccount of this namespace as which the operator reads the source and
    /// manages the release's objects, hooks and records. Defaults to the operator's
    /// `--default-service-account`. Required if the operator runs with neither that flag nor
    /// `--single-tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,

    /// Timeout of each hook and of each wait for readiness, such as 90s or 1h30m. Defaults to 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("spec.timeout must be between 1s and 8760h, such as 90s or 1h30m"))]
    pub timeout: Option<Duration>,

    /// Interval at which the source is read again and the release's objects are checked for drift,
    /// such as 90s or 1h30m. Changes of watched sources take effect at once. Defaults to 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("spec.interval must be between 1s and 8760h, such as 90s or 1h30m"))]
    pub interval: Option<Duration>,

    /// `ReleaseLifecycles` of this namespace that must be Ready before an install or an upgrade
    /// begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub depends_on: Vec<Dependency>,

    /// Maximum number of revisions whose records are kept; 0 keeps all. The deployed revision,
    /// later ones and a pinned one are always kept. Defaults to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_history: Option<i32>,

    /// Waits for the release's objects to be ready before the post hooks run. If false, they run as
    /// soon as the objects are applied. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,

    /// Health checks of kinds of objects, in Flux's format: they decide when such objects are ready,
    /// in place of their status. A changed check applies from the next operation on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub health_checks: Vec<HealthCheck>,

    /// Configures the hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,

    /// Configures installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,

    /// Configures upgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,

    /// Overwrites fields of the release's objects that another field manager has set to another
    /// value. If false, such a conflict fails the operation. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_conflicts: Option<bool>,

    /// Suspends the release: a running hook is watched to its end, and nothing new is started.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// Effect of a newer spec on a running operation: `Wait` ends the operation first,
    /// `CancelAfterHook` ends it after the running hook, `CancelNow` also stops that hook. Defaults
    /// to `Wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_new_spec: Option<OnNewSpec>,

    /// Revision to roll back to. The release stays at that revision as long as this field is set;
    /// when it is removed, the release is upgraded to the spec again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pin_revision: Option<i32>,

    /// Checks of an operation before it begins: `Off` checks nothing, `Warn` reports what was found,
    /// `Enforce` also tries every object in a dry run, and begins no install or upgrade while something
    /// is found. Rollbacks, deletions and tests always begin. Defaults to `Warn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,

    /// Configures rollbacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,

    /// Configures the test hooks: those that run after installs, upgrades and rollbacks, and on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,

    /// Configures drift detection: every `interval`, the release's objects are compared with the
    /// deployed revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_detection: Option<DriftDetection>,

    /// Configures approvals: the plan of an operation is made and shown in status.plan, and waits until
    /// `kubectl lifecycle approve` approves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,

    /// Windows in which operations begin. Outside of them they wait, unless somebody requests them.
    /// The remediation of a failed operation does not wait. Defaults to any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<Window>,

    /// Configures the deletion of the release, which begins when this object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// Source of the release's objects and hooks. Objects with the annotation helm.sh/hook are hooks.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.objects) ? 1 : 0) + (has(self.objectsFrom) ? 1 : 0) + (has(self.chart) ? 1 : 0) + (has(self.sourceRef) ? 1 : 0) == 1").message("spec.source takes exactly one of objects, objectsFrom, chart and sourceRef"))]
pub struct Source {
    /// Manifests of the release's objects and hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded_objects")]
    pub objects: Option<Vec<Value>>,

    /// `ConfigMaps` and Secrets of this namespace that hold the manifests as YAML. They are read in
    /// order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32))]
    pub objects_from: Vec<ObjectsFrom>,

    /// Chart that Helm's own engine renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,

    /// Flux source whose artifact is a chart or contains one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// The field that is set in a source.
#[derive(Clone, Copy, Debug)]
pub enum SourceKind<'a> {
    /// `objects`: the manifests.
    Objects(&'a [Value]),
    /// `objectsFrom`; empty if the source has no field at all.
    ObjectsFrom(&'a [ObjectsFrom]),
    /// `chart`.
    Chart(&'a Chart),
    /// `sourceRef`.
    SourceRef(&'a SourceRef),
}

impl Source {
    /// Returns the field that is set. The API server refuses more than one.
    pub fn kind(&self) -> SourceKind<'_> {
        // Without `..`: a new field is to be named here.
        let Self { objects, objects_from, chart, source_ref } = self;
        if let Some(objects) = objects {
            SourceKind::Objects(objects)
        } else if let Some(chart) = chart {
            SourceKind::Chart(chart)
        } else if let Some(source) = source_ref {
            SourceKind::SourceRef(source)
        } else {
            SourceKind::ObjectsFrom(objects_from)
        }
    }

    /// Returns the number of fields that are set. The API server accepts exactly one.
    pub fn fields(&self) -> usize {
        let Self { objects, objects_from, chart, source_ref } = self;
        let given =
            [objects.is_some(), !objects_from.is_empty(), chart.is_some(), source_ref.is_some()];
        given.into_iter().filter(|is_given| *is_given).count()
    }

    /// Returns whether it is a chart, in any place.
    pub fn is_chart(&self) -> bool {
        match self.kind() {
            SourceKind::Chart(_) | SourceKind::SourceRef(_) => true,
            SourceKind::Objects(_) | SourceKind::ObjectsFrom(_) => false,
        }
    }
}

/// Reference to a `ConfigMap` or a Secret that holds manifests as YAML.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectsFrom {
    /// Kind of the object: `ConfigMap` or Secret.
    pub kind: ObjectsFromKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key whose value is read. Defaults to all keys, in alphabetical order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// Kind of an object that holds manifests, values or a chart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs)]
pub enum ObjectsFromKind {
    ConfigMap,
    Secret,
}

impl ObjectsFromKind {
    /// Returns the kind, such as `ConfigMap`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for ObjectsFrom {
    /// Writes `ConfigMap/shop`, followed by ` key all.yaml` if a key is set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " key {key}"))
    }
}

/// Reference to another `ReleaseLifecycle` of this namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Name of the `ReleaseLifecycle`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// Effect of a newer spec on a running operation: `Wait` ends the operation first,
/// `CancelAfterHook` ends it after the running hook, `CancelNow` also stops that hook. Defaults to
/// `Wait`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNewSpec {
    /// The operation ends first.
    #[default]
    Wait,
    /// The operation ends after the running hook.
    CancelAfterHook,
    /// The running hook is stopped, and the operation ends.
    CancelNow,
}

/// Configures rollbacks.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Revision whose rollback hooks run: `Target` is the revision to roll back to, as in Helm,
    /// `Current` the deployed one. Defaults to `Target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks_from: Option<HooksFrom>,
    /// Number of attempts after a failed rollback to `spec.pinRevision`, each of them a new revision
    /// with every hook, after 5s, 10s, 20s and so on up to 5m. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<i32>,
}

/// Revision whose rollback hooks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum HooksFrom {
    #[default]
    Target,
    Current,
}

/// Configures the deletion of the release.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Time for which failed delete hooks are retried, and for which the operator waits until the
    /// release's objects are deleted; such as 90s or 1h30m. Defaults to 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('8760h')").message("spec.deletion.timeout must be between 0s and 8760h, such as 90s or 1h30m"))]
    pub timeout: Option<Duration>,
    /// Action when a delete hook still fails after `timeout`: `Block` keeps the deletion until a
    /// retry or a skip is requested, `SkipHooks` skips the hooks that have not succeeded. Defaults
    /// to `Block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnDeletionTimeout>,
    /// Action on the release: `Delete` runs its delete hooks and deletes its objects and records,
    /// `Keep` leaves everything as it is, as a release of Helm. Defaults to `Delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
}

/// Action when a deletion has reached its timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum OnDeletionTimeout {
    #[default]
    Block,
    SkipHooks,
}

/// Action on a release whose object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Objects {
    #[default]
    Delete,
    Keep,
}

impl ReleaseLifecycle {
    /// Returns the name of the release.
    pub fn release_name(&self) -> Cow<'_, str> {
        match (&self.spec.release_name, &self.metadata.name) {
            (Some(name), _) | (None, Some(name)) => Cow::Borrowed(name),
            (None, None) => Cow::Borrowed(""),
        }
    }

    /// Returns the timeout of each hook and of each wait for readiness.
    pub fn timeout(&self) -> time::Duration {
        self.spec.timeout.map_or(time::Duration::from_mins(5), time::Duration::from)
    }

    /// Returns whether post hooks run only after the release's objects are ready.
    pub fn wait(&self) -> bool {
        self.spec.wait.unwrap_or(true)
    }

    /// Returns the interval at which the source is read again and drift is checked.
    pub fn interval(&self) -> time::Duration {
        self.spec.interval.map_or(time::Duration::from_mins(10), time::Duration::from)
    }

    /// Returns the number of revisions whose records are kept; `None` means all.
    pub fn max_history(&self) -> Option<usize> {
        let most = usize::try_from(self.spec.max_history.unwrap_or(10)).unwrap_or(0);
        (most > 0).then_some(most)
    }

    /// Returns whether the release is suspended.
    pub fn suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }

    /// Returns the effect of a newer spec on a running operation.
    pub fn on_new_spec(&self) -> OnNewSpec {
        self.spec.on_new_spec.unwrap_or_default()
    }

    /// Returns the revision whose rollback hooks run.
    pub fn rollback_hooks_from(&self) -> HooksFrom {
        self.spec.rollback.as_ref().and_then(|it| it.hooks_from).unwrap_or_default()
    }

    /// Returns the time for which a deletion retries failed hooks and waits for the objects.
    pub fn deletion_timeout(&self) -> time::Duration {
        let timeout = self.spec.deletion.as_ref().and_then(|deletion| deletion.timeout);
        timeout.map_or(time::Duration::from_mins(10), time::Duration::from)
    }

    /// Returns the action when a deletion has reached its timeout.
    pub fn on_deletion_timeout(&self) -> OnDeletionTimeout {
        self.spec.deletion.as_ref().and_then(|deletion| deletion.on_timeout).unwrap_or_default()
    }

    /// Returns whether the release's objects stay when this object is deleted.
    pub fn keeps_objects(&self) -> bool {
        let objects = self.spec.deletion.as_ref().and_then(|deletion| deletion.objects);
        objects.unwrap_or_default() == Objects::Keep
    }

    /// Returns the commands that request something of this release.
    pub fn commands(&self) -> Commands {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (&self.metadata.namespace, &self.metadata.name);
        Commands { namespace: text(namespace), name: text(name) }
    }

    /// Returns the requests of the annotations. An annotation that is absent or empty requests
    /// nothing: the request that was handled last takes its place.
    pub fn requests(&self) -> Requests {
        let value = |name| {
            let value = self.metadata.annotations.as_ref()?.get(name)?;
            (!value.is_empty()).then(|| value.clone())
        };
        let requests = Requests {
            retry: value(names::RETRY_AT),
            restart: value(names::RESTART_AT),
            test: value(names::TEST_AT),
            cancel: value(names::CANCEL_AT),
            skip: value(names::SKIP_AT),
        };
        match &self.status {
            Some(status) => requests.or_handled(status.handled()),
            None => requests,
        }
    }

    /// Returns the rules for hooks, in order.
    pub fn hook_rules(&self) -> &[HookRule] {
        self.spec.hooks.as_ref().map_or(&[], |hooks| &hooks.rules)
    }

    /// Returns the number of log lines of a failed hook that are kept, if its rule says nothing.
    pub fn log_lines(&self) -> i32 {
        self.spec.hooks.as_ref().and_then(|hooks| hooks.log_lines).unwrap_or(20)
    }

    /// Returns the hooks whose whole logs are kept, by `spec.hooks.keepLogs` or its default: who keeps
    /// no lines in status keeps none elsewhere.
    pub fn keep_logs(&self) -> KeepLogs {
        let default = if self.log_lines() == 0 { KeepLogs::None } else { KeepLogs::Failed };
        self.spec.hooks.as_ref().and_then(|hooks| hooks.keep_logs).unwrap_or(default)
    }
}

/// Returns the schema of embedded resources: the API server refuses unknown metadata and
/// annotations that are not strings, and editors, kustomize and Argo CD can read them.
fn embedded_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 1000,
        "items": {
            "type": "object",
            "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_that_is_not_there_asks_for_nothing() {
        let spec = serde_json::json!({"source": {"objects": []}});
        let mut object =
            ReleaseLifecycle::new("shop", serde_json::from_value(spec).expect("it is a spec"));
        let asked = |object: &ReleaseLifecycle| object.requests().restart;
        assert_eq!(asked(&object), None);
        let handled = crate::ReleaseLifecycleStatus {
            last_handled_restart_at: Some("1".to_owned()),
            ..Default::default()
        };
        object.status = Some(handled);
        for (annotation, expect) in
            [(None, "1"), (Some(""), "1"), (Some("1"), "1"), (Some("2"), "2")]
        {
            let annotations =
                annotation.map(|value| (names::RESTART_AT.to_owned(), value.to_owned()));
            object.metadata.annotations = Some(annotations.into_iter().collect());
            assert_eq!(asked(&object).as_deref(), Some(expect), "{annotation:?}");
        }
    }
}
