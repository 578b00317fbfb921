//! The single path to the API server. Every call has a deadline and is counted. Its errors are
//! sorted into the few classes that make a difference, without the values of objects that their
//! messages quote.

mod refused;
mod values;

use std::{error::Error as StdError, future::Future, io, time::Duration};

use http_body_util::LengthLimitError;
use kube::core::Status;
use thiserror::Error;

use self::{
    refused::WITHHELD,
    values::{without_items, without_values},
};
pub(crate) use self::{
    refused::{Field, Refused, Why},
    values::Values,
};
use crate::cluster::metrics::Metrics;

/// Longer than the API server's own admission deadline of 30 s.
const DEADLINE: Duration = Duration::from_secs(40);

/// A call that failed: the action that was tried, and the error.
#[derive(Debug, Error)]
#[error("{what}: {cause}")]
pub(crate) struct ApiError {
    pub(crate) what: String,
    pub(crate) cause: Cause,
}

/// The reason why a call failed.
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
    /// Another field manager owns a field that is to get another value (server-side apply).
    #[error("{0}")]
    FieldConflict(String),
    /// Only a change by a user helps.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// Waiting may help.
    #[error("{0}")]
    Unavailable(String),
    /// The API server itself was not reached, or is unavailable for now.
    #[error("{0}")]
    Outage(String),
}

impl Cause {
    /// The label of the metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists | Self::Conflict(_) | Self::FieldConflict(_) => "conflict",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) | Self::Outage(_) => "unavailable",
        }
    }
}

impl ApiError {
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self.cause, Cause::NotFound(_))
    }

    /// Returns the message, with the remedy if one is known.
    pub(crate) fn message(&self) -> String {
        match &self.cause {
            // The same for every action.
            Cause::Refused(refused) if matches!(refused.why, Why::NoAccount(_)) => {
                let remedy = refused.remedy().unwrap_or_default();
                format!("{}, as which the release is worked on; {remedy}", refused.message)
            }
            Cause::Refused(refused) => match refused.remedy() {
                Some(remedy) => format!("{self}; {remedy}"),
                None => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// Removes the values of the objects that the call is about. `status` is the answer.
    pub(crate) fn without_values_of(mut self, status: Option<&Status>, values: &Values) -> Self {
        match (&mut self.cause, status) {
            (Cause::Refused(refused), Some(status)) => refused.hide(status, values),
            (Cause::Unavailable(words), Some(status))
                if *words == unavailable(status.code, &status.message) =>
            {
                let Some(message) = values.known.hide(&status.message) else {
                    return self.without_data();
                };
                *words = unavailable(status.code, &message);
            }
            _ => {}
        }
        self
    }

    /// Returns true if the object that is there may be quoted, too.
    pub(crate) fn is_about_values(&self) -> bool {
        matches!(&self.cause, Cause::Refused(refused) if refused.is_about_values())
    }

    /// Removes the API server's message where it may quote the object that was sent: a Secret's
    /// data must not reach status, Event objects or logs.
    pub(crate) fn without_data(mut self) -> Self {
        match &mut self.cause {
            Cause::Refused(refused) => refused.without_words(),
            Cause::Unavailable(words) => {
                // The name of the webhook is not secret.
                let webhook = words.split_once("failed calling webhook \"");
                let webhook = webhook.and_then(|(_, rest)| rest.split_once('"'));
                *words = match webhook {
                    Some((name, _)) => format!("failed calling webhook \"{name}\" {WITHHELD}"),
                    None => format!("it failed {WITHHELD}"),
                };
            }
            Cause::NotFound(_)
            | Cause::AlreadyExists
            | Cause::Conflict(_)
            | Cause::FieldConflict(_)
            | Cause::Outage(_) => {}
        }
        self
    }

    /// Returns true if RBAC refused the call.
    pub(crate) fn lacks_right(&self) -> bool {
        matches!(&self.cause, Cause::Refused(Refused { why: Why::Rights(_), .. }))
    }

    /// Returns true if waiting may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.cause, Cause::Unavailable(_) | Cause::Outage(_))
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.cause, Cause::Refused(Refused { code: 403, .. }))
    }
}

/// The kind of access of a call; a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Like [`call`], for calls that change nothing. If no answer came back, the call is repeated once,
/// immediately, so that a cut connection costs a release no back-off.
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

/// Awaits `call` under the deadline. Nothing is repeated here: if the answer to a request was lost,
/// the next reconciliation checks its result.
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
        metrics.api_write(result.as_ref().err().map_or("ok", Cause::label));
    }
    result.map_err(|cause| ApiError { what: what.into(), cause })
}

/// Returns `None` if the object does not exist.
pub(crate) fn optional<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn cause(error: kube::Error) -> Cause {
    let status = match error {
        kube::Error::Api(status) => *status,
        // The error quotes the text that could not be parsed.
        kube::Error::SerdeError(error) => {
            let (line, column) = (error.line(), error.column());
            let text = format!("the answer cannot be read, at line {line}, column {column}");
            return Cause::Unavailable(text);
        }
        error => return unanswered(&error),
    };
    let Status { code, reason, message, .. } = &status;
    // Webhooks and policies may refuse with any code.
    let refused = Refused::of(&status);
    let is_admission = refused.why == Why::Admission;
    let told = || match (is_admission, refused.message.split_once(": ")) {
        (true, Some((whose, _))) => whose.to_owned(),
        (true, None) => refused.message.clone(),
        (false, _) => message.clone(),
    };
    match (code, reason.as_str()) {
        (404, _) => Cause::NotFound(told()),
        (409, "AlreadyExists") => Cause::AlreadyExists,
        (409, _) if message.starts_with("Apply failed with") => {
            Cause::FieldConflict(without_items(message))
        }
        (409, _) => Cause::Conflict(told()),
        (400 | 403 | 405 | 413 | 415 | 422, _) => Cause::Refused(refused),
        (401, _) if is_admission => Cause::Refused(refused),
        // Server-side apply reports a field that is not in the schema, or cannot be read, like this.
        (500, _)
            if message.starts_with("failed to create typed patch object")
                || message.starts_with("failed to convert new object") =>
        {
            Cause::Refused(refused)
        }
        // The message may quote the object, whatever the code.
        _ if is_admission => Cause::Unavailable(format!("{} ({code})", told())),
        (502..=504, _) => Cause::Outage(format!("{} ({code})", without_values(message))),
        (500, _) if message.contains("etcdserver: ") => Cause::Outage(without_values(message)),
        _ => Cause::Unavailable(unavailable(*code, message)),
    }
}

fn unavailable(code: u16, message: &str) -> String {
    format!("{} ({code})", without_values(message))
}

/// Classifies a call without an answer by what happened to the connection.
fn unanswered(error: &(dyn StdError + 'static)) -> Cause {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof,
    };
    let mut kind = None;
    let mut source = Some(error);
    while let Some(error) = source {
        if error.is::<LengthLimitError>() {
            return Cause::Refused(Refused::own(413, "the answer is too large"));
        }
        kind = kind.or_else(|| Some(error.downcast_ref::<io::Error>()?.kind()));
        source = error.source();
    }
    let words = chain(error);
    let is_cut = words.contains("connection closed before message completed")
        || words.contains("connection error");
    Cause::Outage(match kind {
        Some(ConnectionRefused) => "the connection to the API server was refused".to_owned(),
        Some(TimedOut) => "the API server did not answer in time".to_owned(),
        Some(ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof) => CUT.to_owned(),
        _ if is_cut => CUT.to_owned(),
        _ => format!("the API server was not reached: {words}"),
    })
}

const CUT: &str = "the connection to the API server was cut before its answer came";

/// Returns the error with all its sources, since kube's own texts leave them out.
fn chain(error: &dyn StdError) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> Cause {
        let status = Status::failure(message, reason).with_code(code);
        cause(kube::Error::Api(Box::new(status)))
    }

    fn error(cause: Cause) -> ApiError {
        ApiError { what: "create Secret/x".to_owned(), cause }
    }

    #[test]
    fn what_became_of_the_connection_is_told_of_a_secret_too() {
        for (kind, told) in [
            (io::ErrorKind::ConnectionRefused, "the connection to the API server was refused"),
            (io::ErrorKind::ConnectionReset, CUT),
            (io::ErrorKind::UnexpectedEof, CUT),
        ] {
            let service = kube::Error::Service(Box::new(io::Error::from(kind)));
            let said = error(cause(service)).without_data();
            assert_eq!(said.to_string(), format!("create Secret/x: {told}"));
            assert!(said.may_pass());
        }
    }

    #[test]
    fn the_api_server_itself_is_told_from_what_it_asks_others() {
        for (code, message) in [(503, "apiserver is shutting down"), (500, "etcdserver: no leader")]
        {
            assert!(matches!(api(code, "", message), Cause::Outage(_)), "{message}");
        }
        let webhook = "Internal error occurred: failed calling webhook \"a.b\": failed to call webhook: \
                       an error on the server (\"hunter2\") has prevented the request";
        let found = error(api(500, "InternalError", webhook));
        assert!(matches!(found.cause, Cause::Unavailable(_)));
        let said = found.to_string();
        assert!(said.contains("webhook \"a.b\"") && !said.contains("hunter2"), "{said}");
        let said = found.without_data().to_string();
        assert!(said.contains("failed calling webhook \"a.b\" (the API server's words"), "{said}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let unread = serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
        let said = error(cause(kube::Error::SerdeError(unread))).to_string();
        assert!(said.contains("cannot be read") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn a_field_of_another_manager_is_told_from_a_version_that_has_changed() {
        let field = "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.a";
        assert!(matches!(api(409, "Conflict", field), Cause::FieldConflict(_)));
        let version =
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified";
        assert!(matches!(api(409, "Conflict", version), Cause::Conflict(_)));
    }

    #[test]
    fn a_webhook_may_refuse_with_any_code() {
        let message = "admission webhook \"a.b\" denied the request: hunter2";
        for (code, reason) in [(409, "Conflict"), (404, "NotFound")] {
            let said = error(api(code, reason, message)).to_string();
            assert!(said.ends_with("webhook \"a.b\" denied the request"), "{said}");
        }
        let policy =
            "a is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        assert!(matches!(api(401, "Unauthorized", policy), Cause::Refused(_)));
    }
}
