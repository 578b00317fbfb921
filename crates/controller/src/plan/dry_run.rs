//! A dry run of a plan by the API server: each object and each hook is sent as it would be sent
//! later. Nothing is stored.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use api::names::FIELD_MANAGER;
use helm::{managed, ownership};
use lifecycle::{
    event::Event,
    object::{ObjectRef, PlannedObject},
    plan::{HookKind, Plan, PlannedHook},
};
use live::hook_object;
use serde_json::Value;

use crate::{
    cluster::{
        call::{ApiError, Cause, Field, Refused, Why},
        error::Error,
    },
    release::Release,
};

/// The maximum number of objects and hooks that are tried.
const MOST_TRIED: usize = 500;
/// The number of refusals after which nothing else is tried: a message has no room for more.
const MOST_REFUSED: usize = 10;
/// The time for all of them: meanwhile nothing else is done for the release.
const LIMIT: Duration = Duration::from_secs(30);

/// The outcome of a dry run.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// The refusals, each with its remedy if one is known.
    pub(super) refusals: Vec<String>,
    /// The number of objects and hooks for which there was no time.
    pub(super) untried: Option<String>,
}

/// Tries the objects and the hooks of `plan`. What the plan itself brings about before is no
/// refusal.
///
/// # Errors
/// If it is unknown whether one is refused: the next one would meet the same webhook, or the same
/// API server.
pub(super) async fn tried(release: &mut Release<'_>, plan: &Plan) -> Result<Tried, Error> {
    let brought = Brought::by(plan);
    let hooks = plan.hooks.iter().enumerate().filter(|(_, hook)| hook.runs()).map(Part::Hook);
    let parts = hooks.chain(plan.objects.iter().map(Part::Object)).take(MOST_TRIED);
    let parts: Vec<_> = parts.collect();
    let mut found = Tried::default();
    let mut left = LIMIT;
    for (index, part) in parts.iter().enumerate() {
        release.slot.share().await;
        let since = Instant::now();
        let refusal = refusal(release, plan, &brought, *part);
        let Ok(refusal) = tokio::time::timeout(left, refusal).await else {
            found.untried = Some(untried(parts.len() - index, parts.len()));
            break;
        };
        found.refusals.extend(refusal?);
        if found.refusals.len() >= MOST_REFUSED {
            break;
        }
        left = left.saturating_sub(since.elapsed());
    }
    Ok(found)
}

fn untried(left: usize, all: usize) -> String {
    format!(
        "{left} of {all} objects and hooks were not tried in a dry run, which ends after {} s: see \
         whether an admission webhook is slow",
        LIMIT.as_secs()
    )
}

/// Returns the refusal of one object or hook, if there is one.
async fn refusal(
    release: &Release<'_>,
    plan: &Plan,
    brought: &Brought<'_>,
    part: Part<'_>,
) -> Result<Option<String>, Error> {
    let object = part.object();
    // The schema that it is checked against is not there yet, or changes.
    if brought.kinds.contains(&(object.group(), &object.kind))
        || release.tenant.kind(object).await?.is_none()
    {
        return Ok(None);
    }
    let answer = match part {
        Part::Hook((index, hook)) => try_hook(release, plan, index, hook).await,
        Part::Object(planned) => release.tenant.try_apply(object, &release.body(planned)).await,
    };
    let Err(error) = answer else { return Ok(None) };
    if error.may_pass() {
        return Err(Error::Api(error));
    }
    let is_refusal =
        brought.is_refusal(&error, part) && !is_handed_on(release, part, &error).await?;
    Ok(is_refusal.then(|| words(part, &error, plan.event)))
}

/// Returns whether the apply would take over fields of an earlier manager first: without that, a
/// field that excludes another one is refused, since both would be set.
async fn is_handed_on(
    release: &Release<'_>,
    part: Part<'_>,
    error: &ApiError,
) -> Result<bool, Error> {
    let is_other = matches!(&error.cause, Cause::Refused(Refused { why: Why::Other, .. }));
    if !is_other || !part.is_applied() {
        return Ok(false);
    }
    match release.tenant.get(part.object()).await {
        Ok(live) => Ok(live.is_some_and(|live| {
            let is_taken = ownership::check(&live, &release.name, &release.namespace).is_err();
            managed::handed_on(&live, FIELD_MANAGER, is_taken).is_some()
        })),
        Err(error) if error.may_pass() => Err(Error::Api(error)),
        // Then the refusal is all that is known.
        Err(_) => Ok(false),
    }
}

/// An object of a plan.
#[derive(Clone, Copy)]
enum Part<'a> {
    Hook((usize, &'a PlannedHook)),
    Object(&'a PlannedObject),
}

impl<'a> Part<'a> {
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

    /// Returns whether it is applied over an object that is there, and not created.
    fn is_applied(self) -> bool {
        match self {
            Self::Hook((_, hook)) => hook.kind() == HookKind::Crd,
            Self::Object(_) => true,
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

fn words(part: Part<'_>, error: &ApiError, event: Event) -> String {
    let what = match part {
        Part::Hook((_, hook)) => format!("hook {} ({})", hook.object, hook.event),
        Part::Object(planned) => planned.object.to_string(),
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
    /// True if a program runs before the objects are applied: it may delete one of them.
    is_prepared: bool,
}

impl<'a> Brought<'a> {
    fn by(plan: &'a Plan) -> Self {
        let hooks = plan.hooks.iter().filter(|hook| hook.runs());
        let hooks = hooks.map(|hook| (&hook.object, &hook.manifest));
        let objects = plan.objects.iter().map(|planned| (&planned.object, &planned.manifest));
        let is_program = |hook: &PlannedHook| {
            hook.runs()
                && hook.event == plan.event.pre()
                && matches!(hook.kind(), HookKind::Job | HookKind::Pod)
        };
        let is_prepared = plan.hooks.iter().any(is_program);
        let mut brought = Self { is_prepared, ..Self::default() };
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
    fn is_refusal(&self, error: &ApiError, part: Part<'_>) -> bool {
        let (object, manifest) = (part.object(), part.manifest());
        let text = |path| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match &error.cause {
            Cause::NotFound(_) => {
                let namespace = object.namespace.as_deref().unwrap_or_default();
                // A binding to a role that does not exist.
                let is_bound = self.roles.contains(text("/roleRef/name"));
                !self.namespaces.contains(namespace) && !is_bound
            }
            Cause::Refused(Refused { why, fields, .. }) => match why {
                Why::NoDryRun | Why::Terminating => false,
                Why::NoAccountOfPod(account) => !self.accounts.contains(account),
                // A hook before the upgrade may delete the object, which is then created.
                Why::Other if self.may_replace(part, fields) => false,
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

    /// Returns whether a hook may delete the object before the fields that must not change do.
    fn may_replace(&self, part: Part<'_>, fields: &[Field]) -> bool {
        self.is_prepared
            && matches!(part, Part::Object(_))
            && !fields.is_empty()
            && fields.iter().all(|field| field.immutable)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{
        Status,
        response::{StatusCause, StatusDetails},
    };
    use lifecycle::{event::HookEvent, testing};
    use serde_json::json;

    use super::*;
    use crate::cluster::call::cause;

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
        let of = |object: &ObjectRef, error: &ApiError, manifest: Value| {
            let planned = PlannedObject { object: object.clone(), manifest };
            brought.is_refusal(error, Part::Object(&planned))
        };
        let is = |error: &ApiError, manifest: Value| of(&object, error, manifest);
        let lost = || error(Cause::NotFound("there is none".to_owned()));
        let namespace = object.namespace.clone().unwrap_or_default();
        assert_eq!(namespace, "prod");
        assert!(!is(&lost(), json!({})), "its namespace");
        let elsewhere = ObjectRef { namespace: Some("other".to_owned()), ..object.clone() };
        assert!(of(&elsewhere, &lost(), json!({})));
        let bound = json!({"roleRef": {"kind": "Role", "name": "reader"}});
        assert!(!of(&elsewhere, &lost(), bound));
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

    #[test]
    fn what_a_hook_may_delete_before_is_no_refusal() {
        let with = |messages: &[&str]| {
            let causes = messages.iter().map(|message| StatusCause {
                field: "spec.serviceName".to_owned(),
                message: (*message).to_owned(),
                reason: "FieldValueForbidden".to_owned(),
            });
            let details = StatusDetails {
                causes: causes.collect(),
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                retry_after_seconds: 0,
            };
            let status = Status::failure("it is invalid", "Invalid").with_code(422);
            let status = status.with_details(details);
            error(cause(kube::Error::Api(Box::new(status))))
        };
        let immutable = "Forbidden: updates to statefulset spec are forbidden";
        let (all, some) = (with(&[immutable]), with(&[immutable, "Required value"]));
        let set = planned("StatefulSet", "web", json!({}));
        let mut plan = testing::plan(Event::Upgrade);
        assert!(Brought::by(&plan).is_refusal(&all, Part::Object(&set)), "nothing deletes it");
        plan.hooks = vec![testing::hook(HookEvent::PreUpgrade, testing::object("Job", "replace"))];
        let brought = Brought::by(&plan);
        assert!(!brought.is_refusal(&all, Part::Object(&set)));
        assert!(brought.is_refusal(&some, Part::Object(&set)));
        let hook = Part::Hook((0, &plan.hooks[0]));
        assert!(brought.is_refusal(&all, hook), "an attempt is a new object");
        plan.hooks[0].event = HookEvent::PostUpgrade;
        assert!(Brought::by(&plan).is_refusal(&all, Part::Object(&set)), "it comes too late");
    }

    #[test]
    fn only_what_is_applied_takes_over_fields() {
        let set = planned("StatefulSet", "web", json!({}));
        assert!(Part::Object(&set).is_applied());
        assert_eq!(
            untried(3, 7),
            "3 of 7 objects and hooks were not tried in a dry run, which ends after 30 s: see \
             whether an admission webhook is slow"
        );
    }
}
