//! The status of a release's object, computed from a report. Pure.

use api::{DriftMode, Preflight, ReleaseLifecycle, ReleaseLifecycleStatus, set_conditions};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use lifecycle::{
    approval::PendingPlan,
    conditions::{self, Condition, Remediated},
    drift::Baseline,
    event::Event,
    journal::{Failure, Journal},
    known::KnownPlan,
    object::ObjectRef,
    plan::Chart,
    reason::Reason,
    step::Hold,
};

use crate::{
    cluster::call::ApiError,
    release::{
        outcome::{conclude, forgive, no_drift, note_plan},
        settled::is_at_work,
    },
};

/// A report on a release.
pub(crate) enum Report<'a> {
    /// An operation runs, or has ended.
    Operation {
        journal: &'a Journal,
        hold: Option<&'a Hold>,
        /// The objects of the operation outside of the namespace, if they are known.
        outside: Option<&'a [ObjectRef]>,
        /// The additional remark for the message of a release that is ready.
        remark: Option<&'a str>,
        /// The condition `PreflightPassed`; `None`: unchanged.
        preflight: Option<Condition>,
        /// The plan of the operation, if this is the first journal of it.
        plan: Option<KnownPlan>,
    },
    /// This plan may be executed.
    Plan {
        plan: KnownPlan,
        /// The value of the request for a retry that is handled by that.
        retry: Option<String>,
    },
    /// The deployed revision is the desired one. Any other request needs no answer.
    InSync {
        revision: i32,
        chart: Option<Chart>,
        /// The result of the check for drift, if there was one.
        drift: Option<Drift>,
        /// The objects of the revision outside of the namespace, if they are known.
        outside: Option<&'a [ObjectRef]>,
        /// The additional remark.
        remark: Option<&'a str>,
    },
    /// The configuration was given up.
    GivenUp,
    /// The next attempt at the configuration begins at this time.
    RetryAt(Timestamp),
    /// Something else has to be ready first.
    Dependencies(&'a str),
    /// The plan of the next operation was made, and waits for an approval.
    Pending {
        plan: PendingPlan,
        why: &'a Failure,
        /// The condition `PreflightPassed`; `None`: unchanged.
        preflight: Option<Condition>,
    },
    /// The next operation has not begun, for this reason, which is no trouble.
    Held(&'a Failure),
    /// The release waits before anything can be begun, or before an operation continues.
    Waiting(&'a Failure),
    /// Only a change helps.
    Blocked(&'a Failure),
    /// Nothing can be read for now. It is reported once for each kind of trouble: each write of
    /// status triggers a reconciliation at once, and an error whose text always differs would cause
    /// an endless loop.
    Trouble(&'a ApiError),
}

/// The result of a check for drift.
pub(crate) struct Drift {
    /// `None`: unchanged.
    pub(crate) condition: Option<Condition>,
    pub(crate) baseline: Baseline,
    /// True if objects were corrected.
    pub(crate) corrected: bool,
}

/// Returns the status of `object` once `report` is written to it.
pub(crate) fn status(
    object: &ReleaseLifecycle,
    report: Report<'_>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    match report {
        Report::Operation { journal, hold, outside, remark, preflight, plan } => {
            let mut status = of_operation(object, journal, hold, outside, remark, preflight, now);
            if let Some(plan) = plan {
                note_plan(object, &mut status, plan);
            }
            status
        }
        Report::Plan { plan, retry } => {
            let mut status = object.status.clone().unwrap_or_default();
            note_plan(object, &mut status, plan);
            status.last_handled_retry_at = retry.or(status.last_handled_retry_at);
            status
        }
        Report::InSync { revision, chart, drift, outside, remark } => {
            let mut status = object.status.clone().unwrap_or_default();
            status.chart = chart;
            status.outside = status.outside.or_else(|| outside.map(<[_]>::to_vec));
            in_sync(object, status, revision, drift, remark, now)
        }
        Report::GivenUp => given_up(object, None, now),
        Report::RetryAt(at) => given_up(object, Some(at), now),
        Report::Dependencies(message) => {
            says(object, conditions::waiting_for_dependencies(message), now)
        }
        Report::Pending { plan, why, preflight } => {
            let mut wanted = conditions::held(why);
            wanted.extend(preflight);
            let mut status = says(object, wanted, now);
            status.plan = Some(plan);
            status
        }
        Report::Held(why) => says(object, conditions::held(why), now),
        Report::Waiting(failure) => {
            let wanted = match running_journal(object) {
                Some(journal) => {
                    of_journal(object, &journal, Some(&Hold::Waiting(failure.message.clone())))
                }
                None => conditions::waiting(failure),
            };
            says(object, wanted, now)
        }
        Report::Blocked(failure) => says(object, conditions::blocked(failure), now),
        Report::Trouble(error) => trouble(object, error, now),
    }
}

/// Returns the condition that reports why only a person can end the running operation, if that is
/// new. A failed operation has an Event object of its own.
pub(super) fn new_stall<'a>(
    object: &ReleaseLifecycle,
    next: &'a ReleaseLifecycleStatus,
) -> Option<&'a v1::Condition> {
    let is_stall = |it: &&v1::Condition| it.type_ == conditions::STALLED;
    let stalled = next.conditions.iter().find(is_stall)?;
    let is_done = next.journal().is_some_and(|journal| journal.is_done());
    let before = object.status.iter().flat_map(|status| &status.conditions);
    let is_known = before.filter(is_stall).any(|it| it.message == stalled.message);
    let is_told = is_known
        || running_journal(object).is_none()
        || is_done && stalled.reason == Reason::HookFailed;
    (!is_told).then_some(stalled)
}

/// Returns true if the object reports that it is blocked by `failure`. A webhook may put a time or
/// an id into its words: that is no news for which an Event object is sent.
pub(super) fn is_blocked_by(object: &ReleaseLifecycle, failure: &Failure) -> bool {
    let words = |text: &str| -> Vec<String> {
        let has_digit = |word: &&str| word.contains(|c: char| c.is_ascii_digit());
        text.split_whitespace().filter(|word| !has_digit(word)).map(str::to_owned).collect()
    };
    let is_check = failure.reason == Reason::PreflightFailed;
    let conditions = object.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|it| it.type_ == conditions::STALLED).any(|it| {
        it.message == failure.message
            || is_check
                && it.reason == failure.reason
                && it.observed_generation == object.metadata.generation
                && words(&it.message) == words(&failure.message)
    })
}

fn of_operation(
    object: &ReleaseLifecycle,
    journal: &Journal,
    hold: Option<&Hold>,
    outside: Option<&[ObjectRef]>,
    remark: Option<&str>,
    preflight: Option<Condition>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let operation = &journal.operation;
    let mut status = object.status.clone().unwrap_or_default();
    status.set_journal(journal.clone());
    // Until it is recorded, an approved plan is found by this.
    let is_over = operation.plan_digest.is_some() || journal.is_done();
    status.plan.take_if(|plan| plan.operation != operation.id || is_over);
    status.observed_generation = Some(operation.generation);
    if let Some(outside) = outside.filter(|_| operation.event.makes_revision()) {
        let succeeded = journal.is_done() && operation.failure.is_none();
        status.set_outside(outside, succeeded);
    }
    let mut wanted = of_journal(object, journal, hold);
    if journal.is_done() {
        conclude(&mut status, journal);
        let remediation = object.remediation(operation.event);
        let remediation = remediation.filter(|_| operation.has_failed_at_work());
        let last = status.last_attempt.as_ref();
        let retry_at = last.and_then(|last| last.next_at(object.retries(last.event)));
        match (last, remediation) {
            (Some(attempt), Some(remediation)) => {
                wanted = conditions::to_be_remediated(attempt, remediation);
            }
            (Some(attempt), None) if operation.remedies.is_some() => {
                wanted = conditions::remediated(attempt, operation, retry_at, &object.commands());
            }
            (Some(attempt), None) if operation.event.makes_revision() => {
                if let Some(at) = retry_at {
                    wanted = conditions::to_be_retried(attempt, at, None, &object.commands());
                }
            }
            _ => {}
        }
        if let Some(remark) = remark {
            conditions::add_remark(&mut wanted, remark);
        }
    }
    wanted.extend(preflight);
    forget_checks(object, &mut status);
    set_conditions(&mut status.conditions, wanted, operation.generation, now);
    status
}

fn in_sync(
    object: &ReleaseLifecycle,
    mut status: ReleaseLifecycleStatus,
    revision: i32,
    drift: Option<Drift>,
    remark: Option<&str>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    status.revision = Some(revision);
    status.plan = None;
    begins_nothing(&mut status);
    forgive(&mut status);
    status.set_handled(object.requests());
    let fails = object.tests_count();
    let tests = status.conditions.iter().find(|it| it.type_ == conditions::TEST_SUCCESS);
    let failed = tests
        .filter(|it| fails && it.status == "False" && status.tested_revision == Some(revision));
    let mut wanted = match failed {
        Some(failed) => conditions::tests_failed(&failed.message),
        None => conditions::in_sync(revision, object.spec.pin_revision),
    };
    if let Some(remark) = remark {
        conditions::add_remark(&mut wanted, remark);
    }
    match drift {
        Some(drift) => {
            status.baseline = Some(drift.baseline);
            if drift.corrected {
                status.corrected_at = Some(now);
            }
            wanted.extend(drift.condition);
        }
        None if object.drift_mode() == DriftMode::Disabled => no_drift(&mut status),
        // While it is suspended, the last report of drift stays.
        None => {}
    }
    with_conditions(object, status, wanted, now)
}

/// Returns the status of a release whose configuration failed; `retry_at`: the time of the next
/// attempt, if there is one.
fn given_up(
    object: &ReleaseLifecycle,
    retry_at: Option<Timestamp>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let last = object.status.as_ref().and_then(ReleaseLifecycleStatus::journal);
    let deletion = last
        .filter(|last| last.operation.event == Event::Delete && last.operation.remedies.is_none());
    if let Some(failure) = deletion.and_then(|last| last.operation.failure) {
        return says(object, conditions::blocked(&failure), now);
    }
    let commands = object.commands();
    let mut status = object.status.clone().unwrap_or_default();
    status.plan = None;
    begins_nothing(&mut status);
    status.set_handled(object.requests());
    let mut conditions = status.conditions.iter();
    let remediated = conditions.find(|it| it.type_ == conditions::REMEDIATED);
    let remediated =
        remediated.map(|it| Remediated { succeeded: it.status == "True", said: &it.message });
    let wanted = match &mut status.last_attempt {
        Some(attempt) => {
            // A change since then has nothing to do with the failure.
            attempt.generation = object.metadata.generation.unwrap_or_default();
            if retry_at.is_none() && object.retry_at().is_some() {
                // Nothing is there any more to attempt it on.
                attempt.failed_at = None;
            }
            match retry_at {
                Some(at) => conditions::to_be_retried(attempt, at, remediated, &commands),
                None => conditions::given_up(attempt, remediated, &commands),
            }
        }
        None => conditions::blocked(&Failure::new(
            Reason::GivenUp,
            format!(
                "the newest revision failed with this very configuration; see `helm history`. \
                 Change the spec, or start again, with every hook: {}",
                commands.restart()
            ),
        )),
    };
    with_conditions(object, status, wanted, now)
}

fn trouble(object: &ReleaseLifecycle, error: &ApiError, now: Timestamp) -> ReleaseLifecycleStatus {
    let status = object.status.as_ref();
    let is_known = status.into_iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.type_ == conditions::READY
            && conditions::flat(&condition.message).contains(&error.what)
    });
    if let Some(status) = status.filter(|_| is_known) {
        return status.clone();
    }
    let wanted = match running_journal(object) {
        Some(journal) => of_journal(object, &journal, Some(&Hold::Waiting(error.to_string()))),
        None => conditions::retrying(&error.to_string()),
    };
    says(object, wanted, now)
}

fn running_journal(object: &ReleaseLifecycle) -> Option<Journal> {
    let journal = object.status.as_ref().and_then(ReleaseLifecycleStatus::journal);
    journal.filter(|journal| !journal.is_done())
}

/// Returns the conditions of `object`, whose operation is `journal`'s. Requests that arrive
/// meanwhile wait.
fn of_journal(object: &ReleaseLifecycle, journal: &Journal, hold: Option<&Hold>) -> Vec<Condition> {
    let commands = object.commands();
    let mut wanted = conditions::of(journal, hold, &commands);
    let operation = &journal.operation;
    let newer = object.metadata.generation.filter(|newest| *newest > operation.generation);
    let can_be_cancelled = !journal.is_done()
        && operation.event != Event::Delete
        && operation.cancel.is_none()
        && operation.failure.is_none()
        && object.metadata.deletion_timestamp.is_none()
        && hold != Some(&Hold::Suspended);
    if let Some(generation) = newer.filter(|_| can_be_cancelled) {
        for condition in &mut wanted {
            condition.message.push_str(&conditions::newer_spec(generation, &commands));
        }
    }
    wanted
}

/// Returns the status with these conditions, and otherwise unchanged.
fn says(
    object: &ReleaseLifecycle,
    wanted: Vec<Condition>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let mut status = object.status.clone().unwrap_or_default();
    if status.observed_generation.is_none_or(|seen| seen < 0) {
        // Annotations that were on the object before it was first observed request nothing, nor
        // will they once this is written.
        status.set_handled(object.requests());
    }
    if !is_at_work(object) {
        // It must not be kept for a deletion, whose first hook may be the backup.
        status.last_handled_skip_at = object.requests().skip;
    }
    with_conditions(object, status, wanted, now)
}

/// Sets the conditions. While an operation runs, they are about the generation that it serves.
fn with_conditions(
    object: &ReleaseLifecycle,
    mut status: ReleaseLifecycleStatus,
    wanted: Vec<Condition>,
    now: Timestamp,
) -> ReleaseLifecycleStatus {
    let running = status.operation.as_ref().filter(|operation| operation.completed_at.is_none());
    let generation = running.map(|operation| operation.generation);
    let generation = generation.or(object.metadata.generation).unwrap_or_default();
    status.observed_generation = Some(generation);
    forget_checks(object, &mut status);
    set_conditions(&mut status.conditions, wanted, generation, now);
    status
}

/// Removes the reason why an operation did not begin: no operation is to begin any more.
fn begins_nothing(status: &mut ReleaseLifecycleStatus) {
    let is_held_back = |it: &v1::Condition| {
        it.type_ == conditions::PREFLIGHT_PASSED && it.reason == Reason::PreflightFailed
    };
    status.conditions.retain(|it| !is_held_back(it));
}

/// Removes the result of earlier checks if nothing is checked any more.
fn forget_checks(object: &ReleaseLifecycle, status: &mut ReleaseLifecycleStatus) {
    if object.preflight() == Preflight::Off {
        status.conditions.retain(|it| it.type_ != conditions::PREFLIGHT_PASSED);
    }
}

#[cfg(test)]
mod tests;
