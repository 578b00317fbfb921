//! Hooks whose delete policy deletes data.

use std::collections::{BTreeMap, BTreeSet};

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
    let hooks: Vec<_> = hooks.collect();
    if hooks.is_empty() {
        return Vec::new();
    }
    let users = Users::of(plan, &hooks);
    let warning = |hook: &PlannedHook| {
        let used = users.of_object(&hook.object);
        before_creation(plan, hook, used).or_else(|| succeeded(plan, hook, used))
    };
    hooks.into_iter().filter_map(warning).collect()
}

/// The hooks and the objects that use an object, in the order of the plan.
#[derive(Default)]
struct Used<'a> {
    hooks: Vec<&'a PlannedHook>,
    /// With whether the object is one that their Pods need.
    objects: Vec<(&'a PlannedObject, bool)>,
}

/// The users of the objects of hooks: they are read once, however many such objects there are.
struct Users<'a> {
    of: BTreeMap<&'a ObjectRef, Used<'a>>,
    none: Used<'a>,
}

impl<'a> Users<'a> {
    fn of(plan: &'a Plan, wanted: &[&'a PlannedHook]) -> Self {
        let mut of: BTreeMap<&ObjectRef, Used<'_>> = BTreeMap::new();
        let mut namespaces: BTreeMap<&str, &ObjectRef> = BTreeMap::new();
        for hook in wanted {
            of.entry(&hook.object).or_default();
            if hook.object.kind == "Namespace" {
                namespaces.insert(&hook.object.name, &hook.object);
            }
        }
        // An object uses its namespace, and the claims and Secrets that its Pods see.
        let used_by = |object: &ObjectRef, manifest: &Value| -> BTreeSet<ObjectRef> {
            // A CronJob makes Jobs.
            let manifest = manifest.pointer("/spec/jobTemplate").unwrap_or(manifest);
            let mut all = needs::all(object, manifest);
            let home = object.namespace.as_deref().and_then(|home| namespaces.get(home));
            all.extend(home.map(|home| (*home).clone()));
            all
        };
        for hook in &plan.hooks {
            for what in &used_by(&hook.object, &hook.manifest) {
                of.get_mut(what).into_iter().for_each(|users| users.hooks.push(hook));
            }
        }
        for planned in &plan.objects {
            let needed = needs::of(&planned.object, &planned.manifest);
            for what in &used_by(&planned.object, &planned.manifest) {
                let is_needed = needed.contains(what);
                of.get_mut(what)
                    .into_iter()
                    .for_each(|users| users.objects.push((planned, is_needed)));
            }
        }
        Self { of, none: Used::default() }
    }

    fn of_object(&self, object: &ObjectRef) -> &Used<'a> {
        self.of.get(object).unwrap_or(&self.none)
    }
}

/// Warns of a hook that is deleted before it is made again, though others have filled it.
fn before_creation(plan: &Plan, hook: &PlannedHook, used: &Used<'_>) -> Option<Warning> {
    let is_lost = hook.has(DeletePolicy::BeforeHookCreation) && is_filled_by_others(hook);
    if !is_lost || is_scratch(plan, hook, used) || hook.is_named_by_run() {
        return None;
    }
    // An earlier attempt at the install has left it.
    if plan.event == Event::Install && hook.recorded {
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
fn succeeded(plan: &Plan, hook: &PlannedHook, used: &Used<'_>) -> Option<Warning> {
    if !hook.has(DeletePolicy::HookSucceeded) {
        return None;
    }
    let what = &hook.object;
    // Objects that are waited for have a warning of their own, see `Checker::missing`.
    let is_known = |planned: &PlannedObject, is_needed: bool| {
        plan.wait
            && Some(hook.event) != plan.event.post()
            && is_waited_for(&planned.object, &planned.manifest)
            && is_needed
    };
    let (planned, _) =
        used.objects.iter().find(|(planned, is_needed)| !is_known(planned, *is_needed))?;
    let message = format!(
        "{} is deleted with its data once all {} hooks have succeeded, as its delete policy \
         hook-succeeded says, and {} uses it: remove that policy, or {KEEP}",
        title(hook),
        hook.event,
        planned.object
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
fn is_scratch(plan: &Plan, hook: &PlannedHook, used: &Used<'_>) -> bool {
    (is_explicit(hook) || plan.event == Event::Test)
        && !used.hooks.is_empty()
        && used.hooks.iter().all(|other| other.event == hook.event)
        && used.objects.is_empty()
}

fn is_explicit(hook: &PlannedHook) -> bool {
    let annotations = hook.manifest.pointer("/metadata/annotations");
    annotations.is_some_and(|annotations| annotations.get(HOOK_DELETE_POLICY).is_some())
}
