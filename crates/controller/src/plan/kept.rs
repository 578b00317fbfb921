//! The objects that are kept when a release is deleted.

use helm::ownership::{self, ResourcePolicy};
use lifecycle::object::PlannedObject;
use lifecycle::reason::Reason;

use crate::release::Release;

/// Returns true if the manifest says that the object is kept when the release is deleted.
pub(super) fn is_kept(
    release: &Release<'_>,
    PlannedObject { object, manifest }: &PlannedObject,
) -> bool {
    match ownership::resource_policy(manifest) {
        ResourcePolicy::Absent => false,
        ResourcePolicy::Keep => {
            let text =
                format!("{object} stays, as its annotation helm.sh/resource-policy says: keep");
            release.tell(Reason::ObjectKept, text);
            true
        }
        ResourcePolicy::Unknown(word) => {
            let text = format!(
                "{object} is deleted: its annotation helm.sh/resource-policy is {word:?}, which \
                 means nothing; only keep does"
            );
            release.warn(Reason::UnknownPolicy, text);
            false
        }
    }
}
