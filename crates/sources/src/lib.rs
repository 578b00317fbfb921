//! From the spec of a release to its objects: one path for the operator, which then runs it, and
//! for `kubectl lifecycle plan`, which shows it.
//!
//! The reader of the cluster, or of files in its place, is behind [`Reads`]; the caller itself
//! fetches and renders a chart. Everything between them is here:
//!
//! - `objects`: the objects in the spec, or in `ConfigMaps` and Secrets
//! - `chart`: the place of a chart, and the inputs to its rendering
//! - `values`: the values for it
//! - `server`, `credentials`, `flux`: the charts on servers, and the credentials to fetch them
//! - `render`: the request to the engine, and its refusals
//! - `rendered`: the result of all that: patched, parsed and within bounds

pub mod chart;
mod credentials;
mod flux;
mod holders;
pub mod objects;
mod problems;
mod reads;
mod render;
pub mod rendered;
mod secrets;
mod server;
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
    server::{Server, ServerChart, WantedChart},
};

/// The material that a release is made from.
pub enum ResolvedSource {
    /// Its objects as they were written.
    Objects(Vec<Placed>),
    /// A chart that renders to them.
    Chart(Box<ResolvedChart>),
}
