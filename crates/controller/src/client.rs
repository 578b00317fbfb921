//! The one way to the API server: every call has a deadline, is counted, and its errors are put
//! into the few classes that make a difference.

use std::{future::Future, time::Duration};

use kube::core::Status;
use thiserror::Error;

use crate::metrics::Metrics;

/// Longer than the API server's own admission deadline of 30 s.
const DEADLINE: Duration = Duration::from_secs(40);

/// A call that failed: what was tried, and what came back.
#[derive(Debug, Error)]
#[error("{what}: {cause}")]
pub(crate) struct ApiError {
    pub(crate) what: String,
    pub(crate) cause: Cause,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub(crate) enum Cause {
    /// The object, its namespace or its kind.
    #[error("{0}")]
    NotFound(String),
    #[error("it exists already")]
    AlreadyExists,
    /// The object changed since it was read, or a precondition did not hold.
    #[error("{0}")]
    Conflict(String),
    /// Nothing but a change by a user helps.
    #[error("{message}")]
    Refused { code: u16, message: String, fields: Vec<Field> },
    /// Waiting may help.
    #[error("{0}")]
    Unavailable(String),
    /// The API server itself was not reached, or is not there for now.
    #[error("{0}")]
    Outage(String),
}

/// A field that is not as the API server will have it.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) path: String,
    /// Whether it would have to be as it was when the object was made.
    pub(crate) immutable: bool,
}

impl Field {
    fn new(path: String, message: &str) -> Self {
        /// There is no code for it. What the API server's own validations say, and what rules of
        /// `CustomResourceDefinitions` say by custom.
        const WORDS: [&str; 5] =
            ["immutable", "may not change", "may not be changed", "cannot change", "updates to "];
        Self { path, immutable: WORDS.iter().any(|words| message.contains(words)) }
    }
}

impl ApiError {
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound(_))
    }

    /// Without the API server's words where they may quote what was sent: a Secret's data must not
    /// reach status, Event objects or logs.
    pub(crate) fn without_data(self) -> Self {
        const WITHHELD: &str = "(the API server's words are withheld, they may quote the Secret)";
        let cause = match self.cause {
            Cause::Refused { code, message, fields } if !message.contains("is forbidden: User") => {
                let paths: Vec<_> = fields.iter().map(|field| field.path.as_str()).collect();
                let message = format!("refused with {code} for {} {WITHHELD}", paths.join(", "));
                Cause::Refused { code, message, fields }
            }
            Cause::Unavailable(_) => Cause::Unavailable(format!("it failed {WITHHELD}")),
            other => other,
        };
        Self { what: self.what, cause }
    }

    /// Whether waiting may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.cause, Cause::Unavailable(_) | Cause::Outage(_))
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.cause, Cause::Refused { code: 403, .. })
    }
}

/// What a call does to the cluster; a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Of the lease: not counted, since it would hide what is done to the cluster.
    Lease,
}

/// As [`call`], what changes nothing: where no answer came back, it is asked once more at once, so
/// that a connection which was cut costs a release no back-off.
pub(crate) async fn read<T, F: Future<Output = kube::Result<T>>>(
    metrics: &Metrics,
    what: impl Into<String>,
    ask: impl Fn() -> F,
) -> Result<T, ApiError> {
    let twice = async {
        match Box::pin(ask()).await {
            Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => Box::pin(ask()).await,
            answered => answered,
        }
    };
    call(metrics, Access::Read, what, twice).await
}

/// Awaits `call` under the deadline. Nothing is repeated here: a request whose answer was lost is
/// looked for by the next reconciliation.
pub(crate) async fn call<T>(
    metrics: &Metrics,
    access: Access,
    what: impl Into<String>,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let answer = tokio::time::timeout(DEADLINE, call).await;
    let result = match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(cause(error)),
        Err(_) => Err(Cause::Outage(format!("no answer within {} s", DEADLINE.as_secs()))),
    };
    if access == Access::Write {
        metrics.api_write(result.as_ref().err());
    }
    result.map_err(|cause| ApiError { what: what.into(), cause })
}

/// `None` where the object does not exist.
pub(crate) fn optional<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn cause(error: kube::Error) -> Cause {
    let kube::Error::Api(status) = error else {
        return Cause::Outage(chain(&error));
    };
    let Status { code, reason, message, details, .. } = *status;
    let causes = details.map(|details| details.causes).unwrap_or_default();
    let fields = causes.into_iter().map(|cause| Field::new(cause.field, &cause.message)).collect();
    match (code, reason.as_str()) {
        (404, _) => Cause::NotFound(message),
        (409, "AlreadyExists") => Cause::AlreadyExists,
        (409, _) => Cause::Conflict(message),
        (400 | 403 | 405 | 413 | 415 | 422, _) => Cause::Refused { code, message, fields },
        // What server-side apply says of a field that the schema does not have.
        (500, _) if message.starts_with("failed to create typed patch object") => {
            Cause::Refused { code, message, fields }
        }
        _ => Cause::Unavailable(format!("{message} ({code})")),
    }
}

/// The whole story, since kube's own texts leave out the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}
