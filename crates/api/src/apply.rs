//! How installs and upgrades are done: what they may take that is not the release's own, what becomes
//! of a chart's `crds/`, and what makes up for one that has failed.

use kube::KubeSchema;
use lifecycle::{
    event::{Event, Field, Remediation},
    plan::{Claims, Crds},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ReleaseLifecycle;

/// How an install is done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Install {
    /// True: objects that exist and are another release's, or nobody's, become this release's.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_ownership: Option<bool>,
    /// What is done about what a chart has in `crds/`: nothing (Skip), what is missing is made
    /// (Create), or what exists is applied besides (`CreateReplace`). Default: Create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crds: Option<Crds>,
    /// What happens once it has failed: Stop waits for somebody, Uninstall deletes the release, with
    /// its delete hooks and its history, as `helm install --rollback-on-failure` does. Default: Stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnInstallFailure>,
}

/// What a failed install does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum OnInstallFailure {
    #[default]
    Stop,
    Uninstall,
}

/// How an upgrade is done.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// True: objects that exist and are another release's, or nobody's, become this release's. It
    /// counts for rollbacks, too. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_ownership: Option<bool>,
    /// What is done about what a chart has in `crds/`: nothing (Skip), what is missing is made
    /// (Create), or what exists is applied besides (`CreateReplace`). Default: Skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crds: Option<Crds>,
    /// What happens once it has failed: Stop waits for somebody, Rollback goes back to the last
    /// revision that was deployed, with its rollback hooks, as `helm upgrade --rollback-on-failure`
    /// does. Default: Stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnUpgradeFailure>,
}

/// What a failed upgrade does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum OnUpgradeFailure {
    #[default]
    Stop,
    Rollback,
}

impl ReleaseLifecycle {
    /// What an operation of `event` takes of others.
    pub fn claims(&self, event: Event) -> Claims {
        let spec = &self.spec;
        let take_ownership = match event.facts().field {
            Some(Field::Install) => spec.install.as_ref().and_then(|it| it.take_ownership),
            Some(Field::Upgrade) => spec.upgrade.as_ref().and_then(|it| it.take_ownership),
            None => return Claims::default(),
        };
        Claims {
            take_ownership: take_ownership.unwrap_or(false),
            force_conflicts: spec.force_conflicts.unwrap_or(false),
        }
    }

    /// What makes up for a failed operation of `event`.
    pub fn remediation(&self, event: Event) -> Option<Remediation> {
        let install = self.spec.install.as_ref().and_then(|it| it.on_failure);
        let upgrade = self.spec.upgrade.as_ref().and_then(|it| it.on_failure);
        event.facts().remediation.filter(|remediation| match remediation {
            Remediation::Uninstall => install.unwrap_or_default() == OnInstallFailure::Uninstall,
            Remediation::Rollback => upgrade.unwrap_or_default() == OnUpgradeFailure::Rollback,
        })
    }

    /// What an operation of `event` does about what a chart has in `crds/`.
    pub fn crds(&self, event: Event) -> Crds {
        match event {
            Event::Install => {
                self.spec.install.as_ref().and_then(|it| it.crds).unwrap_or(Crds::Create)
            }
            Event::Upgrade => {
                self.spec.upgrade.as_ref().and_then(|it| it.crds).unwrap_or(Crds::Skip)
            }
            Event::Rollback | Event::Delete | Event::Test => Crds::Skip,
        }
    }
}
