//! Times that repeat, in cron's format, as in a Kubernetes `CronJob`.

use cronexpr::{Crontab, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};
use thiserror::Error;

/// The most times that are tried for the next one: a country may leave out a whole day.
const MOST_LEFT_OUT: usize = 2000;
/// The longest text of a schedule, and of a time zone, in bytes.
const LONGEST: usize = 128;

/// A schedule, such as `0 2 * * 1-5` in Europe/Berlin.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// In the time of a clock on the wall: it is given UTC, which has no summer time. With a time zone of
    /// its own it does not end where the clock goes back by half an hour.
    crontab: Crontab,
    zone: TimeZone,
}

/// The reason why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// It is not in cron's format.
    #[error(
        "must be five fields of cron: minute, hour, day of the month, month, day of the week, such \
         as \"0 2 * * 1-5\""
    )]
    Format,
    /// There is no such time zone.
    #[error("must be the name of a time zone, such as Europe/Berlin or UTC")]
    TimeZone,
    /// No time of the next four years is one of the schedule's.
    #[error("names a day that does not occur, such as 30 February")]
    Never,
}

impl ScheduleError {
    /// Returns true if the time zone is wrong, and not the schedule.
    pub fn is_of_time_zone(&self) -> bool {
        *self == Self::TimeZone
    }
}

impl Schedule {
    /// Reads a schedule and the name of its time zone; UTC if there is none.
    ///
    /// # Errors
    /// With what it must be.
    pub fn parse(schedule: &str, time_zone: Option<&str>) -> Result<Self, ScheduleError> {
        let zone = time_zone.unwrap_or("UTC");
        let is_text = |text: &str| text.len() <= LONGEST && text.is_ascii();
        let zone = Some(zone).filter(|zone| is_text(zone)).map(TimeZone::get);
        let Some(Ok(zone)) = zone else { return Err(ScheduleError::TimeZone) };
        // A sixth field would be taken as the time zone.
        let fields: Vec<_> = schedule.split_ascii_whitespace().collect();
        if !is_text(schedule) || fields.len() != 5 {
            return Err(ScheduleError::Format);
        }
        let expression = format!("{} UTC", fields.join(" "));
        let crontab = parse_crontab_with(&expression, ParseOptions::default())
            .map_err(|_| ScheduleError::Format)?;
        let schedule = Self { crontab, zone };
        // The calendar repeats: what does not occur within four years of a leap day never occurs.
        schedule.next_after(Timestamp::UNIX_EPOCH).ok_or(ScheduleError::Never)?;
        Ok(schedule)
    }

    /// Returns the first time of the schedule that is later than `at`; `None` if there is none in
    /// the next four years. A time that a change to summer time leaves out does not occur that day.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let mut clock = self.zone.to_datetime(at);
        for _ in 0..MOST_LEFT_OUT {
            clock = self.next_on_the_wall(clock)?;
            let ambiguous = self.zone.to_ambiguous_timestamp(clock);
            let next = match ambiguous.offset() {
                AmbiguousOffset::Unambiguous { .. } => ambiguous.compatible().ok()?,
                AmbiguousOffset::Gap { .. } => continue,
                AmbiguousOffset::Fold { before, after } => {
                    let earlier = before.to_timestamp(clock).ok()?;
                    if earlier > at { earlier } else { after.to_timestamp(clock).ok()? }
                }
            };
            if next > at {
                return Some(next);
            }
        }
        None
    }

    /// Returns the first time of the schedule that a clock on the wall shows after `clock`.
    fn next_on_the_wall(&self, clock: DateTime) -> Option<DateTime> {
        let clock = TimeZone::UTC.to_timestamp(clock).ok()?;
        Some(self.crontab.find_next(MakeTimestamp(clock)).ok()?.datetime())
    }
}

/// The longest time by which [`jitter`] delays something.
const MOST_JITTER_SECONDS: u64 = 60;

/// Returns a time of less than a minute, the same for a `key` each time: what has one schedule does
/// not begin all at once.
pub fn jitter(key: &str) -> SignedDuration {
    let sum = key.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let seconds = sum.checked_rem(MOST_JITTER_SECONDS).unwrap_or_default();
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(schedule: &str, zone: Option<&str>, after: &str) -> String {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        schedule.next_after(at(after)).unwrap().to_string()
    }

    fn zones() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_schedule_is_in_its_time_zone() {
        let monday = "2026-11-30T10:00:00Z";
        assert_eq!(next("0 2 * * 1-5", None, monday), "2026-12-01T02:00:00Z");
        assert_eq!(next("0 2 * * 1-5", Some("Europe/Berlin"), monday), "2026-12-01T01:00:00Z");
        assert_eq!(next("0 2 * * SAT", Some("Asia/Seoul"), monday), "2026-12-04T17:00:00Z");
        // Later than the time itself, and in whole minutes.
        assert_eq!(next("*/5 * * * *", None, "2026-11-30T10:05:00Z"), "2026-11-30T10:10:00Z");
        assert_eq!(next("*/5 * * * *", None, "2026-11-30T10:04:59Z"), "2026-11-30T10:05:00Z");
    }

    #[test]
    fn a_time_that_summer_time_leaves_out_does_not_occur() {
        let zone = Some("Europe/Berlin");
        let before = "2027-03-28T00:00:00Z";
        assert_eq!(next("30 2 * * *", zone, before), "2027-03-29T00:30:00Z");
        assert_eq!(next("30 3 * * *", zone, before), "2027-03-28T01:30:00Z");
        // Samoa had no 30 December 2011.
        let schedule = "*/10 * 30 12 *";
        let next = next(schedule, Some("Pacific/Apia"), "2011-12-29T00:00:00Z");
        assert_eq!(next, "2012-12-29T10:00:00Z");
    }

    #[test]
    fn a_time_that_occurs_twice_is_the_first_one_that_is_later() {
        let zone = Some("Europe/Berlin");
        let schedule = "30 2 * * *";
        assert_eq!(next(schedule, zone, "2026-10-25T00:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next(schedule, zone, "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
        // Here the clock goes back by half an hour.
        let zone = Some("Australia/Lord_Howe");
        assert_eq!(next("0 5 * 4 0", zone, "2027-04-03T00:00:00Z"), "2027-04-03T18:30:00Z");
        assert_eq!(next("45 1 * * *", zone, "2027-04-03T14:00:00Z"), "2027-04-03T14:45:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_it_must_be() {
        for (schedule, zone, expected) in [
            ("", None, ScheduleError::Format),
            ("0 2 * *", None, ScheduleError::Format),
            ("0 2 * * 1-5 Europe/Berlin", None, ScheduleError::Format),
            ("61 2 * * *", None, ScheduleError::Format),
            ("@daily", None, ScheduleError::Format),
            ("0 2 * * 月", None, ScheduleError::Format),
            ("0 2 30 2 *", None, ScheduleError::Never),
            ("0 2 * * *", Some("Europe/Atlantis"), ScheduleError::TimeZone),
            ("0 2 * * *", Some("../../etc/passwd"), ScheduleError::TimeZone),
            ("0 2 * * *", Some(""), ScheduleError::TimeZone),
            (&"1,".repeat(1000), None, ScheduleError::Format),
        ] {
            assert_eq!(Schedule::parse(schedule, zone).unwrap_err(), expected, "{schedule}");
        }
        assert!(Schedule::parse("0 2 29 2 *", None).is_ok());
    }

    #[test]
    fn the_jitter_is_less_than_a_minute_and_stays_the_same() {
        assert_eq!(jitter("prod/shop"), jitter("prod/shop"));
        assert_ne!(jitter("prod/shop"), jitter("prod/cart"));
        assert!(jitter("prod/shop").as_secs() < 60);
    }

    proptest! {
        #[test]
        fn no_text_panics(schedule in "\\PC{0,40}", zone in "\\PC{0,20}") {
            let _ = Schedule::parse(&schedule, Some(&zone));
        }

        #[test]
        fn the_next_time_is_later_and_within_four_years(
            minute in 0..60_u8, hour in 0..24_u8, day in 1..29_u8, after in 0..4_000_000_000_i64,
            zone in proptest::sample::select(zones()),
        ) {
            let schedule = format!("{minute} {hour} {day} * *");
            let schedule = Schedule::parse(&schedule, Some(&zone)).unwrap();
            let after = Timestamp::from_second(after).unwrap();
            let next = schedule.next_after(after).unwrap();
            let most = SignedDuration::from_hours(63 * 24);
            prop_assert!(next > after && next.duration_since(after) < most);
        }

        #[test]
        fn none_is_passed_over_where_a_clock_is_changed(
            after in 1_700_000_000..2_000_000_000_i64, zone in proptest::sample::select(zones()),
        ) {
            let schedule = Schedule::parse("* * * * *", Some(&zone)).unwrap();
            let after = Timestamp::from_second(after).unwrap();
            let next = schedule.next_after(after).unwrap();
            prop_assert!(next > after && next.duration_since(after) <= SignedDuration::from_hours(2));
        }
    }
}
