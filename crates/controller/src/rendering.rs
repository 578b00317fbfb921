//! Charts, fetched and kept, and the programs that render them. No Kubernetes.

pub(crate) mod charts;
pub(crate) mod renderers;

/// What fetches charts, and what renders them.
pub(crate) struct Rendering {
    pub(crate) charts: charts::Charts,
    pub(crate) engines: renderers::Engines,
}
