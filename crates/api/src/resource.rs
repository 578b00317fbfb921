use std::{borrow::Cow, fmt, time};

use kube::{CustomResource, KubeSchema, core::Duration};
use lifecycle::{commands::Commands, journal::Requests};
use manifests::patches::Patch;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    apply::{Install, Upgrade},
    chart::{Chart, SourceRef, Values, ValuesFrom},
    drift::DriftDetection,
    names,
    status::ReleaseLifecycleStatus,
};

/// What the user wants of a release.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "releaselifecycle.dev",
    version = "v1alpha1",
    kind = "ReleaseLifecycle",
    plural = "releaselifecycles",
    shortname = "rl",
    namespaced,
    derive = "PartialEq",
    doc = "ReleaseLifecycle takes a release through its life: it runs Helm's hooks around an install, an upgrade, a rollback, a deletion and the tests of the release's objects, and goes on at the same hook after any interruption.",
    status = "ReleaseLifecycleStatus",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Event", type_ = "string", json_path = ".status.operation.event"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name stands in labels: use at most 63 characters"),
    validation = Rule::new("has(self.spec.releaseName) || size(self.metadata.name) <= 53").message("Helm takes release names of at most 53 characters: shorten metadata.name, or set spec.releaseName"),
    validation = Rule::new("!has(self.spec.dependsOn) || self.spec.dependsOn.all(it, it.name != self.metadata.name)").message("spec.dependsOn names this object itself: remove it there"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.releaseName) == has(oldSelf.releaseName) && (!has(self.releaseName) || self.releaseName == oldSelf.releaseName)").message("spec.releaseName cannot be changed, set or removed later: delete this object and create another").field_path(".releaseName"))]
#[x_kube(validation = Rule::new("(!has(self.values) && !has(self.valuesFrom)) || has(self.source.chart) || has(self.source.sourceRef)").message("spec.values and spec.valuesFrom are for charts: remove them, or name a chart by spec.source.chart or spec.source.sourceRef"))]
pub struct ReleaseLifecycleSpec {
    /// Where the desired objects come from.
    pub source: Source,

    /// Values for the chart; they win over `valuesFrom` and over those of the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::chart::values")]
    pub values: Option<Values>,

    /// `ConfigMaps` and Secrets of this namespace with values for the chart; a later one wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub values_from: Vec<ValuesFrom>,

    /// Changes to the objects of the source and to its hooks, in kustomize's shape, before anything
    /// is planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub patches: Vec<Patch>,

    /// The name of the release, as `helm list` shows it. Default: metadata.name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 53),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub release_name: Option<String>,

    /// The ServiceAccount of this namespace as which everything of this release is done.
    /// Default: the operator's `--default-service-account`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,

    /// How long each hook may take, and each wait for readiness. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("spec.timeout must be between 1s and 8760h, such as 90s or 1h30m"))]
    pub timeout: Option<Duration>,

    /// How often what the source refers to is looked at again, besides being watched, and whether the
    /// release's objects have drifted. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("spec.interval must be between 1s and 8760h, such as 90s or 1h30m"))]
    pub interval: Option<Duration>,

    /// The `ReleaseLifecycles` of this namespace that are Ready before an install or an upgrade
    /// begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub depends_on: Vec<Dependency>,

    /// How many revisions the release keeps a record of; 0: all. The deployed one, those since, and
    /// a pinned one are kept in any case. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_history: Option<i32>,

    /// Whether post hooks run after the release's objects are ready; false: right after they are
    /// applied. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,

    /// How hooks are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,

    /// How an install is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,

    /// How an upgrade is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,

    /// True: fields of the release's objects that another field manager has set are set as the release
    /// has them; otherwise such an object fails the operation. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_conflicts: Option<bool>,

    /// True: a running hook is watched to its end, and nothing new is started. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// What a newer spec does to a running operation. Default: Wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_new_spec: Option<OnNewSpec>,

    /// Holds the release at this revision: a rollback. Without it, the release goes back to the
    /// spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pin_revision: Option<i32>,

    /// How a rollback is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,

    /// Whether and which tests run after an install or an upgrade, and when they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Test>,

    /// What is done about objects of the release that somebody has changed: they are looked at once
    /// in `interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_detection: Option<DriftDetection>,

    /// What becomes of the release when this object is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// Where the desired objects come from. Hooks are those with the annotation helm.sh/hook.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.objects) ? 1 : 0) + (has(self.objectsFrom) ? 1 : 0) + (has(self.chart) ? 1 : 0) + (has(self.sourceRef) ? 1 : 0) == 1").message("spec.source takes exactly one of objects, objectsFrom, chart and sourceRef"))]
pub struct Source {
    /// The release's objects and its hooks themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "embedded_objects")]
    pub objects: Option<Vec<Value>>,

    /// `ConfigMaps` and Secrets of this namespace that hold them as YAML, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32))]
    pub objects_from: Vec<ObjectsFrom>,

    /// A chart, from which Helm's own engine makes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,

    /// A source of Flux whose artifact is or holds such a chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// The one of its fields that a source has.
#[derive(Clone, Copy, Debug)]
pub enum SourceKind<'a> {
    /// `objects`: the objects themselves.
    Objects(&'a [Value]),
    /// `objectsFrom`: what holds them; empty where the source has no field at all.
    ObjectsFrom(&'a [ObjectsFrom]),
    /// `chart`.
    Chart(&'a Chart),
    /// `sourceRef`: a source of Flux that has a chart.
    SourceRef(&'a SourceRef),
}

impl Source {
    /// The field that it has. The API server refuses more than one.
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

    /// How many of its fields are there. The API server takes exactly one.
    pub fn fields(&self) -> usize {
        let Self { objects, objects_from, chart, source_ref } = self;
        let given =
            [objects.is_some(), !objects_from.is_empty(), chart.is_some(), source_ref.is_some()];
        given.into_iter().filter(|is_given| *is_given).count()
    }

    /// Whether it is a chart, wherever that is.
    pub fn is_chart(&self) -> bool {
        match self.kind() {
            SourceKind::Chart(_) | SourceKind::SourceRef(_) => true,
            SourceKind::Objects(_) | SourceKind::ObjectsFrom(_) => false,
        }
    }
}

/// Names a `ConfigMap` or a Secret that holds objects as YAML.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectsFrom {
    /// `ConfigMap` or Secret.
    pub kind: ObjectsFromKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key whose value is read. Default: every key, in alphabetical order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// What holds objects as YAML.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs)]
pub enum ObjectsFromKind {
    ConfigMap,
    Secret,
}

impl ObjectsFromKind {
    /// The word for it, such as `ConfigMap`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for ObjectsFrom {
    /// `ConfigMap/shop`, and ` key all.yaml` where it names one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " key {key}"))
    }
}

/// Names another `ReleaseLifecycle` of this namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// How hooks are run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// How many of the last lines of a failed hook are kept in status; 0: none. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 200))]
    pub log_lines: Option<i32>,
}

/// What a newer spec does to a running operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNewSpec {
    /// Nothing: it counts from the next operation on.
    #[default]
    Wait,
    /// The operation ends after the hook that runs.
    CancelAfterHook,
    /// The hook that runs is stopped, and the operation ends.
    CancelNow,
}

/// How a rollback is done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// Whose rollback hooks run: those of the revision that is gone back to, as in Helm, or of the
    /// one that is deployed. Default: Target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks_from: Option<HooksFrom>,
}

/// Whose rollback hooks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum HooksFrom {
    #[default]
    Target,
    Current,
}

/// Whether and which tests run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    /// Whether the test hooks run after each install and upgrade. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Which test hooks run, by name; all of them where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub filters: Vec<TestFilter>,
    /// Whether the object is Ready when its tests have failed. Default: Ignore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnTestFailure>,
}

/// Names a test hook.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestFilter {
    /// The name of its object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// True: it does not run. Otherwise only those that are named run. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<bool>,
}

/// What failed tests do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTestFailure {
    /// The condition `TestSuccess` is False.
    #[default]
    Ignore,
    /// The condition Ready is False, too.
    Fail,
}

/// What becomes of the release when its object is deleted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// For so long failed hooks are tried again, and the release's objects are waited for.
    /// Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('8760h')").message("spec.deletion.timeout must be between 0s and 8760h, such as 90s or 1h30m"))]
    pub timeout: Option<Duration>,
    /// What happens then: Block waits for somebody, `SkipHooks` does without the hooks that have not
    /// succeeded. Default: Block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnDeletionTimeout>,
    /// Keep: the release stays as it is, and goes on as Helm's. Default: Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Objects>,
}

/// What happens when a deletion has used up its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum OnDeletionTimeout {
    #[default]
    Block,
    SkipHooks,
}

/// What becomes of a release's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Objects {
    #[default]
    Delete,
    Keep,
}

impl Test {
    /// Whether the test hook of this name runs: those that are named, if any is, less those excluded.
    pub fn selects(&self, name: &str) -> bool {
        let excluded = |filter: &&TestFilter| filter.exclude.unwrap_or(false);
        let mut included = self.filters.iter().filter(|filter| !excluded(filter)).peekable();
        let wanted = included.peek().is_none() || included.any(|filter| filter.name == name);
        wanted && !self.filters.iter().filter(excluded).any(|filter| filter.name == name)
    }
}

impl ReleaseLifecycle {
    /// The name of the release.
    pub fn release_name(&self) -> Cow<'_, str> {
        match (&self.spec.release_name, &self.metadata.name) {
            (Some(name), _) | (None, Some(name)) => Cow::Borrowed(name),
            (None, None) => Cow::Borrowed(""),
        }
    }

    /// How long each hook, and each wait for readiness, may take.
    pub fn timeout(&self) -> time::Duration {
        self.spec.timeout.map_or(time::Duration::from_mins(5), time::Duration::from)
    }

    /// Whether post hooks run after the release's objects are ready.
    pub fn wait(&self) -> bool {
        self.spec.wait.unwrap_or(true)
    }

    /// How often what the source refers to is looked at again.
    pub fn interval(&self) -> time::Duration {
        self.spec.interval.map_or(time::Duration::from_mins(10), time::Duration::from)
    }

    /// How many revisions the release keeps a record of; `None`: all.
    pub fn max_history(&self) -> Option<usize> {
        let most = usize::try_from(self.spec.max_history.unwrap_or(10)).unwrap_or(0);
        (most > 0).then_some(most)
    }

    /// Whether nothing new is to be started.
    pub fn suspended(&self) -> bool {
        self.spec.suspend.unwrap_or(false)
    }

    /// What a newer spec does to a running operation.
    pub fn on_new_spec(&self) -> OnNewSpec {
        self.spec.on_new_spec.unwrap_or_default()
    }

    /// Whose rollback hooks run.
    pub fn rollback_hooks_from(&self) -> HooksFrom {
        self.spec.rollback.as_ref().and_then(|it| it.hooks_from).unwrap_or_default()
    }

    /// Whether the tests run after each install and upgrade.
    pub fn tests_enabled(&self) -> bool {
        self.spec.test.as_ref().and_then(|test| test.enable).unwrap_or(false)
    }

    /// Whether the test hook of this name runs.
    pub fn selects_test(&self, name: &str) -> bool {
        self.spec.test.as_ref().is_none_or(|test| test.selects(name))
    }

    /// What failed tests do.
    pub fn on_test_failure(&self) -> OnTestFailure {
        self.spec.test.as_ref().and_then(|test| test.on_failure).unwrap_or_default()
    }

    /// For so long a deletion tries failed hooks again, and waits for the objects.
    pub fn deletion_timeout(&self) -> time::Duration {
        let timeout = self.spec.deletion.as_ref().and_then(|deletion| deletion.timeout);
        timeout.map_or(time::Duration::from_mins(10), time::Duration::from)
    }

    /// What happens when a deletion has used up its time.
    pub fn on_deletion_timeout(&self) -> OnDeletionTimeout {
        self.spec.deletion.as_ref().and_then(|deletion| deletion.on_timeout).unwrap_or_default()
    }

    /// Whether the release's objects stay when this object is deleted.
    pub fn keeps_objects(&self) -> bool {
        let objects = self.spec.deletion.as_ref().and_then(|deletion| deletion.objects);
        objects.unwrap_or_default() == Objects::Keep
    }

    /// The commands by which people ask for something.
    pub fn commands(&self) -> Commands {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (namespace, name) = (&self.metadata.namespace, &self.metadata.name);
        Commands { namespace: text(namespace), name: text(name) }
    }

    /// The requests of the annotations. An annotation that is absent or empty asks for nothing: in
    /// its place stands the request that was handled last.
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

    /// How many of the last lines of a failed hook are kept.
    pub fn log_lines(&self) -> i32 {
        self.spec.hooks.as_ref().and_then(|hooks| hooks.log_lines).unwrap_or(20)
    }
}

/// Embedded resources: the API server itself refuses unknown metadata and annotations that are
/// not strings, and editors, kustomize and Argo CD see into them.
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

    #[test]
    fn tests_are_selected_by_name() {
        let filter = |name: &str, exclude: bool| TestFilter {
            name: name.to_owned(),
            exclude: Some(exclude),
        };
        let selected = |filters: &[TestFilter]| {
            let test = Test { filters: filters.to_vec(), ..Test::default() };
            ["a", "b", "c"].into_iter().filter(|name| test.selects(name)).collect::<String>()
        };
        assert_eq!(selected(&[]), "abc");
        assert_eq!(selected(&[filter("a", false), filter("c", false)]), "ac");
        assert_eq!(selected(&[filter("a", true)]), "bc");
        assert_eq!(selected(&[filter("a", false), filter("a", true)]), "");
    }
}
