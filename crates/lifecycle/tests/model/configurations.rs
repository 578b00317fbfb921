//! The list of what is explored.

use lifecycle::{
    event::{
        Event, HookEvent, HookEvent::PostInstall, HookEvent::PostUpgrade, HookEvent::PreInstall,
        HookEvent::PreUpgrade,
    },
    hooks::{
        DeletePolicy, DeletePolicy::BeforeHookCreation, DeletePolicy::HookFailed,
        DeletePolicy::HookSucceeded,
    },
    plan::PlannedHook,
};

use crate::{
    configuration::{Configuration, First, core, install, job, with_ttl},
    operations,
};

const BEFORE: &[DeletePolicy] = &[BeforeHookCreation];
/// A hook's Job failed by itself.
const FAILED: &str = "BackoffLimitExceeded";

fn migrate(event: HookEvent) -> PlannedHook {
    job(event, "migrate", BEFORE)
}

/// Every configuration, in the order of the table.
pub(crate) fn all() -> Vec<Configuration> {
    let mut all = plain();
    all.extend(leftovers());
    all.extend(troubles());
    all.extend(operations::all());
    all
}

fn plain() -> Vec<Configuration> {
    vec![
        install("no hooks", vec![]).crashes(1).late(2).stale(1).ticks(2).or("ReadyTimeout"),
        install("one pre hook", vec![migrate(PreInstall)])
            .crashes(1)
            .late(1)
            .duplicates(1)
            .stale(1)
            .failures(1)
            .or(FAILED),
        install("pre and post hooks", vec![migrate(PreInstall), job(PostInstall, "warm", BEFORE)])
            .without_waiting()
            .crashes(1)
            .late(1)
            .failures(1)
            .or(FAILED),
        install(
            "two hooks, hook-succeeded",
            vec![
                job(PreInstall, "migrate", &[HookSucceeded]),
                job(PreInstall, "seed", &[HookSucceeded]),
            ],
        )
        .crashes(1)
        .late(1)
        .failures(1)
        .or(FAILED),
        install(
            "two hooks and no objects, hook-failed",
            vec![
                job(PreInstall, "migrate", &[HookFailed, HookSucceeded]),
                job(PreInstall, "seed", &[HookFailed]),
            ],
        )
        .hooks_only()
        .late(1)
        .duplicates(1)
        .failures(1)
        .or(FAILED),
        install("one object at two events", vec![migrate(PreInstall), migrate(PostInstall)])
            .without_waiting()
            .late(1)
            .duplicates(1),
        install(
            "one object at two events, hook-succeeded",
            vec![
                job(PreInstall, "migrate", &[HookSucceeded]),
                job(PostInstall, "migrate", &[HookSucceeded]),
            ],
        )
        .late(1),
        install("time to live", vec![with_ttl(migrate(PreInstall))])
            .crashes(1)
            .late(1)
            .failures(1)
            .or(FAILED),
        install(
            "other kinds",
            vec![
                core(PreInstall, "ConfigMap", &[BeforeHookCreation, HookSucceeded]),
                core(PostInstall, "ConfigMap", BEFORE),
            ],
        )
        .late(1)
        .duplicates(1)
        .deletions(1),
        install("jobs that cannot be held back", vec![migrate(PreInstall)])
            .world(|world| world.ungated = true)
            .late(1)
            .duplicates(1)
            .failures(1)
            .or(FAILED),
        install("an install, then an upgrade", vec![migrate(PreInstall)])
            .then(Event::Upgrade, vec![migrate(PreUpgrade)])
            .late(1)
            .failures(1)
            .or(FAILED),
        install("an install, then an upgrade with two hooks", vec![migrate(PreInstall)])
            .then(Event::Upgrade, vec![migrate(PreUpgrade), migrate(PostUpgrade)])
            .stale(1),
    ]
}

fn leftovers() -> Vec<Configuration> {
    vec![
        install("leftover with a finalizer", vec![migrate(PreInstall)])
            .first(First::Finalized)
            .late(1)
            .duplicates(1)
            .ticks(1)
            .or("LeftoverNotGone")
            .or("Timeout")
            .or("ReadyTimeout"),
        install(
            "leftover, policy without before-hook-creation",
            vec![job(PreInstall, "migrate", &[HookFailed])],
        )
        .first(First::Ended)
        .late(1)
        .ends_as("HookExists"),
        install("leftover that never started", vec![job(PreInstall, "migrate", &[HookFailed])])
            .first(First::Held)
            .crashes(1)
            .late(1),
        install("an object of another owner", vec![migrate(PreInstall)])
            .first(First::Foreign)
            .crashes(1)
            .late(1)
            .deletions(1)
            .or("HookNameTaken"),
        install("a record of another owner", vec![migrate(PreInstall)])
            .world(|world| world.foreign_record = true)
            .crashes(1)
            .late(1)
            .ends_as("ForeignRelease"),
    ]
}

fn troubles() -> Vec<Configuration> {
    vec![
        install("timeout", vec![migrate(PreInstall)])
            .late(1)
            .duplicates(1)
            .ticks(2)
            .or("Timeout")
            .or("ReadyTimeout"),
        install("timeout of a pod", vec![core(PreInstall, "Pod", &[HookSucceeded, HookFailed])])
            .late(1)
            .ticks(2)
            .failures(1)
            .or(FAILED)
            .or("Timeout")
            .or("ReadyTimeout"),
        install("deleted by a user", vec![migrate(PreInstall)])
            .late(1)
            .duplicates(1)
            .deletions(1)
            .or("Vanished"),
        install("deleted by a user, with a finalizer", vec![migrate(PreInstall)])
            .world(|world| world.finalizers = true)
            .late(1)
            .deletions(1)
            .ticks(1)
            .or(FAILED)
            .or("Vanished")
            .or("Timeout")
            .or("ReadyTimeout"),
        install("refused", vec![migrate(PreInstall)])
            .crashes(1)
            .late(1)
            .refusals(1)
            .or("Forbidden"),
    ]
}
