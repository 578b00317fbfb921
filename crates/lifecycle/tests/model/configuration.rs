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
    pub(crate) ends: Vec<&'static str>,
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

fn object(api_version: &str, kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some("prod".to_owned()),
        name: name.to_owned(),
    }
}

fn hook(event: HookEvent, object: ObjectRef, policies: &[DeletePolicy]) -> PlannedHook {
    let delete_policies = policies.to_vec();
    PlannedHook { event, object, weight: 0, delete_policies, manifest: json!({}) }
}

pub(crate) fn job(event: HookEvent, name: &str, policies: &[DeletePolicy]) -> PlannedHook {
    hook(event, object("batch/v1", "Job", name), policies)
}

pub(crate) fn core(event: HookEvent, kind: &str, policies: &[DeletePolicy]) -> PlannedHook {
    hook(event, object("v1", kind, "settings"), policies)
}

pub(crate) fn with_ttl(hook: PlannedHook) -> PlannedHook {
    PlannedHook { manifest: json!({"spec": {"ttlSecondsAfterFinished": 0}}), ..hook }
}

/// A plan with one object that is awaited.
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
            object: object("apps/v1", "Deployment", "web"),
            manifest: json!({}),
        }],
        prune: Vec::new(),
    }
}

pub(crate) fn install(name: &'static str, hooks: Vec<PlannedHook>) -> Configuration {
    Configuration {
        name,
        plans: vec![plan("install", Event::Install, hooks)],
        world: World::default(),
        budget: Budget::default(),
        ends: vec!["deployed"],
        mutation: None,
    }
}

impl Configuration {
    /// Changes the first plan.
    fn plan_with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plans[0]);
        self
    }

    pub(crate) fn without_waiting(self) -> Self {
        self.plan_with(|plan| plan.wait = false)
    }

    pub(crate) fn hooks_only(self) -> Self {
        self.plan_with(|plan| plan.objects.clear())
    }

    /// Another operation follows.
    pub(crate) fn then_upgrade(mut self, hooks: Vec<PlannedHook>) -> Self {
        self.plans.push(plan("upgrade", Event::Upgrade, hooks));
        self
    }

    pub(crate) fn first(mut self, first: First) -> Self {
        self.world.first = Some(first);
        self
    }

    pub(crate) fn world(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.world);
        self
    }

    fn faults(mut self, change: impl FnOnce(&mut Budget)) -> Self {
        change(&mut self.budget);
        self
    }

    pub(crate) fn late(self, times: u8) -> Self {
        self.faults(|budget| budget.late = times)
    }

    pub(crate) fn duplicates(self, times: u8) -> Self {
        self.faults(|budget| budget.duplicates = times)
    }

    pub(crate) fn crashes(self, times: u8) -> Self {
        self.faults(|budget| budget.crashes = times)
    }

    pub(crate) fn stale(self, times: u8) -> Self {
        self.faults(|budget| budget.stale = times)
    }

    pub(crate) fn deletions(self, times: u8) -> Self {
        self.faults(|budget| budget.deletions = times)
    }

    pub(crate) fn failures(self, times: u8) -> Self {
        self.faults(|budget| budget.failures = times)
    }

    pub(crate) fn ticks(self, times: u8) -> Self {
        self.faults(|budget| budget.ticks = times)
    }

    pub(crate) fn refusals(self, times: u8) -> Self {
        self.faults(|budget| budget.refusals = times)
    }

    /// More of the faults that cost nothing to say.
    pub(crate) fn enlarged(self) -> Self {
        self.faults(|budget| {
            budget.crashes += 1;
            budget.late += 1;
        })
    }

    pub(crate) fn or(mut self, end: &'static str) -> Self {
        self.ends.push(end);
        self
    }

    pub(crate) fn ends_as(mut self, end: &'static str) -> Self {
        self.ends = vec![end];
        self
    }

    pub(crate) fn broken_by(mut self, mutation: Mutation) -> Self {
        self.mutation = Some(mutation);
        self
    }
}
