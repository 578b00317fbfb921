//! The release's records: Helm's Secrets, one for each revision, with our plans beside.
//!
//! - `of_release`: the records of one release
//! - `record`: one record, and its meaning
//! - `adopt`: the records of another client
//! - `body`: the content of a record
//! - `frozen`: the bytes of a plan
//! - `import`: copying records that are `ConfigMaps`
//! - `prune`: removing the oldest
//! - `read`: finding and reading them
//! - `write`: opening and closing one, and removing them all

mod adopt;
mod body;
mod frozen;
mod import;
mod of_release;
mod prune;
mod read;
mod record;
mod write;

pub(crate) use of_release::Records;
pub(crate) use record::{Stored, newest};
pub(crate) use write::no_target;
