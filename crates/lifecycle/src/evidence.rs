//! The bound of what status keeps of the failures of hooks: it stays small, however many of them are
//! retried or ignored.

use crate::journal::HookStatus;

/// The most bytes of the messages and log lines of all hooks together: those of one hook, with all its
/// attempts, are below it.
const MOST_BYTES: usize = 20 * 1024;
/// The length to which the message of an ignored failure is cut, if there are too many of them.
const SHORT: usize = 80;

/// The ways to get below the bound, one after the other. What is oldest goes first.
const WAYS: [fn(&mut HookStatus); 5] = [
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
    // Hooks that ran side by side may all have failed.
    |hook| hook.log = None,
];

/// Drops the oldest evidence of failures that were retried or ignored, until the rest is below the
/// bound: first that of `older` operations, last that of the hooks at work, `present` of `hooks`.
pub fn bound(older: &mut [HookStatus], hooks: &mut [HookStatus], present: &[usize]) {
    let mut left: usize = older.iter().chain(&*hooks).map(bytes).sum();
    for way in WAYS {
        let (own, others): (Vec<_>, Vec<_>) =
            hooks.iter_mut().partition(|hook| present.contains(&hook.index));
        for hook in older.iter_mut().chain(others).chain(own) {
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
    use super::*;
    use crate::{
        event::{Event, HookEvent},
        journal::{HookAttempt, HookPhase, pending},
        plan::{MOST_HOOKS, Plan},
        testing,
    };

    /// Hooks, each ignored after six failed attempts, with the longest messages and with logs of this
    /// length.
    fn failed(number: usize, log: usize) -> Vec<HookStatus> {
        let hook = || testing::hook(HookEvent::PreUpgrade, testing::object("Job", "hook"));
        let plan =
            Plan { hooks: (0..number).map(|_| hook()).collect(), ..testing::plan(Event::Upgrade) };
        let mut hooks = pending(&plan);
        for hook in &mut hooks {
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
        hooks
    }

    fn all(hooks: &[HookStatus]) -> usize {
        hooks.iter().map(bytes).sum()
    }

    #[test]
    fn the_evidence_of_one_hook_is_kept_whole() {
        let mut hooks = failed(1, 2048);
        let before = hooks.clone();
        bound(&mut [], &mut hooks, &[0]);
        assert_eq!(hooks, before);
    }

    #[test]
    fn the_oldest_goes_first() {
        let (mut older, mut hooks) = (failed(1, 700), failed(1, 700));
        bound(&mut older, &mut hooks, &[]);
        assert!(all(&older) + all(&hooks) <= MOST_BYTES);
        assert!(older[0].attempts.iter().all(|attempt| attempt.log.is_none()));
        assert_eq!(older[0].attempts.len(), 5);
        assert!(hooks[0].attempts.iter().all(|attempt| attempt.log.is_some()));
    }

    #[test]
    fn whatever_fails_there_is_a_bound() {
        let (mut older, mut hooks) = (failed(50, 2048), failed(MOST_HOOKS, 2048));
        // The last one has failed, and its operation with it.
        let last = hooks.last_mut().unwrap();
        last.ignored = false;
        let (message, log) = (last.message.clone(), last.log.clone());
        bound(&mut older, &mut hooks, &[]);
        let left = all(&older) + all(&hooks);
        assert!(left <= MOST_BYTES, "{left}");
        let last = hooks.last().unwrap();
        assert_eq!((&last.message, &last.log), (&message, &log));
    }
}
