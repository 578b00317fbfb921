//! Configurations: a few operations, the world they meet and how often which fault may happen.

use lifecycle::{
    decide::OnTimeout,
    event::{Event, HookEvent},
    hooks::DeletePolicy,
    object::{ObjectRef, PlannedObject},
    plan::{HookKind, Plan, PlannedHook},
    rule::Rule,
    testing::{self, object},
};
use serde_json::json;

use crate::mutation::Mutation;

/// How long each hook, and the wait for readiness, may take. The clock only moves by deadlines.
pub(crate) const TIMEOUT: i64 = 10;
/// How long a deletion may take: a second attempt at a failed hook begins before, a third does not.
pub(crate) const DELETION: u16 = 12;

/// One world to explore.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) name: String,
    /// The plans of the operations, one after the other.
    pub(crate) plans: Vec<Plan>,
    /// For each operation and hook, which object's name it has: hooks of one name share one.
    names: Vec<Vec<u16>>,
    pub(crate) world: World,
    pub(crate) budget: Budget,
    /// Every way in which an operation can end, or stand still, here, no more and no less:
    /// `deployed`, or the reason of the hook that failed, or that of the operation.
    pub(crate) ends: Vec<&'static str>,
    /// The fault that is made on purpose, to prove that the check can fail.
    pub(crate) mutation: Option<Mutation>,
}

/// The world that the operations meet.
#[allow(clippy::struct_excessive_bools)]
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
    /// So many operations were done, and deployed, before.
    pub(crate) before: u8,
    /// A deletion that has used up its time does without its hooks.
    pub(crate) skips_hooks: bool,
    /// A newer spec ends the operation at once, not after the hook.
    pub(crate) cancels_now: bool,
    /// True if a hook that fails was evicted.
    pub(crate) evicts: bool,
    /// Annotations of earlier requests, which were handled, are on the custom resource.
    pub(crate) asked_before: bool,
}

impl World {
    pub(crate) fn on_timeout(self) -> OnTimeout {
        if self.skips_hooks { OnTimeout::SkipHooks } else { OnTimeout::Block }
    }
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

/// How often each fault may still happen, and each thing that people do.
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
    /// The clock reaches a deadline.
    pub(crate) ticks: u8,
    /// The API server refuses for good, from now on, what would create something.
    pub(crate) refusals: u8,
    /// Somebody asks for another attempt.
    pub(crate) retries: u8,
    /// Somebody says to do without a hook.
    pub(crate) skips: u8,
    /// Somebody cancels.
    pub(crate) cancels: u8,
    /// The spec changes.
    pub(crate) supersedes: u8,
    /// `spec.suspend` is set.
    pub(crate) suspends: u8,
    /// The status is lost.
    pub(crate) losses: u8,
    /// The namespace begins to go.
    pub(crate) namespaces: u8,
    /// The annotations of all requests are taken away.
    pub(crate) withdrawals: u8,
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

    /// Returns whether the hook's object is held back until it is started.
    pub(crate) fn gated(&self, operation: u8, hook: u8) -> bool {
        let kind = self.hook(operation, hook).kind();
        matches!(kind, HookKind::Job | HookKind::Pod) && !self.world.ungated
    }

    /// Returns whether a hook meets what another one left, which its policy does not let it replace.
    pub(crate) fn meets_leftovers(&self) -> bool {
        let hooks = || self.plans.iter().flat_map(|plan| &plan.hooks);
        hooks().any(|hook| {
            let before = hook.delete_policies.contains(&DeletePolicy::BeforeHookCreation);
            !before && hooks().filter(|other| other.object == hook.object).count() > 1
        })
    }

    /// Returns whether a deletion is among the later operations.
    pub(crate) fn deletes_later(&self) -> bool {
        self.plans
            .iter()
            .skip(usize::from(self.world.before) + 1)
            .any(|plan| plan.event == Event::Delete)
    }

    /// Which object's name the hook has.
    pub(crate) fn name(&self, operation: u8, hook: u8) -> u16 {
        self.names[usize::from(operation)][usize::from(hook)]
    }
}

fn hook(event: HookEvent, object: ObjectRef, policies: &[DeletePolicy]) -> PlannedHook {
    PlannedHook { delete_policies: policies.to_vec(), ..testing::hook(event, object) }
}

pub(crate) fn job(event: HookEvent, name: &str, policies: &[DeletePolicy]) -> PlannedHook {
    hook(event, object("Job", name), policies)
}

pub(crate) fn core(event: HookEvent, kind: &str, policies: &[DeletePolicy]) -> PlannedHook {
    hook(event, object(kind, "settings"), policies)
}

pub(crate) fn crd(event: HookEvent) -> PlannedHook {
    hook(event, object("CustomResourceDefinition", "things.example"), &[])
}

pub(crate) fn with_ttl(mut hook: PlannedHook) -> PlannedHook {
    hook.manifest["spec"] = json!({"ttlSecondsAfterFinished": 0});
    hook
}

/// The hook with this rule.
pub(crate) fn ruled(mut hook: PlannedHook, change: impl FnOnce(&mut Rule)) -> PlannedHook {
    hook.rule.from = Some("spec.hooks.rules[0]".to_owned());
    change(&mut hook.rule);
    hook
}

pub(crate) fn named_by_run(mut hook: PlannedHook) -> PlannedHook {
    hook.manifest = json!({"metadata": {"generateName": hook.object.name}});
    hook
}

/// A plan with one object that is awaited, or goes.
fn plan(operation: String, event: Event, hooks: Vec<PlannedHook>) -> Plan {
    let web = object("Deployment", "web");
    let applies = event.makes_revision();
    let manifest = json!({});
    let objects = applies.then(|| PlannedObject { object: web.clone(), manifest });
    let prune = (event == Event::Delete).then_some(web);
    Plan {
        operation,
        target: (event == Event::Rollback).then_some(1),
        timeout_seconds: TIMEOUT,
        hooks,
        objects: objects.into_iter().collect(),
        prune: prune.into_iter().collect(),
        ..testing::plan(event)
    }
}

pub(crate) fn install(name: &str, hooks: Vec<PlannedHook>) -> Configuration {
    let configuration = Configuration {
        name: name.to_owned(),
        plans: Vec::new(),
        names: Vec::new(),
        world: World::default(),
        budget: Budget::default(),
        ends: vec!["deployed"],
        mutation: None,
    };
    configuration.then(Event::Install, hooks)
}

/// Returns what happens to a release that was installed before.
pub(crate) fn installed(name: &str, event: Event, hooks: Vec<PlannedHook>) -> Configuration {
    let end = match event {
        Event::Delete => "deleted",
        Event::Test => "tested",
        Event::Install | Event::Upgrade | Event::Rollback => "deployed",
    };
    let configuration = install(name, Vec::new()).then(event, hooks);
    configuration.world(|world| world.before = 1).ends_as(end)
}

impl Configuration {
    /// Changes the last plan.
    pub(crate) fn plan_with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        self.plans.last_mut().map(change);
        self
    }

    pub(crate) fn without_waiting(self) -> Self {
        self.plan_with(|plan| plan.wait = false)
    }

    pub(crate) fn hooks_only(self) -> Self {
        self.plan_with(|plan| plan.objects.clear())
    }

    /// Another operation follows.
    pub(crate) fn then(mut self, event: Event, hooks: Vec<PlannedHook>) -> Self {
        let number = self.plans.iter().filter(|plan| plan.event == event).count();
        let number = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        self.plans.push(plan(format!("{event}{number}"), event, hooks));
        self.name_all();
        self
    }

    fn name_all(&mut self) {
        let mut known: Vec<&ObjectRef> = Vec::new();
        let mut names = Vec::new();
        for plan in &self.plans {
            let mut of_plan = Vec::new();
            for hook in &plan.hooks {
                let place = known.iter().position(|object| **object == hook.object);
                let place = place.unwrap_or_else(|| {
                    known.push(&hook.object);
                    known.len() - 1
                });
                of_plan.push(u16::try_from(place).unwrap());
            }
            names.push(of_plan);
        }
        self.names = names;
    }

    pub(crate) fn first(mut self, first: First) -> Self {
        self.world.first = Some(first);
        self
    }

    pub(crate) fn world(mut self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.world);
        self
    }

    pub(crate) fn faults(mut self, change: impl FnOnce(&mut Budget)) -> Self {
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

    pub(crate) fn retries(self, times: u8) -> Self {
        self.faults(|budget| budget.retries = times)
    }

    pub(crate) fn skips(self, times: u8) -> Self {
        self.faults(|budget| budget.skips = times)
    }

    pub(crate) fn cancels(self, times: u8) -> Self {
        self.faults(|budget| budget.cancels = times)
    }

    pub(crate) fn supersedes(self, now: bool) -> Self {
        self.world(|world| world.cancels_now = now).faults(|budget| budget.supersedes = 1)
    }

    pub(crate) fn suspends(self, times: u8) -> Self {
        self.faults(|budget| budget.suspends = times)
    }

    pub(crate) fn losses(self, times: u8) -> Self {
        self.faults(|budget| budget.losses = times)
    }

    /// Annotations of earlier requests may be taken away.
    pub(crate) fn withdraws(self, times: u8) -> Self {
        self.world(|world| world.asked_before = true).faults(|budget| budget.withdrawals = times)
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
