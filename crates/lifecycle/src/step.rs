//! The outcome of the step rule: the next journal, one effect at most, and when to decide again.

use jiff::{SignedDuration, Timestamp};

use crate::{
    effect::Effect,
    journal::{Failure, Journal},
};

/// The interval of checks for changes that no watch reports.
pub(crate) const POLL: SignedDuration = SignedDuration::from_secs(1);
/// The shortest and the longest interval of checks of a hook that no watch reports and that may take
/// long.
const POLL_AWAITED: SignedDuration = SignedDuration::from_secs(2);
const POLL_AWAITED_LONG: SignedDuration = SignedDuration::from_secs(15);
/// The interval of these checks once they take longer than they should.
pub(crate) const POLL_STALLED: SignedDuration = SignedDuration::from_secs(5);
/// The interval of checks for changes that a watch reports anyway: an event may be lost.
pub(crate) const POLL_WATCHED: SignedDuration = SignedDuration::from_mins(1);
/// The longest one: ten thousand hooks that run for hours must not cost hundreds of requests a second.
const POLL_WATCHED_LONG: SignedDuration = SignedDuration::from_mins(10);

/// The outcome of [`decide`](crate::decide::decide).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// To be written, where it differs, before the effect is executed.
    pub journal: Journal,
    /// To be executed then.
    pub effect: Option<Effect>,
    /// The time to decide again, if nothing reports a change before.
    pub wake_at: Option<Timestamp>,
    /// The reason why the operation is blocked, beyond what the journal says.
    pub hold: Option<Hold>,
}

/// The reason why an operation is blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Something that may end by itself, such as `pod x ImagePullBackOff`.
    Waiting(String),
    /// Something that only a person ends.
    Stalled(Failure),
    /// `spec.suspend`.
    Suspended,
}

impl Step {
    pub(crate) fn go(journal: Journal, effect: Option<Effect>) -> Self {
        Self { journal, effect, wake_at: None, hold: None }
    }

    pub(crate) fn wait(journal: Journal, wake_at: Timestamp, waiting: Option<String>) -> Self {
        Self { journal, effect: None, wake_at: Some(wake_at), hold: waiting.map(Hold::Waiting) }
    }

    pub(crate) fn stall(journal: Journal, now: Timestamp, failure: Failure) -> Self {
        let hold = Some(Hold::Stalled(failure));
        Self { journal, effect: None, wake_at: Some(after(now, POLL_WATCHED)), hold }
    }
}

/// The interval of checks of a hook that a watch reports and that has run for this time: as long again.
pub(crate) fn poll_watched(ran: SignedDuration) -> SignedDuration {
    ran.clamp(POLL_WATCHED, POLL_WATCHED_LONG)
}

/// The interval of checks of a hook that has been awaited for this time: a tenth of it.
pub(crate) fn poll_awaited(awaited: SignedDuration) -> SignedDuration {
    let tenth = awaited.checked_div(10).unwrap_or(POLL_AWAITED);
    tenth.clamp(POLL_AWAITED, POLL_AWAITED_LONG)
}

/// The time after `duration`; the end of time if there is no such time.
pub(crate) fn after(now: Timestamp, duration: SignedDuration) -> Timestamp {
    now.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[test]
fn a_hook_that_runs_long_is_checked_less_often() {
    let minutes = SignedDuration::from_mins;
    for (ran, expected) in [(0, 1), (1, 1), (3, 3), (10, 10), (600, 10)] {
        assert_eq!(poll_watched(minutes(ran)), minutes(expected));
    }
}
