use lifecycle::{journal::Failure, reason::Reason};

use crate::secrets::Secrets;

/// Why it is unknown what a release consists of.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// Only a change helps, of the spec or of what it names.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// A source has nothing for its present spec; a change of it tells.
    #[error("{}: {}", .0.reason, .0.message)]
    NotReady(Failure),
    /// What the spec names could not be read.
    #[error("{0}")]
    Unread(E),
}

/// Everything that is wrong, of which only a change helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {}", problems.join("; "))]
pub struct Blocked {
    /// The reason, as conditions have it.
    pub reason: Reason,
    /// In words, each by itself.
    pub problems: Vec<String>,
}

impl Blocked {
    pub(crate) fn new(reason: Reason, problem: impl Into<String>) -> Self {
        Self { reason, problems: vec![problem.into()] }
    }

    pub(crate) fn all(reason: Reason, problems: &[impl ToString]) -> Self {
        Self { reason, problems: problems.iter().map(ToString::to_string).collect() }
    }

    /// As conditions say it.
    pub fn failure(&self) -> Failure {
        Failure::new(self.reason, self.problems.join("; "))
    }

    /// Without what `secrets` knows.
    #[must_use]
    pub fn without(mut self, secrets: &Secrets) -> Self {
        for problem in &mut self.problems {
            *problem = secrets.hide(problem);
        }
        self
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.reason == Reason::SourceNotFound
    }
}

/// Collects what is wrong, so that it is said at once.
#[derive(Default)]
pub(crate) struct Problems(Option<Blocked>);

impl Problems {
    /// What is wrong counts for more than what is missing.
    pub(crate) fn add(&mut self, more: Blocked) {
        match &mut self.0 {
            Some(blocked) => {
                if blocked.is_not_found() {
                    blocked.reason = more.reason;
                }
                blocked.problems.extend(more.problems);
            }
            none => *none = Some(more),
        }
    }

    pub(crate) fn or<T>(self, found: T) -> Result<T, Blocked> {
        self.0.map_or(Ok(found), Err)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_counts_for_more_than_what_is_missing() {
        let mut problems = Problems::default();
        for (reason, problem) in [
            (Reason::SourceNotFound, "a"),
            (Reason::InvalidSource, "b"),
            (Reason::SourceNotFound, "c"),
        ] {
            problems.add(Blocked::new(reason, problem));
        }
        let failure = problems.or(()).unwrap_err().failure();
        assert_eq!((&*failure.reason, &*failure.message), ("InvalidSource", "a; b; c"));
    }
}
