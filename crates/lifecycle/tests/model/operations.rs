//! The list of what is explored, continued: other operations than an install, what people ask for
//! while one runs, and a status that is lost.

use lifecycle::{
    event::{
        Event, HookEvent, HookEvent::PostDelete, HookEvent::PostInstall, HookEvent::PreDelete,
        HookEvent::PreInstall, HookEvent::PreRollback, HookEvent::PreUpgrade, HookEvent::Test,
    },
    hooks::{
        DeletePolicy, DeletePolicy::BeforeHookCreation, DeletePolicy::HookFailed,
        DeletePolicy::HookSucceeded,
    },
    journal::Failure,
    plan::PlannedHook,
    reason::Reason,
    rule::{OnFailure, Readiness, Rule, Run},
};

use crate::configuration::{
    Configuration, First, core, crd, install, installed, job, named_by_run, ruled,
};

const BEFORE: &[DeletePolicy] = &[BeforeHookCreation];
const FAILED: &str = "BackoffLimitExceeded";

fn backup(event: HookEvent) -> PlannedHook {
    job(event, "backup", BEFORE)
}

fn migrate(event: HookEvent) -> PlannedHook {
    job(event, "migrate", BEFORE)
}

pub(crate) fn all() -> Vec<Configuration> {
    let mut all = others();
    all.extend(deletions());
    all.extend(retries());
    all.extend(people());
    all.extend(losses());
    all.extend(ruled_hooks());
    all.extend(awaited_hooks());
    all.extend(ruled_ends());
    all.extend(parallel_hooks());
    all
}

fn others() -> Vec<Configuration> {
    vec![
        installed("a rollback", Event::Rollback, vec![migrate(PreRollback)])
            .late(1)
            .failures(1)
            .or(FAILED),
        installed("a test", Event::Test, vec![job(Test, "smoke", &[HookSucceeded])])
            .crashes(1)
            .late(1)
            .duplicates(1)
            .failures(1)
            .or(FAILED),
        installed(
            "a hook named by its run",
            Event::Upgrade,
            vec![named_by_run(migrate(PreUpgrade))],
        )
        .late(1)
        .failures(1)
        .retries(1)
        .or(FAILED),
        install("a CRD as a hook, at two events", vec![crd(PreInstall), crd(PostInstall)])
            .without_waiting()
            .late(1)
            .duplicates(1),
    ]
}

fn deletions() -> Vec<Configuration> {
    vec![
        installed(
            "a deletion",
            Event::Delete,
            vec![backup(PreDelete), job(PostDelete, "say", BEFORE)],
        )
        .crashes(1)
        .late(1),
        installed("a deletion without hooks", Event::Delete, vec![])
            .crashes(1)
            .late(1)
            .duplicates(1)
            .ticks(1)
            .refusals(1)
            .or("blocked: DeletionTimeout")
            .or("blocked: Forbidden"),
        installed(
            "a deletion whose hook fails",
            Event::Delete,
            vec![job(PreDelete, "backup", &[])],
        )
        .failures(2)
        .ticks(1)
        .retries(1)
        .or("blocked: DeletionTimeout")
        .or("blocked: HookFailed"),
        installed(
            "a deletion whose hook fails, SkipHooks",
            Event::Delete,
            vec![job(PreDelete, "backup", &[HookFailed])],
        )
        .world(|world| world.skips_hooks = true)
        .failures(2)
        .ticks(2)
        .or("blocked: HookFailed"),
        installed(
            "a deletion, hooks skipped while they run",
            Event::Delete,
            vec![core(PreDelete, "Pod", BEFORE)],
        )
        .late(1)
        .skips(1),
        installed(
            "a deletion whose backup ends well when it is stopped",
            Event::Delete,
            vec![core(PreDelete, "Pod", BEFORE)],
        )
        .ticks(1)
        .deletions(1)
        .or("blocked: HookFailed")
        .or("blocked: DeletionTimeout"),
        installed(
            "a deletion, old requests withdrawn",
            Event::Delete,
            vec![job(PreDelete, "backup", &[])],
        )
        .crashes(1)
        .skips(1)
        .withdraws(1),
        installed(
            "a deletion with the namespace",
            Event::Delete,
            vec![backup(PreDelete), backup(PostDelete)],
        )
        .crashes(1)
        .faults(|budget| budget.namespaces = 1),
        install("an install, a deletion, an install", vec![migrate(PreInstall)])
            .then(Event::Delete, vec![])
            .then(Event::Install, vec![migrate(PreInstall)])
            .or("deleted"),
    ]
}

fn retries() -> Vec<Configuration> {
    vec![
        installed("a retry", Event::Upgrade, vec![migrate(PreUpgrade)])
            .crashes(1)
            .late(1)
            .failures(1)
            .retries(1)
            .or(FAILED),
        installed(
            "a retry of the second hook",
            Event::Upgrade,
            vec![
                job(PreUpgrade, "check", &[BeforeHookCreation, HookSucceeded]),
                job(PreUpgrade, "migrate", &[HookFailed]),
            ],
        )
        .without_waiting()
        .failures(1)
        .retries(1)
        .or(FAILED),
        installed("a retry after a refusal", Event::Upgrade, vec![job(PreUpgrade, "migrate", &[])])
            .first(First::Foreign)
            .late(1)
            .deletions(1)
            .retries(1)
            .or("HookNameTaken"),
        installed("a retry after a timeout", Event::Upgrade, vec![migrate(PreUpgrade)])
            .ticks(2)
            .retries(1)
            .or("Timeout")
            .or("ReadyTimeout"),
    ]
}

fn people() -> Vec<Configuration> {
    vec![
        installed("cancelled at any moment", Event::Upgrade, vec![migrate(PreUpgrade)])
            .late(1)
            .ticks(1)
            .cancels(1)
            .or("Cancelled")
            .or("Timeout")
            .or("ReadyTimeout"),
        installed("cancelled, then retried", Event::Upgrade, vec![migrate(PreUpgrade)])
            .without_waiting()
            .late(1)
            .cancels(1)
            .retries(1)
            .or("Cancelled"),
        installed(
            "superseded, after the hook",
            Event::Upgrade,
            vec![
                job(PreUpgrade, "check", &[HookSucceeded]),
                job(PreUpgrade, "migrate", &[HookSucceeded]),
            ],
        )
        .late(1)
        .supersedes(false)
        .or("Superseded"),
        installed(
            "superseded at once, after it was to be after the hook",
            Event::Upgrade,
            vec![core(PreUpgrade, "Pod", BEFORE)],
        )
        .supersedes(false)
        .cancels(1)
        .or("Superseded")
        .or("Cancelled"),
        installed(
            "a Pod that ends well when it is stopped",
            Event::Upgrade,
            vec![core(PreUpgrade, "Pod", &[HookSucceeded])],
        )
        .without_waiting()
        .deletions(1)
        .cancels(1)
        .retries(1)
        .or(FAILED)
        .or("Vanished")
        .or("Cancelled"),
        installed("old requests withdrawn", Event::Upgrade, vec![migrate(PreUpgrade)])
            .late(1)
            .cancels(1)
            .withdraws(1)
            .or("Cancelled"),
        installed("suspended at any moment", Event::Upgrade, vec![migrate(PreUpgrade)])
            .late(1)
            .deletions(1)
            .suspends(1)
            .or("Vanished"),
        installed("a deletion suspended at any moment", Event::Delete, vec![backup(PreDelete)])
            .ticks(1)
            .suspends(1)
            .or("blocked: DeletionTimeout")
            .or("blocked: HookFailed"),
    ]
}

fn retried(rule: &mut Rule) {
    rule.retries = Some(1);
}

fn never(rule: &mut Rule) {
    rule.run = Run::Never;
    rule.skip = Some(Failure::new(Reason::RunNever, "the rule says so"));
}

fn awaited(event: HookEvent, policies: &[DeletePolicy]) -> PlannedHook {
    ruled(core(event, "ConfigMap", policies), |rule| rule.readiness = Readiness::Ready)
}

fn awaited_hooks() -> Vec<Configuration> {
    vec![
        install(
            "a hook of another kind that is awaited",
            vec![awaited(PreInstall, &[HookSucceeded]), migrate(PreInstall)],
        )
        .without_waiting()
        .crashes(1)
        .late(1)
        .failures(1)
        .ticks(1)
        .or(FAILED)
        .or("Timeout"),
        install(
            "a hook of another kind that is awaited, cancelled or deleted",
            vec![awaited(PreInstall, BEFORE)],
        )
        .without_waiting()
        .crashes(1)
        .late(1)
        .deletions(1)
        .cancels(1)
        .or("Cancelled")
        .or("Vanished"),
        installed(
            "a deletion with a hook of another kind that is awaited",
            Event::Delete,
            vec![awaited(PreDelete, BEFORE)],
        )
        .late(1)
        .skips(1),
    ]
}

fn ruled_hooks() -> Vec<Configuration> {
    let ignored = |rule: &mut Rule| rule.on_failure = OnFailure::Ignore;
    vec![
        installed(
            "a rule with a retry",
            Event::Upgrade,
            vec![ruled(job(PreUpgrade, "migrate", &[HookFailed]), retried)],
        )
        .without_waiting()
        .failures(2)
        .ticks(2)
        .or(FAILED)
        .or("Timeout"),
        installed(
            "a rule with a retry, cancelled or retried by hand",
            Event::Upgrade,
            vec![ruled(migrate(PreUpgrade), retried)],
        )
        .without_waiting()
        .crashes(1)
        .failures(2)
        .cancels(1)
        .retries(1)
        .or(FAILED)
        .or("Cancelled"),
        installed(
            "a failure that is ignored",
            Event::Upgrade,
            vec![
                ruled(job(PreUpgrade, "check", &[HookFailed]), ignored),
                job(PreUpgrade, "migrate", &[HookSucceeded]),
            ],
        )
        .crashes(1)
        .late(1)
        .failures(2)
        .or(FAILED),
        installed(
            "a refusal that is ignored",
            Event::Upgrade,
            vec![ruled(migrate(PreUpgrade), ignored)],
        )
        .first(First::Foreign)
        .late(1)
        .duplicates(1),
        installed(
            "a hook that never runs",
            Event::Upgrade,
            vec![ruled(job(PreUpgrade, "check", BEFORE), never), migrate(PreUpgrade)],
        )
        .crashes(1)
        .late(1)
        .failures(1)
        .or(FAILED),
        installed(
            "a hook that is not interrupted",
            Event::Upgrade,
            vec![ruled(migrate(PreUpgrade), |rule| rule.uninterruptible = true)],
        )
        .late(1)
        .ticks(1)
        .supersedes(true)
        .or("Superseded")
        .or("Timeout")
        .or("ReadyTimeout"),
    ]
}

fn beside(hook: PlannedHook) -> PlannedHook {
    ruled(hook, |rule| rule.parallel = true)
}

fn parallel_hooks() -> Vec<Configuration> {
    let two = |event: HookEvent, policies: &[DeletePolicy]| {
        ["check", "migrate"].map(|name| beside(job(event, name, policies))).to_vec()
    };
    let then_one = |event: HookEvent| {
        let mut hooks = two(event, &[HookSucceeded]);
        hooks.push(job(event, "seed", &[HookFailed]));
        hooks
    };
    vec![
        installed("two hooks side by side", Event::Upgrade, two(PreUpgrade, BEFORE))
            .without_waiting()
            .crashes(1)
            .failures(2)
            .or(FAILED),
        installed("two hooks side by side, late requests", Event::Upgrade, two(PreUpgrade, BEFORE))
            .hooks_only()
            .late(1)
            .failures(1)
            .or(FAILED),
        installed("two hooks side by side, then one", Event::Upgrade, then_one(PreUpgrade))
            .hooks_only()
            .failures(1)
            .or(FAILED),
        installed(
            "two hooks side by side, cancelled or deleted",
            Event::Upgrade,
            two(PreUpgrade, &[HookSucceeded, HookFailed]),
        )
        .hooks_only()
        .deletions(1)
        .cancels(1)
        .or("Cancelled")
        .or("Vanished"),
        installed(
            "two hooks side by side, too slow",
            Event::Upgrade,
            two(PreUpgrade, &[HookFailed]),
        )
        .hooks_only()
        .failures(1)
        .ticks(1)
        .or(FAILED)
        .or("Timeout"),
        installed(
            "two hooks side by side, one refused, then retried",
            Event::Upgrade,
            two(PreUpgrade, &[HookSucceeded]),
        )
        .hooks_only()
        .first(First::Foreign)
        .deletions(1)
        .retries(1)
        .or("HookNameTaken"),
        installed(
            "a deletion with two hooks side by side",
            Event::Delete,
            two(PreDelete, &[])
                .into_iter()
                .map(|hook| ruled(hook, |it| it.retries = Some(0)))
                .collect(),
        )
        .failures(1)
        .skips(1)
        .or("blocked: HookFailed"),
        installed("a lost status, two hooks side by side", Event::Upgrade, then_one(PreUpgrade))
            .hooks_only()
            .losses(1)
            .retries(1)
            .or("blocked: JournalLost"),
    ]
}

fn ruled_ends() -> Vec<Configuration> {
    let ignored = |rule: &mut Rule| rule.on_failure = OnFailure::Ignore;
    vec![
        installed(
            "an eviction that does not count",
            Event::Upgrade,
            vec![ruled(migrate(PreUpgrade), |rule| {
                rule.retry_infrastructure = Some(1);
            })],
        )
        .without_waiting()
        .world(|world| world.evicts = true)
        .failures(2)
        .ticks(2)
        .or("Evicted")
        .or("Timeout"),
        installed(
            "a deletion whose hook has one retry",
            Event::Delete,
            vec![ruled(job(PreDelete, "backup", &[]), retried)],
        )
        .failures(2)
        .ticks(1)
        .retries(1)
        .or("blocked: DeletionTimeout")
        .or("blocked: HookFailed"),
        installed(
            "a deletion that ignores a failure",
            Event::Delete,
            vec![ruled(job(PreDelete, "backup", &[]), ignored)],
        )
        .crashes(1)
        .late(1)
        .failures(1),
        installed(
            "a lost status, a failure that is ignored",
            Event::Upgrade,
            vec![
                ruled(job(PreUpgrade, "check", BEFORE), ignored),
                ruled(job(PreUpgrade, "other", BEFORE), never),
                migrate(PreUpgrade),
            ],
        )
        .without_waiting()
        .failures(1)
        .losses(1)
        .skips(1)
        .or(FAILED)
        .or("GivenUp")
        .or("blocked: JournalLost"),
    ]
}

fn losses() -> Vec<Configuration> {
    vec![
        installed("a lost status", Event::Upgrade, vec![migrate(PreUpgrade)])
            .late(1)
            .losses(1)
            .retries(1)
            .or("blocked: JournalLost"),
        installed(
            "a lost status, two hooks, hook-succeeded",
            Event::Upgrade,
            vec![
                job(PreUpgrade, "check", &[HookSucceeded]),
                job(PreUpgrade, "migrate", &[HookSucceeded]),
            ],
        )
        .without_waiting()
        .losses(1)
        .skips(1)
        .or("blocked: JournalLost"),
        installed("a lost status, deleted by a user", Event::Upgrade, vec![migrate(PreUpgrade)])
            .hooks_only()
            .deletions(1)
            .losses(1)
            .retries(1)
            .or("GivenUp")
            .or("Vanished")
            .or("blocked: JournalLost"),
        installed(
            "a lost status, jobs that cannot be held back",
            Event::Upgrade,
            vec![core(PreUpgrade, "ConfigMap", BEFORE), migrate(PreUpgrade)],
        )
        .without_waiting()
        .duplicates(1)
        .losses(1)
        .skips(1)
        .or("blocked: JournalLost"),
        installed(
            "a deletion whose status is lost",
            Event::Delete,
            vec![backup(PreDelete), job(PostDelete, "say", BEFORE)],
        )
        .losses(1)
        .retries(1)
        .or("blocked: JournalLost"),
    ]
}
