//! Which event it is: a pure function of the records, the desired configuration and the journal.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{hooks::HookEvent, journal::Operation};

/// What an operation does to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Event {
    Install,
    Upgrade,
}

impl Event {
    /// The hook event before the release's objects are applied.
    pub fn pre(self) -> HookEvent {
        match self {
            Self::Install => HookEvent::PreInstall,
            Self::Upgrade => HookEvent::PreUpgrade,
        }
    }

    /// The hook event after they are.
    pub fn post(self) -> HookEvent {
        match self {
            Self::Install => HookEvent::PostInstall,
            Self::Upgrade => HookEvent::PostUpgrade,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
        })
    }
}

/// What one record of the release means for the choice of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its revision.
    pub revision: i32,
    /// Its state.
    pub state: RecordState,
    /// The UID of the custom resource whose operation wrote it; `None` where Helm did.
    pub owner: Option<String>,
    /// Whether it was made from the configuration that is desired now.
    pub matches: bool,
}

/// Helm's release statuses, as far as the choice of the event tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// `pending-*` and `uninstalling`: somebody is, or died, at work.
    Pending,
    /// `deployed`.
    Deployed,
    /// `superseded`: it was deployed once.
    Superseded,
    /// `failed`, `uninstalled`, `unknown`.
    Failed,
}

/// What to do about a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on with the operation in the journal.
    Resume,
    /// Begin an operation.
    Begin {
        /// What it does.
        event: Event,
        /// The revision it makes.
        revision: i32,
    },
    /// The deployed revision is what is desired.
    InSync,
    /// The last operation failed for this very generation: wait for a change.
    GivenUp,
    /// A record of ours is pending, but the journal knows nothing of it.
    JournalLost {
        /// The pending revision.
        revision: i32,
    },
    /// The release belongs to somebody else: Helm, or another custom resource.
    Foreign {
        /// The newest revision that is not ours.
        revision: i32,
    },
}

/// Decides what to do about the release whose `records` these are, in any order.
pub fn next(
    operation: Option<&Operation>,
    records: &[Record],
    owner: &str,
    generation: i64,
) -> Next {
    if operation.is_some_and(|operation| operation.completed_at.is_none()) {
        return Next::Resume;
    }
    let latest = records.iter().max_by_key(|record| record.revision);
    if let Some(latest) = latest {
        if latest.owner.as_deref() != Some(owner) {
            return Next::Foreign { revision: latest.revision };
        }
        if latest.state == RecordState::Pending {
            return Next::JournalLost { revision: latest.revision };
        }
        if latest.state == RecordState::Deployed && latest.matches {
            return Next::InSync;
        }
    }
    if operation.is_some_and(|last| last.failure.is_some() && last.generation == generation) {
        return Next::GivenUp;
    }
    let deployed_once = records
        .iter()
        .any(|record| matches!(record.state, RecordState::Deployed | RecordState::Superseded));
    Next::Begin {
        event: if deployed_once { Event::Upgrade } else { Event::Install },
        revision: latest.map_or(1, |latest| latest.revision.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Failure, Journal};
    use RecordState::{Deployed, Failed, Pending, Superseded};

    fn record(revision: i32, state: RecordState, matches: bool) -> Record {
        Record { revision, state, owner: Some("me".to_owned()), matches }
    }

    fn operation(generation: i64, done: bool, failed: bool) -> Operation {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut operation =
            Journal::begin("op".to_owned(), Event::Install, 1, generation, now).operation;
        operation.completed_at = done.then_some(now);
        operation.failure = failed.then(|| Failure::new("HookFailed", "it failed"));
        operation
    }

    #[test]
    fn the_first_that_holds_is_chosen() {
        let begin = |event, revision| Next::Begin { event, revision };
        let check = |operation: Option<Operation>, records: &[Record], expect: Next| {
            assert_eq!(next(operation.as_ref(), records, "me", 2), expect, "{records:?}");
        };
        check(None, &[], begin(Event::Install, 1));
        check(Some(operation(1, false, false)), &[], Next::Resume);
        check(None, &[record(1, Deployed, true)], Next::InSync);
        check(None, &[record(1, Deployed, false)], begin(Event::Upgrade, 2));
        check(
            None,
            &[record(1, Superseded, false), record(2, Deployed, false)],
            begin(Event::Upgrade, 3),
        );
        // A failed first install stays an install; a failed upgrade is tried again as one.
        check(None, &[record(1, Failed, false)], begin(Event::Install, 2));
        check(
            None,
            &[record(1, Deployed, true), record(2, Failed, false)],
            begin(Event::Upgrade, 3),
        );
        // What failed for this generation waits for another; for an older one it is tried again.
        check(Some(operation(2, true, true)), &[record(1, Failed, true)], Next::GivenUp);
        check(Some(operation(1, true, true)), &[record(1, Failed, true)], begin(Event::Install, 2));
        check(None, &[record(3, Pending, true)], Next::JournalLost { revision: 3 });
        let foreign = Record { owner: None, ..record(1, Deployed, true) };
        check(None, &[foreign], Next::Foreign { revision: 1 });
    }
}
