//! The events: the kinds of operation on a release, and the moments of it at which hooks run.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Event of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Event {
    Install,
    Upgrade,
    Rollback,
    Delete,
    Test,
}

/// The properties and the words of an operation of one event. Every difference between events is
/// here or in an exhaustive `match`, so that the compiler names the places that a new one needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The word in messages and commands, such as `install`.
    pub word: &'static str,
    /// The word in conditions and Event objects, such as `Install`.
    pub title: &'static str,
    /// The reason of the Event object when an operation begins.
    pub started: Reason,
    /// The reason of the Event object when one has succeeded.
    pub succeeded: Reason,
    /// The reason of the Event object when one has failed.
    pub failed: Reason,
    /// The hook event before the work; for a test, its only one.
    pub pre: HookEvent,
    /// The hook event after the work.
    pub post: Option<HookEvent>,
    /// The work between them.
    pub work: Work,
    /// True if it makes a revision, with a record of its own; otherwise its plan is stored beside
    /// that of the newest record.
    pub makes_revision: bool,
    /// True if it follows the source; otherwise it uses the records alone.
    pub needs_source: bool,
    /// True if a failure ends it; otherwise it continues until all is done, and nobody can cancel
    /// it.
    pub ends_on_failure: bool,
    /// The part of the spec that says how its objects are applied and how its failure is
    /// remediated.
    pub field: Option<Field>,
    /// The possible remediation of its failure.
    pub remediation: Option<Remediation>,
}

/// The work of an operation on the release's objects between its hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// They are applied and awaited: the phases `Applying` and `WaitingForReady`.
    Apply,
    /// They are deleted and awaited: the phases `Deleting` and `WaitingForDeletion`.
    Delete,
    /// Nothing.
    Nothing,
}

/// The part of the spec that says how objects are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `spec.install`.
    Install,
    /// `spec.upgrade`.
    Upgrade,
}

impl Field {
    /// Its path, such as `spec.install`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Install => "spec.install",
            Self::Upgrade => "spec.upgrade",
        }
    }
}

/// The remediation of a failed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remediation {
    /// For an upgrade: the release is rolled back to the last revision that was deployed.
    Rollback,
    /// For an install: the release is deleted again.
    Uninstall,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 5] =
        [Self::Install, Self::Upgrade, Self::Rollback, Self::Delete, Self::Test];

    /// Returns its properties and its words.
    pub const fn facts(self) -> Facts {
        match self {
            Self::Install => Facts {
                word: "install",
                title: "Install",
                started: Reason::InstallStarted,
                succeeded: Reason::InstallSucceeded,
                failed: Reason::InstallFailed,
                pre: HookEvent::PreInstall,
                post: Some(HookEvent::PostInstall),
                work: Work::Apply,
                makes_revision: true,
                needs_source: true,
                ends_on_failure: true,
                field: Some(Field::Install),
                remediation: Some(Remediation::Uninstall),
            },
            Self::Upgrade => Facts {
                word: "upgrade",
                title: "Upgrade",
                started: Reason::UpgradeStarted,
                succeeded: Reason::UpgradeSucceeded,
                failed: Reason::UpgradeFailed,
                pre: HookEvent::PreUpgrade,
                post: Some(HookEvent::PostUpgrade),
                work: Work::Apply,
                makes_revision: true,
                needs_source: true,
                ends_on_failure: true,
                field: Some(Field::Upgrade),
                remediation: Some(Remediation::Rollback),
            },
            Self::Rollback => Facts {
                word: "rollback",
                title: "Rollback",
                started: Reason::RollbackStarted,
                succeeded: Reason::RollbackSucceeded,
                failed: Reason::RollbackFailed,
                pre: HookEvent::PreRollback,
                post: Some(HookEvent::PostRollback),
                work: Work::Apply,
                makes_revision: true,
                needs_source: false,
                ends_on_failure: true,
                field: Some(Field::Upgrade),
                remediation: None,
            },
            Self::Delete => Facts {
                word: "delete",
                title: "Delete",
                started: Reason::DeleteStarted,
                succeeded: Reason::DeleteSucceeded,
                failed: Reason::DeleteFailed,
                pre: HookEvent::PreDelete,
                post: Some(HookEvent::PostDelete),
                work: Work::Delete,
                makes_revision: false,
                needs_source: false,
                ends_on_failure: false,
                field: None,
                remediation: None,
            },
            Self::Test => Facts {
                word: "test",
                title: "Test",
                started: Reason::TestStarted,
                succeeded: Reason::TestSucceeded,
                failed: Reason::TestFailed,
                pre: HookEvent::Test,
                post: None,
                work: Work::Nothing,
                makes_revision: false,
                needs_source: false,
                ends_on_failure: true,
                field: None,
                remediation: None,
            },
        }
    }

    /// Returns the hook event before the release's objects are applied or deleted; for a test, its
    /// only one.
    pub fn pre(self) -> HookEvent {
        self.facts().pre
    }

    /// Returns the hook event after they are.
    pub fn post(self) -> Option<HookEvent> {
        self.facts().post
    }

    /// Returns whether it makes a revision of its own.
    pub fn makes_revision(self) -> bool {
        self.facts().makes_revision
    }

    /// Returns whether it follows the source; otherwise it uses the records alone.
    pub fn needs_source(self) -> bool {
        self.facts().needs_source
    }

    /// Returns whether a failure ends it. A deletion continues until all is gone, and nobody can
    /// cancel it.
    pub fn ends_on_failure(self) -> bool {
        self.facts().ends_on_failure
    }

    /// The word in conditions and Event objects, such as `Install`.
    pub fn as_str(self) -> &'static str {
        self.facts().title
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().word)
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

    /// Returns the name as it is in the annotation.
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

    /// Returns the event of the operation that runs it.
    pub fn operation(self) -> Event {
        match self {
            Self::PreInstall | Self::PostInstall => Event::Install,
            Self::PreUpgrade | Self::PostUpgrade => Event::Upgrade,
            Self::PreRollback | Self::PostRollback => Event::Rollback,
            Self::PreDelete | Self::PostDelete => Event::Delete,
            Self::Test => Event::Test,
        }
    }

    /// Returns the hook event of a word of the annotation; Helm knows two words for the tests.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_event_is_of_the_event_whose_facts_name_it() {
        for hook_event in HookEvent::ALL {
            let Facts { pre, post, .. } = hook_event.operation().facts();
            assert!(hook_event == pre || Some(hook_event) == post, "{hook_event}");
        }
        let named: Vec<_> = Event::ALL
            .into_iter()
            .flat_map(|event| [Some(event.pre()), event.post()])
            .flatten()
            .collect();
        assert_eq!(named.len(), HookEvent::ALL.len());
    }
}
