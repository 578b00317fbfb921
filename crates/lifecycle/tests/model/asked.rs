//! Requests of people while an operation runs. They are on the custom resource beside the status,
//! so whatever is asked changes the version by which the journal is written.

use jiff::SignedDuration;
use lifecycle::{
    commands::Commands,
    decide::{Controls, Deletion},
    journal::{Cancel, Failure, Requests},
    reason::Reason,
};

use crate::{
    configuration::{Configuration, DELETION},
    mutation::Mutation,
};

/// The annotations and the spec, as far as they are read live. The numbers count the requests; the
/// annotation of one that was withdrawn is not there any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub(crate) suspend: bool,
    pub(crate) retry: u8,
    pub(crate) cancel: u8,
    pub(crate) skip: u8,
    pub(crate) withdrawn: Withdrawn,
    /// A newer spec supersedes the operation; whether at once.
    pub(crate) superseded: Option<bool>,
    /// Not of the custom resource, but looked into when it is read.
    pub(crate) namespace_goes: bool,
}

/// Which annotations were taken away again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Withdrawn {
    pub(crate) retry: bool,
    pub(crate) cancel: bool,
    pub(crate) skip: bool,
}

impl Asked {
    /// Returns what the annotations say that are there.
    pub(crate) fn annotations(self) -> Requests {
        let text = |number: u8, gone: bool| (number > 0 && !gone).then(|| number.to_string());
        Requests {
            retry: text(self.retry, self.withdrawn.retry),
            restart: None,
            test: None,
            cancel: text(self.cancel, self.withdrawn.cancel),
            skip: text(self.skip, self.withdrawn.skip),
        }
    }

    /// Returns what is asked for, where `handled` was handled last.
    pub(crate) fn requests(self, handled: &Requests) -> Requests {
        self.annotations().or_handled(handled.clone())
    }

    /// Every annotation is taken away, as a tool for `GitOps` does that replaces the object.
    pub(crate) fn withdraw(&mut self) {
        let Self { retry, cancel, skip, .. } = *self;
        self.withdrawn = Withdrawn { retry: retry > 0, cancel: cancel > 0, skip: skip > 0 };
    }

    pub(crate) fn ask_retry(&mut self) {
        self.retry += 1;
        self.withdrawn.retry = false;
    }

    pub(crate) fn ask_cancel(&mut self) {
        self.cancel += 1;
        self.withdrawn.cancel = false;
    }

    pub(crate) fn ask_skip(&mut self) {
        self.skip = self.skip.saturating_add(1);
        self.withdrawn.skip = false;
    }

    pub(crate) fn controls(self, configuration: &Configuration, handled: &Requests) -> Controls {
        let removal_asks = configuration.mutation == Some(Mutation::RemovalAsks);
        Controls {
            suspend: self.suspend,
            requests: if removal_asks { self.annotations() } else { self.requests(handled) },
            interrupt: self.superseded.map(|now| Cancel {
                now,
                failure: Failure::new(Reason::Superseded, "a newer spec supersedes it"),
            }),
            deletion: Deletion {
                timeout: SignedDuration::from_secs(i64::from(DELETION)),
                on_timeout: configuration.world.on_timeout(),
                namespace_goes: self.namespace_goes,
            },
            commands: Commands::default(),
        }
    }

    /// Returns whether a cancellation is wished that `handled` does not know of.
    pub(crate) fn cancels(self, handled: &Requests) -> bool {
        self.superseded.is_some() || self.asks_to_cancel(handled)
    }

    pub(crate) fn asks_to_cancel(self, handled: &Requests) -> bool {
        let cancel = self.annotations().cancel;
        cancel.is_some() && cancel != handled.cancel
    }
}
