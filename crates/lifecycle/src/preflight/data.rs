//! Hooks whose delete policy deletes data.

use serde_json::Value;

use super::{Check, Holds, Warning, is_waited_for, needs, title};
use crate::{
    event::Event,
    hooks::{DeletePolicy, HOOK_DELETE_POLICY},
    object::{ObjectRef, PlannedObject},
    plan::{Plan, PlannedHook},
};

/// The remedy that keeps the data of an object.
const KEEP: &str =
    "make it an object of the release with the annotation helm.sh/resource-policy: keep";

/// Returns the hooks of `plan` whose objects are deleted with their data.
pub(super) fn deleted(plan: &Plan) -> Vec<Warning> {
    let hooks = plan.hooks.iter().filter(|hook| hook.runs() && hook.object.holds_data());
    hooks.filter_map(|hook| before_creation(plan, hook).or_else(|| succeeded(plan, hook))).collect()
}

/// Warns of a hook that is deleted before it is made again, though others have filled it.
fn before_creation(plan: &Plan, hook: &PlannedHook) -> Option<Warning> {
    let is_lost = hook.has(DeletePolicy::BeforeHookCreation) && is_filled_by_others(hook);
    if !is_lost || is_scratch(plan, hook) || hook.is_named_by_run() {
        return None;
    }
    let object = &hook.object;
    let by = if is_explicit(hook) {
        "as its delete policy before-hook-creation says"
    } else {
        "by the default delete policy before-hook-creation"
    };
    // An upgrade finds the one that the operation before has made.
    let is_expected = matches!(plan.event, Event::Upgrade | Event::Rollback | Event::Test);
    let (message, holds) = if is_expected {
        let message = format!(
            "{} is deleted with its data and created again at each {}, {by}: {KEEP}, or a \
             pre-install hook alone",
            title(hook),
            plan.event
        );
        (message, Holds::With(object.clone()))
    } else {
        let message = format!(
            "{} exists, and would be deleted with its data and created again, {by}: {KEEP}, and save \
             the data first",
            title(hook)
        );
        (message, Holds::IfThere(object.clone()))
    };
    Some(Warning { check: Check::DeletesData, about: object.clone(), message, holds })
}

/// Warns of a hook that is deleted after its event, though others use it from then on.
fn succeeded(plan: &Plan, hook: &PlannedHook) -> Option<Warning> {
    if !hook.has(DeletePolicy::HookSucceeded) {
        return None;
    }
    let what = &hook.object;
    // Objects that are waited for have a warning of their own, see `Checker::missing`.
    let is_known = |planned: &PlannedObject| {
        plan.wait
            && Some(hook.event) != plan.event.post()
            && is_waited_for(&planned.object, &planned.manifest)
            && needs::of(&planned.object, &planned.manifest).contains(what)
    };
    let user = plan
        .objects
        .iter()
        .find(|planned| uses(&planned.object, &planned.manifest, what) && !is_known(planned))?;
    let message = format!(
        "{} is deleted with its data once all {} hooks have succeeded, as its delete policy \
         hook-succeeded says, and {} uses it: remove that policy, or {KEEP}",
        title(hook),
        hook.event,
        user.object
    );
    Some(Warning { check: Check::DeletesData, about: what.clone(), message, holds: Holds::Always })
}

/// Returns whether its data is not from the release itself.
fn is_filled_by_others(hook: &PlannedHook) -> bool {
    if hook.object.kind != "Secret" {
        return true;
    }
    let has = |key: &str| {
        let data = hook.manifest.get(key).and_then(Value::as_object);
        data.is_some_and(|data| !data.is_empty())
    };
    // The control plane fills it again.
    let is_token =
        hook.manifest.get("type").is_some_and(|it| it == "kubernetes.io/service-account-token");
    !has("data") && !has("stringData") && !is_token
}

/// Returns whether the author wants it empty: only hooks of the same event use it.
fn is_scratch(plan: &Plan, hook: &PlannedHook) -> bool {
    let what = &hook.object;
    let is_user = |other: &&PlannedHook| uses(&other.object, &other.manifest, what);
    let (own, others): (Vec<_>, Vec<_>) =
        plan.hooks.iter().filter(is_user).partition(|other| other.event == hook.event);
    let mut objects = plan.objects.iter();
    (is_explicit(hook) || plan.event == Event::Test)
        && !own.is_empty()
        && others.is_empty()
        && !objects.any(|planned| uses(&planned.object, &planned.manifest, what))
}

fn is_explicit(hook: &PlannedHook) -> bool {
    let annotations = hook.manifest.pointer("/metadata/annotations");
    annotations.is_some_and(|annotations| annotations.get(HOOK_DELETE_POLICY).is_some())
}

/// Returns whether the object is in that namespace, or its Pods see that claim or that Secret.
fn uses(object: &ObjectRef, manifest: &Value, what: &ObjectRef) -> bool {
    if what.kind == "Namespace" {
        return object.namespace.as_ref() == Some(&what.name);
    }
    // A CronJob makes Jobs.
    let manifest = manifest.pointer("/spec/jobTemplate").unwrap_or(manifest);
    needs::all(object, manifest).contains(what)
}
