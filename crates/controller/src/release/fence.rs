//! The fence: the check before each write of a release, so that a process that was paused does not
//! revert later changes of another process.

use election::Lease;

use crate::{
    cluster::{Cluster, error::Error, permit::Permit},
    release::object::{Live, read},
};

/// The permission for the writes of one release.
#[derive(Clone, Copy)]
pub(crate) struct Fence<'a> {
    cluster: &'a Cluster,
    lease: &'a Lease,
    object: &'a Live,
}

impl<'a> Fence<'a> {
    /// Returns the fence of the release of `object`, as last read or written.
    pub(crate) fn new(cluster: &'a Cluster, lease: &'a Lease, object: &'a Live) -> Self {
        Self { cluster, lease, object }
    }

    /// Reads the custom resource again, unless it was read or written just now and the lease is held: if
    /// another process has written it since, that process manages the release now, and this one has to
    /// reconcile again.
    pub(crate) async fn guard(self) -> Result<Permit, Error> {
        if self.object.is_fresh() && self.lease.excludes_others() {
            return Permit::of_unchanged(&self.object.metadata, Some(&self.object.metadata));
        }
        let present = read(self.cluster, self.object).await?;
        Permit::of_unchanged(&self.object.metadata, present.as_ref().map(|it| &it.metadata))
    }

    /// Checks the lease, without a request: for requests that create an object which may start, or
    /// remain, by itself.
    pub(crate) fn lead(self) -> Result<Permit, Error> {
        Permit::of_leader(self.lease.is_held())
    }

    /// Returns the custom resource's name, which marks the objects that its release writes.
    pub(crate) fn object_name(self) -> &'a str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }
}
