//! The runs of a release's tests that are remembered.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::journal::Operation;

/// The maximum number of runs that are remembered.
const MOST: usize = 10;

/// The longest message of a failed run, in bytes.
const LONGEST_MESSAGE: usize = 256;

/// Run of the tests of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestRun {
    /// Revision that was tested.
    pub revision: i32,
    /// Time at which the run began.
    pub started_at: Timestamp,
    /// Time at which the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// True if the revision had not been tested before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
    /// Failed test and its cause. Absent if all tests succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Remembers a run that has ended, as the last one. `tested` is the revision that was tested before, by
/// whatever version of the operator.
pub fn remember(runs: &mut Vec<TestRun>, tests: &Operation, tested: Option<i32>) {
    let clip = |text: &str| {
        let end = text.floor_char_boundary(LONGEST_MESSAGE);
        let cut = if end < text.len() { "…" } else { "" };
        format!("{}{cut}", text.get(..end).unwrap_or_default())
    };
    let first =
        tested != Some(tests.revision) && runs.iter().all(|run| run.revision != tests.revision);
    runs.push(TestRun {
        first,
        revision: tests.revision,
        started_at: tests.started_at,
        completed_at: tests.completed_at,
        failure: tests.failure.as_ref().map(|failure| clip(&failure.message)),
    });
    let surplus = runs.len().saturating_sub(MOST);
    runs.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Event,
        journal::{Failure, Journal, Requests},
        plan::Begin,
        reason::Reason,
    };

    fn tests(revision: i32, failure: Option<&str>) -> Operation {
        let (id, generation) = ("tests".to_owned(), 1);
        let begin =
            Begin { id, event: Event::Test, revision, target: None, remedies: None, generation };
        let now = Timestamp::UNIX_EPOCH;
        let operation = Journal::begin(begin, String::new(), Requests::default(), now).operation;
        let failure = failure.map(|message| Failure::new(Reason::HookFailed, message));
        Operation { completed_at: Some(now), failure, ..operation }
    }

    #[test]
    fn the_last_runs_are_remembered_in_few_bytes() {
        let mut runs = Vec::new();
        for revision in 1..=30 {
            remember(&mut runs, &tests(revision, Some(&"ü".repeat(1000))), None);
        }
        let revisions: Vec<_> = runs.iter().map(|run| run.revision).collect();
        assert_eq!(revisions, (21..=30).collect::<Vec<_>>());
        assert!(runs.iter().all(|run| run.failure.as_ref().unwrap().len() <= 260));
    }

    #[test]
    fn the_first_run_of_a_revision_is_told_from_later_ones() {
        let mut runs = Vec::new();
        for (revision, tested, expected) in [
            // An earlier version of the operator has tested it.
            (1, Some(1), false),
            (2, Some(1), true),
            (2, Some(2), false),
            // Status says no more than the runs.
            (2, None, false),
            (3, None, true),
        ] {
            remember(&mut runs, &tests(revision, None), tested);
            assert_eq!(runs.last().map(|run| run.first), Some(expected), "{revision}");
        }
    }
}
