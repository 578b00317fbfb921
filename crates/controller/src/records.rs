//! The release's records: Helm's Secrets, one for each revision, with our plans beside.
//! One record, and its meaning, is in `helm::stored`.
//!
//! - `of_release`: the records of one release
//! - `adopt`: the records of another client
//! - `body`: the content of a record
//! - `import`: copying records that are `ConfigMaps`
//! - `logs`: the logs of hooks that are kept beside the records
//! - `pending`: the plan that waits for an approval
//! - `prune`: removing the oldest
//! - `read`: finding and reading them
//! - `write`: opening and closing one, and removing them all

mod adopt;
mod body;
mod import;
mod logs;
mod of_release;
mod pending;
mod prune;
mod read;
mod write;

pub(crate) use helm::stored::{Stored, newest};
pub(crate) use of_release::Records;
pub(crate) use pending::Draft;

pub(crate) use write::no_target;
