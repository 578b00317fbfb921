//! The bound of what a journal keeps of the failures of its hooks: status stays small, however many of
//! them are retried or ignored.

use crate::journal::{HookStatus, Journal};

/// The most bytes of the messages and log lines of all hooks together. A single hook that has failed
/// is below it, and is always kept whole.
const MOST_BYTES: usize = 20 * 1024;
/// The length to which the message of an ignored failure is cut, if there are too many of them.
const SHORT: usize = 160;

/// The ways to get below the bound, one after the other. What is oldest goes first.
const WAYS: [fn(&mut HookStatus); 4] = [
    |hook| {
        for attempt in &mut hook.attempts {
            attempt.log = None;
        }
    },
    |hook| hook.attempts.clear(),
    |hook| {
        if hook.ignored {
            hook.log = None;
        }
    },
    |hook| {
        if hook.ignored
            && let Some(message) = &mut hook.message
        {
            message.truncate(message.floor_char_boundary(SHORT));
        }
    },
];

/// Drops the oldest evidence of failures that were retried or ignored, until the rest is below the
/// bound. That of the present hook is dropped last.
pub(crate) fn bound(journal: &mut Journal) {
    let mut left: usize = journal.hooks.iter().map(bytes).sum();
    let present = journal.operation.hook.as_ref().map(|cursor| cursor.index);
    for way in WAYS {
        let (own, others): (Vec<_>, Vec<_>) =
            journal.hooks.iter_mut().partition(|hook| Some(hook.index) == present);
        for hook in others.into_iter().chain(own) {
            if left <= MOST_BYTES {
                return;
            }
            let before = bytes(hook);
            way(hook);
            left = left.saturating_sub(before.saturating_sub(bytes(hook)));
        }
    }
}

fn bytes(hook: &HookStatus) -> usize {
    let attempts = hook.attempts.iter().flat_map(|it| [Some(&it.message), it.log.as_ref()]);
    let texts = attempts.chain([hook.message.as_ref(), hook.log.as_ref()]);
    texts.flatten().map(String::len).sum()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        event::{Event, HookEvent},
        journal::{HookAttempt, HookPhase, Requests, pending},
        plan::{MOST_HOOKS, Plan},
        testing,
    };

    /// A journal of `number` hooks, each ignored after six failed attempts, with the longest messages
    /// and logs of this length.
    fn journal(number: usize, log: usize) -> Journal {
        let hook = || testing::hook(HookEvent::PreUpgrade, testing::object("Job", "hook"));
        let plan =
            Plan { hooks: (0..number).map(|_| hook()).collect(), ..testing::plan(Event::Upgrade) };
        let now = Timestamp::UNIX_EPOCH;
        let mut journal = Journal::begin(plan.begin(1), String::new(), Requests::default(), now);
        journal.hooks = pending(&plan);
        for hook in &mut journal.hooks {
            hook.phase = HookPhase::Failed;
            hook.ignored = true;
            hook.message = Some("é".repeat(512));
            hook.log = Some("l".repeat(log));
            hook.attempts = (1..6)
                .map(|attempt| HookAttempt {
                    attempt,
                    started_at: None,
                    completed_at: None,
                    exit_code: Some(1),
                    reason: "BackoffLimitExceeded".to_owned(),
                    message: "m".repeat(1024),
                    log: hook.log.clone(),
                })
                .collect();
        }
        journal
    }

    fn all(journal: &Journal) -> usize {
        journal.hooks.iter().map(bytes).sum()
    }

    #[test]
    fn the_evidence_of_one_hook_is_kept_whole() {
        let mut journal = journal(1, 2048);
        let before = journal.clone();
        bound(&mut journal);
        assert_eq!(journal, before);
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut journal = journal(2, 700);
        bound(&mut journal);
        assert!(all(&journal) <= MOST_BYTES);
        assert!(journal.hooks[0].attempts.iter().all(|attempt| attempt.log.is_none()));
        assert_eq!(journal.hooks[0].attempts.len(), 5);
        assert!(journal.hooks[1].attempts.iter().all(|attempt| attempt.log.is_some()));
    }

    #[test]
    fn whatever_fails_there_is_a_bound() {
        let mut journal = journal(MOST_HOOKS, 2048);
        // The last one has failed, and its operation with it.
        let last = journal.hooks.last_mut().unwrap();
        last.ignored = false;
        let (message, log) = (last.message.clone(), last.log.clone());
        bound(&mut journal);
        assert!(all(&journal) <= MOST_BYTES, "{}", all(&journal));
        let last = journal.hooks.last().unwrap();
        assert_eq!((&last.message, &last.log), (&message, &log));
    }
}
