//! The release's records: Helm's Secrets, one for each revision, with our plans beside.
//!
//! - `of_release`: those of one release
//! - `record`: one of them, and what it means
//! - `adopt`: those of another client
//! - `body`: what stands in one
//! - `frozen`: the bytes of a plan
//! - `import`: copying those that are `ConfigMaps`
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
