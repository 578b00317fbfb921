//! The effects of the step rule on the cluster.

/// An effect on the cluster. Each is idempotent, names UIDs if it changes or removes anything, and
/// follows from the journal that was written before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Writes the record with the frozen plan: a new one, or, for a deletion and a test, the plan
    /// into the latest one.
    CreateRecord,
    /// Marks the record of a failed operation, which is resumed, as running.
    ReopenRecord,
    /// Deletes a leftover with the hook's name.
    DeleteLeftover {
        /// The hook's index.
        hook: usize,
        /// The UID of the leftover.
        uid: String,
    },
    /// Creates the hook's object, held back.
    CreateHook {
        /// The hook's index.
        hook: usize,
        /// The attempt, part of the run id.
        attempt: i32,
    },
    /// Applies the hook's object over the one that exists: CRDs only, which are never deleted.
    ApplyHook {
        /// The hook's index.
        hook: usize,
        /// The attempt, part of the run id.
        attempt: i32,
        /// The UID of the existing object.
        uid: String,
    },
    /// Opens the gate of the hook's object, if it is held and has this UID.
    StartHook {
        /// The hook's index.
        hook: usize,
        /// The UID of its object.
        uid: String,
    },
    /// Stops the hook's object for good.
    StopHook {
        /// The hook's index.
        hook: usize,
        /// The UID of its object.
        uid: String,
    },
    /// Deletes hook objects and gives Jobs their time to live, in this order.
    CleanUp(Vec<CleanUp>),
    /// Applies the release's objects in order, then prunes.
    Apply,
    /// Deletes the release's objects in order.
    DeleteObjects,
    /// Closes the record and, if it is deployed, supersedes older ones. A deletion removes all
    /// records, and what hooks left behind; a test keeps the record's state.
    Close {
        /// True if the operation succeeded.
        deployed: bool,
    },
}

impl Effect {
    /// Returns whether it begins something that continues without us: `spec.suspend` holds it back.
    pub(crate) fn starts_something(&self) -> bool {
        match self {
            Self::CreateRecord
            | Self::ReopenRecord
            | Self::DeleteLeftover { .. }
            | Self::CreateHook { .. }
            | Self::ApplyHook { .. }
            | Self::StartHook { .. }
            | Self::Apply
            | Self::DeleteObjects => true,
            Self::StopHook { .. } | Self::CleanUp(_) | Self::Close { .. } => false,
        }
    }
}

/// One part of [`Effect::CleanUp`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CleanUp {
    /// The hook's index.
    pub hook: usize,
    /// The UID of its object.
    pub uid: String,
    /// The action on it.
    pub action: CleanUpAction,
}

/// The action of [`CleanUp`] on a hook's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CleanUpAction {
    /// Deletes it by UID.
    Delete,
    /// Gives the Job the `ttlSecondsAfterFinished` that was held back.
    SetTtl(i64),
}
