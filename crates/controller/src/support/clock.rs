//! The time.

use jiff::Timestamp;

/// Returns the time, to the millisecond: status keeps no more.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
