//! The plan: the work of an operation, frozen before its first effect.

use std::{collections::HashSet, ops::Range};

use jiff::{SignedDuration, Timestamp};
use manifests::{
    bounded,
    memory::{Exhausted, MOST_PER_RELEASE, Memory},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    digest::{digest, hex},
    event::{Event, HookEvent},
    health::HealthCheck,
    hooks::DeletePolicy,
    object::{ObjectRef, ObjectSet, PlannedObject},
    order,
    rule::{Readiness, Rule},
    source::Desired,
};

/// The most memory that a plan takes: that of its objects, hooks among them twice, and names.
const MOST_PER_PLAN: usize = 2 * MOST_PER_RELEASE;
/// The most objects of a kind that are in a plan: of hooks, of objects to apply or to prune.
pub const MOST_IN_PLAN: usize = 10_000;

/// The most hooks that run at one event: status stays under 64 KiB with them.
pub const MOST_HOOKS: usize = 100;
/// The time after which an object that waits is believed that it has failed.
const BELIEVED_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// The length of the part of a name that is made from the run id.
const SUFFIX: usize = 8;
const MOST_GENERATED: usize = 63 - SUFFIX;

/// The complete work of an operation, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The id of the operation.
    pub operation: String,
    /// The custom resource that the operation serves.
    pub owner: Owner,
    /// The kind of the operation.
    pub event: Event,
    /// The revision it makes, or works on.
    pub revision: i32,
    /// The revision that a rollback copies.
    #[serde(default)]
    pub target: Option<i32>,
    /// The failure it remediates; `None` if it was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedies: Option<Remediated>,
    /// The time when the release was first deployed, as its records say; `None` for the first of
    /// them.
    pub first_deployed: Option<Timestamp>,
    /// The chart that the revision was made from; `None` if it was made from objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Chart>,
    /// True if nothing was done: Helm made the revision, and the custom resource adopted it. Then
    /// it has neither hooks nor objects; they are in the record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// For an adopted revision: the parts that its chart now renders differently, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renders_otherwise: Option<String>,
    /// The digest of the configuration it was made from, see [`config_digest`](crate::digest::config_digest).
    pub config_digest: String,
    /// The key of that digest, in hexadecimal.
    pub config_key: String,
    /// The time that each hook, and the wait for readiness, may take.
    pub timeout_seconds: i64,
    /// True if post hooks wait for the objects to be ready.
    pub wait: bool,
    /// The health checks of kinds: they decide whether an object is ready, in place of its status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<HealthCheck>,
    /// The claims to objects and fields of other owners.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub claims: Claims,
    /// The objects that existed before and were another release's, or unowned. If the operation
    /// fails they are not removed as if it had made them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<ObjectRef>,
    /// The kinds and namespaces, without names, of the hooks of earlier revisions: their leftovers
    /// are found by it, whatever records are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hook_kinds: Vec<ObjectRef>,
    /// The hooks of the event, pre hooks first, each in the order in which it runs.
    pub hooks: Vec<PlannedHook>,
    /// The objects that are applied, in install order; none for a deletion or a test.
    pub objects: Vec<PlannedObject>,
    /// The objects that are removed, in the order of their removal: for a deletion, all of the
    /// release; otherwise those of earlier revisions that this one lacks.
    pub prune: Vec<ObjectRef>,
    /// The objects that the revision before pruned: a request that was under way may have created
    /// one again since.
    #[serde(default, skip_serializing_if = "PrunedBefore::is_empty")]
    pub pruned_before: PrunedBefore,
}

/// The objects that an earlier revision pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunedBefore {
    /// The start of its operation: older objects were kept, by their annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectRef>,
}

impl PrunedBefore {
    fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// A revision whose operation failed and which another one remediates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remediated {
    /// The revision.
    pub revision: i32,
    /// The digest of the configuration it was made from: so the record itself says that this was
    /// given up, whatever happens to the custom resource's status.
    pub config_digest: String,
}

/// The claims of an apply to what is not the release's own. They are frozen with the plan, so that
/// the claims do not depend on when a step is repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Objects that exist and are another release's, or unowned (`helm --take-ownership`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_ownership: bool,
    /// Fields of its objects that another field manager owns (`helm --force-conflicts`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_conflicts: bool,
}

/// Policy for the objects in a chart's `crds/`: does nothing, creates those that do not exist, or
/// also applies those that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
// Words on each of them would take the place of the field's own in the schema.
#[allow(missing_docs)]
pub enum Crds {
    Skip,
    Create,
    CreateReplace,
}

/// Chart from which a revision was rendered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name of the chart.
    pub name: String,
    /// Version of the chart.
    pub version: String,
    /// Version of the application in the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// Digest of the fetched chart: of its manifest in an OCI registry, otherwise of its archive.
    pub digest: String,
}

/// The initial values of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// A new id.
    pub id: String,
    /// Its kind.
    pub event: Event,
    /// The revision it makes, or works on.
    pub revision: i32,
    /// The revision that a rollback restores.
    pub target: Option<i32>,
    /// The revision whose failure it remediates.
    pub remedies: Option<i32>,
    /// The generation that it serves.
    pub generation: i64,
}

/// The custom resource that an operation serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its UID.
    pub uid: String,
    /// Its name.
    pub name: String,
}

/// One run of one hook object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedHook {
    /// The hook event it runs at.
    pub event: HookEvent,
    /// Its object; if the API server was to generate its name, with the prefix for a name.
    pub object: ObjectRef,
    /// Its weight.
    pub weight: i64,
    /// Its effective delete policies.
    pub delete_policies: Vec<DeletePolicy>,
    /// Its object as the source has it.
    pub manifest: Value,
    /// True if it is in the `crds/` of a chart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_crds: bool,
    /// True if an existing one in `crds/` is applied; otherwise it is left as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
    /// True if an earlier record of the release has a hook with this object: a leftover of it is
    /// the release's own though it has no mark, since Helm marks no hooks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
    /// Its effective rule.
    #[serde(default, skip_serializing_if = "Rule::is_default")]
    pub rule: Rule,
}

/// The way a hook object is run (Helm's `WatchUntilReady`: Jobs and Pods are awaited, nothing
/// else, unless the hook's rule says so).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Held back by `suspend`, awaited until `Complete` or `Failed`.
    Job,
    /// Held back by a scheduling gate, awaited until `Succeeded` or `Failed`.
    Pod,
    /// Applied, not created, and awaited until it is established; never deleted.
    Crd,
    /// Created, and awaited until it is ready, as its rule says; never stopped.
    Awaited,
    /// Done once created.
    Other,
}

impl PlannedHook {
    /// Returns the way its object is run.
    pub fn kind(&self) -> HookKind {
        match (self.object.group(), self.object.kind.as_str()) {
            ("batch", "Job") => HookKind::Job,
            ("", "Pod") => HookKind::Pod,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => HookKind::Crd,
            _ if self.rule.readiness == Readiness::Ready => HookKind::Awaited,
            _ => HookKind::Other,
        }
    }

    /// Returns whether it runs; otherwise its rule leaves it out.
    pub fn runs(&self) -> bool {
        self.rule.skip.is_none()
    }

    /// Returns whether an object that exists counts as the hook's, as it is.
    pub fn leaves_alone(&self) -> bool {
        self.in_crds && !self.replaces
    }

    /// Returns whether `policy` applies to it. CRDs are never deleted (Helm's
    /// `deleteHookByPolicy`).
    pub fn has(&self, policy: DeletePolicy) -> bool {
        self.object.kind != "CustomResourceDefinition" && self.delete_policies.contains(&policy)
    }

    /// A Job's `ttlSecondsAfterFinished`, which is held back until its outcome is recorded.
    pub fn ttl_seconds(&self) -> Option<i64> {
        match self.kind() {
            HookKind::Job => self.manifest.pointer("/spec/ttlSecondsAfterFinished")?.as_i64(),
            HookKind::Pod | HookKind::Crd | HookKind::Awaited | HookKind::Other => None,
        }
    }
}

impl PlannedHook {
    /// Returns whether the API server was to generate its name: then each run has a name of its
    /// own.
    pub fn is_named_by_run(&self) -> bool {
        let name = self.manifest.pointer("/metadata/name").and_then(Value::as_str);
        name.is_none_or(str::is_empty)
            && self.manifest.pointer("/metadata/generateName").is_some_and(Value::is_string)
    }

    fn named(&self, run: &str) -> ObjectRef {
        let mut object = self.object.clone();
        if self.is_named_by_run() {
            // As long as Kubernetes' own (`maxGeneratedNameLength` in `names/generate.go`).
            object.name.truncate(object.name.floor_char_boundary(MOST_GENERATED));
            let suffix = hex(&Sha256::digest(run)).chars().take(SUFFIX).collect::<String>();
            object.name.push_str(&suffix);
        }
        object
    }
}

impl Plan {
    /// A plan that does nothing yet, with Helm's own timeout.
    pub fn new(operation: String, owner: Owner, event: Event, revision: i32) -> Self {
        Self {
            operation,
            owner,
            event,
            revision,
            target: None,
            remedies: None,
            first_deployed: None,
            chart: None,
            adopted: false,
            renders_otherwise: None,
            taken: Vec::new(),
            hook_kinds: Vec::new(),
            config_digest: String::new(),
            config_key: String::new(),
            timeout_seconds: 300,
            wait: true,
            health_checks: Vec::new(),
            claims: Claims::default(),
            hooks: Vec::new(),
            objects: Vec::new(),
            prune: Vec::new(),
            pruned_before: PrunedBefore::default(),
        }
    }

    /// The object that `attempt` of the hook at `index` makes.
    ///
    /// # Panics
    /// If the plan has no such hook.
    #[expect(clippy::expect_used, reason = "a journal is checked against its plan by `decide`")]
    pub fn object(&self, index: usize, attempt: i32) -> ObjectRef {
        let hook = self.hooks.get(index).expect("only hooks of the plan are asked for");
        hook.named(&self.run_id(index, attempt))
    }

    /// The initial values of its operation, for `generation` of the custom resource.
    pub fn begin(&self, generation: i64) -> Begin {
        Begin {
            id: self.operation.clone(),
            event: self.event,
            revision: self.revision,
            target: self.target,
            remedies: self.remedies.as_ref().map(|failed| failed.revision),
            generation,
        }
    }

    /// Returns what it makes outside of `namespace`, and what is not removed with that namespace:
    /// objects and hooks, except `CustomResourceDefinitions` of hooks, which are never deleted.
    pub fn outside(&self, namespace: &str) -> Vec<ObjectRef> {
        let is_named =
            |hook: &&PlannedHook| hook.kind() != HookKind::Crd && !hook.is_named_by_run();
        let hooks = self.hooks.iter().filter(is_named).map(|hook| &hook.object);
        let objects = self.objects.iter().map(|object| &object.object).chain(hooks);
        let is_outside = |object: &&ObjectRef| {
            object.namespace.as_deref() != Some(namespace) && !object.is_namespace(namespace)
        };
        in_uninstall_order(objects.filter(is_outside).cloned())
    }

    /// The time that a step of the hook at `index` may take.
    pub fn hook_timeout(&self, index: usize) -> SignedDuration {
        let own = self.hooks.get(index).and_then(|hook| hook.rule.timeout_seconds);
        SignedDuration::from_secs(own.unwrap_or(self.timeout_seconds))
    }

    /// The time that the release's objects may take to become ready.
    pub fn ready_timeout(&self) -> SignedDuration {
        SignedDuration::from_secs(self.timeout_seconds)
    }

    /// The time from the deadline of readiness back to when an object is believed that it has failed:
    /// a controller that does not say which generation it has seen needs a moment.
    pub(crate) fn until_believed(&self) -> SignedDuration {
        BELIEVED_AFTER.saturating_sub(self.ready_timeout()).min(SignedDuration::ZERO)
    }

    /// The run id of `attempt` of the hook at `index`.
    pub fn run_id(&self, index: usize, attempt: i32) -> String {
        run_id(&self.operation, index, attempt)
    }

    /// The indices of the hooks of `event`.
    pub(crate) fn hooks_of(&self, event: HookEvent) -> impl DoubleEndedIterator<Item = usize> {
        self.hooks
            .iter()
            .enumerate()
            .filter(move |(_, hook)| hook.event == event)
            .map(|(index, _)| index)
    }

    /// Returns the indices of the hooks that run side by side with the one at `index`, itself
    /// included: neighbours in the order, of its event and weight, that say `parallel`. No two of
    /// them have the same object: each would take that of the other for a leftover.
    pub(crate) fn side_by_side(&self, index: usize) -> Range<usize> {
        let alone = index..index.saturating_add(1);
        let Some(hook) = self.hooks.get(index).filter(|hook| hook.rule.parallel) else {
            return alone;
        };
        let is_beside = |other: &PlannedHook| {
            other.rule.parallel && (other.event, other.weight) == (hook.event, hook.weight)
        };
        let before = self.hooks.iter().take(index).rev().take_while(|hook| is_beside(hook));
        let mut first = index.saturating_sub(before.count());
        let mut objects = HashSet::new();
        let all = self.hooks.iter().enumerate().skip(first);
        for (at, other) in all.take_while(|(_, hook)| is_beside(hook)) {
            if !objects.insert(&other.object) {
                if at > index {
                    return first..at;
                }
                first = at;
                objects = HashSet::from([&other.object]);
            }
        }
        first..first.saturating_add(objects.len())
    }

    /// Returns the bytes that the record keeps, and their digest.
    ///
    /// # Panics
    /// Never: every part of a plan has a JSON form.
    #[expect(clippy::expect_used, reason = "every part of a plan has a JSON form")]
    pub fn freeze(&self) -> (Vec<u8>, String) {
        let bytes = serde_json::to_vec(self).expect("a plan holds only JSON values");
        let digest = digest(&bytes);
        (bytes, digest)
    }

    /// Takes what the plan holds.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_from(&self, memory: &mut Memory) -> Result<(), Exhausted> {
        let objects = self.objects.iter().map(|object| &object.manifest);
        let mut manifests = self.hooks.iter().map(|hook| &hook.manifest).chain(objects);
        manifests.try_for_each(|manifest| memory.take_value(manifest))?;
        self.prune.iter().try_for_each(|_| memory.take_object())
    }

    /// Reads the output of [`Plan::freeze`], with its digest.
    ///
    /// # Errors
    /// If the bytes are not a plan that [`Plan::freeze`] could have written. A tenant can write its
    /// own records, so nothing in them is trusted: a few kilobytes may want gigabytes of memory.
    pub fn thaw(bytes: &[u8]) -> Result<(Self, String), serde_json::Error> {
        let plan = bounded::from_slice(bytes, MOST_PER_PLAN)?
            .ok_or_else(|| serde::de::Error::custom(Exhausted))?;
        let plan: Self = serde_json::from_value(plan)?;
        if plan.hooks.len() > MOST_IN_PLAN
            || plan.objects.len() > MOST_IN_PLAN
            || plan.prune.len() > MOST_IN_PLAN
        {
            return Err(serde::de::Error::custom("a plan has fewer hooks and objects"));
        }
        let objects = plan.objects.iter().map(|object| &object.manifest);
        let mut manifests = plan.hooks.iter().map(|hook| &hook.manifest).chain(objects);
        if manifests.any(|manifest| !manifest["metadata"].is_object()) {
            return Err(serde::de::Error::custom("a manifest has no metadata"));
        }
        Ok((plan, digest(bytes)))
    }
}

/// Names one attempt at one hook of one operation.
pub(crate) fn run_id(operation: &str, index: usize, attempt: i32) -> String {
    format!("{operation}/{index}/{attempt}")
}

/// The index and the attempt that a run id of `operation` names.
pub fn parse_run_id(run: &str, operation: &str) -> Option<(usize, i32)> {
    let (index, attempt) = run.strip_prefix(operation)?.strip_prefix('/')?.split_once('/')?;
    Some((index.parse().ok()?, attempt.parse().ok()?))
}

/// Returns the hooks of `event` in `desired`, expanded to one entry per object and event, in
/// running order; before them, as `crds` says, the objects in the `crds/` of a chart.
pub fn plan_hooks(desired: &Desired, event: Event, crds: Crds) -> Vec<PlannedHook> {
    let of = |hook_event: HookEvent| {
        let mut hooks: Vec<_> = desired
            .hooks
            .iter()
            .flat_map(|hook| {
                let runs = hook.events.iter().filter(|event| **event == hook_event).count();
                std::iter::repeat_n(hook, runs)
            })
            .collect();
        hooks.sort_by(|a, b| a.rank().cmp(&b.rank()));
        hooks.into_iter().flat_map(move |hook| {
            hook.parts.iter().map(move |part| PlannedHook {
                event: hook_event,
                object: part.object.clone(),
                weight: hook.weight,
                delete_policies: hook.delete_policies.clone(),
                manifest: part.manifest.clone(),
                in_crds: false,
                replaces: false,
                recorded: false,
                rule: Rule::default(),
            })
        })
    };
    let mut hooks = Vec::new();
    if crds != Crds::Skip {
        hooks.extend(desired.crds.iter().map(|crd| PlannedHook {
            event: event.pre(),
            object: crd.object.clone(),
            weight: 0,
            delete_policies: Vec::new(),
            manifest: crd.manifest.clone(),
            in_crds: true,
            replaces: crds == Crds::CreateReplace,
            recorded: false,
            rule: Rule::default(),
        }));
    }
    hooks.extend(of(event.pre()));
    hooks.extend(event.post().into_iter().flat_map(of));
    hooks
}

/// Returns `objects`, each once, in the order in which a deleted release's objects are deleted.
pub fn in_uninstall_order(objects: impl IntoIterator<Item = ObjectRef>) -> Vec<ObjectRef> {
    let mut seen = ObjectSet::default();
    let mut once: Vec<ObjectRef> = objects.into_iter().filter(|it| seen.insert(it)).collect();
    once.sort_by(|a, b| order::uninstall_rank(&a.kind).cmp(&order::uninstall_rank(&b.kind)));
    once
}

/// The objects of `earlier` revisions that `objects` lacks, each once, in reverse install order.
pub fn prune_set(
    earlier: impl IntoIterator<Item = ObjectRef>,
    objects: &[PlannedObject],
) -> Vec<ObjectRef> {
    let mut seen: ObjectSet = objects.iter().map(|object| &object.object).collect();
    let mut prune: Vec<ObjectRef> = earlier.into_iter().filter(|it| seen.insert(it)).collect();
    prune.sort_by(|a, b| order::install_rank(&b.kind).cmp(&order::install_rank(&a.kind)));
    prune
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn neighbours_of_one_event_and_weight_that_say_so_run_side_by_side() {
        let hook = |name: &str, weight: i64, parallel: bool| PlannedHook {
            weight,
            rule: Rule { parallel, ..Rule::default() },
            ..testing::hook(HookEvent::PreUpgrade, testing::object("Job", name))
        };
        let post = PlannedHook { event: HookEvent::PostUpgrade, ..hook("f", 1, true) };
        let hooks = vec![
            hook("a", 0, true),
            hook("b", 0, true),
            hook("c", 0, false),
            hook("d", 0, true),
            hook("e", 1, true),
            // Of the same object as the one before; it waits for that.
            hook("e", 1, true),
            hook("f", 1, true),
            post,
        ];
        let plan = Plan { hooks, ..testing::plan(Event::Upgrade) };
        let expected = [0..2, 0..2, 2..3, 3..4, 4..5, 5..7, 5..7, 7..8];
        for (index, expected) in expected.into_iter().enumerate() {
            assert_eq!(plan.side_by_side(index), expected, "{index}");
        }
        assert_eq!(plan.side_by_side(8), 8..9, "beyond the plan");
    }
}
