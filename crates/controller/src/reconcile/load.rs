//! Reads the live object of a release, and finds the identity with which it is managed.

use api::ReleaseLifecycle;

use crate::{
    cluster::{error::Error, tenancy::identity, tenant::Tenant},
    release::{
        Release,
        context::Context,
        finalizer,
        object::{Live, read},
    },
    support::slots::Slot,
};

/// The result of reading an object of the cache again.
pub(crate) enum Loaded<'a> {
    /// The object exists, and so does its tenant.
    Release(Box<Release<'a>>),
    /// The object is too large, or names no identity with which its release could be managed.
    Refused(Box<Live>, Error),
    /// The object is gone.
    Gone,
}

/// Reads the object, never from a cache.
pub(crate) async fn load<'a>(
    ctx: &'a Context,
    cached: &ReleaseLifecycle,
    slot: Slot,
) -> Result<Loaded<'a>, Error> {
    let object = match read(&ctx.cluster, cached).await {
        Ok(Some(object)) => object,
        Ok(None) => return Ok(Loaded::Gone),
        // It cannot be read, and its status says so.
        Err(error @ Error::Blocked(_)) => {
            return Ok(Loaded::Refused(Box::new(Live::cached(cached.clone())), error));
        }
        Err(error) => return Err(error),
    };
    let tenant = match identity(&ctx.options.tenancy, &object) {
        Ok(identity) => Tenant::new(&ctx.cluster, identity)?,
        Err(error) => return Ok(Loaded::Refused(Box::new(object), error)),
    };
    let mut release = Release::new(ctx, object, tenant, slot);
    if release.is_being_deleted() {
        release.namespace_goes = finalizer::namespace_goes(&release).await?;
    }
    Ok(Loaded::Release(Box::new(release)))
}
