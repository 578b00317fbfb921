//! The API server: calls, as whom, and what they answer.

pub(crate) mod call;
pub(crate) mod discovery;
pub(crate) mod error;
pub(crate) mod impersonation;
pub(crate) mod metrics;
pub(crate) mod resource;
pub(crate) mod rights;
pub(crate) mod tenant;
