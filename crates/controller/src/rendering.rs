//! Charts, fetched and cached, and the programs that render them. No Kubernetes.

pub(crate) mod charts;
pub(crate) mod renderers;

/// The part that fetches charts, and the part that renders them.
pub(crate) struct Rendering {
    pub(crate) charts: charts::Charts,
    pub(crate) renderers: renderers::Renderers,
}
