//! How the objects of the watch are named, and how often they are checked.

use std::time::Duration;

use api::ReleaseLifecycle;
use kube::ResourceExt;

/// How often what blocks a release is looked at again, where no change of the object mends it.
pub(crate) const RECHECK: Duration = Duration::from_mins(1);

/// Returns `<namespace>/<name>`, by which everything that is kept of an object is found.
pub(crate) fn key(object: &ReleaseLifecycle) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
