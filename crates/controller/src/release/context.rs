//! The state that all reconciliations share, in parts: each user gets only the part that it needs.

use std::{collections::HashSet, sync::Arc, time::Duration};

use election::Lease;

use crate::{
    cluster::{Cluster, tenancy::Tenancy},
    release::{events::Reporter, running::Running},
    rendering::Rendering,
    support::{backoff::Backoff, slots::Slots},
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
    /// The slots of reconciliations.
    pub(crate) slots: Arc<Slots>,
    pub(crate) backoff: Backoff,
    /// The pace of reconciliations that follow each other at once.
    pub(crate) pace: Backoff,
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
    /// The number of releases that are reconciled at once.
    pub(crate) concurrency: usize,
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
        let metrics = Arc::clone(&cluster.metrics);
        let report = move |namespace: &str, waiting| metrics.waiting(namespace, waiting);
        Self {
            slots: Arc::new(Slots::new(options.concurrency, report)),
            cluster,
            watches,
            rendering,
            options,
            lease,
            reporter,
            running: Running::default(),
            backoff: Backoff::default(),
            pace: Backoff::of_repeats(),
            faults: Backoff::after_panics(),
        }
    }

    /// Forgets the custom resource of this key and UID, which is gone: everything of it that any cache
    /// holds.
    pub(crate) fn forget(&self, key: &str, uid: &str) {
        self.running.forget(uid);
        self.cluster.echoes.forget(uid);
        self.watches.forget(key);
        self.rendering.charts.forget(key);
        self.backoff.forget(key);
        self.pace.forget(key);
        self.faults.forget(key);
    }

    /// Forgets all custom resources but those of these keys and UIDs, in whatever cache.
    pub(crate) fn retain(&self, keys: &HashSet<String>, uids: &HashSet<String>) {
        self.running.retain(uids);
        self.cluster.echoes.retain(uids);
        self.watches.retain(keys);
        self.rendering.charts.retain(keys);
        for backoff in [&self.backoff, &self.pace, &self.faults] {
            backoff.retain(keys);
        }
    }

    /// Forgets the source of the custom resource of this key, which refers to nothing.
    pub(crate) fn forget_source(&self, key: &str) {
        self.watches.sources.follow_none(key);
        self.rendering.charts.forget(key);
    }
}
