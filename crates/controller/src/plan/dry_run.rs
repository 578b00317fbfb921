//! A dry run of a plan by the API server: each object and each hook is sent as it would be sent
//! later. Nothing is stored.

use std::collections::HashSet;

use lifecycle::{
    event::Event,
    object::{ObjectRef, PlannedObject},
    plan::{HookKind, Plan, PlannedHook},
};
use live::hook_object;
use serde_json::Value;

use crate::{
    cluster::{
        call::{ApiError, Cause, Refused, Why},
        error::Error,
    },
    release::Release,
};

/// The maximum number of objects and hooks that are tried.
const MOST_TRIED: usize = 500;
/// The number of refusals after which nothing else is tried: a message has no room for more.
const MOST_REFUSED: usize = 10;

/// Returns the refusals of the objects and the hooks of `plan`, each with its remedy if one is
/// known. What the plan itself brings about before is no refusal.
pub(super) async fn refusals(release: &Release<'_>, plan: &Plan) -> Result<Vec<String>, Error> {
    let brought = Brought::by(plan);
    let mut found = Vec::new();
    let hooks = plan.hooks.iter().enumerate().filter(|(_, hook)| hook.runs()).map(Tried::Hook);
    for tried in hooks.chain(plan.objects.iter().map(Tried::Object)).take(MOST_TRIED) {
        let object = tried.object();
        // The schema that it is checked against is not there yet, or changes.
        if brought.kinds.contains(&(object.group(), &object.kind))
            || release.tenant.kind(object).await?.is_none()
        {
            continue;
        }
        let answer = match tried {
            Tried::Hook((index, hook)) => try_hook(release, plan, index, hook).await,
            Tried::Object(planned) => {
                release.tenant.try_apply(object, &release.body(planned)).await
            }
        };
        let Err(error) = answer else { continue };
        if let Cause::Outage(_) = error.cause {
            return Err(Error::Api(error));
        }
        if brought.is_refusal(&error, object, tried.manifest()) {
            found.push(words(tried, &error, plan.event));
        }
        if found.len() >= MOST_REFUSED {
            break;
        }
    }
    Ok(found)
}

/// An object of a plan.
#[derive(Clone, Copy)]
enum Tried<'a> {
    Hook((usize, &'a PlannedHook)),
    Object(&'a PlannedObject),
}

impl<'a> Tried<'a> {
    fn object(self) -> &'a ObjectRef {
        match self {
            Self::Hook((_, hook)) => &hook.object,
            Self::Object(planned) => &planned.object,
        }
    }

    fn manifest(self) -> &'a Value {
        match self {
            Self::Hook((_, hook)) => &hook.manifest,
            Self::Object(planned) => &planned.manifest,
        }
    }
}

async fn try_hook(
    release: &Release<'_>,
    plan: &Plan,
    index: usize,
    hook: &PlannedHook,
) -> Result<Value, ApiError> {
    let account = release.tenant.identity.account();
    let body = hook_object::build(plan, index, 1, hook, &release.namespace, account);
    let object = plan.object(index, 1);
    match hook.kind() {
        HookKind::Crd if !hook.leaves_alone() => release.tenant.try_apply(&object, &body).await,
        HookKind::Crd | HookKind::Job | HookKind::Pod | HookKind::Awaited | HookKind::Other => {
            release.tenant.try_create(&object, &body).await
        }
    }
}

fn words(tried: Tried<'_>, error: &ApiError, event: Event) -> String {
    let what = match tried {
        Tried::Hook((_, hook)) => format!("hook {} ({})", hook.object, hook.event),
        Tried::Object(planned) => planned.object.to_string(),
    };
    let remedy = match &error.cause {
        Cause::Refused(refused) => refused.remedy(),
        _ => None,
    };
    let remedy = remedy.map_or(String::new(), |remedy| format!("; {remedy}"));
    format!("{what} would be refused at the {event}: {}{remedy}", error.cause)
}

/// The objects of a plan that others need to be accepted: they do not exist yet.
#[derive(Default)]
struct Brought<'a> {
    /// The kinds, by group, that it defines.
    kinds: HashSet<(&'a str, &'a str)>,
    namespaces: HashSet<&'a str>,
    /// The `ServiceAccounts`, as `<namespace>/<name>`.
    accounts: HashSet<String>,
    /// The roles of both kinds, by name.
    roles: HashSet<&'a str>,
    /// The `PriorityClasses` and `RuntimeClasses`.
    classes: HashSet<&'a str>,
}

impl<'a> Brought<'a> {
    fn by(plan: &'a Plan) -> Self {
        let hooks = plan.hooks.iter().filter(|hook| hook.runs());
        let hooks = hooks.map(|hook| (&hook.object, &hook.manifest));
        let objects = plan.objects.iter().map(|planned| (&planned.object, &planned.manifest));
        let mut brought = Self::default();
        for (object, manifest) in hooks.chain(objects) {
            let text = |path| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
            match &*object.kind {
                "CustomResourceDefinition" => {
                    brought.kinds.insert((text("/spec/group"), text("/spec/names/kind")));
                }
                "Namespace" => {
                    brought.namespaces.insert(&object.name);
                }
                "ServiceAccount" => {
                    let namespace = object.namespace.as_deref().unwrap_or_default();
                    brought.accounts.insert(format!("{namespace}/{}", object.name));
                }
                "Role" | "ClusterRole" => {
                    brought.roles.insert(&object.name);
                }
                "PriorityClass" | "RuntimeClass" => {
                    brought.classes.insert(&object.name);
                }
                _ => {}
            }
        }
        brought
    }

    /// Returns true if the error says that the object is wrong; false if it is about something that
    /// the plan brings, or says nothing of the object.
    fn is_refusal(&self, error: &ApiError, object: &ObjectRef, manifest: &Value) -> bool {
        let text = |path| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match &error.cause {
            Cause::NotFound(_) => {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                // A binding to a role that does not exist.
                let is_bound = self.roles.contains(text("/roleRef/name"));
                !self.namespaces.contains(namespace) && !is_bound
            }
            Cause::Refused(Refused { why, .. }) => match why {
                Why::NoDryRun | Why::Terminating => false,
                Why::NoAccountOfPod(account) => !self.accounts.contains(account),
                _ => {
                    let classes = [
                        "/spec/priorityClassName",
                        "/spec/runtimeClassName",
                        "/spec/template/spec/priorityClassName",
                        "/spec/template/spec/runtimeClassName",
                    ];
                    !classes.into_iter().any(|path| self.classes.contains(text(path)))
                }
            },
            // A leftover, which the delete policies handle; or a webhook that does not answer now.
            Cause::AlreadyExists
            | Cause::Conflict(_)
            | Cause::FieldConflict(_)
            | Cause::Unavailable(_)
            | Cause::Outage(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use lifecycle::testing;
    use serde_json::json;

    use super::*;

    fn error(cause: Cause) -> ApiError {
        ApiError { what: "apply it".to_owned(), cause }
    }

    fn refused(why: Why) -> ApiError {
        error(Cause::Refused(Refused { why, ..Refused::own(422, "it is wrong") }))
    }

    fn planned(kind: &str, name: &str, manifest: Value) -> PlannedObject {
        PlannedObject { object: testing::object(kind, name), manifest }
    }

    #[test]
    fn what_the_plan_brings_is_no_refusal() {
        let mut plan = testing::plan(Event::Install);
        plan.objects = vec![
            planned("Namespace", "prod", json!({})),
            planned("ServiceAccount", "web", json!({})),
            planned("Role", "reader", json!({})),
            planned("PriorityClass", "high", json!({})),
            planned(
                "CustomResourceDefinition",
                "shops.example.com",
                json!({"spec": {"group": "example.com", "names": {"kind": "Shop"}}}),
            ),
        ];
        let brought = Brought::by(&plan);
        assert!(brought.kinds.contains(&("example.com", "Shop")));
        let object = testing::object("ConfigMap", "a");
        let is = |error: &ApiError, manifest: Value| brought.is_refusal(error, &object, &manifest);
        let lost = || error(Cause::NotFound("there is none".to_owned()));
        let namespace = object.namespace.clone().unwrap_or_default();
        assert_eq!(namespace, "prod");
        assert!(!is(&lost(), json!({})), "its namespace");
        let elsewhere = ObjectRef { namespace: Some("other".to_owned()), ..object.clone() };
        assert!(brought.is_refusal(&lost(), &elsewhere, &json!({})));
        let bound = json!({"roleRef": {"kind": "Role", "name": "reader"}});
        assert!(!brought.is_refusal(&lost(), &elsewhere, &bound));
        assert!(!is(&refused(Why::NoAccountOfPod("prod/web".to_owned())), json!({})));
        assert!(is(&refused(Why::NoAccountOfPod("prod/other".to_owned())), json!({})));
        assert!(!is(&refused(Why::NoDryRun), json!({})));
        assert!(is(&refused(Why::Other), json!({})));
        assert!(!is(&refused(Why::Other), json!({"spec": {"priorityClassName": "high"}})));
        assert!(is(&refused(Why::Other), json!({"spec": {"priorityClassName": "low"}})));
        for cause in [Cause::AlreadyExists, Cause::Unavailable("no answer".to_owned())] {
            assert!(!is(&error(cause), json!({})));
        }
    }
}
