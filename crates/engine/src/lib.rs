//! Helm's own template engine, which runs as a process of its own: `engine/` is its source, and
//! `engine/README.md` says what is spoken with it and how it is shut in.

mod process;
pub mod protocol;

pub use process::{Answer, Breach, EngineError, Limits, Puller, Renderer, beside};
