//! The configuration of installs and upgrades: adoption of existing objects, a chart's `crds/`, and
//! the remediation of failures.

use jiff::Timestamp;
use kube::KubeSchema;
use lifecycle::{
    event::{Event, Field, Remediation},
    journal::Retries,
    plan::{Claims, Crds},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ReleaseLifecycle;

/// Configures installs.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.onFailure) && self.onFailure == 'Retry' && has(self.retries))").message("onFailure: Retry attempts it again without a bound; for a bound, set retries and another onFailure"))]
pub struct Install {
    /// Adopts existing objects that are owned by another release or unowned. If false, such an
    /// object fails the operation. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_ownership: Option<bool>,
    /// Policy for the objects in a chart's `crds/`: `Skip` does nothing, `Create` creates those
    /// that do not exist, `CreateReplace` also applies those that exist. Defaults to `Create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crds: Option<Crds>,
    /// Remediation of a failed install: `Stop` leaves the release as it is until the spec changes
    /// or a retry is requested, `Uninstall` runs the delete hooks and deletes the release with its
    /// history, as `helm install --rollback-on-failure` does, `Retry` attempts it again, as retries
    /// does, until it succeeds or the spec changes. Defaults to `Stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnInstallFailure>,
    /// Number of attempts after a failed install, each of them from the start, after 5s, 10s, 20s and
    /// so on up to 5m. If `onFailure` is `Uninstall`, each failed one is uninstalled first. Defaults to
    /// 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<i32>,
}

/// Remediation of a failed install.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum OnInstallFailure {
    #[default]
    Stop,
    Uninstall,
    Retry,
}

/// Configures upgrades.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.onFailure) && self.onFailure == 'Retry' && has(self.retries))").message("onFailure: Retry attempts it again without a bound; for a bound, set retries and another onFailure"))]
pub struct Upgrade {
    /// Adopts existing objects that are owned by another release or unowned. If false, such an
    /// object fails the operation. Also applies to rollbacks. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_ownership: Option<bool>,
    /// Policy for the objects in a chart's `crds/`: `Skip` does nothing, `Create` creates those
    /// that do not exist, `CreateReplace` also applies those that exist. Defaults to `Skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crds: Option<Crds>,
    /// Remediation of a failed upgrade: `Stop` leaves the release as it is until the spec changes
    /// or a retry is requested, `Rollback` rolls it back to the last deployed revision, with its
    /// rollback hooks, as `helm upgrade --rollback-on-failure` does, `Retry` attempts it again, as
    /// retries does, until it succeeds or the spec changes. Defaults to `Stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnUpgradeFailure>,
    /// Number of attempts after a failed upgrade, each of them a new revision with every hook, after
    /// 5s, 10s, 20s and so on up to 5m. If `onFailure` is `Rollback`, each failed one is rolled back
    /// first. Defaults to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 20))]
    pub retries: Option<i32>,
}

/// Remediation of a failed upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum OnUpgradeFailure {
    #[default]
    Stop,
    Rollback,
    Retry,
}

impl ReleaseLifecycle {
    /// Returns the claims of an operation of `event` on objects and fields of others.
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

    /// Returns the remediation of a failed operation of `event`.
    pub fn remediation(&self, event: Event) -> Option<Remediation> {
        let install = self.spec.install.as_ref().and_then(|it| it.on_failure);
        let upgrade = self.spec.upgrade.as_ref().and_then(|it| it.on_failure);
        event.facts().remediation.filter(|remediation| match remediation {
            Remediation::Uninstall => install.unwrap_or_default() == OnInstallFailure::Uninstall,
            Remediation::Rollback => upgrade.unwrap_or_default() == OnUpgradeFailure::Rollback,
        })
    }

    /// Returns the number of attempts after a failed operation of `event`.
    pub fn retries(&self, event: Event) -> Retries {
        let spec = &self.spec;
        let (retries, is_unbounded) = match event {
            Event::Install => spec.install.as_ref().map_or((None, false), |it| {
                (it.retries, it.on_failure == Some(OnInstallFailure::Retry))
            }),
            Event::Upgrade => spec.upgrade.as_ref().map_or((None, false), |it| {
                (it.retries, it.on_failure == Some(OnUpgradeFailure::Retry))
            }),
            Event::Rollback => (spec.rollback.as_ref().and_then(|it| it.retries), false),
            Event::Delete | Event::Test => (None, false),
        };
        if is_unbounded { Retries::Unbounded } else { Retries::AtMost(retries.unwrap_or(0)) }
    }

    /// Returns the time of the next attempt at what failed last, if there is to be one.
    pub fn retry_at(&self) -> Option<Timestamp> {
        let last = self.status.as_ref()?.last_attempt.as_ref()?;
        last.next_at(self.retries(last.event))
    }

    /// Returns the policy of an operation of `event` for a chart's `crds/`.
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
