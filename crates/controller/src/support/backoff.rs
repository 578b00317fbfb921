//! Back-off per object: doubled at each failure, with jitter, forgotten at the first success.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The time after which the API server is asked again: a release must continue soon when it is
/// back.
const OUTAGE: Duration = Duration::from_secs(10);

pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: Mutex<HashMap<String, Failures>>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(Duration::from_millis(500), Duration::from_mins(1))
    }
}

struct Failures {
    count: u32,
    generation: Option<i64>,
    until: Instant,
}

impl Backoff {
    fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: Mutex::default() }
    }

    /// Returns the back-off for faults of this program, which only a change may prevent.
    pub(crate) fn after_panics() -> Self {
        Self::between(Duration::from_mins(5), Duration::from_hours(1))
    }

    /// Returns the pace of work that is repeated at once: a few repeats cost nothing, and no repeat
    /// can become a hot loop.
    pub(crate) fn of_repeats() -> Self {
        Self::between(Duration::from_millis(2), Duration::from_secs(30))
    }

    /// Returns the time to wait after one more failure of `key`.
    pub(crate) fn next(&self, key: &str, generation: Option<i64>) -> Duration {
        self.next_within(key, generation, self.longest)
    }

    /// Like [`Self::next`], if the API server was not available.
    pub(crate) fn next_in_outage(&self, key: &str, generation: Option<i64>) -> Duration {
        self.next_within(key, generation, OUTAGE)
    }

    fn next_within(&self, key: &str, generation: Option<i64>, longest: Duration) -> Duration {
        let mut all = self.lock();
        let count = all.get(key).map_or(0, |failures| failures.count);
        let grown = self.first.saturating_mul(1 << count.min(20));
        // At its maximum the wait does not grow: a failure after an outage is another problem.
        let count = if grown < longest { count.saturating_add(1) } else { count };
        let wait = grown.min(longest).mul_f64(jitter());
        let until = Instant::now() + wait;
        all.insert(key.to_owned(), Failures { count, generation, until });
        wait
    }

    /// Returns the remaining time of the last wait. The write of an error to status brings the
    /// object back at once, and so does every event of its hooks; only a change by its user ends
    /// the wait early.
    pub(crate) fn left(&self, key: &str, generation: Option<i64>) -> Option<Duration> {
        let all = self.lock();
        let failures = all.get(key).filter(|failures| failures.generation == generation)?;
        failures.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    pub(crate) fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    /// Forgets all objects but those of these keys.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        self.lock().retain(|key, _| keys.contains(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a factor between 0.75 and 1.25. A UUID is a source of randomness that is available
/// anyway.
pub(crate) fn jitter() -> f64 {
    0.75 + f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 510.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_mins(1);

    #[test]
    fn an_outage_however_long_costs_no_more_than_seconds_after_it() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..50).map(|_| backoff.next_in_outage("a", Some(1))).collect();
        assert!(waits[0] <= FIRST.mul_f64(1.25) && waits[3] > waits[0]);
        assert!(waits.iter().all(|wait| *wait <= OUTAGE.mul_f64(1.25)), "{waits:?}");
        assert!(waits[49] >= OUTAGE.mul_f64(0.75));
        // The API server is available again, but not quite healthy.
        assert!(backoff.next("a", Some(1)) <= 2 * OUTAGE.mul_f64(1.25));
    }

    #[test]
    fn a_fault_of_this_program_is_tried_again_after_minutes() {
        let backoff = Backoff::after_panics();
        let waits: Vec<_> = (0..8).map(|_| backoff.next("a", Some(1))).collect();
        assert!(waits[0] >= Duration::from_mins(3) && waits[7] >= Duration::from_mins(45));
        assert!(waits[7] <= Duration::from_mins(75));
        assert!(backoff.left("a", Some(1)).is_some() && backoff.left("b", Some(1)).is_none());
    }

    #[test]
    fn a_repeat_is_soon_and_many_are_not() {
        let pace = Backoff::of_repeats();
        let waits: Vec<_> = (0..30).map(|_| pace.next("a", Some(1))).collect();
        assert!(waits[..4].iter().sum::<Duration>() < Duration::from_millis(40), "{waits:?}");
        assert!(waits[20..].iter().all(|wait| *wait > Duration::from_secs(20)), "{waits:?}");
    }

    #[test]
    fn waits_double_up_to_a_minute_and_start_again_after_a_success() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next("a", Some(1))).collect();
        assert!(waits[0] <= FIRST.mul_f64(1.25) && waits[0] >= FIRST.mul_f64(0.75));
        assert!(waits[4] > waits[0] * 4);
        assert!(waits.iter().all(|wait| *wait <= LONGEST.mul_f64(1.25)));
        backoff.forget("a");
        assert!(backoff.next("a", Some(1)) <= FIRST.mul_f64(1.25));
    }

    #[test]
    fn only_a_change_by_the_user_or_a_success_cuts_a_wait_short() {
        let backoff = Backoff::default();
        for _ in 0..8 {
            backoff.next("a", Some(1));
        }
        assert!(backoff.left("a", Some(1)).is_some());
        assert!(backoff.left("a", Some(2)).is_none());
        assert!(backoff.left("b", Some(1)).is_none());
        backoff.forget("a");
        assert!(backoff.left("a", Some(1)).is_none());
    }
}
