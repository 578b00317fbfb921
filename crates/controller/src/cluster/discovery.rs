//! Finds the resource of a kind in the cluster, and remembers all of its group and version.

use std::{collections::HashMap, sync::Mutex};

use kube::{
    Client,
    core::{ApiResource, GroupVersion},
    discovery::{self, Scope},
};

use crate::cluster::{
    call::{ApiError, Cause, read},
    metrics::Metrics,
};

/// A kind as the cluster serves it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) scope: Scope,
}

/// Kinds that were looked up. Only existing kinds are remembered, so that a new CRD is found at
/// once.
#[derive(Default)]
pub(crate) struct Kinds {
    known: Mutex<HashMap<(String, String), Kind>>,
}

impl Kinds {
    /// Returns `None` if the cluster does not serve the kind.
    pub(crate) async fn find(
        &self,
        client: &Client,
        metrics: &Metrics,
        api_version: &str,
        kind: &str,
    ) -> Result<Option<Kind>, ApiError> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let served = GroupVersion::gv(group, version);
        let what = format!("discover {kind} of {api_version}");
        let group = || async {
            match discovery::pinned_group(client, &served).await {
                Ok(found) => Ok(found.versioned_resources(version)),
                Err(kube::Error::Discovery(_)) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let found = match read(metrics, what, group).await {
            Err(ApiError { cause: Cause::NotFound(_), .. }) => Vec::new(),
            other => other?,
        };
        let mut known = self.lock();
        for (resource, capabilities) in found {
            let key = (api_version.to_owned(), resource.kind.clone());
            // Of two resources of one kind, the first is meant.
            known.entry(key).or_insert(Kind { resource, scope: capabilities.scope });
        }
        Ok(known.get(&key).cloned())
    }

    /// Forgets a kind, which may no longer exist, or may have changed.
    pub(crate) fn forget(&self, api_version: &str, kind: &str) {
        self.lock().remove(&(api_version.to_owned(), kind.to_owned()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Kind>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
