//! From the spec of a release to what it consists of: one path for the operator, which then runs it,
//! and for `kubectl lifecycle plan`, which shows it.
//!
//! Who reads the cluster, or files in its place, is behind [`Reads`]; who fetches and who renders a
//! chart is the caller's own. Everything between them is here:
//!
//! - `objects`: the objects that the spec has, or that `ConfigMaps` and Secrets hold
//! - `chart`: where a chart is, and what it is rendered from
//! - `values`: the values for it
//! - `server`, `credentials`, `flux`: the charts that servers have, and the right to fetch them
//! - `render`: the request to the engine, and its refusals
//! - `rendered`: what all that makes: patched, parsed and within bounds
//! - `rules`: the rule of each hook
//! - `health`: the health checks of the spec, and what is wrong with them
//! - `planned`: the hooks that run at an event, and the objects that go with the release

pub mod chart;
mod credentials;
mod flux;
pub mod health;
mod holders;
pub mod objects;
pub mod planned;
mod problems;
mod reads;
mod render;
pub mod rendered;
pub mod rules;
mod secrets;
mod server;
#[cfg(test)]
mod testing;
pub mod values;

use manifests::placed::Placed;

pub use self::{
    chart::{ChartInputs, ChartLocation, Content, ResolvedChart},
    flux::{GROUP as FLUX_GROUP, VERSION as FLUX_VERSION},
    problems::{Blocked, Error},
    reads::Reads,
    render::refusal,
    rendered::{ChartTexts, RenderedRelease},
    secrets::Secrets,
    server::{Server, ServerChart, WantedChart, without_secrets},
};

/// The input of a release.
pub enum ResolvedSource {
    /// Its objects as they were written.
    Objects(Vec<Placed>),
    /// A chart that renders to them.
    Chart(Box<ResolvedChart>),
}
