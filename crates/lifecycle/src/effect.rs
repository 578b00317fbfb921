//! What the step rule does to the cluster.

/// What is done to the cluster. Each is idempotent, names UIDs where it changes or removes
/// anything, and follows from the journal that was written before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write the record with the frozen plan: a new one, or, for a deletion and a test, the plan
    /// into the latest one.
    CreateRecord,
    /// Make the record of a failed operation, which is gone on with, say that it runs.
    ReopenRecord,
    /// DELETE a leftover of the hook's name.
    DeleteLeftover {
        /// The hook's index.
        hook: usize,
        /// The UID of the leftover.
        uid: String,
    },
    /// POST the hook's object, held back.
    CreateHook {
        /// The hook's index.
        hook: usize,
        /// The attempt, part of the run id.
        attempt: i32,
    },
    /// Apply the hook's object over the one that exists: CRDs only, which are never deleted.
    ApplyHook {
        /// The hook's index.
        hook: usize,
        /// The attempt, part of the run id.
        attempt: i32,
        /// The UID of what exists.
        uid: String,
    },
    /// Open the gate of the hook's object, if it is held and of this UID.
    StartHook {
        /// The hook's index.
        hook: usize,
        /// The UID of its object.
        uid: String,
    },
    /// Stop the hook's object for good.
    StopHook {
        /// The hook's index.
        hook: usize,
        /// The UID of its object.
        uid: String,
    },
    /// Delete hook objects and give Jobs their time to live, in this order.
    CleanUp(Vec<CleanUp>),
    /// Apply the release's objects in order, then prune.
    Apply,
    /// DELETE the release's objects in order.
    DeleteObjects,
    /// Close the record and, where it is deployed, supersede older ones. A deletion removes all
    /// records, and what hooks left behind; a test keeps the record's state.
    Close {
        /// Whether the operation succeeded.
        deployed: bool,
    },
}

impl Effect {
    /// Whether it begins something that goes on without us: `spec.suspend` holds it back.
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
    /// What is done to it.
    pub action: CleanUpAction,
}

/// What [`CleanUp`] does to a hook's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CleanUpAction {
    /// DELETE by UID.
    Delete,
    /// Give the Job the `ttlSecondsAfterFinished` that was held back.
    SetTtl(i64),
}
