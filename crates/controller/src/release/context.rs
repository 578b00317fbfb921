//! What every reconciliation shares, by who needs it: who needs one part is given only that.

use std::{sync::Arc, time::Duration};

use election::Lease;

use crate::{
    cluster::{Cluster, tenancy::Tenancy},
    release::{events::Reporter, running::Running},
    rendering::Rendering,
    support::backoff::Backoff,
    watches::Watches,
};

/// Nothing here is lost with the process but back-off counters and caches.
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) watches: Watches,
    pub(crate) rendering: Rendering,
    pub(crate) options: Options,
    pub(crate) lease: Arc<Lease>,
    pub(crate) reporter: Reporter,
    pub(crate) running: Running,
    pub(crate) backoff: Backoff,
    /// Of what this program could not work on, by a fault of its own.
    pub(crate) faults: Backoff,
}

/// How the operator was started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) tenancy: Tenancy,
    /// The only namespace whose hooks are watched; `None`: all are.
    pub(crate) watched: Option<String>,
    /// How long another client that writes nothing is respected.
    pub(crate) takeover_after: Duration,
}

impl Context {
    pub(crate) fn new(
        cluster: Cluster,
        watches: Watches,
        rendering: Rendering,
        options: Options,
        lease: Arc<Lease>,
        reporter: Reporter,
    ) -> Self {
        Self {
            cluster,
            watches,
            rendering,
            options,
            lease,
            reporter,
            running: Running::default(),
            backoff: Backoff::default(),
            faults: Backoff::after_panics(),
        }
    }

    /// The custom resource of this key is gone.
    pub(crate) fn forget(&self, key: &str) {
        self.watches.forget(key);
        self.rendering.charts.forget(key);
        self.backoff.forget(key);
        self.faults.forget(key);
    }

    /// The custom resource of this key refers to nothing.
    pub(crate) fn forget_source(&self, key: &str) {
        self.watches.sources.follow_none(key);
        self.rendering.charts.forget(key);
    }
}
