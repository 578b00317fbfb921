//! The state of a release's live objects: how a hook's Job or Pod ended, and why, whether an object
//! is ready; and the object that is sent for a hook. Pure.

pub mod hook_object;
pub mod kstatus;
pub mod observe;
