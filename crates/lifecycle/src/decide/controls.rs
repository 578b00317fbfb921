//! The inputs that are read live while an operation runs: requests, `suspend`, a newer spec, a
//! deletion. All else counts from the next operation on.

use jiff::SignedDuration;

use crate::{
    commands::Commands,
    journal::{Cancel, Failure, Journal, Phase, Requests},
    plan::Plan,
    reason::Reason,
};

/// The controls of people for the running operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Controls {
    /// True if nothing new is started.
    pub suspend: bool,
    /// The requests by annotation.
    pub requests: Requests,
    /// The reason why the operation is to end early, other than by request.
    pub interrupt: Option<Cancel>,
    /// The settings for a deletion that is blocked.
    pub deletion: Deletion,
    /// The commands for other controls.
    pub commands: Commands,
}

/// The settings for a deletion that is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deletion {
    /// The time for which failed hooks are tried again and objects are waited for.
    pub timeout: SignedDuration,
    /// The reaction when it is over.
    pub on_timeout: OnTimeout,
    /// True if the namespace is terminating: nothing can be created there any more.
    pub namespace_goes: bool,
}

/// The reaction when a deletion has used up its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnTimeout {
    /// It waits for somebody.
    Block,
    /// It skips the hooks that have not succeeded.
    SkipHooks,
}

impl Default for Deletion {
    fn default() -> Self {
        Self {
            timeout: SignedDuration::from_mins(10),
            on_timeout: OnTimeout::Block,
            namespace_goes: false,
        }
    }
}

/// Returns the journal with the changes that `controls` cause. These decisions are final, whatever is
/// wished later.
pub(super) fn apply(plan: &Plan, journal: &Journal, controls: &Controls) -> Journal {
    let mut journal = journal.clone();
    if journal.is_done() {
        return journal;
    }
    if plan.event.ends_on_failure() {
        cancel(&mut journal, controls);
    } else {
        skip(&mut journal, controls);
    }
    journal
}

fn cancel(journal: &mut Journal, controls: &Controls) {
    let operation = &mut journal.operation;
    // An operation that has failed, or is being closed, is ending anyway, once no hook is at work.
    let has_failed = operation.failure.is_some() && operation.hook.is_none();
    let ends = has_failed || operation.phase >= Phase::Closing;
    let requested = controls.requests.cancel != journal.handled.cancel;
    if requested {
        journal.handled.cancel.clone_from(&controls.requests.cancel);
    }
    if ends {
        return;
    }
    let by_request = requested.then(|| Cancel {
        now: true,
        failure: Failure::new(Reason::Cancelled, "it was cancelled by annotation cancelAt"),
    });
    let order = by_request.as_ref().or(controls.interrupt.as_ref());
    match (&mut operation.cancel, order) {
        (None, Some(order)) => operation.cancel = Some(order.clone()),
        // It was requested to end after the hook first, and is now to end at once.
        (Some(cancel), Some(order)) => cancel.now |= order.now,
        (_, None) => {}
    }
}

fn skip(journal: &mut Journal, controls: &Controls) {
    let requested = controls.requests.skip != journal.handled.skip;
    if requested {
        journal.handled.skip.clone_from(&controls.requests.skip);
    }
    // A deletion cannot be cancelled.
    journal.handled.cancel.clone_from(&controls.requests.cancel);
    let why = if controls.deletion.namespace_goes {
        Failure::new(
            Reason::NamespaceTerminating,
            "its namespace is terminating, and no hook can run in it",
        )
    } else if requested {
        Failure::new(Reason::SkipRequested, "it was skipped by annotation skipAt")
    } else {
        return;
    };
    journal.operation.skip.get_or_insert(why);
}
