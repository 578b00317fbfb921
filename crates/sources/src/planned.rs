//! The part of a plan that the release itself decides: the same for the operator and for
//! `kubectl lifecycle plan`.

use std::mem;

use api::{HooksFrom, ReleaseLifecycle};
use helm::ownership::{self, ResourcePolicy};
use lifecycle::{
    event::{Event, HookEvent, Work},
    object::{ObjectRef, ObjectSet, PlannedObject},
    plan::{MOST_HOOKS, Owner, Plan, PlannedHook, in_uninstall_order, plan_hooks, prune_set},
    reason::Reason,
    source::{Desired, Hook},
};

use crate::{problems::Blocked, rules};

/// The work of an operation, before the cluster says which kinds it knows.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// The objects to apply, and the hooks to choose from.
    pub desired: Desired,
    /// The objects to delete.
    pub prune: Vec<ObjectRef>,
    /// The objects that a deletion leaves, by their annotation `helm.sh/resource-policy: keep`.
    pub kept: Vec<ObjectRef>,
    /// The objects that it deletes though that annotation has another word, and the word.
    pub unknown: Vec<(ObjectRef, String)>,
    /// The tests that `spec.test.filters` leaves out.
    pub left_out: Vec<ObjectRef>,
}

/// Returns the work of an operation on `desired`: what the source says or, if the operation follows
/// none, the revision that it restores or works on. `earlier` are the objects that earlier revisions
/// may have left, from the newest revision to the oldest.
pub fn select(
    release: &ReleaseLifecycle,
    event: Event,
    desired: Desired,
    earlier: Vec<PlannedObject>,
) -> Selected {
    let mut selected = Selected { desired, ..Selected::default() };
    let desired = &mut selected.desired;
    match event.facts().work {
        Work::Apply => {
            let earlier = earlier.into_iter().map(|object| object.object);
            selected.prune = prune_set(earlier, &desired.objects);
        }
        Work::Delete => {
            let objects = newest(mem::take(&mut desired.objects), earlier);
            Removal { going: selected.prune, kept: selected.kept, unknown: selected.unknown } =
                removal(objects);
        }
        Work::Nothing => {
            desired.objects.clear();
            selected.left_out = select_tests(release, desired);
        }
    }
    if !event.needs_source() {
        // Hooks that do not run now are no reason not to begin: nobody can correct a record.
        let runs = |hook: &HookEvent| hook.operation() == event;
        desired.hooks.retain(|hook| hook.events.iter().any(runs));
    }
    selected
}

/// Returns the release that a rollback restores: `target`, the revision that it goes back to, with
/// the hooks of that one or, as `spec.rollback.hooksFrom` says, those of the deployed one.
///
/// # Errors
/// Those of reading the hooks of the deployed one, if they are needed.
pub fn restored<E>(
    release: &ReleaseLifecycle,
    target: Desired,
    hooks_of_deployed: impl FnOnce() -> Result<Vec<Hook>, E>,
) -> Result<Desired, E> {
    Ok(match release.rollback_hooks_from() {
        HooksFrom::Target => target,
        HooksFrom::Current => Desired { hooks: hooks_of_deployed()?, ..target },
    })
}

/// Returns the plan of an operation, as far as the release itself decides it.
pub fn plan(
    release: &ReleaseLifecycle,
    event: Event,
    hooks: Vec<PlannedHook>,
    selected: Selected,
) -> Plan {
    let metadata = &release.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let owner = Owner { uid: text(&metadata.uid), name: text(&metadata.name) };
    Plan {
        timeout_seconds: i64::try_from(release.timeout().as_secs()).unwrap_or(i64::MAX),
        wait: release.wait(),
        health_checks: release.spec.health_checks.clone(),
        claims: release.claims(event),
        hooks,
        objects: selected.desired.objects,
        prune: selected.prune,
        ..Plan::new(String::new(), owner, event, 0)
    }
}

/// Leaves out the tests that `spec.test.filters` does not select, and returns their objects.
fn select_tests(release: &ReleaseLifecycle, desired: &mut Desired) -> Vec<ObjectRef> {
    let mut left_out = Vec::new();
    desired.hooks.retain(|hook| {
        let is_selected = release.selects_test(&hook.object.name);
        if !is_selected && hook.events.contains(&HookEvent::Test) {
            left_out.push(hook.object.clone());
        }
        is_selected
    });
    left_out
}

/// Returns the hooks of `event` in their order, each with its rule.
///
/// # Errors
/// With what can be done, where they are more than a journal holds, or a rule is invalid.
pub fn hooks(
    release: &ReleaseLifecycle,
    event: Event,
    desired: &Desired,
) -> Result<Vec<PlannedHook>, Blocked> {
    let mut hooks = plan_hooks(desired, event, release.crds(event));
    if hooks.len() <= MOST_HOOKS {
        rules::apply(release, event, desired, &mut hooks)?;
        return Ok(hooks);
    }
    let remedy = match hooks.iter().filter(|hook| hook.in_crds).count() {
        0 => "split the release".to_owned(),
        count => format!(
            "{count} of them are of the chart's crds/: apply these yourself, and set \
             spec.{event}.crds to Skip"
        ),
    };
    let message = format!(
        "{} hooks run at this {event}, more than the {MOST_HOOKS} whose state fits into status; \
         {remedy}",
        hooks.len(),
    );
    Err(Blocked::new(Reason::TooManyHooks, message))
}

/// Returns every object that may exist, as in the newest revision that has it.
fn newest(latest: Vec<PlannedObject>, earlier: Vec<PlannedObject>) -> Vec<PlannedObject> {
    let mut seen: ObjectSet = latest.iter().map(|object| &object.object).collect();
    let mut newest = latest;
    newest.extend(earlier.into_iter().filter(|object| seen.insert(&object.object)));
    newest
}

/// The objects of a release that is deleted.
struct Removal {
    /// In Helm's uninstall order.
    going: Vec<ObjectRef>,
    kept: Vec<ObjectRef>,
    unknown: Vec<(ObjectRef, String)>,
}

/// Returns what becomes of the objects when their release is deleted.
fn removal(objects: Vec<PlannedObject>) -> Removal {
    let (mut going, mut kept, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for PlannedObject { object, manifest } in objects {
        match ownership::resource_policy(&manifest) {
            ResourcePolicy::Keep => {
                kept.push(object);
                continue;
            }
            ResourcePolicy::Absent => {}
            ResourcePolicy::Unknown(word) => unknown.push((object.clone(), word)),
        }
        going.push(object);
    }
    Removal { going: in_uninstall_order(going), kept, unknown }
}

#[cfg(test)]
mod tests {
    use lifecycle::source::Author;
    use manifests::placed::Placed;
    use serde_json::{Value, json};

    use super::*;

    fn desired(objects: &[Value]) -> Desired {
        Desired::parse(&Placed::inline(objects), "shop", Author::User).unwrap()
    }

    fn object(kind: &str, name: &str, annotations: Value) -> Value {
        json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "annotations": annotations}})
    }

    fn release(spec: Value) -> ReleaseLifecycle {
        let mut release = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "shop"}, "spec": spec,
        });
        release["spec"]["source"] = json!({"objects": []});
        serde_json::from_value(release).unwrap()
    }

    fn names(objects: &[ObjectRef]) -> Vec<&str> {
        objects.iter().map(|object| &*object.name).collect()
    }

    fn hook_names(desired: &Desired) -> Vec<&str> {
        desired.hooks.iter().map(|hook| &*hook.object.name).collect()
    }

    #[test]
    fn tests_are_selected_by_their_names() {
        let hook = |name, event| object("Pod", name, json!({"helm.sh/hook": event}));
        let all = desired(&[
            hook("ping", "test"),
            hook("pong", "test"),
            hook("begin", "pre-install"),
            object("ConfigMap", "shop", json!({})),
        ]);
        let release = release(json!({"test": {"filters": [{"name": "pong", "exclude": true}]}}));
        let selected = select(&release, Event::Test, all, Vec::new());
        assert_eq!(names(&selected.left_out), ["pong"]);
        assert_eq!(hook_names(&selected.desired), ["ping"]);
        assert!(selected.desired.objects.is_empty() && selected.prune.is_empty());
        let hooks = hooks(&release, Event::Test, &selected.desired).unwrap();
        assert_eq!(hooks.len(), 1);
        assert_eq!(hooks[0].object.name, "ping");
    }

    #[test]
    fn more_hooks_than_status_holds_are_refused() {
        let hook = |number: usize| {
            object("ConfigMap", &format!("h{number}"), json!({"helm.sh/hook": "pre-install"}))
        };
        let all: Vec<_> = (0..=MOST_HOOKS).map(hook).collect();
        let blocked = hooks(&release(json!({})), Event::Install, &desired(&all)).unwrap_err();
        assert_eq!(blocked.reason, Reason::TooManyHooks);
        assert!(blocked.to_string().ends_with("split the release"), "{blocked}");
        assert!(hooks(&release(json!({})), Event::Upgrade, &desired(&all)).unwrap().is_empty());
    }

    #[test]
    fn a_deletion_leaves_what_the_newest_revision_says_is_to_be_kept() {
        let policy = |word: &str| json!({"helm.sh/resource-policy": word});
        let all = desired(&[
            object("ConfigMap", "goes", json!({})),
            object("Secret", "stays", policy("keep")),
            object("ConfigMap", "odd", policy("perhaps")),
        ]);
        let earlier = desired(&[
            object("Secret", "stays", json!({})),
            object("ConfigMap", "goes", policy("keep")),
            object("Secret", "left", json!({})),
        ]);
        let selected = select(&release(json!({})), Event::Delete, all, earlier.objects);
        assert_eq!(names(&selected.kept), ["stays"]);
        assert_eq!(names(&selected.prune), ["goes", "odd", "left"]);
        assert_eq!(selected.unknown[0].1, "perhaps");
        assert!(selected.desired.objects.is_empty());
    }

    #[test]
    fn what_is_applied_replaces_what_was_there() {
        let all = || desired(&[object("ConfigMap", "a", json!({}))]);
        let earlier = [object("ConfigMap", "a", json!({})), object("ConfigMap", "b", json!({}))];
        for event in [Event::Install, Event::Upgrade, Event::Rollback] {
            let earlier = desired(&earlier).objects;
            let selected = select(&release(json!({})), event, all(), earlier);
            assert_eq!(names(&selected.prune), ["b"], "{event}");
            let plan = plan(&release(json!({"timeout": "90s"})), event, Vec::new(), selected);
            assert_eq!((plan.objects.len(), plan.timeout_seconds), (1, 90));
        }
    }

    #[test]
    fn the_hooks_of_a_rollback_are_those_that_the_spec_names() {
        let revision =
            |name| desired(&[object("Pod", name, json!({"helm.sh/hook": "pre-rollback"}))]);
        let of = |from: &str| {
            let release = release(json!({"rollback": {"hooksFrom": from}}));
            restored(&release, revision("target"), || Ok::<_, ()>(revision("deployed").hooks))
        };
        assert_eq!(hook_names(&of("Target").unwrap()), ["target"]);
        assert_eq!(hook_names(&of("Current").unwrap()), ["deployed"]);
        let unreadable = || Err::<Vec<Hook>, _>("unreadable");
        assert!(restored(&release(json!({})), revision("target"), unreadable).is_ok());
    }
}
