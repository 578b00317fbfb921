use std::time::Duration;

use lifecycle::{journal::Failure, reason::Reason};
use thiserror::Error;

use crate::{
    cluster::{
        call::{ApiError, Cause, Refused, Why},
        rights::{self, Lack},
    },
    support::key::RECHECK,
};

/// The reason why a reconciliation ended early.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// Waiting may help: retried with back-off.
    #[error(transparent)]
    Api(ApiError),
    /// Only a change helps, of the object or of something it needs. Nothing has begun.
    #[error("{}: {}", .0.reason, .0.message)]
    Blocked(Failure),
    /// The source is unknown for now. The release is reconciled again after this time, or when
    /// there is more to report.
    #[error("{}: {}", .0.reason, .0.message)]
    RetryAfter(Failure, Duration),
    /// The custom resource changed since it was read, or another replica may hold the lease by now:
    /// reconcile again.
    #[error("the object, or the leader, changed while it was worked on")]
    Stale,
}

impl Error {
    pub(crate) fn blocked(reason: Reason, message: impl Into<String>) -> Self {
        Self::Blocked(Failure::new(reason, message))
    }

    /// Returns the error of an action that the operator does with its own rights, and not as a
    /// tenant.
    pub(crate) fn of_operator(error: ApiError) -> Self {
        match &error.cause {
            Cause::Refused(Refused { why: Why::Rights(lack), .. }) if !is_impersonation(lack) => {
                let message = format!("{error}; the operator lacks a right: apply deploy/ again");
                Self::blocked(Reason::Forbidden, message)
            }
            _ => error.into(),
        }
    }
}

impl From<sources::Blocked> for Error {
    fn from(blocked: sources::Blocked) -> Self {
        Self::Blocked(blocked.failure())
    }
}

impl From<sources::Error<Error>> for Error {
    fn from(error: sources::Error<Error>) -> Self {
        match error {
            sources::Error::Blocked(blocked) => blocked.into(),
            // A change of it brings the release back.
            sources::Error::NotReady(failure) => Self::RetryAfter(failure, RECHECK),
            sources::Error::Unread(error) => error,
        }
    }
}

/// Returns true if the missing right is one of impersonation. Where impersonation is constrained,
/// the verb is longer: `impersonate-on:serviceaccount:list`.
fn is_impersonation(lack: &Lack) -> bool {
    let mut verbs = lack.rights.iter().flat_map(|right| &right.verbs);
    verbs.any(|verb| verb.starts_with("impersonate"))
}

impl From<ApiError> for Error {
    /// Turns a permanent refusal into a block. Callers who have already begun must decide for
    /// themselves.
    fn from(error: ApiError) -> Self {
        let Cause::Refused(refused) = &error.cause else { return Self::Api(error) };
        match &refused.why {
            // The right is the operator's own; no ServiceAccount is involved.
            Why::Rights(lack) if is_impersonation(lack) => Self::blocked(
                Reason::Forbidden,
                format!(
                    "{error}; the operator may not act as a ServiceAccount of this namespace \
                     (deploy/multi-tenant); {}; where it runs with --single-tenant, remove \
                     spec.serviceAccountName instead",
                    rights::impersonation_remedy(lack)
                ),
            ),
            Why::Rights(_) | Why::Grant(_) | Why::NoAccount(_) => {
                Self::blocked(Reason::Forbidden, error.message())
            }
            _ => Self::blocked(Reason::Refused, error.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::rights::Right;

    fn error(cause: Cause) -> ApiError {
        ApiError { what: "get ConfigMap a".to_owned(), cause }
    }

    fn refused(why: Why) -> ApiError {
        error(Cause::Refused(Refused { why, ..Refused::own(403, "no") }))
    }

    fn lacks(verb: &str) -> ApiError {
        let right = Right::new(&[verb], "", "configmaps", Some("ns"));
        let user = "system:serviceaccount:ns:deployer".to_owned();
        refused(Why::Rights(Box::new(Lack { user, rights: vec![right] })))
    }

    #[test]
    fn a_refusal_waits_for_a_change_and_everything_else_is_tried_again() {
        let quota = || refused(Why::Quota);
        let right = || lacks("get");
        for (error, reason) in [
            (Error::from(quota()), Some(Reason::Refused)),
            (Error::from(right()), Some(Reason::Forbidden)),
            (Error::from(lacks("impersonate")), Some(Reason::Forbidden)),
            (Error::from(refused(Why::NoAccount("ns/a".to_owned()))), Some(Reason::Forbidden)),
            (Error::of_operator(right()), Some(Reason::Forbidden)),
            (Error::of_operator(quota()), Some(Reason::Refused)),
            (Error::from(error(Cause::Unavailable("500".to_owned()))), None),
            (Error::from(error(Cause::Outage("503".to_owned()))), None),
            (Error::from(error(Cause::NotFound("gone".to_owned()))), None),
            (Error::from(error(Cause::Conflict("changed".to_owned()))), None),
        ] {
            match (&error, reason) {
                (Error::Blocked(failure), Some(reason)) => {
                    assert_eq!(failure.reason, reason.as_str());
                }
                (Error::Api(_), None) => {}
                _ => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_lacking_right_names_who_gives_it() {
        let said = |error: Error| error.to_string();
        let operator = said(Error::of_operator(lacks("get")));
        assert!(operator.contains("the operator lacks a right: apply deploy/ again"), "{operator}");
        let impersonated = said(Error::from(lacks("impersonate")));
        assert!(impersonated.contains("may not act as a ServiceAccount"), "{impersonated}");
    }
}
