//! The checks of a plan, each with the name that tools know it by.

/// A check of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Something needs an object that comes only later, or that does not exist.
    NeedsLater,
    /// Something needs an object that is deleted by then.
    NeedsDeleted,
    /// A hook seems to use a Service that comes only later, or that is deleted by then.
    UsesService,
    /// An object that is waited for seems to wait for the work of a post hook.
    WaitsForPostHook,
    /// The object of a hook is deleted together with its data.
    DeletesData,
    /// A Job may be deleted while it is still waited for.
    ShortTtl,
    /// The deadline of a hook's object is longer than its timeout.
    LongDeadline,
    /// The release has the namespace that its own `ReleaseLifecycle` is in.
    OwnNamespace,
}

impl Check {
    /// Every check, in the order in which the documentation explains them.
    pub const ALL: [Self; 8] = [
        Self::NeedsLater,
        Self::NeedsDeleted,
        Self::UsesService,
        Self::WaitsForPostHook,
        Self::DeletesData,
        Self::ShortTtl,
        Self::LongDeadline,
        Self::OwnNamespace,
    ];

    /// Returns whether it is a guess by names and words: it is reported, and holds nothing back.
    pub const fn is_guess(self) -> bool {
        matches!(self, Self::UsesService | Self::WaitsForPostHook)
    }

    /// Returns its name for tools. It does not change.
    pub const fn id(self) -> &'static str {
        match self {
            Self::NeedsLater => "needs-later-object",
            Self::NeedsDeleted => "needs-deleted-object",
            Self::UsesService => "uses-later-service",
            Self::WaitsForPostHook => "waits-for-post-hook",
            Self::DeletesData => "deletes-data",
            Self::ShortTtl => "short-ttl",
            Self::LongDeadline => "long-deadline",
            Self::OwnNamespace => "own-namespace",
        }
    }

    /// Returns its meaning, in one line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NeedsLater => {
                "a hook, or an object that is waited for, needs an object that comes only later"
            }
            Self::NeedsDeleted => {
                "a hook, or an object that is waited for, needs an object that is deleted by then"
            }
            Self::UsesService => {
                "a hook seems to use a Service that comes only later, or is deleted by then"
            }
            Self::WaitsForPostHook => {
                "an object that is waited for seems to wait for the work of a post hook"
            }
            Self::DeletesData => "the delete policy of a hook deletes its object with its data",
            Self::ShortTtl => {
                "a Job that is no hook may be deleted by its TTL while the release waits for it"
            }
            Self::LongDeadline => "a hook's own activeDeadlineSeconds is longer than its timeout",
            Self::OwnNamespace => "the release has the namespace that its ReleaseLifecycle is in",
        }
    }
}
