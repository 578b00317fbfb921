//! What an operation does to a release, and the moments of it at which hooks run.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an operation does to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Event {
    Install,
    Upgrade,
    Rollback,
    Delete,
    Test,
}

impl Event {
    /// The hook event before the release's objects are applied or deleted; of a test, its only one.
    pub fn pre(self) -> HookEvent {
        match self {
            Self::Install => HookEvent::PreInstall,
            Self::Upgrade => HookEvent::PreUpgrade,
            Self::Rollback => HookEvent::PreRollback,
            Self::Delete => HookEvent::PreDelete,
            Self::Test => HookEvent::Test,
        }
    }

    /// The hook event after they are.
    pub fn post(self) -> Option<HookEvent> {
        match self {
            Self::Install => Some(HookEvent::PostInstall),
            Self::Upgrade => Some(HookEvent::PostUpgrade),
            Self::Rollback => Some(HookEvent::PostRollback),
            Self::Delete => Some(HookEvent::PostDelete),
            Self::Test => None,
        }
    }

    /// Whether it makes a revision of its own.
    pub fn makes_revision(self) -> bool {
        matches!(self, Self::Install | Self::Upgrade | Self::Rollback)
    }

    /// The word in conditions and Event objects, such as `Install`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "Install",
            Self::Upgrade => "Upgrade",
            Self::Rollback => "Rollback",
            Self::Delete => "Delete",
            Self::Test => "Test",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Delete => "delete",
            Self::Test => "test",
        })
    }
}

/// The moment in a release's life at which a hook runs (Helm's `release.HookEvent`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum HookEvent {
    PreInstall,
    PostInstall,
    PreDelete,
    PostDelete,
    PreUpgrade,
    PostUpgrade,
    PreRollback,
    PostRollback,
    Test,
}

impl HookEvent {
    /// Every hook event, in Helm's order of definition.
    pub const ALL: [Self; 9] = [
        Self::PreInstall,
        Self::PostInstall,
        Self::PreDelete,
        Self::PostDelete,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::PreRollback,
        Self::PostRollback,
        Self::Test,
    ];

    /// The name as it stands in the annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreDelete => "pre-delete",
            Self::PostDelete => "post-delete",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::PreRollback => "pre-rollback",
            Self::PostRollback => "post-rollback",
            Self::Test => "test",
        }
    }

    /// The event at whose operation it runs.
    pub fn operation(self) -> Event {
        match self {
            Self::PreInstall | Self::PostInstall => Event::Install,
            Self::PreUpgrade | Self::PostUpgrade => Event::Upgrade,
            Self::PreRollback | Self::PostRollback => Event::Rollback,
            Self::PreDelete | Self::PostDelete => Event::Delete,
            Self::Test => Event::Test,
        }
    }

    /// The hook event of a word of the annotation; Helm knows two words for the tests.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        if word == "test-success" {
            return Some(Self::Test);
        }
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
