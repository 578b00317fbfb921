//! The names of watched objects, and the interval of their checks.

use std::time::Duration;

use api::ReleaseLifecycle;
use kube::ResourceExt;

/// The interval of checks of a blocked release, if no change of the object can resolve the block.
pub(crate) const RECHECK: Duration = Duration::from_mins(1);

/// The maximum length of a [`key`]: that of a namespace, and of a name. What others call one may be
/// longer.
pub(crate) const LONGEST_KEY: usize = 63 + 1 + 253;

/// Returns `<namespace>/<name>`, the key of all state that is kept of an object.
pub(crate) fn key(object: &ReleaseLifecycle) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}
