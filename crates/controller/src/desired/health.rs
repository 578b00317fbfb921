//! Has health checks compiled and evaluated by an engine of the tenant.

use std::{sync::Arc, time::Duration};

use engine::{
    Breach, EngineError,
    protocol::{Evaluate, Evaluated},
};
use lifecycle::{digest::config_digest, journal::Failure, reason::Reason};
use sources::health;

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
    },
    release::Release,
    support::backoff::jitter,
};

/// The time after which health checks that wait for their turn are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Refuses health checks of the spec that do not compile. They are compiled once.
pub(crate) async fn refuse_invalid(release: &Release<'_>) -> Result<(), Error> {
    let checks = &*release.object.spec.health_checks;
    if checks.is_empty() {
        return Ok(());
    }
    let renderers = &release.ctx.rendering.renderers;
    let digest = config_digest(b"", &checks);
    let invalid = match renderers.compiled(&digest) {
        Some(invalid) => invalid,
        None => match evaluate(release, &health::request(checks, Vec::new())).await? {
            Ok(evaluated) => {
                let invalid = Arc::from(evaluated.invalid);
                renderers.note_compiled(digest, &invalid);
                invalid
            }
            Err(breach) => {
                let message = format!(
                    "the expressions of spec.healthChecks cannot be compiled: {breach}; make them \
                     shorter"
                );
                return Err(Error::blocked(Reason::InvalidHealthCheck, message));
            }
        },
    };
    Ok(health::refuse_invalid(checks, &invalid)?)
}

/// Evaluates health checks; the inner error is the limit that they exceeded.
pub(crate) async fn evaluate(
    release: &Release<'_>,
    request: &Evaluate<'_>,
) -> Result<Result<Evaluated, Breach>, Error> {
    let renderers = &release.ctx.rendering.renderers;
    let Some(turn) = renderers.turn(&release.namespace).await else {
        let message = "the health checks wait to be evaluated: charts and health checks of others are \
                       before them (--engine-processes)";
        let failure = Failure::new(Reason::Evaluating, message);
        return Err(Error::RetryAfter(failure, AGAIN.mul_f64(jitter())));
    };
    match renderers.evaluate(turn, &release.tenant.identity, request).await {
        Ok(evaluated) => Ok(Ok(evaluated)),
        Err(EngineError::Breach(breach)) => Ok(Err(breach)),
        Err(error) => Err(Error::Api(ApiError {
            what: "evaluate spec.healthChecks".to_owned(),
            cause: Cause::Unavailable(error.to_string()),
        })),
    }
}
