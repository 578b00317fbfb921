//! Answers that one release got just now, for the others of its namespace: they ask the same at the same
//! time. Only what decides no effect is shared: what a race can change in any case, and what the
//! API server checks again.

use std::{collections::HashMap, hash::Hash, sync::Mutex, time::Instant};

use crate::{cluster::recent::FRESH, support::sync::lock};

/// The most answers that are kept.
const MOST: usize = 256;

/// Answers by what they are about.
#[derive(Debug)]
pub(crate) struct Lately<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Lately<K, V> {
    /// Returns the answer, if it was asked for just now.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let answers = lock(&self.0);
        let (asked_at, answer) = answers.get(key)?;
        (asked_at.elapsed() < FRESH).then(|| answer.clone())
    }

    /// Keeps the answer to a question of `asked_at`.
    pub(crate) fn keep(&self, key: K, asked_at: Instant, answer: V) {
        let mut answers = lock(&self.0);
        answers.retain(|_, (asked_at, _)| asked_at.elapsed() < FRESH);
        if answers.len() < MOST {
            answers.insert(key, (asked_at, answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shared_for_a_moment() {
        let lately = Lately::default();
        let now = Instant::now();
        lately.keep("old", now.checked_sub(FRESH).unwrap(), 1);
        lately.keep("new", now, 2);
        assert_eq!((lately.get(&"old"), lately.get(&"new")), (None, Some(2)));
        assert_eq!(lately.get(&"other"), None);
    }

    #[test]
    fn answers_have_a_bound() {
        let lately = Lately::default();
        let now = Instant::now();
        for key in 0..2 * MOST {
            lately.keep(key, now, ());
        }
        assert_eq!((lately.get(&(MOST - 1)), lately.get(&MOST)), (Some(()), None));
    }
}
