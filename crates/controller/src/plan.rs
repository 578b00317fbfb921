//! The frozen plan of an operation, and what is checked before it begins.

pub(crate) mod crds;
pub(crate) mod owners;
pub(crate) mod preflight;
pub(crate) mod prepare;
