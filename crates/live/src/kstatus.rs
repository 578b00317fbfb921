//! The readiness of an object of any kind, as kstatus computes it.
//!
//! The rules are those of `sigs.k8s.io/cli-utils/pkg/kstatus/status` in the version that Helm 4.3.1
//! waits with (`github.com/fluxcd/cli-utils` 1.2.2); each function here names the one it follows.
//! `tests/fixtures/kstatus.json` holds the answers of that code for a set of objects.
//!
//! Where this differs from kstatus, or from `helm --wait`, which builds on it:
//! - kstatus counts a Pod that cannot be scheduled as in progress for 15 seconds and as failed
//!   afterwards. There is no clock here and a cluster autoscaler may still make room, so it stays
//!   in progress and the caller's deadline ends the wait.
//! - An entry of `containerStatuses` that has the wrong shape makes kstatus panic; it is skipped
//!   here.
//! - Helm checks the Pods of a `ReplicaSet` or `StatefulSet` that is in progress and calls it
//!   failed as soon as one of them crash-loops or is failed otherwise. Only the object itself is
//!   checked here, so this ends at the caller's deadline too, as it always does for a Deployment.
//! - A Job is ready once it has started, as in Helm with `--wait`. The verdict that
//!   `--wait-for-jobs` and hooks need (complete or failed) is not this module's.
//! - Helm leaves paused Deployments out of the wait: [`is_waited_for`].
//! - Foreign text goes into the message of a failure only, clipped. A message about progress names
//!   the condition and its reason, because a free text may change at any time.

mod object;

use object::{
    Condition, Object, Verdict, clip, group_kind, in_progress, list, lookup, strict_int, unknown,
};
use serde_json::Value;

/// The progress of an object, by its own content (kstatus `status.go`, `Status`).
///
/// `NotFound` is missing: there is no object to check then. A message is one sentence that changes
/// only when the object's state does; it does not name the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The controller has brought the object to its desired state.
    Current,
    /// The controller is at work, or has not seen the object yet.
    InProgress { message: String },
    /// The controller has given up; waiting longer does not help.
    Failed { message: String },
    /// The object is being deleted.
    Terminating { message: String },
    /// The object has a shape that the rules cannot read; kstatus returns an error, which Helm
    /// treats as not ready and waits on.
    Unknown { message: String },
}

impl Readiness {
    /// The reason why the object is not current.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Current => None,
            Self::InProgress { message }
            | Self::Failed { message }
            | Self::Terminating { message }
            | Self::Unknown { message } => Some(message),
        }
    }
}

/// The readiness of a live object, with its status (kstatus `status.go`, `Compute`).
///
/// First come the rules for every kind, then those of the built-in kinds; any other kind is judged
/// by its `Ready` condition and is current if it has none.
pub fn readiness(object: &Value) -> Readiness {
    let verdict = generic(object).and_then(|object| of_kind(&object));
    verdict.err().unwrap_or(Readiness::Current)
}

/// The reason why no health check counts for the object yet: it is being deleted, or its controller has
/// not seen its present generation. A generation that is no number says nothing, as in Flux.
pub fn outdated(object: &Value) -> Option<Readiness> {
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Some(Readiness::Terminating { message: "it is being deleted".to_owned() });
    }
    let number = |path| strict_int(object, path).ok().flatten();
    let (generation, observed) =
        (number("metadata.generation")?, number("status.observedGeneration")?);
    lag(generation, observed).err()
}

/// Returns false for a paused Deployment, which Helm does not wait for (`pkg/kube/statuswait.go`,
/// `wait`): its controller makes no progress until somebody resumes it.
pub fn is_waited_for(object: &Value) -> bool {
    let paused = object.pointer("/spec/paused").and_then(Value::as_bool).unwrap_or(false);
    !(paused && group_kind(object) == ("apps", "Deployment"))
}

/// The rules for every kind (kstatus `generic.go`, `checkGenericProperties`). The order counts: the
/// conditions of a terminating object are not read.
fn generic(value: &Value) -> Verdict<Object<'_>> {
    if !value.is_object() {
        return unknown("it is not a JSON object");
    }
    match lookup(value, "metadata.deletionTimestamp")?.map(Value::as_str) {
        None | Some(Some("")) => {}
        Some(Some(_)) => {
            return Err(Readiness::Terminating { message: "it is being deleted".into() });
        }
        Some(None) => return unknown("`metadata.deletionTimestamp` is not a string"),
    }
    if let Some(generation) = strict_int(value, "metadata.generation")?
        && let Some(observed) = strict_int(value, "status.observedGeneration")?
    {
        lag(generation, observed)?;
    }
    let conditions = match lookup(value, "status.conditions")? {
        Some(Value::Null) => Vec::new(),
        _ => {
            list(value, "status.conditions")?.iter().map(Condition::read).collect::<Verdict<_>>()?
        }
    };
    for condition in &conditions {
        match (condition.kind, condition.status) {
            ("Reconciling", "True") => condition.in_progress()?,
            ("Stalled", "True") => condition.failed()?,
            _ => {}
        }
    }
    Ok(Object { value, conditions })
}

fn lag(generation: i64, observed: i64) -> Verdict {
    if observed != generation {
        in_progress(format!(
            "its controller has seen generation {observed}, not {generation} yet"
        ))?;
    }
    Ok(())
}

/// The rule of a kind (kstatus `core.go`, `GetLegacyConditionsFn`).
fn of_kind(object: &Object<'_>) -> Verdict {
    match group_kind(object.value) {
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => volume_claim(object),
        ("", "Service") => service(object),
        ("apps" | "extensions", "Deployment") => deployment(object),
        ("apps" | "extensions", "ReplicaSet") => replica_set(object),
        ("apps" | "extensions", "DaemonSet") => daemon_set(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("batch", "Job") => job(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => resource_definition(object),
        // Current whatever their conditions say. A disruption budget is done once its generation is
        // observed.
        ("", "ConfigMap" | "Secret") | ("batch", "CronJob") | ("policy", "PodDisruptionBudget") => {
            Ok(())
        }
        _ => ready_condition(object),
    }
}

/// The rule of kstatus `status.go`, `checkReadyCondition`. Only the controller knows whether
/// `False` will pass, so it is never a failure.
fn ready_condition(object: &Object<'_>) -> Verdict {
    let ready = object.conditions.iter().find(|condition| {
        condition.kind == "Ready" && matches!(condition.status, "True" | "False" | "Unknown")
    });
    match ready {
        Some(condition) if condition.status != "True" => condition.in_progress(),
        _ => Ok(()),
    }
}

/// kstatus `core.go`, `deploymentConditions`.
fn deployment(object: &Object<'_>) -> Verdict {
    for condition in &object.conditions {
        if condition.kind == "Progressing" && condition.reason == "ProgressDeadlineExceeded" {
            condition.failed()?;
        }
    }
    let wanted = object.int("spec.replicas", 1);
    let updated = object.count("status.updatedReplicas");
    object.too_few("status.replicas", wanted, "replicas created")?;
    object.too_few("status.updatedReplicas", wanted, "replicas updated")?;
    object.too_many("status.replicas", wanted)?;
    object.too_few("status.availableReplicas", updated, "updated replicas available")?;
    object.too_few("status.readyReplicas", wanted, "replicas ready")?;

    // The deployment controller reads the largest 32-bit number as "no deadline", and without a
    // deadline it keeps no Progressing condition.
    let no_deadline = i64::from(i32::MAX);
    let has_deadline = object.int("spec.progressDeadlineSeconds", no_deadline) != no_deadline;
    let complete = |condition: &Condition<'_>| {
        condition.is("Progressing", "True") && condition.reason == "NewReplicaSetAvailable"
    };
    if has_deadline && !object.conditions.iter().any(complete) {
        in_progress("condition Progressing is not True: NewReplicaSetAvailable")?;
    }
    if object.condition("Available", "True").is_none() {
        in_progress("condition Available is not True")?;
    }
    Ok(())
}

/// The rule of kstatus `core.go`, `replicasetConditions`. A failure to make Pods may pass: quota is
/// an example.
fn replica_set(object: &Object<'_>) -> Verdict {
    if let Some(failure) = object.condition("ReplicaFailure", "True") {
        failure.in_progress()?;
    }
    let wanted = object.int("spec.replicas", 1);
    object.too_few("status.fullyLabeledReplicas", wanted, "replicas labelled")?;
    object.too_few("status.availableReplicas", wanted, "replicas available")?;
    object.too_few("status.readyReplicas", wanted, "replicas ready")?;
    object.too_many("status.replicas", wanted)
}

/// The rule of kstatus `core.go`, `stsConditions`. The API server sets `partition` to 0 in every
/// rolling update, so live objects do not come to the comparison of revisions.
fn stateful_set(object: &Object<'_>) -> Verdict {
    if object.text("spec.updateStrategy.type", "") == "OnDelete" {
        return Ok(()); // Its Pods are updated when somebody deletes them.
    }
    let wanted = object.int("spec.replicas", 1);
    object.too_few("status.replicas", wanted, "replicas created")?;
    object.too_few("status.readyReplicas", wanted, "replicas ready")?;
    object.too_many("status.replicas", wanted)?;

    let partition = object.int("spec.updateStrategy.rollingUpdate.partition", -1);
    if partition != -1 {
        let wanted = wanted.saturating_sub(partition);
        return object.too_few("status.updatedReplicas", wanted, "replicas updated");
    }
    object.too_few("status.currentReplicas", wanted, "replicas at the current revision")?;
    let current = object.text("status.currentRevision", "");
    let update = object.text("status.updateRevision", "");
    if current != update {
        let (current, update) = (clip(current), clip(update));
        in_progress(format!("the current revision is `{current}`, not yet `{update}`"))?;
    }
    Ok(())
}

/// The rule of kstatus `core.go`, `daemonsetConditions`. Its controller always sets the observed
/// generation, so a missing one is not overlooked as it is for other kinds.
fn daemon_set(object: &Object<'_>) -> Verdict {
    for path in ["metadata.generation", "status.observedGeneration"] {
        if strict_int(object.value, path)?.is_none() {
            in_progress(format!("`{path}` is not set yet"))?;
        }
    }
    let wanted = object.int("status.desiredNumberScheduled", -1);
    if wanted == -1 {
        in_progress("`status.desiredNumberScheduled` is not set yet")?;
    }
    object.too_few("status.currentNumberScheduled", wanted, "pods created")?;
    object.too_few("status.updatedNumberScheduled", wanted, "pods updated")?;
    object.too_few("status.numberAvailable", wanted, "pods available")?;
    object.too_few("status.numberReady", wanted, "pods ready")
}

/// kstatus `core.go`, `podConditions`. A Pod that has ended is current, even if it failed.
fn pod(object: &Object<'_>) -> Verdict {
    match object.text("status.phase", "") {
        "Succeeded" | "Failed" => Ok(()),
        "Running" if object.condition("Ready", "True").is_some() => Ok(()),
        "Running" => {
            let looping = crash_looping(object.value)?;
            if looping.is_empty() {
                return in_progress("the pod runs but is not ready");
            }
            let message = format!("container {} in CrashLoopBackOff", clip(&looping.join(", ")));
            Err(Readiness::Failed { message })
        }
        "Pending" => match object.condition("PodScheduled", "False") {
            Some(scheduled) if scheduled.reason == "Unschedulable" => scheduled.in_progress(),
            _ => in_progress("the pod's phase is Pending"),
        },
        "" => in_progress("the pod has no phase yet"),
        phase => unknown(format!("the pod's phase is `{}`", clip(phase))),
    }
}

/// Names of the containers that wait in a crash loop (kstatus `core.go`,
/// `getCrashLoopingContainers`). Init containers do not count.
fn crash_looping(pod: &Value) -> Verdict<Vec<&str>> {
    let waiting = list(pod, "status.containerStatuses")?.iter().filter(|status| {
        status.pointer("/state/waiting/reason").and_then(Value::as_str) == Some("CrashLoopBackOff")
    });
    Ok(waiting.filter_map(|status| status.get("name")?.as_str()).collect())
}

/// kstatus `core.go`, `pvcConditions`.
fn volume_claim(object: &Object<'_>) -> Verdict {
    match object.text("status.phase", "not set") {
        "Bound" => Ok(()),
        phase => in_progress(format!("the claim's phase is {}, not Bound", clip(phase))),
    }
}

/// kstatus `core.go`, `serviceConditions`: the cluster IP only. The load balancer's own address is
/// not waited for.
fn service(object: &Object<'_>) -> Verdict {
    let load_balancer = object.text("spec.type", "ClusterIP") == "LoadBalancer";
    if load_balancer && object.text("spec.clusterIP", "").is_empty() {
        in_progress("a LoadBalancer service without a clusterIP")?;
    }
    Ok(())
}

/// kstatus `core.go`, `jobConditions`: current from its start on, unless it fails.
fn job(object: &Object<'_>) -> Verdict {
    for condition in &object.conditions {
        match (condition.kind, condition.status) {
            ("Complete", "True") => return Ok(()),
            ("Failed", "True") => condition.failed()?,
            _ => {}
        }
    }
    if object.text("status.startTime", "").is_empty() {
        in_progress("the job has not started")?;
    }
    Ok(())
}

/// kstatus `core.go`, `crdConditions`.
fn resource_definition(object: &Object<'_>) -> Verdict {
    for condition in &object.conditions {
        match (condition.kind, condition.status) {
            ("NamesAccepted", "False") => condition.failed()?,
            ("Established", "False") if condition.reason != "Installing" => condition.failed()?,
            ("Established", "True") => return Ok(()),
            _ => {}
        }
    }
    in_progress("condition Established is not True")
}

#[cfg(test)]
mod tests;
