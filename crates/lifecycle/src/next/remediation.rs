//! The remediation of a failed operation, as `spec.install.onFailure` and `spec.upgrade.onFailure`
//! say: an operation of its own, begun once.

use crate::event::{Event, Remediation};

use super::{Next, Record, RecordState, Situation, was_deployed};

/// The remediation of the last operation, if it failed. There is none if somebody cancelled it, or
/// if another client has made a revision since, or has rewritten the record. A remediation is the
/// last operation itself then, so that none is begun twice.
pub(super) fn of(situation: &Situation<'_>, latest: &Record) -> Option<Next> {
    let last = situation.operation.filter(|last| last.has_failed_at_work())?;
    let is_its_record = latest.state == RecordState::Failed
        && latest.revision == last.revision
        && latest.operation.as_ref() == Some(&last.id);
    if !is_its_record {
        return None;
    }
    let remedies = Some(last.revision);
    match (situation.remediation?, last.event) {
        (Remediation::Rollback, Event::Upgrade) => {
            // As Helm's rollback-on-failure: the highest that was ever deployed.
            let target = situation.records.iter().filter(|it| was_deployed(it));
            let target = Some(target.map(|record| record.revision).max()?);
            let revision = latest.revision.saturating_add(1);
            Some(Next::Begin { event: Event::Rollback, revision, target, remedies })
        }
        (Remediation::Uninstall, Event::Install) => {
            let revision = latest.revision;
            Some(Next::Begin { event: Event::Delete, revision, target: None, remedies })
        }
        _ => None,
    }
}

/// The rollback of an upgrade whose first tests failed. There is none for a revision that a rollback
/// has made, or that is the first.
pub(super) fn of_tests(situation: &Situation<'_>, latest: &Record) -> Option<Next> {
    let is_an_upgrade = latest.origin == latest.revision && situation.pin.is_none();
    let target = situation.before_failed_tests.filter(|_| is_an_upgrade && latest.is_known);
    Some(Next::Begin {
        event: Event::Rollback,
        revision: latest.revision.saturating_add(1),
        target: Some(target?),
        remedies: Some(latest.revision),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Disposal,
            tests::{NONE, asked, begin, check, operation, record},
        },
        *,
    };
    use crate::{
        journal::{Cancel, Failure, Operation, Requests},
        reason::Reason,
    };
    use RecordState::{Deployed, Failed, Superseded, Uninstalling};

    const ROLLBACK: Next =
        Next::Begin { event: Event::Rollback, revision: 4, target: Some(2), remedies: Some(3) };

    /// Revision 3 has failed.
    fn upgraded() -> [Record; 3] {
        [record(1, Superseded, false), record(2, Deployed, false), record(3, Failed, true)]
    }

    /// The next thing to do once the configuration was given up.
    fn check_given_up(
        records: &[Record],
        last: &Operation,
        remediation: Remediation,
        expect: &Next,
    ) {
        let given_up =
            |it: &mut Situation<'_>| (it.gave_up, it.remediation) = (true, Some(remediation));
        check(
            records,
            |it| {
                given_up(it);
                it.operation = Some(last);
            },
            expect,
        );
    }

    #[test]
    fn a_failed_upgrade_is_rolled_back_where_that_is_wanted() {
        let (records, last) = (upgraded(), operation(Event::Upgrade, 3, true, true));
        check_given_up(&records, &last, Remediation::Rollback, &ROLLBACK);
        check(&records, |it| (it.gave_up, it.operation) = (true, Some(&last)), &Next::GivenUp);
        check_given_up(&records, &last, Remediation::Uninstall, &Next::GivenUp);
        // Helm may have left no revision that is deployed.
        let none = [record(2, Superseded, false), record(3, Failed, true)];
        check_given_up(&none, &last, Remediation::Rollback, &ROLLBACK);
        check_given_up(&none[1..], &last, Remediation::Rollback, &Next::GivenUp);
    }

    #[test]
    fn an_upgrade_whose_first_tests_failed_is_rolled_back() {
        let tested = operation(Event::Test, 3, true, true);
        let check = |record: Record, before: Option<i32>, pin: Option<i32>, expect: &Next| {
            check(
                &[record],
                |it| {
                    (it.operation, it.before_failed_tests, it.pin) = (Some(&tested), before, pin);
                },
                expect,
            );
        };
        let deployed = record(3, Deployed, true);
        check(deployed.clone(), Some(2), None, &ROLLBACK);
        let in_sync = Next::InSync { revision: 3 };
        check(deployed.clone(), Some(2), Some(3), &in_sync);
        check(deployed.clone(), None, None, &in_sync);
        check(Record { origin: 1, ..deployed }, Some(2), None, &in_sync);
        // The spec asks for something else meanwhile.
        check(record(3, Deployed, false), Some(2), None, &begin(Event::Upgrade, 4));
    }

    #[test]
    fn what_is_wanted_or_asked_for_comes_first() {
        let (records, last) = (upgraded(), operation(Event::Upgrade, 3, true, true));
        let remediation = Some(Remediation::Rollback);
        check(
            &records,
            |it| (it.remediation, it.operation) = (remediation, Some(&last)),
            &begin(Event::Upgrade, 4),
        );
        let retry = Requests { retry: asked(), ..NONE.clone() };
        let restart = Requests { restart: asked(), ..NONE.clone() };
        for (requests, expect) in [(&retry, Next::Reopen), (&restart, begin(Event::Upgrade, 4))] {
            check(
                &records,
                |it| {
                    (it.gave_up, it.remediation, it.operation) = (true, remediation, Some(&last));
                    it.requests = requests;
                },
                &expect,
            );
        }
        check(
            &records,
            |it| {
                (it.gave_up, it.remediation, it.operation) = (true, remediation, Some(&last));
                it.deletion = Some(Disposal::Delete);
            },
            &begin(Event::Delete, 3),
        );
    }

    #[test]
    fn nothing_makes_up_for_what_was_called_off_or_is_not_the_newest() {
        let records = upgraded();
        let failed = operation(Event::Upgrade, 3, true, true);
        let failure = Failure::new(Reason::Superseded, "by a newer spec");
        let called_off =
            Operation { cancel: Some(Cancel { now: false, failure }), ..failed.clone() };
        check_given_up(&records, &called_off, Remediation::Rollback, &Next::GivenUp);
        let without_a_record = Operation { plan_digest: None, ..failed.clone() };
        check_given_up(&records, &without_a_record, Remediation::Rollback, &Next::GivenUp);
        let older = operation(Event::Upgrade, 2, true, true);
        check_given_up(&records, &older, Remediation::Rollback, &Next::GivenUp);
        let rewritten = [
            record(2, Deployed, false),
            Record { operation: Some("another".to_owned()), ..record(3, Failed, true) },
        ];
        check_given_up(&rewritten, &failed, Remediation::Rollback, &Next::GivenUp);
    }

    /// The last operation if it remediated the failure of `revision`.
    fn remedial(event: Event, made: i32, revision: i32, failed: bool) -> Operation {
        Operation { remedies: Some(revision), ..operation(event, made, true, failed) }
    }

    #[test]
    fn a_remedy_is_begun_once_and_a_retry_of_what_it_made_up_for_is_a_new_upgrade() {
        let back = [Record { origin: 2, ..record(4, Deployed, false) }];
        let done = remedial(Event::Rollback, 4, 3, false);
        check_given_up(&back, &done, Remediation::Rollback, &Next::GivenUp);
        let retry = Requests { retry: asked(), ..NONE.clone() };
        let expect = begin(Event::Upgrade, 5);
        check(
            &back,
            |it| (it.gave_up, it.operation, it.requests) = (true, Some(&done), &retry),
            &expect,
        );
        let failed = [record(2, Deployed, false), record(4, Failed, false)];
        let last = remedial(Event::Rollback, 4, 3, true);
        check_given_up(&failed, &last, Remediation::Rollback, &Next::GivenUp);
        check(
            &failed,
            |it| (it.gave_up, it.operation, it.requests) = (true, Some(&last), &retry),
            &Next::Reopen,
        );
    }

    #[test]
    fn a_failed_install_is_uninstalled_and_not_made_again() {
        let (records, last) = ([record(1, Failed, true)], operation(Event::Install, 1, true, true));
        let expect =
            Next::Begin { event: Event::Delete, revision: 1, target: None, remedies: Some(1) };
        check_given_up(&records, &last, Remediation::Uninstall, &expect);
        let done = remedial(Event::Delete, 1, 1, false);
        check_given_up(&[], &done, Remediation::Uninstall, &Next::GivenUp);
        // A release that was made or adopted since is deleted with its object.
        let delete = Some(Disposal::Delete);
        let deployed = [record(1, Deployed, true)];
        check(
            &deployed,
            |it| (it.deletion, it.operation) = (delete, Some(&done)),
            &begin(Event::Delete, 1),
        );
    }

    #[test]
    fn without_a_status_the_records_tell() {
        let back = [Record { remedial: true, ..record(4, Deployed, false) }];
        check(&back, |_| {}, &Next::GivenUp);
        let going = [Record { remedial: true, ..record(1, Uninstalling, true) }];
        let lost = Next::JournalLost { revision: 1 };
        check(&going, |_| {}, &lost);
        let ended = remedial(Event::Delete, 1, 1, true);
        check_given_up(&going, &ended, Remediation::Uninstall, &Next::GivenUp);
    }
}
