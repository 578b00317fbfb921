//! The base: modules that depend on neither Kubernetes nor releases.

pub(crate) mod allowances;
pub(crate) mod backoff;
pub(crate) mod blocking;
pub(crate) mod clock;
pub(crate) mod key;
pub(crate) mod lines;
pub(crate) mod panics;
pub(crate) mod permits;
pub(crate) mod slots;
pub(crate) mod sync;
