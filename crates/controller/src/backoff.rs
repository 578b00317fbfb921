//! Back-off per object: doubled at each failure, with jitter, forgotten at the first success.

use std::{collections::HashMap, sync::Mutex, time::Duration};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);

#[derive(Default)]
pub(crate) struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// How long to wait after one more failure of `key`.
    pub(crate) fn next(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        // 2^7 × FIRST is beyond LONGEST.
        let wait = FIRST.saturating_mul(1 << (*count - 1).min(7)).min(LONGEST);
        wait.mul_f64(jitter())
    }

    pub(crate) fn forget(&self, key: &str) {
        self.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key);
    }
}

/// Between 0.75 and 1.25. A UUID is the randomness that is there anyway.
fn jitter() -> f64 {
    0.75 + f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 510.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_start_again_after_a_success() {
        let backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next("a")).collect();
        assert!(waits[0] <= FIRST.mul_f64(1.25) && waits[0] >= FIRST.mul_f64(0.75));
        assert!(waits[4] > waits[0] * 4);
        assert!(waits.iter().all(|wait| *wait <= LONGEST.mul_f64(1.25)));
        backoff.forget("a");
        assert!(backoff.next("a") <= FIRST.mul_f64(1.25));
    }
}
