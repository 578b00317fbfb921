//! The part of a plan that the release itself decides: the same for the operator and for
//! `kubectl lifecycle plan`.

use api::ReleaseLifecycle;
use helm::ownership::{self, ResourcePolicy};
use lifecycle::{
    event::{Event, HookEvent},
    object::{ObjectRef, PlannedObject},
    plan::{MOST_HOOKS, PlannedHook, in_uninstall_order, plan_hooks},
    reason::Reason,
    source::Desired,
};

use crate::problems::Blocked;

/// Leaves out the tests that `spec.test.filters` does not select, and returns their objects.
pub fn select_tests(release: &ReleaseLifecycle, desired: &mut Desired) -> Vec<ObjectRef> {
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

/// Returns the hooks that run at `event`, in their order.
///
/// # Errors
/// With what can be done, where they are more than a journal holds.
pub fn hooks(
    release: &ReleaseLifecycle,
    event: Event,
    desired: &Desired,
) -> Result<Vec<PlannedHook>, Blocked> {
    let hooks = plan_hooks(desired, event, release.crds(event));
    if hooks.len() <= MOST_HOOKS {
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

/// The objects of a release that is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The objects that are deleted, in Helm's uninstall order.
    pub going: Vec<ObjectRef>,
    /// The objects that stay, by their annotation `helm.sh/resource-policy: keep`.
    pub kept: Vec<ObjectRef>,
    /// The objects that are deleted though that annotation has another word, and the word.
    pub unknown: Vec<(ObjectRef, String)>,
}

/// Returns what becomes of the objects when their release is deleted.
pub fn removal(objects: impl IntoIterator<Item = PlannedObject>) -> Removal {
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

    fn release(test: Value) -> ReleaseLifecycle {
        serde_json::from_value(json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {"source": {"objects": []}, "test": test}
        }))
        .unwrap()
    }

    #[test]
    fn tests_are_selected_by_their_names() {
        let hook = |name| object("Pod", name, json!({"helm.sh/hook": "test"}));
        let mut all = desired(&[hook("ping"), hook("pong")]);
        let release = release(json!({"filters": [{"name": "ping"}]}));
        let left_out = select_tests(&release, &mut all);
        let names = |objects: &[ObjectRef]| {
            objects.iter().map(|object| object.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&left_out), ["pong"]);
        let hooks = hooks(&release, Event::Test, &all).unwrap();
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
    fn what_is_to_be_kept_stays() {
        let policy = |word: &str| json!({"helm.sh/resource-policy": word});
        let all = desired(&[
            object("ConfigMap", "goes", json!({})),
            object("Secret", "stays", policy("keep")),
            object("ConfigMap", "odd", policy("perhaps")),
        ]);
        let removal = removal(all.objects);
        let names = |objects: &[ObjectRef]| {
            objects.iter().map(|object| object.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&removal.kept), ["stays"]);
        let mut going = names(&removal.going);
        going.sort_unstable();
        assert_eq!(going, ["goes", "odd"]);
        assert_eq!(removal.unknown[0].1, "perhaps");
    }
}
