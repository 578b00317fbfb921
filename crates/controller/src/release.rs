//! One release during one reconciliation: its object as last read, and its tenant.

pub(crate) mod conflicts;
pub(crate) mod context;
pub(crate) mod events;
pub(crate) mod fence;
pub(crate) mod finalizer;
pub(crate) mod object;
mod outcome;
pub(crate) mod report;
pub(crate) mod running;
pub(crate) mod settled;
pub(crate) mod status;

use api::ReleaseLifecycle;
use lifecycle::{
    commands::Commands,
    conditions::Condition,
    journal::{Failure, Journal},
    object::ObjectRef,
    plan::Owner,
    reason::Reason,
};
use sources::{RenderedRelease, ResolvedSource};
use tokio::sync::OnceCell;

use crate::{
    cluster::tenant::Tenant,
    release::{context::Context, fence::Fence},
};

pub(crate) struct Release<'a> {
    pub(crate) ctx: &'a Context,
    /// The object as last read or written, never from a cache.
    pub(crate) object: ReleaseLifecycle,
    pub(crate) tenant: Tenant<'a>,
    /// The name of the release in Helm.
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// True if the namespace is terminating; only checked if the object is being deleted, too.
    pub(crate) namespace_goes: bool,
    /// The source that the spec names, or why it is unknown; empty until it is first needed.
    pub(crate) source: OnceCell<Result<ResolvedSource, Failure>>,
    /// The objects outside of the namespace, of the current operation or of the deployed revision;
    /// `None` until they are known.
    pub(crate) outside: Option<Vec<ObjectRef>>,
    /// The rendered source: rendered once, since the result may differ another time.
    pub(crate) made: OnceCell<RenderedRelease>,
    /// The additional remark for the message of a release that is ready, see `remark`.
    pub(crate) remark: Option<String>,
    /// The content of the condition `Warned` from the next journal on, if it was checked.
    pub(crate) warned: Option<Vec<Condition>>,
}

impl<'a> Release<'a> {
    pub(crate) fn new(ctx: &'a Context, object: ReleaseLifecycle, tenant: Tenant<'a>) -> Self {
        let name = object.release_name().into_owned();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let (source, made) = (OnceCell::new(), OnceCell::new());
        let (namespace_goes, outside, remark, warned) = (false, None, None, None);
        Self {
            ctx,
            object,
            tenant,
            name,
            namespace,
            namespace_goes,
            source,
            outside,
            made,
            remark,
            warned,
        }
    }

    pub(crate) fn is_being_deleted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Returns true if the object is deleted and the release is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_being_deleted() && self.object.keeps_objects()
    }

    /// Returns the fence that precedes the writes of this release.
    pub(crate) fn fence(&self) -> Fence<'_> {
        Fence::new(&self.ctx.cluster, &self.ctx.lease, &self.object)
    }

    pub(crate) fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Returns the custom resource, as plans name it.
    pub(crate) fn owner(&self) -> Owner {
        Owner { uid: self.uid().to_owned(), name: self.object_name().to_owned() }
    }

    pub(crate) fn object_name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn commands(&self) -> Commands {
        self.object.commands()
    }

    pub(crate) fn generation(&self) -> i64 {
        self.object.metadata.generation.unwrap_or_default()
    }

    pub(crate) fn journal(&self) -> Option<Journal> {
        self.object.status.as_ref()?.journal()
    }

    /// Returns the source that was found; `None` if it was not read yet, or not found.
    pub(crate) fn known_source(&self) -> Option<&ResolvedSource> {
        self.source.get()?.as_ref().ok()
    }

    /// Returns true if the source is part of the desired state, and is unknown.
    pub(crate) fn is_blind(&self) -> bool {
        self.object.spec.pin_revision.is_none() && self.known_source().is_none()
    }

    pub(crate) fn tell(&self, reason: Reason, text: String) {
        self.ctx.reporter.tell(&self.object, reason, text);
    }

    pub(crate) fn warn(&self, reason: Reason, text: String) {
        self.ctx.reporter.warn(&self.object, reason, text);
    }
}
