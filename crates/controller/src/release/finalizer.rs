//! The needs of a deletion at the custom resource itself: the finalizer, and the check for a
//! terminating namespace.

use std::time::Instant;

use api::{ReleaseLifecycle, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use lifecycle::{journal::Failure, reason::Reason};
use serde_json::json;

use crate::{
    cluster::{
        Cluster, call,
        call::{Access, call, optional},
        error::Error,
        resource::Tolerant,
    },
    release::{
        Release,
        object::{outrun, read},
    },
    support::key::RECHECK,
};

/// Returns true if the object has our finalizer, so that its deletion waits for us.
pub(crate) fn is_held(object: &ReleaseLifecycle) -> bool {
    object.finalizers().iter().any(|name| name == names::FINALIZER)
}

/// Adds the finalizer, before anything is begun that a deletion has to undo.
pub(crate) async fn hold(release: &mut Release<'_>) -> Result<(), Error> {
    if is_held(&release.object) {
        return Ok(());
    }
    let mut finalizers = release.object.finalizers().to_vec();
    finalizers.push(names::FINALIZER.to_owned());
    set(release, &finalizers).await
}

/// Lets the object go.
pub(crate) async fn remove(release: &mut Release<'_>) -> Result<(), Error> {
    let mut finalizers = release.object.finalizers().to_vec();
    finalizers.retain(|name| name != names::FINALIZER);
    match set(release, &finalizers).await {
        // It is gone, or another client was faster.
        Err(Error::Stale) if read(&release.ctx.cluster, &release.object).await?.is_none() => Ok(()),
        other => other,
    }
}

/// Writes with the version that was read, so that no finalizer of another client is lost.
async fn set(release: &mut Release<'_>, finalizers: &[String]) -> Result<(), Error> {
    let object = &release.object;
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api: Api<Tolerant> = Api::namespaced(release.ctx.cluster.operator.clone(), &namespace);
    let patch = json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    }});
    let params = PatchParams {
        field_manager: Some(names::STATUS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let what = format!("write the finalizers of ReleaseLifecycle {namespace}/{name}");
    let patch = Patch::Merge(&patch);
    let sent_at = Instant::now();
    let _writing = release.ctx.cluster.echoes.writing(&object.metadata);
    let write = api.patch(&name, &params, &patch);
    let written = call(&release.ctx.cluster.metrics, Access::Write, &*what, write).await;
    let written = written.map_err(outrun)?.object(&what)?;
    // The watch may have reported already that it is gone.
    if written.metadata.deletion_timestamp.is_none() {
        release.ctx.cluster.echoes.wrote(&written.metadata);
    }
    release.object.update(written, sent_at);
    Ok(())
}

/// Returns why nothing is begun in a namespace that is terminating.
pub(crate) fn nothing_begins(namespace: &str) -> Error {
    let text = format!("namespace {namespace} is terminating: no operation begins in it any more");
    Error::RetryAfter(Failure::new(Reason::NamespaceTerminating, text), RECHECK)
}

/// Like [`namespace_goes`], but what another release was answered just now counts: the namespace may begin
/// to go a moment later in any case.
pub(crate) async fn namespace_goes_lately(release: &Release<'_>) -> Result<bool, Error> {
    match release.ctx.cluster.staying.get(&release.namespace) {
        Some(()) => Ok(false),
        None => namespace_goes(release).await,
    }
}

/// Returns true if the release's namespace is terminating. If the operator may not read it, the
/// namespace is assumed to stay.
pub(crate) async fn namespace_goes(release: &Release<'_>) -> Result<bool, Error> {
    let Cluster { operator, metrics, staying, .. } = &release.ctx.cluster;
    let api: Api<Namespace> = Api::all(operator.clone());
    let what = format!("get namespace {}", release.namespace);
    let (get, asked_at) = (|| api.get(&release.namespace), Instant::now());
    match optional(call::read(metrics, what, get).await) {
        Ok(namespace) => {
            let goes = namespace.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
            if !goes {
                staying.keep(release.namespace.clone(), asked_at, ());
            }
            Ok(goes)
        }
        Err(error) if error.is_forbidden() => Ok(false),
        Err(error) => Err(Error::Api(error)),
    }
}

/// Returns the failure of a deletion, with advice: a `GitOps` tool that prunes everything of a
/// release at once removes the rights, too.
pub(crate) fn while_deleting(failure: Failure) -> Failure {
    if failure.reason != Reason::Forbidden {
        return failure;
    }
    let message = format!(
        "the release cannot be deleted: {}. Its ServiceAccount or RoleBinding may have gone before \
         it: apply them again until this object is gone, or set spec.deletion.objects to Keep to \
         leave the release to Helm",
        failure.message
    );
    Failure::new(Reason::IdentityGone, message)
}
