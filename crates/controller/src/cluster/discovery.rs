//! Finds the resource of a kind in the cluster, and remembers it.

use std::{collections::HashMap, sync::Mutex};

use kube::{
    Client,
    core::{ApiResource, GroupVersionKind},
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
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let what = format!("discover {kind} of {api_version}");
        let pinned = || async {
            match discovery::pinned_kind(client, &gvk).await {
                Ok(found) => Ok(Some(found)),
                Err(kube::Error::Discovery(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found = read(metrics, what, pinned).await;
        let found = match found {
            Err(ApiError { cause: Cause::NotFound(_), .. }) => None,
            other => other?,
        };
        let Some((resource, capabilities)) = found else {
            return Ok(None);
        };
        let kind = Kind { resource, scope: capabilities.scope };
        self.lock().insert(key, kind.clone());
        Ok(Some(kind))
    }

    /// Forgets a kind, which may no longer exist, or may have changed.
    pub(crate) fn forget(&self, api_version: &str, kind: &str) {
        self.lock().remove(&(api_version.to_owned(), kind.to_owned()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Kind>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
