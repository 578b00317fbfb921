//! The desired state of a release: its source, read and rendered.

pub(crate) mod digest;
pub(crate) mod health;
pub(crate) mod objects;
pub(crate) mod render;
pub(crate) mod source;
