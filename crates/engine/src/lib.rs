//! Helm's own template engine, which evaluates health checks, too. It runs as a separate process: `engine/` is its source, and
//! `engine/README.md` describes its protocol and its confinement.

mod process;
pub mod protocol;

pub use process::{Answer, Breach, EngineError, Limits, Puller, Renderer, beside};
