//! The choice of the next operation: a pure function of the records, the desired configuration and
//! the journal.

mod owner;
mod remediation;
mod retry;

use jiff::Timestamp;

use crate::{
    event::{Event, Remediation},
    journal::{Operation, Requests},
};

use self::owner::{not_ours, unknown};
pub use self::retry::Retry;

/// One record of the release, as far as the choice of the event needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its revision.
    pub revision: i32,
    /// The revision that a rollback copied into it; its own for all others.
    pub origin: i32,
    /// Its state.
    pub state: RecordState,
    /// The name of the custom resource whose operation wrote it, or which adopted it; `None` if
    /// Helm wrote it.
    pub owner: Option<String>,
    /// False if the plan that stands in it is not known: nothing of it is executed.
    pub is_known: bool,
    /// True if it was made from the configuration that is desired now.
    pub matches: bool,
    /// The id of the operation that is to end its state, if one of ours is at work.
    pub operation: Option<String>,
    /// True if its operation remediates a failed one: a rollback, that of the configuration that is
    /// desired now; an uninstallation, any, since it has to end before all else.
    pub remedial: bool,
}

/// Helm's release statuses, as far as the choice of the event separates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    /// `pending-*`: a client is at work, or died at it.
    Pending,
    /// `deployed`.
    Deployed,
    /// `superseded`: it was deployed once.
    Superseded,
    /// `uninstalling`: a client is deleting it, or died at it.
    Uninstalling,
    /// `uninstalled`: it was deleted, and its history kept.
    Uninstalled,
    /// `failed`, `unknown`.
    Failed,
}

/// The inputs to the choice of the event.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Situation<'a> {
    /// The running or the last operation.
    pub operation: Option<&'a Operation>,
    /// True if the last attempt failed for this very generation and configuration.
    pub gave_up: bool,
    /// The next attempt, if that failure is to be retried.
    pub retry: Option<Retry>,
    /// The remediation to do if the last operation has failed.
    pub remediation: Option<Remediation>,
    /// The records of the release since and including the last deployed one, in any order.
    pub records: &'a [Record],
    /// The name of the custom resource.
    pub owner: &'a str,
    /// Its generation.
    pub generation: i64,
    /// The fate of the objects if it is being deleted; `None` if it is not.
    pub deletion: Option<Disposal>,
    /// True if the release was the custom resource's at some time.
    pub was_ours: bool,
    /// True if status knows of no operation and no plan: the object is new, or its status was lost.
    pub knows_nothing: bool,
    /// The revision that the release is held at.
    pub pin: Option<i32>,
    /// The requests.
    pub requests: &'a Requests,
    /// Those of them that were handled.
    pub handled: &'a Requests,
    /// True if a revision is to be tested that was not tested yet, or whose tests are due again.
    pub test_due: bool,
    /// The revision that was deployed before the newest, if the last operation was the first tests of
    /// that, they failed, and an upgrade is to be rolled back for it.
    pub before_failed_tests: Option<i32>,
}

impl Situation<'_> {
    /// The newest record.
    fn latest(&self) -> Option<&Record> {
        self.records.iter().max_by_key(|record| record.revision)
    }
}

/// The fate of a release's objects when its custom resource is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// They are deleted, with hooks.
    Delete,
    /// They stay, and the release stays Helm's.
    Keep,
}

/// The next thing to do for a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Resumes the operation in the journal.
    Resume,
    /// Begins an operation.
    Begin {
        /// Its kind.
        event: Event,
        /// The revision it makes or works on.
        revision: i32,
        /// The revision that a rollback restores.
        target: Option<i32>,
        /// The revision whose failure it remediates.
        remedies: Option<i32>,
    },
    /// Resumes the operation of the newest record, which failed.
    Reopen,
    /// The deployed revision is the desired one.
    InSync {
        /// The deployed revision.
        revision: i32,
    },
    /// The last operation failed for this very configuration: wait for a change, or a request.
    GivenUp,
    /// The last operation failed, and another attempt begins at this time.
    AwaitRetry {
        /// The time.
        at: Timestamp,
    },
    /// The request for the record of the last operation came late, after that had ended: the record
    /// is closed as the operation ended.
    CloseLate {
        /// The pending revision.
        revision: i32,
    },
    /// A record of ours is pending, but the journal knows nothing of it.
    JournalLost {
        /// The pending revision.
        revision: i32,
    },
    /// A record of ours is at work, but status, which alone could say that its plan is the
    /// operator's, was lost: a person has to vouch for it.
    PlanUnknown {
        /// The newest revision.
        revision: i32,
    },
    /// A person vouches for the plans in the newest record.
    Trust {
        /// The newest revision.
        revision: i32,
    },
    /// The newest revision is Helm's, and no client is at work on it: adopt it.
    Adopt {
        /// The newest revision.
        revision: i32,
    },
    /// Helm is at work, or died at it.
    AwaitHelm {
        /// The newest revision.
        revision: i32,
    },
    /// The release belongs to another custom resource.
    Foreign {
        /// The newest revision.
        revision: i32,
    },
    /// The object is being deleted, and there is nothing to do any more.
    Finish,
}

/// Decides the next thing to do for a release.
pub fn next(situation: &Situation<'_>) -> Next {
    let Situation { operation, requests, handled, .. } = situation;
    if operation.is_some_and(|operation| operation.completed_at.is_none()) {
        return Next::Resume;
    }
    let latest = situation.latest();
    if let Some(disposal) = situation.deletion {
        return delete(situation, latest, disposal);
    }
    let Some(latest) = latest else {
        let asked = requests.restart != handled.restart || requests.retry != handled.retry;
        // A release that was removed while it was worked on is not begun again by itself.
        if !situation.gave_up || asked {
            return begin(situation, 1);
        }
        return retry::of_uninstalled(situation).unwrap_or(Next::GivenUp);
    };
    if let Some(next) = not_ours(situation, latest).or_else(|| unknown(situation, latest)) {
        return next;
    }
    // An interrupted uninstallation is otherwise begun anew; this one continues, since it was not
    // requested.
    let is_undone = latest.state == RecordState::Uninstalling
        && latest.remedial
        && operation.is_none_or(|last| latest.operation.as_ref() != Some(&last.id));
    let is_of_the_last = operation
        .is_some_and(|last| latest.operation.as_ref() == Some(&last.id) && last.failure.is_some());
    if latest.state == RecordState::Pending && is_of_the_last {
        return Next::CloseLate { revision: latest.revision };
    }
    if latest.state == RecordState::Pending || is_undone {
        return Next::JournalLost { revision: latest.revision };
    }
    let revision = latest.revision.saturating_add(1);
    let is_wanted = match situation.pin {
        Some(pin) => pin == latest.origin || pin == latest.revision,
        None => latest.matches,
    };
    let in_sync = latest.state == RecordState::Deployed && is_wanted;
    // Without a status it is unknown whether it was given up; a failed operation is not run again
    // silently.
    let failed_before = operation.is_none()
        && ((latest.remedial && situation.pin.is_none())
            || (latest.state == RecordState::Failed && is_wanted));
    let gave_up = !in_sync && (situation.gave_up || failed_before);
    if requests.restart != handled.restart || !(in_sync || gave_up) {
        return begin(situation, revision);
    }
    // Without its plan it cannot be resumed: it can be started again.
    if gave_up && latest.is_known && requests.retry != handled.retry {
        // If it failed before it had a record, there is nothing to resume.
        let is_there = latest.state == RecordState::Failed && latest.operation.is_some();
        return if is_there { Next::Reopen } else { begin(situation, revision) };
    }
    if gave_up && let Some(next) = remediation::of(situation, latest) {
        return next;
    }
    if in_sync && let Some(next) = remediation::of_tests(situation, latest) {
        return next;
    }
    if latest.is_known && (requests.test != handled.test || (in_sync && situation.test_due)) {
        return ask(Event::Test, latest.revision);
    }
    if in_sync {
        return Next::InSync { revision: latest.revision };
    }
    retry::of(situation, revision).unwrap_or(Next::GivenUp)
}

/// The operation that leads to the desired state. A first install that failed is tried again as an
/// install, and so is a release that was being uninstalled.
fn begin(situation: &Situation<'_>, revision: i32) -> Next {
    let latest = situation.latest();
    let was_taken_down = latest
        .is_some_and(|it| matches!(it.state, RecordState::Uninstalling | RecordState::Uninstalled));
    let event = match situation.pin {
        Some(_) => Event::Rollback,
        None if !was_taken_down && situation.records.iter().any(was_deployed) => Event::Upgrade,
        None => Event::Install,
    };
    Next::Begin { event, revision, target: situation.pin, remedies: None }
}

/// The operation on an existing revision that somebody requested.
fn ask(event: Event, revision: i32) -> Next {
    Next::Begin { event, revision, target: None, remedies: None }
}

fn was_deployed(record: &Record) -> bool {
    matches!(record.state, RecordState::Deployed | RecordState::Superseded)
}

fn delete(situation: &Situation<'_>, latest: Option<&Record>, disposal: Disposal) -> Next {
    // A remediation of a failed install has not deleted what came after it.
    let of_deletion = |last: &&Operation| last.event == Event::Delete && last.remedies.is_none();
    let last = situation.operation.filter(of_deletion);
    let has_ended = last.is_some_and(|last| last.failure.is_none());
    let there = latest.filter(|latest| latest.state != RecordState::Uninstalled);
    let Some(latest) = there.filter(|_| disposal == Disposal::Delete && !has_ended) else {
        return Next::Finish;
    };
    match not_ours(situation, latest) {
        None => {}
        // Somebody used Helm on a release of ours, which is deleted anyway.
        Some(next @ (Next::Adopt { .. } | Next::AwaitHelm { .. }))
            if situation.was_ours || latest.owner.as_deref() == Some(situation.owner) =>
        {
            return next;
        }
        // A release owned by another client is left alone.
        Some(_) => return Next::Finish,
    }
    if let Some(next) = unknown(situation, latest) {
        return next;
    }
    let failed = last.is_some_and(|last| last.generation == situation.generation);
    if failed && situation.requests.retry == situation.handled.retry {
        return Next::GivenUp;
    }
    if latest.state == RecordState::Uninstalling
        && latest.operation.as_ref() != last.map(|last| &last.id)
    {
        return Next::JournalLost { revision: latest.revision };
    }
    ask(Event::Delete, latest.revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{Failure, Journal},
        plan::Begin,
        reason::Reason,
    };
    use RecordState::{Deployed, Failed, Pending, Superseded, Uninstalled, Uninstalling};

    pub(super) fn record(revision: i32, state: RecordState, matches: bool) -> Record {
        Record {
            revision,
            origin: revision,
            state,
            owner: Some("me".to_owned()),
            is_known: true,
            matches,
            operation: Some(format!("op-{revision}")),
            remedial: false,
        }
    }

    /// The operation that made `revision`.
    pub(super) fn operation(event: Event, revision: i32, done: bool, failed: bool) -> Operation {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let id = format!("op-{revision}");
        let begin = Begin { id, event, revision, target: None, remedies: None, generation: 2 };
        let journal = Journal::begin(begin, String::new(), Requests::default(), now);
        let mut operation = journal.operation;
        operation.completed_at = done.then_some(now);
        operation.plan_digest = Some("digest".to_owned());
        operation.failure = failed.then(|| Failure::new(Reason::HookFailed, "it failed"));
        operation
    }

    pub(super) fn begin(event: Event, revision: i32) -> Next {
        ask(event, revision)
    }

    pub(super) static NONE: Requests =
        Requests { retry: None, restart: None, test: None, cancel: None, skip: None };

    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn asked() -> Option<String> {
        Some("now".to_owned())
    }

    /// The next thing to do, for a situation that `change` has changed.
    pub(super) fn check<'a>(
        records: &'a [Record],
        change: impl FnOnce(&mut Situation<'a>),
        expect: &Next,
    ) {
        let mut situation = Situation {
            operation: None,
            gave_up: false,
            retry: None,
            remediation: None,
            records,
            owner: "me",
            generation: 2,
            deletion: None,
            was_ours: true,
            knows_nothing: false,
            pin: None,
            requests: &NONE,
            handled: &NONE,
            test_due: false,
            before_failed_tests: None,
        };
        change(&mut situation);
        assert_eq!(next(&situation), *expect, "{situation:?}");
    }

    #[test]
    fn the_first_that_holds_is_chosen() {
        let running = operation(Event::Install, 1, false, false);
        let superseded = operation(Event::Upgrade, 3, true, true);
        check(&[], |_| {}, &begin(Event::Install, 1));
        check(&[], |it| it.operation = Some(&running), &Next::Resume);
        check(&[record(1, Deployed, true)], |_| {}, &Next::InSync { revision: 1 });
        check(&[record(1, Deployed, false)], |_| {}, &begin(Event::Upgrade, 2));
        let upgraded = [record(1, Superseded, false), record(2, Deployed, false)];
        check(&upgraded, |_| {}, &begin(Event::Upgrade, 3));
        check(&[record(3, Pending, true)], |_| {}, &Next::JournalLost { revision: 3 });
        check(
            &[record(3, Pending, true)],
            |it| it.operation = Some(&superseded),
            &Next::CloseLate { revision: 3 },
        );
    }

    fn of(owner: Option<&str>, record: Record) -> Record {
        Record { owner: owner.map(str::to_owned), ..record }
    }

    #[test]
    fn what_helm_made_is_taken_over_once_nobody_is_at_work_on_it() {
        let adopt = Next::Adopt { revision: 2 };
        let wait = Next::AwaitHelm { revision: 2 };
        for (state, expect) in [
            (Deployed, &adopt),
            (Failed, &adopt),
            (Superseded, &adopt),
            (Pending, &wait),
            (Uninstalling, &wait),
            (Uninstalled, &begin(Event::Install, 3)),
        ] {
            let records = [record(1, Superseded, true), of(None, record(2, state, false))];
            check(&records, |_| {}, expect);
            // It is adopted before it is deleted, if it was ours.
            let expect = if state == Uninstalled { &Next::Finish } else { expect };
            let delete = Some(Disposal::Delete);
            check(&records, |it| it.deletion = delete, expect);
            check(&records, |it| (it.deletion, it.was_ours) = (delete, false), &Next::Finish);
        }
        let another = [of(Some("other"), record(2, Deployed, true))];
        check(&another, |_| {}, &Next::Foreign { revision: 2 });
    }

    #[test]
    fn a_plan_that_somebody_else_has_written_makes_the_record_one_of_helms() {
        let forged = |state| Record { is_known: false, operation: None, ..record(2, state, true) };
        let last = operation(Event::Upgrade, 2, true, false);
        for (state, expect) in [
            (Deployed, Next::Adopt { revision: 2 }),
            (Failed, Next::Adopt { revision: 2 }),
            (Pending, Next::AwaitHelm { revision: 2 }),
            (Uninstalling, Next::AwaitHelm { revision: 2 }),
        ] {
            let records = [forged(state)];
            check(&records, |it| it.operation = Some(&last), &expect);
            let delete = Some(Disposal::Delete);
            check(&records, |it| (it.operation, it.deletion) = (Some(&last), delete), &expect);
        }
        let others = [of(Some("other"), forged(Deployed))];
        check(&others, |_| {}, &Next::Foreign { revision: 2 });
    }

    #[test]
    fn without_a_status_only_a_person_can_say_that_an_operation_resumes() {
        let retry = Requests { retry: asked(), ..Requests::default() };
        let lost = |state, matches| Record { is_known: false, ..record(2, state, matches) };
        let (adopt, trust) = (Next::Adopt { revision: 2 }, Next::Trust { revision: 2 });
        let wait = Next::PlanUnknown { revision: 2 };
        for (record, alone, asked) in [
            (lost(Deployed, true), &adopt, &adopt),
            (lost(Pending, true), &wait, &trust),
            (lost(Uninstalling, true), &wait, &trust),
            (lost(Failed, true), &Next::GivenUp, &Next::GivenUp),
            (lost(Failed, false), &begin(Event::Install, 3), &begin(Event::Install, 3)),
            (Record { remedial: true, ..lost(Deployed, false) }, &Next::GivenUp, &Next::GivenUp),
        ] {
            let records = [record];
            check(&records, |it| it.knows_nothing = true, alone);
            check(&records, |it| (it.knows_nothing, it.requests) = (true, &retry), asked);
        }
        // A deletion begins once what there is to delete is adopted.
        for (state, expect) in
            [(Deployed, &adopt), (Pending, &adopt), (Failed, &adopt), (Uninstalling, &wait)]
        {
            let records = [lost(state, true)];
            let delete = Some(Disposal::Delete);
            check(&records, |it| (it.knows_nothing, it.deletion) = (true, delete), expect);
        }
    }

    #[test]
    fn what_was_removed_while_it_was_worked_on_is_not_begun_again_by_itself() {
        check(&[], |it| it.gave_up = true, &Next::GivenUp);
        let retry = Requests { retry: asked(), ..Requests::default() };
        check(&[], |it| (it.gave_up, it.requests) = (true, &retry), &begin(Event::Install, 1));
    }

    #[test]
    fn a_failed_first_install_stays_an_install_and_a_failed_upgrade_an_upgrade() {
        let last = operation(Event::Install, 1, true, true);
        let failed = [record(1, Failed, false)];
        check(&failed, |it| it.operation = Some(&last), &begin(Event::Install, 2));
        let upgrade = [record(1, Deployed, true), record(2, Failed, false)];
        check(&upgrade, |it| it.operation = Some(&last), &begin(Event::Upgrade, 3));
        let taken_down = [record(1, Superseded, false), record(2, Uninstalling, true)];
        check(&taken_down, |_| {}, &begin(Event::Install, 3));
    }

    #[test]
    fn what_was_given_up_waits_for_a_change_or_a_request() {
        let records = [record(1, Deployed, false), record(2, Failed, true)];
        let last = operation(Event::Upgrade, 2, true, true);
        check(&records, |it| it.gave_up = true, &Next::GivenUp);
        // The status was lost: a failed operation is not run again silently.
        check(&records, |_| {}, &Next::GivenUp);
        let retry = Requests { retry: asked(), ..Requests::default() };
        for operation in [Some(&last), None] {
            check(
                &records,
                |it| (it.gave_up, it.operation, it.requests) = (true, operation, &retry),
                &Next::Reopen,
            );
            check(
                &records,
                |it| (it.gave_up, it.requests, it.handled) = (true, &retry, &retry),
                &Next::GivenUp,
            );
        }
        let restart = Requests { restart: asked(), ..Requests::default() };
        for records in [&records[..], &[record(2, Deployed, true)]] {
            check(
                records,
                |it| (it.gave_up, it.operation, it.requests) = (true, Some(&last), &restart),
                &begin(Event::Upgrade, 3),
            );
        }
    }

    #[test]
    fn a_pin_is_a_rollback_until_its_revision_is_deployed() {
        let target = Some(1);
        let rollback = Next::Begin { event: Event::Rollback, revision: 4, target, remedies: None };
        check(&[record(3, Deployed, true)], |it| it.pin = Some(1), &rollback);
        let copy = Record { origin: 1, ..record(4, Deployed, false) };
        let copies = [copy];
        check(&copies, |it| it.pin = Some(1), &Next::InSync { revision: 4 });
        // Clearing the pin returns to the spec.
        check(&copies, |_| {}, &begin(Event::Upgrade, 5));
        let deployed = [record(1, Deployed, false)];
        check(&deployed, |it| it.pin = Some(1), &Next::InSync { revision: 1 });
        let failed = [record(1, Deployed, false), record(3, Failed, false)];
        check(&failed, |it| it.pin = Some(1), &rollback);
    }

    #[test]
    fn tests_run_when_they_are_due_or_asked_for() {
        let deployed = [record(2, Deployed, true)];
        check(&deployed, |it| it.test_due = true, &begin(Event::Test, 2));
        let failed = [record(1, Deployed, false), record(2, Failed, true)];
        check(&failed, |it| it.test_due = true, &Next::GivenUp);
        // As `helm test`, which asks for no state.
        let test = Requests { test: asked(), ..Requests::default() };
        check(&failed, |it| (it.gave_up, it.requests) = (true, &test), &begin(Event::Test, 2));
    }

    #[test]
    fn a_deletion_comes_before_all_but_what_runs() {
        let delete = Some(Disposal::Delete);
        check(&[], |it| it.deletion = delete, &Next::Finish);
        for state in [Deployed, Failed, Pending] {
            let records = [record(2, state, false)];
            check(&records, |it| it.deletion = delete, &begin(Event::Delete, 2));
        }
        let running = operation(Event::Upgrade, 2, false, false);
        let pending = [record(2, Pending, false)];
        check(&pending, |it| (it.deletion, it.operation) = (delete, Some(&running)), &Next::Resume);
        let going = [record(2, Uninstalling, false)];
        check(&going, |it| it.deletion = delete, &Next::JournalLost { revision: 2 });
        let ended = operation(Event::Delete, 2, true, false);
        check(&going, |it| (it.deletion, it.operation) = (delete, Some(&ended)), &Next::Finish);
        let deployed = [record(2, Deployed, true)];
        check(&deployed, |it| it.deletion = Some(Disposal::Keep), &Next::Finish);
        let foreign = [of(Some("other"), record(3, Deployed, true))];
        check(&foreign, |it| it.deletion = delete, &Next::Finish);
    }
}
