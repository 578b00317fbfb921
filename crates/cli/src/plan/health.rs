//! Has Helm's engine compile the expressions of health checks.

use api::ReleaseLifecycle;
use engine::{EngineError, Renderer};
use sources::health;

use super::{
    Found,
    chart::{LIMITS, program},
};
use crate::args::Template;

/// Returns a note if the expressions could not be checked, or what is wrong with them.
pub(super) async fn check(
    template: &Template,
    object: &ReleaseLifecycle,
) -> anyhow::Result<Found<Option<String>>> {
    let checks = &*object.spec.health_checks;
    if checks.is_empty() {
        return Ok(Ok(None));
    }
    let mut engine = match Renderer::start(&program(template), LIMITS, true) {
        Ok(engine) => engine,
        // Of a release of objects everything else can be planned.
        Err(error) => {
            let note = format!("warning: spec.healthChecks are not compiled here: {error}");
            return Ok(Ok(Some(note)));
        }
    };
    match engine.evaluate(&health::request(checks, Vec::new())).await {
        Ok(evaluated) => {
            let checked = health::refuse_invalid(checks, &evaluated.invalid);
            Ok(checked.map(|()| None).map_err(|blocked| blocked.problems))
        }
        Err(EngineError::Breach(breach)) => {
            Ok(Err(vec![format!("spec.healthChecks cannot be compiled: {breach}")]))
        }
        Err(error) => Err(error.into()),
    }
}
