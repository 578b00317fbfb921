//! What a release is to consist of: its source, read and rendered.

pub(crate) mod digest;
pub(crate) mod objects;
pub(crate) mod render;
pub(crate) mod source;
