//! The approval of plans.

use kube::KubeSchema;
use lifecycle::approval::Mode;
use serde::{Deserialize, Serialize};

use crate::{ReleaseLifecycle, names};

/// The longest name of an approver that is noted, in bytes.
const LONGEST_NAME: usize = 253;

/// Configures approvals.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Operations whose plans wait for an approval: `None`; `Upgrade`: upgrades; `Always`: installs,
    /// upgrades, rollbacks and deletions. Tests and the remediation of a failed operation never wait.
    /// Defaults to `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

impl ReleaseLifecycle {
    /// Returns which operations wait for an approval.
    pub fn approval_mode(&self) -> Mode {
        self.spec.approval.as_ref().and_then(|approval| approval.mode).unwrap_or_default()
    }

    /// Returns the digest of the plan that somebody has approved.
    pub fn approved_plan(&self) -> Option<&str> {
        self.annotation(names::APPROVED_PLAN)
    }

    /// Returns who has approved it: by the admission policy of deploy/, the user of that request.
    pub fn approved_by(&self) -> Option<&str> {
        let name = self.annotation(names::APPROVED_BY)?;
        name.get(..name.floor_char_boundary(LONGEST_NAME))
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        let value = self.metadata.annotations.as_ref()?.get(name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}
