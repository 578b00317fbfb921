//! The next attempt at an operation that failed, as `spec.install.retries` and the like say.

use jiff::Timestamp;

use super::{Next, Situation, begin};

/// The next attempt at what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The time at which it begins.
    pub at: Timestamp,
    /// True if that time has come.
    pub is_due: bool,
}

/// The next attempt at a configuration that failed, or the wait for it. There is none after a
/// remediation that failed, or if the failure is not the last operation's, nor remediated by it.
pub(super) fn of(situation: &Situation<'_>, revision: i32) -> Option<Next> {
    let last = situation.operation?;
    let Retry { at, is_due } = situation.retry?;
    let is_remediated = last.remedies.is_some() && last.failure.is_none();
    if !is_remediated && (last.remedies.is_some() || !last.has_failed_at_work()) {
        return None;
    }
    Some(if is_due { begin(situation, revision) } else { Next::AwaitRetry { at } })
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
    use crate::{
        event::{Event, Remediation},
        journal::{Cancel, Failure, Operation},
        reason::Reason,
    };
    use RecordState::{Deployed, Failed};

    /// Revision 3 has failed.
    fn records() -> [Record; 2] {
        [record(2, Deployed, false), record(3, Failed, true)]
    }

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    /// What comes after this operation.
    fn check_after(last: &Operation, is_due: bool, expect: &Next) {
        check(
            &records(),
            |it| {
                (it.gave_up, it.retry, it.operation) =
                    (true, Some(Retry { at: AT, is_due }), Some(last))
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
    fn what_somebody_cancelled_is_not_begun_again() {
        let failure = Failure::new(Reason::Cancelled, "it was cancelled");
        let cancel = Some(Cancel { now: true, failure });
        let cancelled = Operation { cancel, ..operation(Event::Upgrade, 3, true, true) };
        check_after(&cancelled, true, &Next::GivenUp);
    }

    #[test]
    fn a_remediation_comes_before_the_next_attempt_and_has_to_succeed() {
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
        let stuck = Operation { remedies: Some(2), ..operation(Event::Rollback, 3, true, true) };
        check_after(&stuck, true, &Next::GivenUp);
        // An install that was uninstalled leaves no record.
        let gone = Operation { remedies: Some(1), ..operation(Event::Delete, 1, true, false) };
        check(
            &[],
            |it| {
                (it.gave_up, it.operation, it.retry) =
                    (true, Some(&gone), Some(Retry { at: AT, is_due: true }))
            },
            &begin(Event::Install, 1),
        );
    }
}
