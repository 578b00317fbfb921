//! One release during one reconciliation: its object as read last, and its tenant.

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
    /// As read or written last, never from a cache.
    pub(crate) object: ReleaseLifecycle,
    pub(crate) tenant: Tenant<'a>,
    /// Of the release, as Helm knows it.
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Whether the namespace is being deleted; only looked into where the object is, too.
    pub(crate) namespace_goes: bool,
    /// What was found where the spec says, or why nothing was; empty until somebody asks.
    pub(crate) source: OnceCell<Result<ResolvedSource, Failure>>,
    /// What the operation in hand, or the revision that is deployed, makes outside of the namespace;
    /// `None` until that is known.
    pub(crate) outside: Option<Vec<ObjectRef>>,
    /// What the source renders to: once, since another time it may be something else.
    pub(crate) made: OnceCell<RenderedRelease>,
    /// What there is to say of it besides where it is ready, see `besides`.
    pub(crate) besides: Option<String>,
    /// What the condition `Warned` is to say from the next journal on, if anything was looked at.
    pub(crate) warned: Option<Vec<Condition>>,
}

impl<'a> Release<'a> {
    pub(crate) fn new(ctx: &'a Context, object: ReleaseLifecycle, tenant: Tenant<'a>) -> Self {
        let name = object.release_name().into_owned();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let (source, made) = (OnceCell::new(), OnceCell::new());
        let (namespace_goes, outside, besides, warned) = (false, None, None, None);
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
            besides,
            warned,
        }
    }

    pub(crate) fn is_being_deleted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Whether the object goes and the release stays.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_being_deleted() && self.object.keeps_objects()
    }

    /// What the writes of this release are preceded by.
    pub(crate) fn fence(&self) -> Fence<'_> {
        Fence::new(self.ctx, &self.object)
    }

    pub(crate) fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The custom resource, as plans name it.
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

    /// What was found where the spec says; `None` where nobody has asked yet, or nothing was found.
    pub(crate) fn known_source(&self) -> Option<&ResolvedSource> {
        self.source.get()?.as_ref().ok()
    }

    /// Whether the source has a part in what is wanted, and is not known.
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
