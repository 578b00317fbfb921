//! Who has to be reconciled when something else changes.

pub(crate) mod pace;
pub(crate) mod records;
pub(crate) mod sources;
pub(crate) mod triggers;
