//! The triggers of a release besides its own object.

pub(crate) mod deletions;
pub(crate) mod dependents;
pub(crate) mod elsewhere;
pub(crate) mod held;
pub(crate) mod hooks;
mod pace;
pub(crate) mod records;
mod registry;
pub(crate) mod sources;
pub(crate) mod triggers;

use std::{collections::HashSet, sync::Arc};

use kube::Client;
use kube_runtime::watcher;

use self::{
    deletions::{Deletion, Deletions},
    dependents::Dependents,
    elsewhere::Elsewhere,
    held::Held,
    hooks::{Idle, Observed},
    records::RecordWatches,
    sources::SourceWatches,
    triggers::Triggers,
};

/// The maximum numbers of watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Watches of objects that sources name.
    pub(crate) sources: usize,
    /// Watches of records, each of one namespace and tenant.
    pub(crate) records: usize,
}

/// All watches and triggers that bring releases back.
pub(crate) struct Watches {
    pub(crate) triggers: Triggers,
    pub(crate) sources: SourceWatches,
    pub(crate) records: RecordWatches,
    pub(crate) dependents: Dependents,
    pub(crate) held: Held,
    pub(crate) observed: Observed,
    idle: Idle,
    deletions: Deletions,
    pub(crate) elsewhere: Arc<Elsewhere>,
}

impl Watches {
    /// Returns the watches. `operator` is the client over whose connections tenants watch.
    pub(crate) fn new(operator: &Client, limits: Limits) -> Self {
        let triggers = Triggers::default();
        let trigger = triggers.trigger();
        Self {
            sources: SourceWatches::new(operator.clone(), trigger.clone(), limits.sources),
            records: RecordWatches::new(operator.clone(), trigger.clone(), limits.records),
            dependents: Dependents::default(),
            held: Held::default(),
            observed: Observed::default(),
            idle: Idle::default(),
            deletions: Deletions::default(),
            elsewhere: Arc::new(Elsewhere::new(trigger.clone())),
            triggers,
        }
    }

    /// Notes that the release of this key deletes the object of a hook, before it does.
    pub(crate) fn deletes(&self, key: &str, uid: &str) -> Deletion {
        self.deletions.begin(self.triggers.trigger().clone(), key, uid)
    }

    /// Forgets the custom resource of this key, which is gone.
    pub(crate) fn forget(&self, key: &str) {
        self.records.forget(key);
        self.dependents.forget(key);
        self.sources.forget(key);
        self.observed.forget(key);
    }

    /// Forgets all custom resources but those of these keys.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        self.records.retain(keys);
        self.sources.retain(keys);
        self.dependents.retain(keys);
        self.observed.retain(keys);
    }
}

/// Returns true if a tenant may not watch.
fn is_forbidden(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchError(status) => status.code == 403,
        _ => false,
    }
}
