//! Answers of the API server to one reconciliation, of just now: what is needed twice within a
//! moment is read once.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use lifecycle::object::ObjectRef;
use manifests::memory::Memory;
use serde_json::Value;

use crate::support::sync::lock;

/// The time for which an answer counts as read just now. Between a read and the write that follows from
/// it there is always a moment; who has more objects to read has a longer one. It is far less than the
/// time for which a lease is held, so that no other process has begun to act meanwhile.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// The time for which an answer counts that there is no such object: no version tells who creates it that
/// somebody else has done so since.
const MISSING: Duration = Duration::from_millis(200);

/// The memory of all answers that are kept.
const MOST_MEMORY: usize = 1 << 20;

/// Objects as they were read, or as missing. A write to an object forgets it.
pub(super) struct Recent(Mutex<Answers>);

struct Answers {
    /// With the time when it was asked for: whoever is stopped while the answer arrives must not take
    /// it for a new one.
    known: HashMap<ObjectRef, (Instant, Answer)>,
    memory: Memory,
}

/// The answer about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Live(Value),
    Missing,
}

impl Answer {
    fn of(live: Option<&Value>) -> Self {
        live.cloned().map_or(Self::Missing, Self::Live)
    }

    pub(super) fn live(self) -> Option<Value> {
        match self {
            Self::Live(object) => Some(object),
            Self::Missing => None,
        }
    }
}

impl Recent {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Answers { known: HashMap::new(), memory: Memory::new(MOST_MEMORY) }))
    }

    /// Returns what was answered just now about the object; `None` if that is unknown.
    pub(super) fn get(&self, object: &ObjectRef) -> Option<Answer> {
        let answers = lock(&self.0);
        let (asked_at, answer) = answers.known.get(object)?;
        let age = match answer {
            Answer::Live(_) => FRESH,
            Answer::Missing => MISSING,
        };
        (asked_at.elapsed() < age).then(|| answer.clone())
    }

    /// Keeps the answer to a request that was sent at `asked_at`, if there is room for it.
    pub(super) fn keep(&self, object: &ObjectRef, asked_at: Instant, answer: Option<&Value>) {
        let mut answers = lock(&self.0);
        let has_room = answers.memory.take_value(answer.unwrap_or(&Value::Null)).is_ok();
        if has_room {
            answers.known.insert(object.clone(), (asked_at, Answer::of(answer)));
        }
    }

    pub(super) fn forget(&self, object: &ObjectRef) {
        lock(&self.0).known.remove(object);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str) -> ObjectRef {
        ObjectRef {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        }
    }

    #[test]
    fn an_answer_is_good_for_a_moment_and_until_the_object_is_written() {
        let recent = Recent::new();
        let now = Instant::now();
        let live = json!({"metadata": {"uid": "1"}});
        recent.keep(&object("a"), now, Some(&live));
        recent.keep(&object("b"), now, None);
        recent.keep(&object("c"), now, Some(&live));
        recent.keep(&object("d"), now.checked_sub(FRESH).unwrap(), Some(&live));
        recent.keep(&object("e"), now.checked_sub(MISSING).unwrap(), Some(&live));
        recent.keep(&object("f"), now.checked_sub(MISSING).unwrap(), None);
        recent.forget(&object("c"));
        assert_eq!(recent.get(&object("a")), Some(Answer::Live(live)));
        assert_eq!(recent.get(&object("b")), Some(Answer::Missing), "it is known to be missing");
        assert_eq!(recent.get(&object("c")), None, "it was written");
        assert_eq!(recent.get(&object("d")), None, "it is too old");
        assert!(recent.get(&object("e")).is_some());
        assert_eq!(recent.get(&object("f")), None, "somebody may have created it");
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let recent = Recent::new();
        let large = Value::String("x".repeat(MOST_MEMORY / 3));
        for name in ["a", "b", "c", "d"] {
            recent.keep(&object(name), Instant::now(), Some(&large));
        }
        assert!(recent.get(&object("a")).is_some());
        assert_eq!(recent.get(&object("d")), None);
    }
}
