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

use std::time::Duration;

use helm::ownership;
use lifecycle::{
    commands::Commands,
    conditions::Condition,
    journal::{Failure, Journal},
    known::KnownPlan,
    object::{ObjectRef, PlannedObject},
    plan::Owner,
    reason::Reason,
};
use serde_json::Value;
use sources::ResolvedSource;

use crate::{
    cluster::{error::Error, tenant::Tenant},
    release::{context::Context, fence::Fence, object::Live},
    support::slots::Slot,
};

/// The source that the spec names, as far as this reconciliation has read it.
pub(crate) enum Source {
    /// Nothing has needed it yet.
    Unread,
    Known(Box<ResolvedSource>),
    /// It cannot be read: until it is changed, or for this time.
    Unknown(Failure, Option<Duration>),
}

impl Source {
    /// Returns the source, or the reason why it is unknown.
    pub(crate) fn known(&self) -> Result<&ResolvedSource, Error> {
        match self {
            Self::Known(source) => Ok(source),
            Self::Unknown(failure, None) => Err(Error::Blocked(failure.clone())),
            Self::Unknown(failure, Some(wait)) => Err(Error::RetryAfter(failure.clone(), *wait)),
            Self::Unread => Err(Error::blocked(
                Reason::InternalError,
                "the source is needed before it was read".to_owned(),
            )),
        }
    }
}

pub(crate) struct Release<'a> {
    pub(crate) ctx: &'a Context,
    /// The slot of this reconciliation.
    pub(crate) slot: Slot,
    /// The object as last read or written, never from a cache.
    pub(crate) object: Live,
    pub(crate) tenant: Tenant<'a>,
    /// The name of the release in Helm.
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// True if the namespace is terminating; only checked if the object is being deleted, too.
    pub(crate) namespace_goes: bool,
    /// The source; `desired::source::resolve` reads it.
    pub(crate) source: Source,
    /// The objects outside of the namespace, of the current operation or of the deployed revision;
    /// `None` until they are known.
    pub(crate) outside: Option<Vec<ObjectRef>>,
    /// The additional remark for the message of a release that is ready.
    pub(crate) remark: Option<String>,
    /// The plan of an operation that begins, until its first journal is written.
    pub(crate) plan: Option<KnownPlan>,
    /// The condition `PreflightPassed` from the next journal on, if it was checked.
    pub(crate) preflight: Option<Condition>,
}

impl<'a> Release<'a> {
    pub(crate) fn new(ctx: &'a Context, object: Live, tenant: Tenant<'a>, slot: Slot) -> Self {
        let name = object.release_name().into_owned();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let (namespace_goes, outside, remark, plan, preflight) = (false, None, None, None, None);
        Self {
            ctx,
            slot,
            object,
            tenant,
            name,
            namespace,
            namespace_goes,
            source: Source::Unread,
            outside,
            remark,
            plan,
            preflight,
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

    /// Returns false if status was lost, or written by an earlier version.
    pub(crate) fn knows_plans(&self) -> bool {
        self.object.status.as_ref().is_some_and(|status| !status.plans.is_empty())
    }

    /// Returns the source that was found; `None` if it was not read yet, or not found.
    pub(crate) fn known_source(&self) -> Option<&ResolvedSource> {
        match &self.source {
            Source::Known(source) => Some(source),
            Source::Unread | Source::Unknown(..) => None,
        }
    }

    /// Returns true if the source is part of the desired state, and is unknown.
    pub(crate) fn is_blind(&self) -> bool {
        self.object.spec.pin_revision.is_none() && self.known_source().is_none()
    }

    /// Returns the object to apply, without the version that was read.
    pub(crate) fn body(&self, planned: &PlannedObject) -> Value {
        let home = planned.object.namespace.as_deref();
        ownership::applied(&planned.manifest, home, &self.name, &self.namespace)
    }

    pub(crate) fn tell(&self, reason: Reason, text: String) {
        self.ctx.reporter.tell(&self.object, reason, text);
    }

    pub(crate) fn warn(&self, reason: Reason, text: String) {
        self.ctx.reporter.warn(&self.object, reason, text);
    }
}
