//! `spec.preflight`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ReleaseLifecycle;

/// Checks of an operation before it begins: `Off` checks nothing, `Warn` reports what can only fail
/// in the condition `PreflightPassed` and by Event objects, `Enforce` also sends every object and
/// hook as a dry run, and does not begin an install or an upgrade of which something was found.
/// Defaults to `Warn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Preflight {
    Off,
    #[default]
    Warn,
    Enforce,
}

impl ReleaseLifecycle {
    /// Returns the checks of an operation before it begins.
    pub fn preflight(&self) -> Preflight {
        self.spec.preflight.unwrap_or_default()
    }
}
