//! The time of the next check of the objects that a release refers to.

use std::time::{Duration, Instant};

/// The quiet time after a change: changes that come together, as from one `kubectl apply`, are one
/// upgrade.
const QUIET: Duration = Duration::from_millis(500);
/// The maximum delay: objects that change all the time are checked all the same.
const RESTLESS: Duration = Duration::from_secs(5);

/// The pace of one release.
#[derive(Debug)]
pub(super) struct Pace {
    due: Instant,
    /// The time since when there are changes that were not checked.
    changed: Option<Instant>,
    /// True if a check has begun and not ended.
    looking: bool,
}

impl Pace {
    /// Returns the pace of a release that was not checked yet.
    pub(super) fn new(due: Instant) -> Self {
        Self { due, changed: None, looking: false }
    }

    /// Begins a check. A change from here on may be missed by it.
    pub(super) fn look(&mut self) {
        self.changed = None;
        self.looking = true;
    }

    pub(super) fn change(&mut self, now: Instant) {
        let since = *self.changed.get_or_insert(now);
        self.due = (now + QUIET).min(since + RESTLESS);
    }

    /// Requests a check of something else, at once.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    /// Ends the check: all its consequences have been handled. A check that failed remains due.
    pub(super) fn settle(&mut self, now: Instant, interval: Duration) {
        if std::mem::take(&mut self.looking) && self.changed.is_none() {
            self.due = now + interval;
        }
    }

    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Returns the time for which more changes are waited for.
    pub(super) fn quiet_for(&self, now: Instant) -> Option<Duration> {
        self.changed.map(|_| self.due_in(now)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(10);

    #[test]
    fn it_is_due_until_a_look_has_come_to_its_end() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.due_in(now), Duration::ZERO);
        pace.look();
        // The check ended in an error.
        assert_eq!(pace.due_in(now), Duration::ZERO);
        pace.look();
        pace.settle(now, INTERVAL);
        assert_eq!(pace.due_in(now), INTERVAL);
        // Without another check nothing new is known.
        let later = now + INTERVAL;
        pace.settle(later, INTERVAL);
        assert_eq!(pace.due_in(later), Duration::ZERO);
    }

    #[test]
    fn a_change_during_a_look_is_not_lost() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.look();
        pace.change(now);
        pace.settle(now, INTERVAL);
        assert_eq!(pace.due_in(now), QUIET);
    }

    #[test]
    fn changes_that_come_together_are_waited_for_but_not_for_ever() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.look();
        pace.settle(now, INTERVAL);
        assert_eq!(pace.quiet_for(now), None);
        pace.change(now);
        assert_eq!(pace.quiet_for(now), Some(QUIET));
        pace.change(now + QUIET / 2);
        assert_eq!(pace.due_in(now), QUIET + QUIET / 2);
        for tenth in 1..100 {
            pace.change(now + QUIET * tenth / 10);
        }
        assert_eq!(pace.due_in(now), RESTLESS);
        assert_eq!(pace.quiet_for(now + RESTLESS), None);
    }
}
