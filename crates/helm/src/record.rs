//! Helm's release record: one JSON document per revision of a release.
//!
//! The shapes are those of `Release`, `Info`, `Hook` and `Chart` in Helm's `pkg/release/v1` and
//! `pkg/chart/v2` (Helm 3: `pkg/release`, `pkg/chart`). Both versions' records are read, and both
//! versions read the records written here. Fields that this module does not name are kept in
//! `extra` and written back, so that rewriting another client's record loses nothing.

mod codec;
mod lenient;
mod name;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use manifests::memory::{Exhausted, Memory};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use lenient::{empty_if_none, is_zero, is_zero_weight, or_default, or_none, or_unknown, zero_time};

pub use codec::{MAX_INFLATED_BYTES, RecordError, decode, encode};
pub(crate) use codec::{pack, to_json};
pub use name::{
    LABEL_CREATED_AT, LABEL_MODIFIED_AT, LABEL_NAME, LABEL_OWNER, LABEL_STATUS, LABEL_VERSION,
    OWNER, SECRET_TYPE, SYSTEM_LABELS, labels, parse_secret_name, secret_name,
};

/// One revision of a release.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The release's name, at most 53 characters.
    pub name: String,
    /// The namespace of the record, and of objects without a namespace.
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: String,
    /// The revision, from 1.
    pub version: i32,
    /// The status, the times and the texts about them.
    pub info: Info,
    /// The chart that was rendered; [`Chart::synthetic`] if there was none.
    #[serde(default, deserialize_with = "or_default")]
    pub chart: Chart,
    /// The user's values, without the chart's defaults.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// The objects as text, in install order and without hooks; see [`crate::manifest::render`].
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub manifest: String,
    /// Every hook, of all events.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// The way the objects are written; Helm 4's upgrade and rollback continue with it.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "Option::is_none")]
    pub apply_method: Option<ApplyMethod>,
    /// The namespace that the record states, if it is not the one that it is kept in, which
    /// [`crate::secret`] puts into [`Self::namespace`].
    #[serde(skip)]
    pub elsewhere: Option<String>,
    /// The user's labels (`helm install --labels`). They are labels of the Secret, not part of the
    /// JSON; [`crate::secret`] reads and writes them.
    #[serde(skip)]
    pub labels: BTreeMap<String, String>,
    /// Fields of other clients.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Status and times of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The time when revision 1 was made; copied from revision to revision.
    #[serde(default, with = "zero_time", skip_serializing_if = "Option::is_none")]
    pub first_deployed: Option<Timestamp>,
    /// The time when this revision was made; the `UPDATED` column of `helm list`.
    #[serde(default, with = "zero_time", skip_serializing_if = "Option::is_none")]
    pub last_deployed: Option<Timestamp>,
    /// The time when the release was uninstalled.
    #[serde(default, with = "zero_time", skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// One line for people, e.g. `Upgrade complete`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The status. The Secret's label `status` must say the same; see [`labels`].
    #[serde(default, deserialize_with = "or_unknown")]
    pub status: Status,
    /// The rendered `NOTES.txt`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// The revision this one is a copy of, if it came from a rollback by Helm 4; otherwise 0.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub rollback_revision: i32,
    /// Fields of other clients.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The status of a revision: `Status` in `pkg/release/common/status.go`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The status is unknown, also when the record has none.
    #[default]
    Unknown,
    /// In the cluster. Several revisions may have it; the highest counts.
    Deployed,
    /// Removed, with its history kept (`helm uninstall --keep-history`).
    Uninstalled,
    /// Was deployed; a newer revision is.
    Superseded,
    /// An operation on it failed.
    Failed,
    /// Being removed; also what a failed removal leaves.
    Uninstalling,
    /// Being installed.
    PendingInstall,
    /// Being upgraded to.
    PendingUpgrade,
    /// Being rolled back to.
    PendingRollback,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Deployed,
        Self::Uninstalled,
        Self::Superseded,
        Self::Failed,
        Self::Uninstalling,
        Self::PendingInstall,
        Self::PendingUpgrade,
        Self::PendingRollback,
    ];

    /// Returns whether the revision is, or was, deployed.
    pub fn was_deployed(self) -> bool {
        matches!(self, Self::Deployed | Self::Superseded)
    }

    /// Returns whether Helm refuses to upgrade because of it: `Status.IsPending`. Not
    /// `uninstalling`.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }

    /// Returns the status of this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Returns the text in the record and in the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Deployed => "deployed",
            Self::Uninstalled => "uninstalled",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::Uninstalling => "uninstalling",
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The way objects are written. Absent in Helm 3's records, which means client-side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplyMethod {
    /// Client-side apply.
    Csa,
    /// Server-side apply.
    Ssa,
}

/// One hook of a release, as rendered.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// `metadata.name`; empty with `generateName`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's kind.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The template it came from, e.g. `shop/templates/migrate.yaml`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The object as one YAML document.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub manifest: String,
    /// The hook events it runs at, e.g. `pre-install`; duplicates are kept, as Helm does.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// Its last run, of whichever event.
    #[serde(default, deserialize_with = "or_default")]
    pub last_run: HookRun,
    /// Lower runs first.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero_weight")]
    pub weight: i64,
    /// The delete policies of the object. Unknown words are kept and have no effect.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub delete_policies: Vec<String>,
    /// The policies by which Helm prints its logs.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub output_log_policies: Vec<String>,
    /// Fields of other clients.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The last run of a hook: `HookExecution`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// Written before the object is created.
    #[serde(default, with = "zero_time", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Written when it succeeded or failed.
    #[serde(default, with = "zero_time", skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// `None`, in JSON `""`, if the hook never ran.
    #[serde(default, deserialize_with = "or_none", serialize_with = "empty_if_none")]
    pub phase: Option<Phase>,
}

/// The outcome of a hook's last run: `HookPhase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Helm was stopped while it ran.
    Unknown,
    /// Stored before the object is created, so the object may not exist yet.
    Running,
    /// It completed.
    Succeeded,
    /// It failed, timed out, or could not be created.
    Failed,
}

/// The chart of a release. Templates, files, schema and lock stay in `extra` as Helm wrote them;
/// subcharts are not in Helm's records.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// `Chart.yaml`. Without it `helm get all` crashes.
    pub metadata: Option<ChartMetadata>,
    /// The chart's default values, which `helm upgrade --reuse-values` needs.
    #[serde(default)]
    pub values: Option<Map<String, Value>>,
    /// The rest.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The parts of a chart that Helm prints; the rest of `Chart.yaml` is in `extra`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartMetadata {
    /// `v1` or `v2`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The chart's name.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its semantic version.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The version of the application in it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub app_version: String,
    /// Fields that Helm does not print.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Release {
    /// Returns the size of the text that describes its objects and hooks, in bytes.
    pub fn text_size(&self) -> usize {
        self.manifest.len() + self.hooks.iter().map(|hook| hook.manifest.len()).sum::<usize>()
    }

    /// Takes what the record holds.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_from(&self, memory: &mut Memory) -> Result<(), Exhausted> {
        memory.take_text(&self.manifest)?;
        self.hooks.iter().try_for_each(|hook| memory.take_text(&hook.manifest))?;
        memory.take_text(&self.info.notes)?;
        let values = self.chart.values.iter();
        for fields in values.chain([&self.config, &self.extra, &self.chart.extra]) {
            memory.take_fields(fields)?;
        }
        Ok(())
    }

    /// Returns the name of this revision's Secret.
    pub fn secret_name(&self) -> String {
        secret_name(&self.name, self.version)
    }
}

impl Chart {
    /// The chart of a release that was made from plain objects: the least that both Helm versions
    /// need for every command that reads, for `rollback` and for `uninstall`. `version` is a
    /// semantic version.
    pub fn synthetic(name: impl Into<String>, version: impl Into<String>) -> Self {
        let metadata = ChartMetadata {
            api_version: "v2".to_owned(),
            name: name.into(),
            version: version.into(),
            ..ChartMetadata::default()
        };
        Self { metadata: Some(metadata), ..Self::default() }
    }

    /// Returns the chart without its templates, files, schema and lock: none of Helm's commands
    /// reads them from a record, and they are most of it.
    #[must_use]
    pub fn reduced(&self) -> Self {
        let Self { metadata, values, .. } = self.clone();
        Self { metadata, values, extra: Map::new() }
    }
}

// Values, manifests and templates may hold secrets, so they never reach a log through `Debug`.

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Release")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("version", &self.version)
            .field("status", &self.info.status)
            .field("chart", &self.chart)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("events", &self.events)
            .field("weight", &self.weight)
            .field("last_run", &self.last_run)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version) =
            self.metadata.as_ref().map_or(("", ""), |m| (m.name.as_str(), m.version.as_str()));
        f.debug_struct("Chart")
            .field("name", &name)
            .field("version", &version)
            .finish_non_exhaustive()
    }
}
