//! `spec.driftDetection`, as Flux's `HelmRelease` has it.

use kube::KubeSchema;
use lifecycle::drift::Ignore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ReleaseLifecycle;

/// What is done about objects of the release that somebody has changed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftDetection {
    /// disabled: nothing is looked at; warn: the condition `Drifted` says what was changed; enabled:
    /// it is made again what it was. Default: disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DriftMode>,
    /// Fields that are not looked at, and not changed by a correction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub ignore: Vec<Ignore>,
}

/// What is done about drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DriftMode {
    #[default]
    Disabled,
    Warn,
    Enabled,
}

impl ReleaseLifecycle {
    /// What is done about drift.
    pub fn drift_mode(&self) -> DriftMode {
        let detection = self.spec.drift_detection.as_ref();
        detection.and_then(|detection| detection.mode).unwrap_or_default()
    }

    /// Whether drift is looked for at all.
    pub fn looks_for_drift(&self) -> bool {
        self.drift_mode() != DriftMode::Disabled
            && !self.suspended()
            && self.metadata.deletion_timestamp.is_none()
    }

    /// What is no drift.
    pub fn ignored_drift(&self) -> &[Ignore] {
        self.spec.drift_detection.as_ref().map_or(&[], |detection| &detection.ignore)
    }
}
