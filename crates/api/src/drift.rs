//! `spec.driftDetection`, as Flux's `HelmRelease` has it.

use kube::KubeSchema;
use lifecycle::drift::Ignore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ReleaseLifecycle;

/// Configures the detection of changes to the release's objects.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftDetection {
    /// Mode of drift detection: `disabled` checks nothing, `warn` reports drift in the condition
    /// `Drifted` and by Event objects, `enabled` also reverts it. Defaults to `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DriftMode>,
    /// Rules for fields that are neither compared nor changed by a correction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub ignore: Vec<Ignore>,
}

/// Mode of drift detection.
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
    /// Returns the mode of drift detection.
    pub fn drift_mode(&self) -> DriftMode {
        let detection = self.spec.drift_detection.as_ref();
        detection.and_then(|detection| detection.mode).unwrap_or_default()
    }

    /// Returns whether drift is detected at present.
    pub fn looks_for_drift(&self) -> bool {
        self.drift_mode() != DriftMode::Disabled
            && !self.suspended()
            && self.metadata.deletion_timestamp.is_none()
    }

    /// Returns the rules for fields that are ignored.
    pub fn ignored_drift(&self) -> &[Ignore] {
        self.spec.drift_detection.as_ref().map_or(&[], |detection| &detection.ignore)
    }
}
