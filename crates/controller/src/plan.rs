//! The frozen plan of an operation, and the checks before it begins.
//!
//! - `make`: from the source, or the records, to a plan
//! - `changes`: what a plan changes, for who approves it
//! - `material`: the inputs of a plan
//! - `history`: facts from earlier revisions
//! - `kinds`: the kinds of its objects, as the cluster serves them
//! - `ran`: the hooks that need not run again
//! - `rights`: checks that the tenant has the rights that the plan needs
//! - `crds`: the content of a chart's `crds/`, and the kinds that hooks install
//! - `owners`: the owners of the objects that exist
//! - `kept`: the objects that are kept when a release is deleted
//! - `preflight`: settings that can only fail, and settings without effect
//! - `dry_run`: the objects and hooks that the API server would refuse

pub(crate) mod changes;
mod crds;
mod dry_run;
pub(crate) mod history;
mod kept;
mod kinds;
pub(crate) mod make;
mod material;
mod owners;
pub(crate) mod preflight;
mod ran;
mod rights;
