//! What a release is to consist of: its source, read and rendered.

pub(crate) mod charts;
pub(crate) mod digest;
pub(crate) mod objects;
pub(crate) mod render;
pub(crate) mod renderers;
pub(crate) mod source;

/// What fetches charts, and what renders them.
pub(crate) struct Rendering {
    pub(crate) charts: charts::Charts,
    pub(crate) engines: renderers::Engines,
}
