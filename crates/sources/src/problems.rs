use lifecycle::{journal::Failure, reason::Reason};

use crate::secrets::Secrets;

/// The reason why the objects of a release are unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// Only a change of the spec or of an object that it names helps.
    #[error(transparent)]
    Blocked(#[from] Blocked),
    /// A source has nothing for its present spec; a change of the source is awaited.
    #[error("{}: {}", .0.reason, .0.message)]
    NotReady(Failure),
    /// An object that the spec names could not be read.
    #[error("{0}")]
    Unread(E),
}

/// All problems that only a change can solve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {}", problems.join("; "))]
pub struct Blocked {
    /// The reason, as conditions have it.
    pub reason: Reason,
    /// The problems in words, each by itself.
    pub problems: Vec<String>,
}

impl Blocked {
    pub(crate) fn new(reason: Reason, problem: impl Into<String>) -> Self {
        Self { reason, problems: vec![problem.into()] }
    }

    pub(crate) fn all(reason: Reason, problems: &[impl ToString]) -> Self {
        Self { reason, problems: problems.iter().map(ToString::to_string).collect() }
    }

    /// Returns it in the form of a condition.
    pub fn failure(&self) -> Failure {
        Failure::new(self.reason, self.problems.join("; "))
    }

    /// Returns it without the values in `secrets`.
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

/// Collects problems, so that they are reported together.
#[derive(Default)]
pub(crate) struct Problems(Option<Blocked>);

impl Problems {
    /// Adds problems. The reason of an error takes precedence over that of a missing source.
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
