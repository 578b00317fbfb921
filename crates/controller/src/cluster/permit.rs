//! The permission for a write as a tenant: a process that was paused must not write late, after
//! another process has taken over.

use kube::core::ObjectMeta;

use crate::cluster::error::Error;

/// A permission to write. Each way to get one documents which late write it prevents.
#[derive(Clone, Copy)]
pub(crate) struct Permit(());

impl Permit {
    /// Permits a write if the custom resource of `known`, which was read again, has not been
    /// written since: its journal is the one that the write is based on. In addition, a request
    /// that changes or deletes an object names the UID, or the version, that was read before.
    pub(crate) fn of_unchanged(
        known: &ObjectMeta,
        present: Option<&ObjectMeta>,
    ) -> Result<Self, Error> {
        let version = present.filter(|present| present.uid == known.uid);
        let version = version.and_then(|present| present.resource_version.as_ref());
        if version == known.resource_version.as_ref() { Ok(Self(())) } else { Err(Error::Stale) }
    }

    /// Permits a write if the lease is held: nothing else protects a request that creates an object
    /// which may start, or remain, by itself.
    pub(crate) fn of_leader(is_held: bool) -> Result<Self, Error> {
        if is_held { Ok(Self(())) } else { Err(Error::Stale) }
    }

    /// Permits a request that protects itself: it names the UID of the object of one run of a hook,
    /// and does nothing to any other object.
    pub(crate) fn of_uid() -> Self {
        Self(())
    }

    /// Permits the creation of an object that does not start before its UID is in the journal, see
    /// `hook_object`.
    pub(crate) fn of_held_back() -> Self {
        Self(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_the_very_object_that_was_read_permits_a_write() {
        let known = metadata("a", "7");
        for (present, permits) in [
            (Some(metadata("a", "7")), true),
            (Some(metadata("a", "8")), false),
            (Some(metadata("b", "7")), false),
            (None, false),
        ] {
            let permit = Permit::of_unchanged(&known, present.as_ref());
            assert_eq!(permit.is_ok(), permits, "{present:?}");
        }
        assert!(Permit::of_leader(true).is_ok());
        assert!(Permit::of_leader(false).is_err());
    }
}
