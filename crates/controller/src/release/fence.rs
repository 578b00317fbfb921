//! The fence: what each write of a release is preceded by, so that a process that was paused does not
//! undo what another one has done since.

use api::ReleaseLifecycle;

use crate::{
    cluster::{error::Error, permit::Permit},
    release::{context::Context, object::read},
};

/// What permits the writes of one release.
#[derive(Clone, Copy)]
pub(crate) struct Fence<'a> {
    ctx: &'a Context,
    object: &'a ReleaseLifecycle,
}

impl<'a> Fence<'a> {
    /// The fence of the release of `object`, as it was read or written last.
    pub(crate) fn new(ctx: &'a Context, object: &'a ReleaseLifecycle) -> Self {
        Self { ctx, object }
    }

    /// Reads the custom resource again: whoever wrote it since goes on with the release, and this
    /// process has to look again.
    pub(crate) async fn guard(self) -> Result<Permit, Error> {
        let present = read(&self.ctx.cluster, self.object).await?;
        Permit::of_unchanged(&self.object.metadata, present.as_ref().map(|it| &it.metadata))
    }

    /// Asks the lease, without a request: for what makes an object that may start, or stay, by
    /// itself.
    pub(crate) fn lead(self) -> Result<Permit, Error> {
        Permit::of_leader(self.ctx.lease.is_held())
    }

    /// The custom resource's name, which marks what its release writes.
    pub(crate) fn object_name(self) -> &'a str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }
}
