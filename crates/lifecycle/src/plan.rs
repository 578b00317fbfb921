//! The plan: what an operation does, frozen before its first effect.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    event::Event,
    hooks::{DeletePolicy, HookEvent},
    order,
    source::Desired,
};

/// Everything an operation does, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The id of the operation.
    pub operation: String,
    /// The custom resource that the operation serves.
    pub owner: Owner,
    /// What the operation does.
    pub event: Event,
    /// The revision it makes.
    pub revision: i32,
    /// When the release was first deployed, as its records say; `None` for the first of them.
    pub first_deployed: Option<Timestamp>,
    /// The digest of the configuration it was made from, see [`config_digest`].
    pub config_digest: String,
    /// The key of that digest, in hexadecimal.
    pub config_key: String,
    /// How long each hook, and the wait for readiness, may take.
    pub timeout_seconds: i64,
    /// Whether post hooks wait for the objects to be ready.
    pub wait: bool,
    /// The hooks of the event, pre hooks first, each in the order in which it runs.
    pub hooks: Vec<PlannedHook>,
    /// The release's objects in install order.
    pub objects: Vec<PlannedObject>,
    /// The objects of earlier revisions that this one lacks, in the order of their removal.
    pub prune: Vec<ObjectRef>,
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
    /// Its object.
    pub object: ObjectRef,
    /// Its weight.
    pub weight: i64,
    /// Its effective delete policies.
    pub delete_policies: Vec<DeletePolicy>,
    /// Its object as the source has it.
    pub manifest: Value,
}

/// One of the release's objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedObject {
    /// Names the object.
    pub object: ObjectRef,
    /// The object as the source has it.
    pub manifest: Value,
}

/// Names an object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version, such as `batch/v1`.
    pub api_version: String,
    /// The kind, such as `Job`.
    pub kind: String,
    /// The namespace; `None` for kinds without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl ObjectRef {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether both name one object, whatever the version (Helm's `objectKey` in `Client.update`).
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.group() == other.group()
            && (&self.kind, &self.namespace, &self.name)
                == (&other.kind, &other.namespace, &other.name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// How a hook object is run (Helm's `WatchUntilReady`: Jobs and Pods are awaited, nothing else).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Held back by `suspend`, awaited until `Complete` or `Failed`.
    Job,
    /// Held back by a scheduling gate, awaited until `Succeeded` or `Failed`.
    Pod,
    /// Done once created.
    Other,
}

impl PlannedHook {
    /// How its object is run.
    pub fn kind(&self) -> HookKind {
        match (self.object.group(), self.object.kind.as_str()) {
            ("batch", "Job") => HookKind::Job,
            ("", "Pod") => HookKind::Pod,
            _ => HookKind::Other,
        }
    }

    /// Whether `policy` applies to it. CRDs are never deleted (Helm's `deleteHookByPolicy`).
    pub fn has(&self, policy: DeletePolicy) -> bool {
        self.object.kind != "CustomResourceDefinition" && self.delete_policies.contains(&policy)
    }

    /// A Job's `ttlSecondsAfterFinished`, which is held back until its outcome is recorded.
    pub fn ttl_seconds(&self) -> Option<i64> {
        match self.kind() {
            HookKind::Job => self.manifest.pointer("/spec/ttlSecondsAfterFinished")?.as_i64(),
            HookKind::Pod | HookKind::Other => None,
        }
    }
}

impl Plan {
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

    /// The bytes that the record keeps, and their digest.
    ///
    /// # Panics
    /// Never: every part of a plan has a JSON form.
    pub fn freeze(&self) -> (Vec<u8>, String) {
        let bytes = serde_json::to_vec(self).expect("a plan holds only JSON values");
        let digest = digest(&bytes);
        (bytes, digest)
    }

    /// Reads what [`Plan::freeze`] wrote, with its digest.
    ///
    /// # Errors
    /// Where the bytes are not a plan that [`Plan::freeze`] could have written. A tenant can write
    /// its own records, so nothing in them is taken for granted.
    pub fn thaw(bytes: &[u8]) -> Result<(Self, String), serde_json::Error> {
        let plan: Self = serde_json::from_slice(bytes)?;
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

/// The hooks of `event` in `desired`, expanded to one entry per hook and event, in running order.
pub fn plan_hooks(desired: &Desired, event: Event) -> Vec<PlannedHook> {
    let of = |hook_event: HookEvent| {
        let mut hooks: Vec<_> = desired
            .hooks
            .iter()
            .flat_map(|hook| {
                let runs = hook.events.iter().filter(|event| **event == hook_event).count();
                std::iter::repeat_n(hook, runs)
            })
            .map(|hook| PlannedHook {
                event: hook_event,
                object: hook.object.clone(),
                weight: hook.weight,
                delete_policies: hook.delete_policies.clone(),
                manifest: hook.manifest.clone(),
            })
            .collect();
        hooks.sort_by(|a, b| {
            order::hook_rank(a.weight, &a.object.name, &a.object.kind).cmp(&order::hook_rank(
                b.weight,
                &b.object.name,
                &b.object.kind,
            ))
        });
        hooks
    };
    let mut hooks = of(event.pre());
    hooks.extend(of(event.post()));
    hooks
}

/// The objects of `earlier` revisions that `objects` lacks, each once, in reverse install order.
pub fn prune_set(
    earlier: impl IntoIterator<Item = ObjectRef>,
    objects: &[PlannedObject],
) -> Vec<ObjectRef> {
    let mut prune: Vec<ObjectRef> = Vec::new();
    for old in earlier {
        let kept = objects.iter().any(|object| object.object.is_same_object(&old));
        if !kept && !prune.iter().any(|other| other.is_same_object(&old)) {
            prune.push(old);
        }
    }
    prune.sort_by(|a, b| order::install_rank(&b.kind).cmp(&order::install_rank(&a.kind)));
    prune
}

/// The digest of a configuration: an HMAC, because the values in it may be secret and the digest
/// is compared in the open. `inputs` is serialised with sorted keys.
///
/// # Panics
/// Never: HMAC takes keys of any length.
pub fn config_digest(key: &[u8], inputs: &Value) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(inputs.to_string().as_bytes());
    format!("hmac-sha256:{}", hex(&mac.finalize().into_bytes()))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
