use anyhow::Result;
use e2e::{
    Namespace,
    manifests::{Manifest, config_map, deployment, job, pod},
};
use serde_json::json;

/// The release of every run.
pub(crate) const RELEASE: &str = "shop";
/// What the hook `migrate` asks for, held back until it has ended.
pub(crate) const TIME_TO_LIVE: i32 = 3600;

/// Which operation is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Revision 1: a Job before, a Pod after that is removed when it has succeeded.
    Install,
    /// Revision 2: two Jobs before, one in the place of a leftover, a Pod after; an object is
    /// changed and one is removed.
    Upgrade,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
        }
    }

    pub(crate) fn revision(self) -> i32 {
        match self {
            Self::Install => 1,
            Self::Upgrade => 2,
        }
    }

    /// The reason of the last Event object of the operation.
    pub(crate) fn last_event(self) -> &'static str {
        match self {
            Self::Install => "InstallSucceeded",
            Self::Upgrade => "UpgradeSucceeded",
        }
    }

    /// Every hook that runs from the first revision on, in order.
    pub(crate) fn hooks(self) -> &'static [&'static str] {
        match self {
            Self::Install => &["migrate", "welcome"],
            Self::Upgrade => &["migrate", "welcome", "backup", "migrate", "smoke"],
        }
    }

    /// Applies the custom resource that asks for it.
    pub(crate) async fn ask(self, namespace: &Namespace) -> Result<()> {
        // The install leaves it behind, and the upgrade replaces it.
        let migrate = job("migrate")
            .hook("pre-install,pre-upgrade")
            .set("/spec/ttlSecondsAfterFinished", TIME_TO_LIVE);
        let objects = match self {
            Self::Install => vec![
                migrate,
                config_map("settings", "1"),
                config_map("obsolete", "1"),
                deployment("web"),
                pod("welcome").hook("post-install").policy("hook-succeeded"),
            ],
            Self::Upgrade => vec![
                migrate,
                job("backup")
                    .hook("pre-upgrade")
                    .weight("-5")
                    .policy("hook-succeeded,before-hook-creation"),
                config_map("settings", "2"),
                deployment("web"),
                pod("smoke").hook("post-upgrade"),
            ],
        };
        namespace.release(RELEASE, &objects, json!({})).await
    }
}
