//! When what a release refers to is looked at again.

use std::time::{Duration, Instant};

/// Changes that come together, as `kubectl apply` makes them one by one, are to be one upgrade.
const QUIET: Duration = Duration::from_millis(500);
/// What never comes to rest is looked at all the same.
const RESTLESS: Duration = Duration::from_secs(5);

/// Of one release.
#[derive(Debug)]
pub(super) struct Pace {
    due: Instant,
    /// Since when there are changes that nobody has looked at.
    changed: Option<Instant>,
    /// Whether a look has begun, of which nothing has come yet.
    looking: bool,
}

impl Pace {
    /// Nothing has been looked at.
    pub(super) fn new(due: Instant) -> Self {
        Self { due, changed: None, looking: false }
    }

    /// What changes from here on may not have been seen.
    pub(super) fn look(&mut self) {
        self.changed = None;
        self.looking = true;
    }

    pub(super) fn change(&mut self, now: Instant) {
        let since = *self.changed.get_or_insert(now);
        self.due = (now + QUIET).min(since + RESTLESS);
    }

    /// Something else is to be looked at, at once.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    /// All that follows from the look has been done. A look that came to nothing remains due.
    pub(super) fn settle(&mut self, now: Instant, interval: Duration) {
        if std::mem::take(&mut self.looking) && self.changed.is_none() {
            self.due = now + interval;
        }
    }

    pub(super) fn due_in(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// How long more changes are waited for.
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
        // It ended in an error.
        assert_eq!(pace.due_in(now), Duration::ZERO);
        pace.look();
        pace.settle(now, INTERVAL);
        assert_eq!(pace.due_in(now), INTERVAL);
        // Without another look nothing new is known.
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
