//! The reason why a release is reconciled, or left alone. No client.

use std::time::Duration;

use api::ReleaseLifecycle;
use kube_runtime::controller::Action;

use crate::{
    operation::drive::Progress,
    release::{
        Release,
        context::Context,
        settled::{is_at_work, is_settled, is_tested},
    },
    support::{
        clock::{now, until},
        key::key,
    },
};

/// The longest time after which a schedule is looked at again: the clock may be set.
pub(super) const LONGEST: Duration = Duration::from_hours(1);

/// Everything that may bring a release back, or keep it waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a signal by itself")]
pub(crate) struct Signals {
    /// True if nothing is to be done, by the object alone.
    pub(crate) is_settled: bool,
    /// True if an operation runs, or the object is being deleted.
    pub(crate) is_at_work: bool,
    /// True if the source, or drift, is due for a check.
    pub(crate) source_is_due: bool,
    /// True if the tests are due by their schedule.
    pub(crate) tests_are_due: bool,
    /// True if another client has changed a record of the release.
    pub(crate) record_changed: bool,
    /// True if an object of a hook is held back, which may be that of a late request.
    pub(crate) hook_is_held: bool,
    /// The source changes so often that it is left alone for this long.
    pub(crate) quiet_for: Option<Duration>,
    /// The last attempt failed, and the next one is due in this long.
    pub(crate) retry_in: Option<Duration>,
}

/// The conclusion from the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There may be something to do.
    Now,
    /// Nothing is done before this time has passed.
    RetryAfter(Duration),
    /// There is nothing to do until something changes.
    Rest,
}

/// Returns whether the release is reconciled now.
pub(crate) fn wake(signals: &Signals) -> Wake {
    let is_touched = signals.source_is_due
        || signals.tests_are_due
        || signals.record_changed
        || signals.hook_is_held;
    if signals.is_settled && !is_touched {
        return Wake::Rest;
    }
    // A hook that has ended never waits for a source.
    match (signals.quiet_for, signals.retry_in) {
        (Some(quiet), _) if !signals.is_at_work => Wake::RetryAfter(quiet),
        (_, Some(left)) => Wake::RetryAfter(left),
        _ => Wake::Now,
    }
}

impl Signals {
    /// Returns the signals of the cached object.
    pub(crate) fn of_cached(ctx: &Context, object: &ReleaseLifecycle) -> Self {
        let key = key(object);
        let signals = Self::of_object(ctx, object);
        Self {
            record_changed: ctx.watches.records.is_due(object),
            hook_is_held: ctx
                .watches
                .held
                .any(&key, object.metadata.uid.as_deref().unwrap_or_default()),
            quiet_for: ctx.watches.sources.quiet_for(object),
            retry_in: ctx.backoff.left(&key, object.metadata.generation),
            // What this process wrote since would wake nobody when the watch reports it.
            is_settled: signals.is_settled && !ctx.cluster.echoes.is_behind(&object.metadata),
            ..signals
        }
    }

    /// Returns the signals of the object that was just read. Its held hooks have been swept, and
    /// the change of a record was taken.
    pub(crate) fn of_live(ctx: &Context, object: &ReleaseLifecycle, record_changed: bool) -> Self {
        Self { record_changed, ..Self::of_object(ctx, object) }
    }

    fn of_object(ctx: &Context, object: &ReleaseLifecycle) -> Self {
        Self {
            is_settled: is_settled(object),
            is_at_work: is_at_work(object),
            source_is_due: ctx.watches.sources.is_due(object),
            tests_are_due: tests_due_in(object).is_some_and(|left| left.is_zero()),
            ..Self::default()
        }
    }
}

/// Waits until the source or the tests are due, or something changes.
pub(crate) fn rest(ctx: &Context, object: &ReleaseLifecycle) -> Action {
    let due_in = ctx.watches.sources.due_in(object).into_iter().chain(tests_due_in(object)).min();
    due_in.map_or_else(Action::await_change, Action::requeue)
}

/// Returns the time until the tests run by their schedule, at most [`LONGEST`]; `None` if they do not.
fn tests_due_in(object: &ReleaseLifecycle) -> Option<Duration> {
    let now = now();
    let at = object.next_test_at(now).filter(|_| is_tested(object))?;
    Some(until(at, now).min(LONGEST))
}

/// Waits like [`rest`], for a release whose source has been checked just now.
pub(crate) fn settle(release: &Release<'_>) -> Action {
    release.ctx.watches.sources.settle(&release.object);
    rest(release.ctx, &release.object)
}

/// Waits as the operation asks. The next event, if there is one already, gets its own
/// reconciliation.
pub(crate) fn after(progress: Progress, release: &Release<'_>) -> Action {
    if let Progress::Waits(time) = progress {
        return Action::requeue(time);
    }
    release.ctx.running.forget(release.uid());
    // There is a record now that can be removed.
    release.ctx.watches.records.follow(&release.object, release.tenant.identity.clone());
    release.ctx.watches.observed.forget(&key(&release.object));
    release.ctx.watches.sources.look_for_drift(&release.object);
    // The references of its source were read when the operation began, if at all.
    let refers = release.ctx.watches.sources.due_in(&release.object).is_some();
    if is_settled(&release.object) && !refers {
        Action::await_change()
    } else {
        Action::requeue(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_woken_by_what_concerns_it() {
        const SOON: Duration = Duration::from_secs(3);
        const LATER: Duration = Duration::from_secs(9);
        let new = Signals::default();
        let settled = Signals { is_settled: true, ..new };
        let at_work = Signals { is_at_work: true, ..new };
        let table = [
            ("a new object", new, Wake::Now),
            ("nothing to do", settled, Wake::Rest),
            ("its source is due", Signals { source_is_due: true, ..settled }, Wake::Now),
            ("its tests are due", Signals { tests_are_due: true, ..settled }, Wake::Now),
            ("Helm has changed a record", Signals { record_changed: true, ..settled }, Wake::Now),
            ("a hook came too late", Signals { hook_is_held: true, ..settled }, Wake::Now),
            (
                "at rest, nothing is waited for",
                Signals { retry_in: Some(SOON), ..settled },
                Wake::Rest,
            ),
            (
                "its source changes often",
                Signals { quiet_for: Some(SOON), ..new },
                Wake::RetryAfter(SOON),
            ),
            ("a hook runs meanwhile", Signals { quiet_for: Some(SOON), ..at_work }, Wake::Now),
            (
                "an attempt failed",
                Signals { retry_in: Some(LATER), ..new },
                Wake::RetryAfter(LATER),
            ),
            (
                "and while a hook runs",
                Signals { retry_in: Some(LATER), ..at_work },
                Wake::RetryAfter(LATER),
            ),
            (
                "both",
                Signals { quiet_for: Some(SOON), retry_in: Some(LATER), ..new },
                Wake::RetryAfter(SOON),
            ),
        ];
        for (what, signals, wanted) in table {
            assert_eq!(wake(&signals), wanted, "{what}");
        }
    }
}
