//! The frozen plan of an operation, and what is checked before it begins.
//!
//! - `make`: from the source, or the records, to a plan
//! - `material`: what it is made from
//! - `history`: what earlier revisions say
//! - `kinds`: the kinds of its objects, as the cluster serves them
//! - `rights`: whether the tenant has those that it needs
//! - `crds`: what a chart has in `crds/`, and the kinds that hooks bring along
//! - `owners`: whose the objects are that exist
//! - `kept`: what stays when a release is deleted
//! - `preflight`: what can only fail, and what means nothing

mod crds;
pub(crate) mod history;
mod kept;
mod kinds;
pub(crate) mod make;
mod material;
mod owners;
pub(crate) mod preflight;
mod rights;
