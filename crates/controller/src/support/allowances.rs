//! An allowance for each namespace: so many at once, and from then on one each time that some time
//! has passed.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::support::sync::lock;

pub(crate) struct Allowances {
    most: u32,
    each: Duration,
    /// The time at which the allowance of a namespace is whole again.
    whole: Mutex<HashMap<String, Instant>>,
}

impl Allowances {
    /// Returns allowances of `most` at once; each comes back after the time `each`.
    pub(crate) fn new(most: u32, each: Duration) -> Self {
        Self { most, each, whole: Mutex::default() }
    }

    /// Takes one; returns false if there is none.
    pub(crate) fn take(&self, namespace: &str) -> bool {
        self.take_at(namespace, Instant::now())
    }

    fn take_at(&self, namespace: &str, now: Instant) -> bool {
        let mut whole = lock(&self.whole);
        let at = whole.get(namespace).map_or(now, |at| now.max(*at)) + self.each;
        if at > now + self.each * self.most {
            return false;
        }
        whole.retain(|_, at| *at > now);
        whole.insert(namespace.to_owned(), at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_so_many_at_once_and_then_one_at_a_time() {
        let allowances = Allowances::new(3, Duration::from_secs(1));
        let start = Instant::now();
        let take = |namespace: &str, second| {
            allowances.take_at(namespace, start + Duration::from_secs(second))
        };
        assert_eq!([0, 0, 0, 0].map(|second| take("a", second)), [true, true, true, false]);
        assert!(take("b", 0), "another one has its own");
        assert_eq!([1, 1, 2].map(|second| take("a", second)), [true, false, true]);
        assert_eq!([9, 9, 9, 9].map(|second| take("a", second)), [true, true, true, false]);
        assert_eq!(lock(&allowances.whole).len(), 1, "what is whole is forgotten");
    }
}
