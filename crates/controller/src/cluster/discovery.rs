//! Finds the resource of a kind in the cluster, and remembers it. One answer has all kinds of a group and
//! version, and serves for them for a moment.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use kube::{
    Client,
    core::{ApiResource, GroupVersion},
    discovery::{self, Scope},
};

use crate::{
    cluster::{
        call::{ApiError, Cause, read},
        metrics::Metrics,
    },
    support::sync::lock,
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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The kinds that were asked for, by `apiVersion` and name.
    known: HashMap<(String, String), Kind>,
    /// All kinds of an `apiVersion`, and when they were read.
    read: HashMap<String, (Instant, Vec<Kind>)>,
}

/// The time for which what was read answers for kinds that were not asked for. It is short: they may
/// be removed, or defined anew, unnoticed.
const FRESH: Duration = Duration::from_secs(10);

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
        if let Some(known) = lock(&self.state).find(&key) {
            return Ok(Some(known));
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let served = GroupVersion::gv(group, version);
        let what = format!("discover {kind} of {api_version}");
        let list = || async {
            match discovery::pinned_group(client, &served).await {
                Ok(found) => Ok(found.versioned_resources(version)),
                Err(kube::Error::Discovery(_)) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        let found = match read(metrics, what, list).await {
            Err(ApiError { cause: Cause::NotFound(_), .. }) => Vec::new(),
            other => other?,
        };
        let found = found
            .into_iter()
            .map(|(resource, capabilities)| Kind { resource, scope: capabilities.scope });
        let mut state = lock(&self.state);
        state.read.insert(api_version.to_owned(), (Instant::now(), found.collect()));
        Ok(state.find(&key))
    }

    /// Forgets a kind, which may no longer exist, or may have changed.
    pub(crate) fn forget(&self, api_version: &str, kind: &str) {
        let mut state = lock(&self.state);
        state.known.remove(&(api_version.to_owned(), kind.to_owned()));
        state.read.remove(api_version);
    }
}

impl State {
    fn find(&mut self, key: &(String, String)) -> Option<Kind> {
        if let Some(known) = self.known.get(key) {
            return Some(known.clone());
        }
        self.read.retain(|_, (at, _)| at.elapsed() < FRESH);
        let (_, all) = self.read.get(&key.0)?;
        // Of two resources of one kind, the first is meant.
        let found = all.iter().find(|it| it.resource.kind == key.1)?.clone();
        self.known.insert(key.clone(), found.clone());
        Some(found)
    }
}
