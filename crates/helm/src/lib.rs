//! Helm's formats, read and written as Helm 3 and Helm 4 do. Pure: no client, no clock, no I/O.
//!
//! - [`record`]: the release record, the JSON behind `helm list`, `history`, `rollback`
//! - [`secret`]: the Secret that holds one record, and the operator's plans beside it; the
//!   `ConfigMap` of Helm's other driver
//! - [`stored`]: a record as it is stored, with those plans, and its meaning
//! - [`pending`]: the Secret in which a plan waits for an approval
//! - [`hook_log`]: the Secret in which the log of a hook is kept
//! - [`manifest`]: objects to manifest text that Go's YAML reader reads back unchanged, and back
//! - [`adopt`]: the objects of a record, and whether they are the desired ones
//! - [`managed`]: the owners of an object's fields before it is applied
//! - [`ownership`]: the label and annotations by which Helm knows its objects; `resource-policy`
//!
//! Objects are [`serde_json::Value`] throughout, so that no field newer than this program is lost.

pub mod adopt;
pub mod hook_log;
pub mod managed;
pub mod manifest;
pub mod ownership;
pub mod pending;
pub mod record;
pub mod secret;
pub mod stored;
