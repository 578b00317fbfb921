//! `spec.windows`: the times at which an operation may begin. No client.

use std::time::Duration;

use api::ReleaseLifecycle;
use jiff::Timestamp;
use lifecycle::{
    event::Event,
    journal::Failure,
    plan::Begin,
    reason::Reason,
    windows::{Opening, is_exempt, opening},
};

use crate::{
    cluster::error::Error,
    reconcile::{next::handled, wake::LONGEST},
    release::Release,
    support::clock::until,
};

/// An operation that has to wait.
pub(crate) struct Closed {
    /// The reason, for the status.
    pub(crate) why: Failure,
    /// The time after which it is checked again.
    pub(crate) look_again_in: Duration,
}

/// Checks the schedules of the spec.
///
/// # Errors
/// With the field that is wrong.
pub(crate) fn check(object: &ReleaseLifecycle) -> Result<(), Error> {
    object
        .check_schedules()
        .map_err(|error| Error::blocked(Reason::InvalidSchedule, error.to_string()))
}

/// Returns why the operation does not begin at `now`; `None` if it does. What somebody requested begins
/// at any time, and so does a remediation, and everything in a namespace that is terminating.
pub(crate) fn closed(
    release: &Release<'_>,
    begin: &Begin,
    now: Timestamp,
) -> Result<Option<Closed>, Error> {
    let object = &release.object;
    let Begin { event, revision, .. } = *begin;
    if release.namespace_goes || is_exempt(begin, &object.requests(), &handled(release)) {
        return Ok(None);
    }
    let windows = object
        .windows(event)
        .map_err(|error| Error::blocked(Reason::InvalidSchedule, error.to_string()))?;
    let Opening::OpensAt(opens_at) = opening(&windows, now) else { return Ok(None) };
    let when = match opens_at {
        Some(at) => format!("begins at {at:.0}, when a window of spec.windows opens"),
        None => "does not begin: no window of spec.windows opens within four years".to_owned(),
    };
    let commands = release.commands();
    let command = if event == Event::Test { commands.test() } else { commands.restart() };
    let message = format!("{event} of revision {revision} {when}; to begin it now: {command}");
    let look_again_in = opens_at.map_or(LONGEST, |at| until(at, now).min(LONGEST));
    Ok(Some(Closed { why: Failure::new(Reason::WindowClosed, message), look_again_in }))
}
