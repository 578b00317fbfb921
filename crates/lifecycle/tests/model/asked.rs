//! What people ask for while an operation runs. It stands on the custom resource beside the status,
//! so whatever is asked changes the version by which the journal is written.

use jiff::SignedDuration;
use lifecycle::{
    commands::Commands,
    decide::{Deletion, Wishes},
    journal::{Cancel, Failure, Requests},
};

use crate::configuration::{Configuration, DELETION};

/// The annotations and the spec, as far as they are read live. The numbers count the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) suspend: bool,
    pub(crate) retry: u8,
    pub(crate) cancel: u8,
    pub(crate) skip: u8,
    /// A newer spec supersedes the operation; whether at once.
    pub(crate) superseded: Option<bool>,
    /// Not of the custom resource, but looked into when it is read.
    pub(crate) namespace_goes: bool,
}

impl Asked {
    pub(crate) fn requests(self) -> Requests {
        let text = |number: u8| (number > 0).then(|| number.to_string());
        Requests {
            retry: text(self.retry),
            restart: None,
            test: None,
            cancel: text(self.cancel),
            skip: text(self.skip),
        }
    }

    pub(crate) fn wishes(self, configuration: &Configuration) -> Wishes {
        Wishes {
            suspend: self.suspend,
            requests: self.requests(),
            interrupt: self.superseded.map(|now| Cancel {
                now,
                failure: Failure::new("Superseded", "a newer spec supersedes it"),
            }),
            deletion: Deletion {
                timeout: SignedDuration::from_secs(i64::from(DELETION)),
                on_timeout: configuration.world.on_timeout(),
                namespace_goes: self.namespace_goes,
            },
            commands: Commands::default(),
        }
    }

    /// Whether a cancellation is wished that `handled` does not know of.
    pub(crate) fn cancels(self, handled: &Requests) -> bool {
        self.superseded.is_some() || self.requests().cancel != handled.cancel
    }
}
