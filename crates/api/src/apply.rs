//! What installs and upgrades may take that is not the release's own, and what becomes of a chart's
//! `crds/`.

use kube::KubeSchema;
use lifecycle::{
    event::Event,
    plan::{Claims, Crds},
};
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
}

impl ReleaseLifecycle {
    /// What an operation of `event` takes of others.
    pub fn claims(&self, event: Event) -> Claims {
        let spec = &self.spec;
        let take_ownership = match event {
            Event::Install => spec.install.as_ref().and_then(|it| it.take_ownership),
            Event::Upgrade | Event::Rollback => {
                spec.upgrade.as_ref().and_then(|it| it.take_ownership)
            }
            Event::Delete | Event::Test => return Claims::default(),
        };
        Claims {
            take_ownership: take_ownership.unwrap_or(false),
            force_conflicts: spec.force_conflicts.unwrap_or(false),
        }
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
