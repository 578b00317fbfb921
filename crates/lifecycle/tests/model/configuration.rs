//! What is explored: a few operations, the world they meet and how often which fault may happen.

use lifecycle::{
    event::Event,
    hooks::{DeletePolicy, HookEvent},
    plan::{HookKind, ObjectRef, Owner, Plan, PlannedHook, PlannedObject},
};
use serde_json::json;

use crate::process::Mutation;

/// How long each hook, and the wait for readiness, may take. The clock only moves by deadlines.
pub(crate) const TIMEOUT: i64 = 10;

/// One world to explore.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) name: &'static str,
    /// The plans of the operations, one after the other.
    pub(crate) plans: Vec<Plan>,
    pub(crate) world: World,
    pub(crate) budget: Budget,
    /// Every way in which an operation can end here, no more and no less: `deployed`, or the
    /// reason of the hook that failed, or that of the operation.
    pub(crate) ends: &'static [&'static str],
    /// What is broken on purpose, to prove that the check can fail.
    pub(crate) mutation: Option<Mutation>,
}

/// What the operations meet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct World {
    /// An object of the first hook's name exists.
    pub(crate) first: Option<First>,
    /// Every object that is created carries a finalizer of somebody else's.
    pub(crate) finalizers: bool,
    /// Jobs are started by their author or by a queue: they cannot be held back.
    pub(crate) ungated: bool,
    /// A record of the revision exists, but is somebody else's.
    pub(crate) foreign_record: bool,
}

/// The object that has the first hook's name at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Of an older run, ended.
    Ended,
    /// Of an older run, ended, with a finalizer of somebody else's.
    Finalized,
    /// Of an older run, and never started.
    Held,
    /// Not of this release.
    Foreign,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// A process loses its memory.
    pub(crate) crashes: u8,
    /// A request is abandoned in flight: it arrives at any later time, or never.
    pub(crate) late: u8,
    /// A request is executed, and arrives again at any later time, or never.
    pub(crate) duplicates: u8,
    /// A status is read that was already replaced.
    pub(crate) stale: u8,
    /// A user deletes a hook's object.
    pub(crate) deletions: u8,
    /// A hook fails.
    pub(crate) failures: u8,
    /// The clock reaches the deadline in the journal.
    pub(crate) ticks: u8,
    /// The API server refuses for good, from now on, what would create something.
    pub(crate) refusals: u8,
}

impl Configuration {
    /// The plan that `operation` follows.
    pub(crate) fn plan(&self, operation: u8) -> &Plan {
        &self.plans[usize::from(operation)]
    }

    /// Which operation has this id.
    pub(crate) fn operation(&self, id: &str) -> u8 {
        let position = self.plans.iter().position(|plan| plan.operation == id);
        u8::try_from(position.unwrap()).unwrap()
    }

    pub(crate) fn hook(&self, operation: u8, hook: u8) -> &PlannedHook {
        &self.plan(operation).hooks[usize::from(hook)]
    }

    /// Whether the hook's object is held back until it is started.
    pub(crate) fn gated(&self, operation: u8, hook: u8) -> bool {
        self.hook(operation, hook).kind() != HookKind::Other && !self.world.ungated
    }
}

fn hook(event: HookEvent, kind: &str, name: &str, policies: &[DeletePolicy]) -> PlannedHook {
    let api_version = if kind == "Job" { "batch/v1" } else { "v1" };
    PlannedHook {
        event,
        object: reference(api_version, kind, name),
        weight: 0,
        delete_policies: policies.to_vec(),
        manifest: json!({}),
    }
}

fn reference(api_version: &str, kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some("prod".to_owned()),
        name: name.to_owned(),
    }
}

fn plan(operation: &str, event: Event, hooks: Vec<PlannedHook>) -> Plan {
    Plan {
        operation: operation.to_owned(),
        owner: Owner { uid: "owner".to_owned(), name: "shop".to_owned() },
        event,
        revision: 1,
        first_deployed: None,
        config_digest: String::new(),
        config_key: String::new(),
        timeout_seconds: TIMEOUT,
        wait: true,
        hooks,
        objects: vec![PlannedObject {
            object: reference("apps/v1", "Deployment", "web"),
            manifest: json!({}),
        }],
        prune: Vec::new(),
    }
}

fn configuration(name: &'static str, plan: Plan, ends: &'static [&'static str]) -> Configuration {
    Configuration {
        name,
        plans: vec![plan],
        world: World::default(),
        budget: Budget::default(),
        ends,
        mutation: None,
    }
}

/// Every configuration, in the order of the table.
#[allow(clippy::too_many_lines)]
pub(crate) fn all() -> Vec<Configuration> {
    use DeletePolicy::{BeforeHookCreation, HookFailed, HookSucceeded};
    use HookEvent::{PostInstall, PostUpgrade, PreInstall, PreUpgrade};
    const BEFORE: &[DeletePolicy] = &[BeforeHookCreation];
    let job = |event, policies| hook(event, "Job", "migrate", policies);
    let one = || plan("op", Event::Install, vec![job(PreInstall, BEFORE)]);
    let none = Budget::default();
    vec![
        Configuration {
            budget: Budget { crashes: 1, late: 2, ticks: 2, stale: 1, ..none },
            ..configuration(
                "no hooks",
                plan("op", Event::Install, Vec::new()),
                &["deployed", "ReadyTimeout"],
            )
        },
        Configuration {
            budget: Budget { crashes: 1, late: 1, duplicates: 1, stale: 1, failures: 1, ..none },
            ..configuration("one pre hook", one(), &["deployed", "BackoffLimitExceeded"])
        },
        Configuration {
            budget: Budget { duplicates: 1, late: 1, deletions: 1, ..none },
            ..configuration("deleted by a user", one(), &["deployed", "Vanished"])
        },
        Configuration {
            world: World { finalizers: true, ..World::default() },
            budget: Budget { late: 1, deletions: 1, ticks: 1, ..none },
            ..configuration(
                "deleted by a user, with a finalizer",
                one(),
                &["deployed", "Vanished", "Timeout", "ReadyTimeout"],
            )
        },
        Configuration {
            budget: Budget { late: 1, failures: 1, ..none },
            ..configuration(
                "pre and post hooks",
                Plan {
                    wait: false,
                    ..plan(
                        "op",
                        Event::Upgrade,
                        vec![job(PreUpgrade, BEFORE), hook(PostUpgrade, "Job", "warm", BEFORE)],
                    )
                },
                &["deployed", "BackoffLimitExceeded"],
            )
        },
        Configuration {
            budget: Budget { late: 1, crashes: 1, failures: 1, ..none },
            ..configuration(
                "two hooks, hook-succeeded",
                plan(
                    "op",
                    Event::Install,
                    vec![
                        job(PreInstall, &[HookSucceeded]),
                        hook(PreInstall, "Job", "seed", &[HookSucceeded]),
                    ],
                ),
                &["deployed", "BackoffLimitExceeded"],
            )
        },
        Configuration {
            budget: Budget { late: 1, duplicates: 1, failures: 1, ..none },
            ..configuration(
                "two hooks, hook-failed",
                Plan {
                    objects: Vec::new(),
                    ..plan(
                        "op",
                        Event::Install,
                        vec![
                            job(PreInstall, &[HookFailed, HookSucceeded]),
                            hook(PreInstall, "Job", "seed", &[HookFailed]),
                        ],
                    )
                },
                &["deployed", "BackoffLimitExceeded"],
            )
        },
        Configuration {
            budget: Budget { late: 1, ..none },
            ..configuration(
                "one object at two events, hook-succeeded",
                plan(
                    "op",
                    Event::Install,
                    vec![job(PreInstall, &[HookSucceeded]), job(PostInstall, &[HookSucceeded])],
                ),
                &["deployed"],
            )
        },
        Configuration {
            budget: Budget { late: 1, duplicates: 1, ..none },
            ..configuration(
                "one object at two events",
                Plan {
                    wait: false,
                    ..plan(
                        "op",
                        Event::Install,
                        vec![job(PreInstall, BEFORE), job(PostInstall, BEFORE)],
                    )
                },
                &["deployed"],
            )
        },
        Configuration {
            world: World { first: Some(First::Finalized), ..World::default() },
            budget: Budget { late: 1, duplicates: 1, ticks: 1, ..none },
            ..configuration(
                "leftover with a finalizer",
                one(),
                &["deployed", "LeftoverNotGone", "Timeout", "ReadyTimeout"],
            )
        },
        Configuration {
            world: World { first: Some(First::Ended), ..World::default() },
            budget: Budget { late: 1, ..none },
            ..configuration(
                "leftover, policy without before-hook-creation",
                plan("op", Event::Install, vec![job(PreInstall, &[HookFailed])]),
                &["HookExists"],
            )
        },
        Configuration {
            world: World { first: Some(First::Held), ..World::default() },
            budget: Budget { late: 1, crashes: 1, ..none },
            ..configuration(
                "leftover that never started",
                plan("op", Event::Install, vec![job(PreInstall, &[HookFailed])]),
                &["deployed"],
            )
        },
        Configuration {
            world: World { first: Some(First::Foreign), ..World::default() },
            budget: Budget { late: 1, deletions: 1, crashes: 1, ..none },
            ..configuration(
                "somebody else's object",
                one(),
                &["deployed", "HookNameTaken", "Vanished"],
            )
        },
        Configuration {
            world: World { foreign_record: true, ..World::default() },
            budget: Budget { late: 1, crashes: 1, ..none },
            ..configuration("somebody else's record", one(), &["ForeignRelease"])
        },
        Configuration {
            budget: Budget { late: 1, duplicates: 1, ticks: 2, ..none },
            ..configuration("timeout", one(), &["deployed", "Timeout", "ReadyTimeout"])
        },
        Configuration {
            budget: Budget { late: 1, ticks: 2, failures: 1, ..none },
            ..configuration(
                "timeout of a pod",
                plan(
                    "op",
                    Event::Install,
                    vec![hook(PreInstall, "Pod", "check", &[HookSucceeded, HookFailed])],
                ),
                &["deployed", "Timeout", "BackoffLimitExceeded", "ReadyTimeout"],
            )
        },
        Configuration {
            budget: Budget { late: 1, crashes: 1, refusals: 1, ..none },
            ..configuration("refused", one(), &["deployed", "Forbidden"])
        },
        Configuration {
            budget: Budget { late: 1, duplicates: 1, failures: 1, ..none },
            ..configuration(
                "jobs that cannot be held back",
                plan("op", Event::Install, vec![job(PreInstall, BEFORE)]),
                &["deployed", "BackoffLimitExceeded"],
            )
        }
        .ungated(),
        Configuration {
            budget: Budget { late: 1, duplicates: 1, deletions: 1, ..none },
            ..configuration(
                "other kinds",
                plan(
                    "op",
                    Event::Install,
                    vec![
                        hook(
                            PreInstall,
                            "ConfigMap",
                            "config",
                            &[BeforeHookCreation, HookSucceeded],
                        ),
                        hook(PostInstall, "ConfigMap", "config", BEFORE),
                    ],
                ),
                &["deployed", "Vanished"],
            )
        },
        Configuration {
            budget: Budget { late: 1, crashes: 1, failures: 1, ..none },
            ..configuration(
                "time to live",
                plan(
                    "op",
                    Event::Install,
                    vec![PlannedHook {
                        manifest: json!({"spec": {"ttlSecondsAfterFinished": 0}}),
                        ..job(PreInstall, BEFORE)
                    }],
                ),
                &["deployed", "BackoffLimitExceeded"],
            )
        },
        Configuration {
            plans: vec![
                plan("first", Event::Install, vec![job(PreInstall, BEFORE)]),
                plan("second", Event::Upgrade, vec![job(PreUpgrade, BEFORE)]),
            ],
            budget: Budget { late: 1, failures: 1, ..none },
            ..configuration("two operations", one(), &["deployed", "BackoffLimitExceeded"])
        },
    ]
}

impl Configuration {
    fn ungated(mut self) -> Self {
        self.world.ungated = true;
        self
    }
}
