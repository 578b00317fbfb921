//! The time.

use std::time::Duration;

use jiff::Timestamp;

/// Returns the time, to the millisecond: status keeps no more.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// Returns the time from `now` until `at`; zero if it has passed.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
