use std::{borrow::Cow, time};

use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::status::ReleaseLifecycleStatus;

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
    doc = "ReleaseLifecycle takes a release through its life: it runs Helm's hooks around an install or an upgrade of the release's objects, and goes on at the same hook after any interruption.",
    status = "ReleaseLifecycleStatus",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Event", type_ = "string", json_path = ".status.operation.event"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name stands in labels: use at most 63 characters"),
    validation = Rule::new("has(self.spec.releaseName) || size(self.metadata.name) <= 53").message("Helm takes release names of at most 53 characters: shorten metadata.name, or set spec.releaseName"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.releaseName) == has(oldSelf.releaseName) && (!has(self.releaseName) || self.releaseName == oldSelf.releaseName)").message("spec.releaseName cannot be changed, set or removed later: delete this object and create another").field_path(".releaseName"))]
pub struct ReleaseLifecycleSpec {
    /// Where the desired objects come from.
    pub source: Source,

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

    /// Whether post hooks run after the release's objects are ready; false: right after they are
    /// applied. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,

    /// How hooks are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
}

/// Where the desired objects come from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The release's objects and its hooks; hooks are those with the annotation helm.sh/hook.
    #[schemars(length(max = 1000), schema_with = "embedded_objects")]
    pub objects: Vec<Value>,
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
