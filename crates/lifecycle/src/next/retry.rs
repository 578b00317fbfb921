//! The next attempt at an operation that failed, as `spec.install.retries` and the like say.

use jiff::Timestamp;

use super::{Next, RecordState, Situation, begin};
use crate::event::Event;

/// The next attempt at what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The time at which it begins.
    pub at: Timestamp,
    /// True if that time has come.
    pub is_due: bool,
}

/// The next attempt at a configuration that failed, or the wait for it. A release that somebody
/// uninstalled meanwhile is not installed again.
pub(super) fn of(situation: &Situation<'_>, revision: i32) -> Option<Next> {
    if situation.latest().is_some_and(|latest| latest.state == RecordState::Uninstalled) {
        return None;
    }
    let Retry { at, is_due } = situation.retry?;
    Some(if is_due { begin(situation, revision) } else { Next::AwaitRetry { at } })
}

/// Does the same if there is no record: only after an uninstallation that remediated the failure.
/// A release that somebody removed meanwhile is not installed again.
pub(super) fn of_uninstalled(situation: &Situation<'_>) -> Option<Next> {
    let last = situation.operation?;
    let is_remediated =
        last.event == Event::Delete && last.remedies.is_some() && last.failure.is_none();
    of(situation, 1).filter(|_| is_remediated)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Record, RecordState,
            tests::{begin, check, operation, record},
        },
        *,
    };
    use crate::{event::Remediation, journal::Operation};
    use RecordState::{Deployed, Failed};

    /// Revision 3 has failed.
    fn records() -> [Record; 2] {
        [record(2, Deployed, false), record(3, Failed, true)]
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    /// Returns what comes after this operation.
    fn check_after(last: &Operation, is_due: bool, expect: &Next) {
        check(
            &records(),
            |it| {
                (it.gave_up, it.retry, it.operation) =
                    (true, Some(Retry { at: AT, is_due }), Some(last));
            },
            expect,
        );
    }

    #[test]
    fn what_failed_is_tried_again_when_its_time_has_come() {
        let failed = operation(Event::Upgrade, 3, true, true);
        check_after(&failed, false, &Next::AwaitRetry { at: AT });
        check_after(&failed, true, &begin(Event::Upgrade, 4));
    }

    #[test]
    fn a_test_makes_no_difference_and_nothing_is_retried_without_a_time() {
        let tested = operation(Event::Test, 3, true, false);
        check_after(&tested, true, &begin(Event::Upgrade, 4));
        let failed = operation(Event::Upgrade, 3, true, true);
        check(&records(), |it| (it.gave_up, it.operation) = (true, Some(&failed)), &Next::GivenUp);
    }

    #[test]
    fn a_remediation_comes_before_the_next_attempt() {
        let failed = operation(Event::Upgrade, 3, true, true);
        let rollback =
            Next::Begin { event: Event::Rollback, revision: 4, target: Some(2), remedies: Some(3) };
        check(
            &records(),
            |it| {
                (it.gave_up, it.operation, it.retry) =
                    (true, Some(&failed), Some(Retry { at: AT, is_due: true }));
                it.remediation = Some(Remediation::Rollback);
            },
            &rollback,
        );
        let back = Operation { remedies: Some(2), ..operation(Event::Rollback, 3, true, false) };
        check_after(&back, true, &begin(Event::Upgrade, 4));
        // An install that was uninstalled leaves no record.
        let gone = Operation { remedies: Some(1), ..operation(Event::Delete, 1, true, false) };
        check(
            &[],
            |it| {
                (it.gave_up, it.operation, it.retry) =
                    (true, Some(&gone), Some(Retry { at: AT, is_due: true }));
            },
            &begin(Event::Install, 1),
        );
        // Somebody uninstalled it, or removed it, while it was waited for.
        check(
            &[record(1, RecordState::Uninstalled, true)],
            |it| {
                (it.gave_up, it.operation) = (true, Some(&failed));
                it.retry = Some(Retry { at: AT, is_due: true });
            },
            &Next::GivenUp,
        );
        check(
            &[],
            |it| {
                (it.gave_up, it.operation) = (true, Some(&failed));
                it.retry = Some(Retry { at: AT, is_due: true });
            },
            &Next::GivenUp,
        );
    }
}
