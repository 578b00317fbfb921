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
    /// Failed test and its cause. Absent if all tests succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Remembers a run that has ended, as the last one.
pub fn remember(runs: &mut Vec<TestRun>, tests: &Operation) {
    let clip = |text: &str| {
        let end = text.floor_char_boundary(LONGEST_MESSAGE);
        let cut = if end < text.len() { "…" } else { "" };
        format!("{}{cut}", text.get(..end).unwrap_or_default())
    };
    runs.push(TestRun {
        revision: tests.revision,
        started_at: tests.started_at,
        completed_at: tests.completed_at,
        failure: tests.failure.as_ref().map(|failure| clip(&failure.message)),
    });
    let surplus = runs.len().saturating_sub(MOST);
    runs.drain(..surplus);
}

/// Returns whether the last run is the first one of its revision.
pub fn is_first(runs: &[TestRun]) -> bool {
    runs.split_last().is_some_and(|(last, before)| {
        before.iter().all(|earlier| earlier.revision != last.revision)
    })
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
            remember(&mut runs, &tests(revision, Some(&"ü".repeat(1000))));
        }
        let revisions: Vec<_> = runs.iter().map(|run| run.revision).collect();
        assert_eq!(revisions, (21..=30).collect::<Vec<_>>());
        assert!(runs.iter().all(|run| run.failure.as_ref().unwrap().len() <= 260));
    }

    #[test]
    fn the_first_run_of_a_revision_is_told_from_later_ones() {
        let mut runs = Vec::new();
        assert!(!is_first(&runs));
        for (revision, expected) in [(2, true), (2, false), (3, true), (3, false)] {
            remember(&mut runs, &tests(revision, None));
            assert_eq!(is_first(&runs), expected, "{revision}");
        }
    }
}
