//! Health checks of the spec: the request to the engine, and what is wrong with them.

use engine::protocol::{Checked, Evaluate, Expressions, InvalidExpression};
use lifecycle::{
    health::{HealthCheck, repeated},
    reason::Reason,
};

use crate::problems::Blocked;

/// Returns the request to evaluate `checks` for `objects`; without objects, to compile them.
pub fn request<'a>(checks: &'a [HealthCheck], objects: Vec<Checked<'a>>) -> Evaluate<'a> {
    let expressions = checks.iter().map(|check| Expressions {
        current: &check.current,
        in_progress: check.in_progress.as_deref(),
        failed: check.failed.as_deref(),
    });
    Evaluate { checks: expressions.collect(), objects }
}

/// Returns the name of an expression, such as `spec.healthChecks[0].current`.
pub fn field(check: usize, field: &str) -> String {
    format!("spec.healthChecks[{check}].{field}")
}

/// Refuses checks that do not compile, or that are for a kind that has one already.
///
/// # Errors
/// With each of them.
pub fn refuse_invalid(
    checks: &[HealthCheck],
    invalid: &[InvalidExpression],
) -> Result<(), Blocked> {
    let invalid = invalid.iter().map(|InvalidExpression { check, field: name, message }| {
        format!("{} does not compile: {message}", field(*check, name))
    });
    let repeated = repeated(checks).into_iter().map(|(place, first)| {
        format!(
            "spec.healthChecks[{place}] is for the same kind as spec.healthChecks[{first}]; remove \
             one of them"
        )
    });
    let problems: Vec<_> = invalid.chain(repeated).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Blocked::all(Reason::InvalidHealthCheck, &problems))
}
