//! The state that all reconciliations share, in parts: each user gets only the part that it needs.

use std::{sync::Arc, time::Duration};

use election::Lease;

use crate::{
    cluster::{Cluster, tenancy::Tenancy},
    release::{events::Reporter, running::Running},
    rendering::Rendering,
    support::backoff::Backoff,
    watches::Watches,
};

/// The shared state. Only back-off counters and caches are lost with the process.
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) watches: Watches,
    pub(crate) rendering: Rendering,
    pub(crate) options: Options,
    pub(crate) lease: Arc<Lease>,
    pub(crate) reporter: Reporter,
    pub(crate) running: Running,
    pub(crate) backoff: Backoff,
    /// The back-off of objects at which this program had a fault of its own.
    pub(crate) faults: Backoff,
}

/// The options with which the operator was started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) tenancy: Tenancy,
    /// The only namespace whose hooks are watched; `None`: all are.
    pub(crate) watched: Option<String>,
    /// The time for which another client that writes nothing is respected.
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

    /// Forgets the custom resource of this key, which is gone.
    pub(crate) fn forget(&self, key: &str) {
        self.watches.forget(key);
        self.rendering.charts.forget(key);
        self.backoff.forget(key);
        self.faults.forget(key);
    }

    /// Forgets the source of the custom resource of this key, which refers to nothing.
    pub(crate) fn forget_source(&self, key: &str) {
        self.watches.sources.follow_none(key);
        self.rendering.charts.forget(key);
    }
}
