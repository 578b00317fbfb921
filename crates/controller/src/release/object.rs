//! The custom resource of a release: reads the live object, and writes its status.

use std::{ops::Deref, time::Instant};

use api::{ReleaseLifecycle, ReleaseLifecycleStatus, names};
use kube::{Api, Resource, api::PostParams};
use lifecycle::{reason::Reason, source::stands_in_urls};

use crate::cluster::{
    Cluster, call,
    call::{Access, ApiError, Cause, call, optional},
    error::Error,
    recent::FRESH,
    resource::{Tolerant, Whole},
};

/// The custom resource as it was last read or written.
#[derive(Clone)]
pub(crate) struct Live {
    object: ReleaseLifecycle,
    /// The time when the request was sent whose answer it is: whoever is stopped while the answer
    /// arrives must not take it for a new one. `None`: it is from a cache.
    asked_at: Option<Instant>,
}

impl Live {
    /// Returns the object of a cache.
    pub(crate) fn cached(object: ReleaseLifecycle) -> Self {
        Self { object, asked_at: None }
    }

    /// Returns true if the API server has answered just now that the object is this one.
    pub(crate) fn is_fresh(&self) -> bool {
        self.asked_at.is_some_and(|at| at.elapsed() < FRESH)
    }

    /// Takes over what a write has changed, which was sent at this time: its spec is the one over which
    /// it was written.
    pub(super) fn update(&mut self, written: ReleaseLifecycle, sent_at: Instant) {
        self.object.metadata = written.metadata;
        self.object.status = written.status;
        self.asked_at = Some(sent_at);
    }
}

impl Deref for Live {
    type Target = ReleaseLifecycle;

    fn deref(&self) -> &ReleaseLifecycle {
        &self.object
    }
}

/// Returns the live object of `known`; `None` if it is gone. No cache decides an effect.
pub(crate) async fn read(
    cluster: &Cluster,
    known: &ReleaseLifecycle,
) -> Result<Option<Live>, Error> {
    let asked_at = Some(Instant::now());
    let namespace = known.metadata.namespace.as_deref().unwrap_or_default();
    let name = known.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Whole> = Api::namespaced(cluster.operator.clone(), namespace);
    let what = format!("get ReleaseLifecycle {namespace}/{name}");
    let found = optional(call::read(&cluster.metrics, &*what, || api.get(name)).await);
    let found = found.map_err(Error::of_operator)?;
    let same = found.filter(|found| found.meta().uid == known.metadata.uid);
    let object = same.map(|found| found.object(&what)).transpose()?;
    Ok(object.map(|object| Live { object, asked_at }))
}

/// Returns the live custom resource of this name, without its bulk.
pub(crate) async fn find(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<ReleaseLifecycle>, Error> {
    // No object has such a name, and the operator's own request would have another path.
    if !stands_in_urls(name) {
        return Ok(None);
    }
    let api: Api<Tolerant> = Api::namespaced(cluster.operator.clone(), namespace);
    let what = format!("get ReleaseLifecycle {namespace}/{name}");
    let found = optional(call::read(&cluster.metrics, &*what, || api.get(name)).await);
    let found = found.map_err(Error::of_operator)?;
    Ok(found.map(|found| found.object(&what)).transpose()?)
}

/// Writes `status`, unless it is unchanged: only over the version that was read.
pub(super) async fn write_status(
    cluster: &Cluster,
    object: &mut Live,
    status: ReleaseLifecycleStatus,
) -> Result<(), Error> {
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut next = object.object.clone();
    next.status = Some(status);
    next.metadata.managed_fields = None;
    let next = Tolerant(Ok(next));
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Tolerant> = Api::namespaced(cluster.operator.clone(), namespace);
    let params = PostParams {
        field_manager: Some(names::STATUS_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let what = format!("write the status of ReleaseLifecycle {namespace}/{name}");
    let sent_at = Instant::now();
    let _writing = cluster.echoes.writing(&object.metadata);
    let write = api.replace_status(name, &params, &next);
    let written = call(&cluster.metrics, Access::Write, &*what, write).await.map_err(outrun)?;
    let written = written.object(&what)?;
    let wanted = next.0.ok().and_then(|next| next.status).unwrap_or_default();
    cluster.echoes.wrote(&written.metadata);
    object.update(written, sent_at);
    if let Some(field) = dropped(&wanted, object.status.as_ref()) {
        return Err(Error::blocked(
            Reason::CrdOutdated,
            format!(
                "the CustomResourceDefinition of ReleaseLifecycle is of an earlier version, and drops \
                 a part of {field}, without which nothing can be executed: an administrator updates \
                 it with `kubectl apply --server-side -f crds/`"
            ),
        ));
    }
    Ok(())
}

/// Returns the first field that the journal depends on, and that was not written as it is wanted.
fn dropped(
    wanted: &ReleaseLifecycleStatus,
    written: Option<&ReleaseLifecycleStatus>,
) -> Option<&'static str> {
    let Some(written) = written else { return Some("status") };
    let fields = [
        ("status.plans", wanted.plans == written.plans),
        ("status.operation", wanted.operation == written.operation),
        ("status.hooks", wanted.hooks == written.hooks),
        ("status.hookRuns", wanted.hook_runs == written.hook_runs),
        ("status.lastAttempt", wanted.last_attempt == written.last_attempt),
    ];
    fields.into_iter().find(|(_, is_whole)| !is_whole).map(|(name, _)| name)
}

/// Turns a conflict into [`Error::Stale`]: another client was faster, and its changes can be read
/// now.
pub(crate) fn outrun(error: ApiError) -> Error {
    match error.cause {
        Cause::Conflict(_) | Cause::NotFound(_) => Error::Stale,
        _ => Error::Api(error),
    }
}
