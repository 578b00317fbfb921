//! Requests about the lease, and how they fail.

use std::{error::Error as StdError, time::Duration};

use kube_runtime::watcher;
use thiserror::Error;

/// A request that failed: the action that was tried, and the error.
#[derive(Debug, Error)]
#[error("{what}: {}", described(.cause))]
pub struct RequestError {
    what: String,
    // Not a `source`: its text is in the message.
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Kube(kube::Error),
    Watch(watcher::Error),
    NoAnswer(Duration),
    /// The namespace of a lease that was to be created does not exist.
    NoNamespace(String),
}

/// The meaning of a failed request for the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Another process wrote or removed the lease since it was read.
    Stale,
    /// A right is missing.
    Forbidden,
    /// Only other settings help.
    Refused,
    /// Waiting may help.
    Trouble,
}

impl RequestError {
    pub(crate) fn kube(what: String, error: kube::Error) -> Self {
        Self { what, cause: Cause::Kube(error) }
    }

    pub(crate) fn no_answer(what: String, limit: Duration) -> Self {
        Self { what, cause: Cause::NoAnswer(limit) }
    }

    pub(crate) fn watch(what: String, error: watcher::Error) -> Self {
        let cause = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Cause::Kube(error),
            error => Cause::Watch(error),
        };
        Self { what, cause }
    }

    /// Returns the error of a request that creates the lease: there, "not found" means the
    /// namespace.
    pub(crate) fn of_create(self) -> Self {
        match self.cause {
            Cause::Kube(kube::Error::Api(status)) if status.code == 404 => {
                Self { what: self.what, cause: Cause::NoNamespace(status.message) }
            }
            cause => Self { what: self.what, cause },
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(&self.cause, Cause::Kube(kube::Error::Api(status)) if status.code == 404)
    }

    pub(crate) fn meaning(&self) -> Meaning {
        let Cause::Kube(kube::Error::Api(status)) = &self.cause else {
            return match self.cause {
                Cause::NoNamespace(_) => Meaning::Refused,
                _ => Meaning::Trouble,
            };
        };
        match status.code {
            404 | 409 => Meaning::Stale,
            403 => Meaning::Forbidden,
            400 | 405 | 413 | 415 | 422 => Meaning::Refused,
            _ => Meaning::Trouble,
        }
    }
}

fn described(cause: &Cause) -> String {
    match cause {
        Cause::Kube(kube::Error::Api(status)) => format!("{} ({})", status.message, status.code),
        Cause::Kube(error) => chain(error),
        Cause::Watch(error) => chain(error),
        Cause::NoAnswer(limit) => format!("no answer within {limit:?}"),
        Cause::NoNamespace(message) => message.clone(),
    }
}

/// Returns the error with its sources, which its own text may leave out.
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
    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> RequestError {
        let status = Status::failure("words", "Reason").with_code(code);
        RequestError::kube("get lease a/b".to_owned(), kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_an_answer_means_is_told_by_its_code() {
        for (code, meaning) in [
            (404, Meaning::Stale),
            (409, Meaning::Stale),
            (403, Meaning::Forbidden),
            (422, Meaning::Refused),
            (401, Meaning::Trouble),
            (429, Meaning::Trouble),
            (503, Meaning::Trouble),
        ] {
            assert_eq!(answer(code).meaning(), meaning, "{code}");
        }
        assert_eq!(answer(503).to_string(), "get lease a/b: words (503)");
        let slow = RequestError::no_answer("get lease a/b".to_owned(), Duration::from_secs(4));
        assert_eq!(
            (slow.meaning(), &*slow.to_string()),
            (Meaning::Trouble, "get lease a/b: no answer within 4s")
        );
    }

    #[test]
    fn a_lease_that_cannot_be_made_lacks_its_namespace() {
        let missing = answer(404).of_create();
        assert_eq!(
            (missing.meaning(), &*missing.to_string()),
            (Meaning::Refused, "get lease a/b: words")
        );
        assert_eq!(answer(409).of_create().meaning(), Meaning::Stale);
    }
}
