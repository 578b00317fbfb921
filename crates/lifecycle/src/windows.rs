//! The windows in which operations begin, as `spec.windows` says. What has begun goes on after the
//! end of its window.

use jiff::{SignedDuration, Timestamp};

use crate::{event::Event, journal::Requests, plan::Begin, schedule::Schedule};

/// A window that opens again and again.
#[derive(Clone, Debug)]
pub struct Window {
    /// The times at which it opens.
    pub schedule: Schedule,
    /// The time for which it is open then.
    pub duration: SignedDuration,
}

/// The answer to whether an operation may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It may begin now.
    Open,
    /// It may begin at this time; `None` if that is more than four years away.
    OpensAt(Option<Timestamp>),
}

/// The events whose operations wait for a window, if it does not say for which it is: all but the
/// tests, which follow what they test.
pub const DEFAULT_EVENTS: [Event; 4] =
    [Event::Install, Event::Upgrade, Event::Rollback, Event::Delete];

/// Returns whether an operation may begin at `now`; `windows` are those of its event. Without
/// windows it may begin at any time.
pub fn opening(windows: &[Window], now: Timestamp) -> Opening {
    if windows.is_empty() || windows.iter().any(|window| window.is_open(now)) {
        return Opening::Open;
    }
    Opening::OpensAt(windows.iter().filter_map(|it| it.schedule.next_after(now)).min())
}

/// Returns whether an operation begins at any time: somebody requested it, or it remediates a failure.
/// `handled` are the requests that were answered before.
pub fn is_exempt(begin: &Begin, requests: &Requests, handled: &Requests) -> bool {
    let is_requested = match begin.event {
        Event::Test => requests.test != handled.test,
        Event::Install | Event::Upgrade | Event::Rollback | Event::Delete => {
            requests.restart != handled.restart || requests.retry != handled.retry
        }
    };
    is_requested || begin.remedies.is_some()
}

impl Window {
    fn is_open(&self, now: Timestamp) -> bool {
        let Ok(before) = now.checked_sub(self.duration) else { return false };
        self.schedule.next_after(before).is_some_and(|opened| opened <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(schedule: &str, hours: i64) -> Window {
        Window {
            schedule: Schedule::parse(schedule, None).unwrap(),
            duration: SignedDuration::from_hours(hours),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_time_until_its_duration_is_over() {
        let nights = [window("0 22 * * *", 4)];
        let opens = |text: &str| Opening::OpensAt(Some(at(text)));
        for (now, expected) in [
            ("2026-11-30T21:59:59Z", opens("2026-11-30T22:00:00Z")),
            ("2026-11-30T22:00:00Z", Opening::Open),
            ("2026-12-01T01:59:59Z", Opening::Open),
            ("2026-12-01T02:00:00Z", opens("2026-12-01T22:00:00Z")),
        ] {
            assert_eq!(opening(&nights, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn one_of_several_is_enough_and_none_holds_nothing() {
        let windows = [window("0 2 * * 1", 1), window("0 12 * * 3", 2)];
        // A Wednesday.
        assert_eq!(opening(&windows, at("2026-12-02T13:00:00Z")), Opening::Open);
        let next = Opening::OpensAt(Some(at("2026-12-02T12:00:00Z")));
        assert_eq!(opening(&windows, at("2026-12-01T13:00:00Z")), next);
        assert_eq!(opening(&[], at("2026-12-01T13:00:00Z")), Opening::Open);
    }

    #[test]
    fn a_window_longer_than_its_interval_is_always_open() {
        let windows = [window("0 0 * * *", 24)];
        for now in ["2026-12-01T00:00:00Z", "2026-12-01T23:59:59Z"] {
            assert_eq!(opening(&windows, at(now)), Opening::Open, "{now}");
        }
    }

    #[test]
    fn what_somebody_requested_or_what_remediates_does_not_wait() {
        let some = |text: &str| Some(text.to_owned());
        let none = Requests::default();
        let retry = Requests { retry: some("1"), ..none.clone() };
        let restart = Requests { restart: some("1"), ..none.clone() };
        let test = Requests { test: some("1"), ..none.clone() };
        let begin = |event| Begin {
            id: "new".to_owned(),
            event,
            revision: 2,
            target: None,
            remedies: None,
            generation: 1,
        };
        for (event, requests, expected) in [
            (Event::Upgrade, &none, false),
            (Event::Upgrade, &retry, true),
            (Event::Delete, &restart, true),
            (Event::Upgrade, &test, false),
            (Event::Test, &test, true),
            (Event::Test, &restart, false),
        ] {
            assert_eq!(is_exempt(&begin(event), requests, &none), expected, "{event}");
            assert!(!is_exempt(&begin(event), requests, requests), "it was handled");
        }
        let remedy = Begin { remedies: Some(1), ..begin(Event::Rollback) };
        assert!(is_exempt(&remedy, &none, &none));
    }

    proptest! {
        #[test]
        fn it_is_open_when_it_opens(
            minute in 0..60_u8, hour in 0..24_u8, day in 0..7_u8, hours in 1..168_i64,
            now in 1_700_000_000..2_000_000_000_i64,
        ) {
            let windows = [window(&format!("{minute} {hour} * * {day}"), hours)];
            let now = Timestamp::from_second(now).unwrap();
            if let Opening::OpensAt(at) = opening(&windows, now) {
                let at = at.unwrap();
                prop_assert!(at > now);
                prop_assert_eq!(opening(&windows, at), Opening::Open);
                let just_before = at.checked_sub(SignedDuration::from_secs(1)).unwrap();
                prop_assert!(opening(&windows, just_before) != Opening::Open);
            }
        }
    }
}
