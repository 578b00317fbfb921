//! From the desired objects to a plan: parse, look the kinds up, check rights and owners. Nothing
//! is changed here, so everything that is wrong is said at once and can be mended at leisure.
//!
//! - this file: what a plan is made of, and the tenant's rights
//! - `crds`: what a chart has in `crds/`, and the kinds that hooks bring along
//! - `owners`: whose the objects are that exist

use std::collections::{BTreeMap, BTreeSet};

use api::HooksFrom;
use helm::{
    ownership::{self, ResourcePolicy},
    record::Status,
};
use kube::discovery::Scope;
use lifecycle::{
    digest::config_digest,
    event::{Event, HookEvent},
    object::{ObjectRef, PlannedObject},
    plan::{
        Begin, Chart, Crds, MOST_HOOKS, Plan, PlannedHook, PrunedBefore, Remedied,
        in_uninstall_order, plan_hooks, prune_set,
    },
    source::{Desired, SourceError},
};
use serde_json::{Value, json};
use sources::RenderedRelease;

use crate::plan::{crds, owners};
use crate::{
    cluster::{
        error::{Error, FORBIDDEN},
        rights::{self, Right},
        tenant::Tenant,
    },
    desired::{digest, objects},
    records::{self, Records, Stored},
    release::{Release, conflicts::listed},
};

/// Of the kilobyte that a message may take, what is left for what is missing beside the remedy.
const MOST_NAMED: usize = 560;

/// So many kinds and namespaces of earlier hooks are remembered.
const MOST_HOOK_KINDS: usize = 100;

/// A plan, and what is to be said of the objects that it was made from.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) remarks: Vec<SourceError>,
}

/// The plan of an operation that is about to begin (client required).
pub(crate) async fn plan(
    release: &Release<'_>,
    history: &[Stored],
    begin: &Begin,
) -> Result<Prepared, Error> {
    let mut material = material(release, history, begin).await?;
    if !begin.event.needs_source() {
        // What does not run now is no reason not to begin: nobody can correct a record.
        let runs = |event: &HookEvent| event.operation() == begin.event;
        material.desired.hooks.retain(|hook| hook.events.iter().any(runs));
    }
    let crds = release.object.crds(begin.event);
    find_kinds(release, &mut material, begin.event, crds).await?;
    let Material { mut desired, prune, pruned_before, digest, chart } = material;
    if crds == Crds::Create {
        crds::leave_out_existing(release, &mut desired.crds).await?;
    }
    let claims = release.object.claims(begin.event);
    let mut hooks = plan_hooks(&desired, begin.event, crds);
    let recorded = recorded_hooks(release, history);
    mark_recorded(&recorded, &mut hooks);
    check_number(&hooks, begin.event)?;
    check_rights(release, &hooks, &desired.objects, &prune).await?;
    let mut taken = owners::check(release, begin.event, &desired.objects, claims).await?;
    taken.extend(history.iter().flat_map(spared).cloned());
    let latest = records::newest(history);
    let key = key(history).unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    let timeout = release.object.timeout().as_secs();
    let plan = Plan {
        operation: begin.id.clone(),
        owner: release.owner(),
        first_deployed: latest.and_then(|stored| stored.release.info.first_deployed),
        chart,
        event: begin.event,
        revision: begin.revision,
        target: begin.target,
        remedies: begin.remedies.map(|revision| remedied(history, revision)),
        config_digest: digest
            .unwrap_or_else(|| config_digest(key.as_bytes(), &digest::input(release))),
        adopted: false,
        renders_otherwise: None,
        taken,
        config_key: key,
        timeout_seconds: i64::try_from(timeout).unwrap_or(i64::MAX),
        wait: release.object.wait(),
        claims,
        hook_kinds: if begin.event.makes_revision() {
            hook_kinds(history, &recorded)
        } else {
            Vec::new()
        },
        hooks,
        prune,
        pruned_before,
        objects: desired.objects,
    };
    Ok(Prepared { plan, remarks: desired.remarks })
}

/// What the operation makes up for.
fn remedied(history: &[Stored], revision: i32) -> Remedied {
    let failed = history.iter().find(|stored| stored.release.version == revision);
    let plan = failed.and_then(|stored| stored.plan.as_ref());
    let config_digest = plan.map(|(plan, _)| plan.config_digest.clone()).unwrap_or_default();
    Remedied { revision, config_digest }
}

fn check_number(hooks: &[PlannedHook], event: Event) -> Result<(), Error> {
    if hooks.len() <= MOST_HOOKS {
        return Ok(());
    }
    let in_crds = hooks.iter().filter(|hook| hook.in_crds).count();
    let remedy = match in_crds {
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
    Err(Error::blocked("TooManyHooks", message))
}

/// The key of the digests, one for the life of the release, so that they can be compared.
pub(crate) fn key(history: &[Stored]) -> Option<String> {
    let with_key = history.iter().filter(|stored| stored.plan.is_some());
    let latest = with_key.max_by_key(|stored| stored.release.version)?;
    Some(latest.plan.as_ref()?.0.config_key.clone())
}

/// What a plan is made from.
struct Material {
    /// The objects to apply, and the hooks to choose from.
    desired: Desired,
    /// The objects that go.
    prune: Vec<ObjectRef>,
    /// The objects that have gone with the revision before.
    pruned_before: PrunedBefore,
    /// The digest of the configuration, where it is not that of the spec.
    digest: Option<String>,
    /// The chart of the revision.
    chart: Option<Chart>,
}

async fn material(
    release: &Release<'_>,
    history: &[Stored],
    begin: &Begin,
) -> Result<Material, Error> {
    let latest = records::newest(history);
    let of_latest = || match latest {
        Some(stored) => objects::of_record(release, stored),
        // Somebody removed it since.
        None => Ok(Desired::default()),
    };
    let of_latest_plan = || latest?.plan.as_ref()?.0.chart.clone();
    let of_before = latest.filter(|_| begin.event.makes_revision());
    let pruned_before = of_before.map_or_else(PrunedBefore::default, |stored| PrunedBefore {
        since: stored.created(),
        objects: stored.plan.as_ref().map(|(plan, _)| plan.prune.clone()).unwrap_or_default(),
    });
    Ok(match begin.event {
        Event::Install | Event::Upgrade => {
            let RenderedRelease { desired, chart, .. } = objects::of_source(release, begin).await?;
            let (desired, chart) = (desired.clone(), chart.clone());
            let prune = prune_set(earlier_objects(release, history)?, &desired.objects);
            Material { desired, prune, pruned_before, digest: None, chart }
        }
        Event::Rollback => {
            let target = begin.target.unwrap_or_default();
            let stored = Records::of(release).get(target).await?;
            let stored = stored.ok_or_else(|| records::no_target(&release.name, target))?;
            let mut desired = objects::of_record(release, &stored)?;
            if release.object.rollback_hooks_from() == HooksFrom::Current {
                let deployed = |stored: &&Stored| stored.release.info.status == Status::Deployed;
                let current = history.iter().find(deployed).or(latest);
                desired.hooks = match current {
                    Some(stored) => objects::of_record(release, stored)?.hooks,
                    None => Vec::new(),
                };
            }
            let prune = prune_set(earlier_objects(release, history)?, &desired.objects);
            let (digest, chart) = match stored.plan {
                Some((plan, _)) => (plan.config_digest, plan.chart),
                None => (String::new(), None),
            };
            Material { desired, prune, pruned_before, digest: Some(digest), chart }
        }
        Event::Delete => {
            let mut desired = of_latest()?;
            if let Some(latest) = latest {
                spare(&mut desired.objects, latest);
            }
            let newest = newest(release, std::mem::take(&mut desired.objects), history)?;
            let going = newest.into_iter().filter(|object| !is_kept(release, object));
            let prune = in_uninstall_order(going.map(|object| object.object));
            Material { desired, prune, pruned_before, digest: None, chart: of_latest_plan() }
        }
        Event::Test => {
            let mut desired = of_latest()?;
            desired.objects.clear();
            desired.hooks.retain(|hook| release.object.selects_test(&hook.object.name));
            let chart = of_latest_plan();
            Material { desired, prune: Vec::new(), pruned_before, digest: None, chart }
        }
    })
}

/// Every object that may be there, as the newest revision that has it made it: those of the latest,
/// and what earlier ones have left.
fn newest(
    release: &Release<'_>,
    latest: Vec<PlannedObject>,
    history: &[Stored],
) -> Result<Vec<PlannedObject>, Error> {
    let mut newest = latest;
    let mut earlier: Vec<_> = history.iter().collect();
    earlier.sort_by_key(|stored| std::cmp::Reverse(stored.release.version));
    for stored in earlier {
        for object in objects_of(release, stored)? {
            if !newest.iter().any(|other| other.object.is_same_object(&object.object)) {
                newest.push(object);
            }
        }
    }
    Ok(newest)
}

/// The objects of a revision, whoever made it.
pub(crate) fn objects_of(
    release: &Release<'_>,
    stored: &Stored,
) -> Result<Vec<PlannedObject>, Error> {
    let mut objects = match &stored.plan {
        Some((plan, _)) if !plan.adopted => plan.objects.clone(),
        _ => objects::of_record(release, stored)?.objects,
    };
    spare(&mut objects, stored);
    Ok(objects)
}

/// Leaves out what a revision that was never deployed has taken of others.
fn spare(objects: &mut Vec<PlannedObject>, stored: &Stored) {
    let spared = spared(stored);
    objects.retain(|object| !spared.iter().any(|it| it.is_same_object(&object.object)));
}

fn spared(stored: &Stored) -> &[ObjectRef] {
    match &stored.plan {
        Some((plan, _)) if !stored.was_deployed() => &plan.taken,
        _ => &[],
    }
}

/// What of a revision is outside of the release's namespace.
pub(crate) async fn outside(
    release: &Release<'_>,
    stored: &Stored,
) -> Result<Vec<ObjectRef>, Error> {
    let mut plan = match &stored.plan {
        Some((plan, _)) if !plan.adopted => plan.clone(),
        _ => {
            let mut desired = objects::of_record(release, stored)?;
            for object in desired.refs_mut() {
                if release.tenant.kind(object).await?.is_some_and(|it| it.scope == Scope::Cluster) {
                    object.namespace = None;
                }
            }
            // Of the hooks that Helm made nothing is known.
            let plan = Plan::new(String::new(), release.owner(), Event::Upgrade, 0);
            Plan { objects: desired.objects, ..plan }
        }
    };
    spare(&mut plan.objects, stored);
    Ok(plan.outside(&release.namespace))
}

/// The objects of hooks in the records of `history`. One that cannot be read has none.
fn recorded_hooks(release: &Release<'_>, history: &[Stored]) -> Vec<ObjectRef> {
    let recorded = history.iter().filter_map(|stored| objects::of_record(release, stored).ok());
    recorded
        .flat_map(|desired| desired.hooks.into_iter().flat_map(|hook| hook.parts))
        .map(|part| part.object)
        .collect()
}

/// Of which kinds, and where, hooks of earlier revisions are, as far as the records tell: those may
/// be removed before the release is.
fn hook_kinds(history: &[Stored], recorded: &[ObjectRef]) -> Vec<ObjectRef> {
    let plans = history.iter().filter_map(|stored| stored.plan.as_ref());
    let known = plans.flat_map(|(plan, _)| &plan.hook_kinds).chain(recorded).cloned();
    let kinds: BTreeSet<_> =
        known.map(|object| ObjectRef { name: String::new(), ..object }).collect();
    kinds.into_iter().take(MOST_HOOK_KINDS).collect()
}

/// Notes which hooks an earlier record has, too.
fn mark_recorded(recorded: &[ObjectRef], hooks: &mut [PlannedHook]) {
    for hook in hooks {
        // A record gives a namespace to what has none.
        let is_hook = |recorded: &ObjectRef| match &hook.object.namespace {
            Some(_) => recorded.is_same_object(&hook.object),
            None => ObjectRef { namespace: None, ..recorded.clone() }.is_same_object(&hook.object),
        };
        hook.recorded = recorded.iter().any(is_hook);
    }
}

/// Whether the object stays when the release is deleted, by what its manifest says.
fn is_kept(release: &Release<'_>, PlannedObject { object, manifest }: &PlannedObject) -> bool {
    match ownership::resource_policy(manifest) {
        ResourcePolicy::Absent => false,
        ResourcePolicy::Keep => {
            let text =
                format!("{object} stays, as its annotation helm.sh/resource-policy says: keep");
            release.tell("ObjectKept", text);
            true
        }
        ResourcePolicy::Unknown(word) => {
            let text = format!(
                "{object} is deleted: its annotation helm.sh/resource-policy is {word:?}, which \
                 means nothing; only keep does"
            );
            release.warn("UnknownPolicy", text);
            false
        }
    }
}

/// The objects of every record since and including the last deployed one.
fn earlier_objects(release: &Release<'_>, history: &[Stored]) -> Result<Vec<ObjectRef>, Error> {
    let mut found = Vec::new();
    for stored in history {
        found.extend(objects_of(release, stored)?.into_iter().map(|object| object.object));
    }
    Ok(found)
}

/// Every kind must be served, or be defined by a hook; those without a namespace lose the one they
/// were given. What is to go and has no kind any more is gone.
async fn find_kinds(
    release: &Release<'_>,
    material: &mut Material,
    event: Event,
    crds: Crds,
) -> Result<(), Error> {
    let tenant = &release.tenant;
    let defined = crds::defined_kinds(&material.desired, event, crds);
    let remark = if crds == Crds::Skip && !material.desired.crds.is_empty() {
        format!("; of the chart's crds/ nothing is installed, since spec.{event}.crds is Skip")
    } else {
        String::new()
    };
    let mut unknown = Vec::new();
    for object in material.desired.refs_mut() {
        match tenant.kind(object).await? {
            Some(kind) if kind.scope == Scope::Cluster => object.namespace = None,
            Some(_) => {}
            None => match defined.iter().find(|defined| defined.is_of(object)) {
                Some(defined) if !defined.namespaced => object.namespace = None,
                Some(_) => {}
                // It fails when its turn comes, and the deletion deals with that.
                None if event == Event::Delete => {}
                None => unknown.push(format!(
                    "{object}: the cluster does not know kind {:?} of apiVersion {:?}; correct \
                     them, or install the CustomResourceDefinition first{remark}",
                    object.kind, object.api_version,
                )),
            },
        }
    }
    if !unknown.is_empty() {
        return Err(Error::blocked("UnknownKind", unknown.join("; ")));
    }
    // Only with their scope known can those without a namespace be told to be the same.
    let objects = &material.desired.objects;
    for list in [&mut material.prune, &mut material.pruned_before.objects] {
        let mut served = Vec::new();
        for mut object in std::mem::take(list) {
            if let Some(kind) = tenant.kind(&object).await? {
                if kind.scope == Scope::Cluster {
                    object.namespace = None;
                }
                served.push(object);
            }
        }
        served.retain(|old| !objects.iter().any(|object| object.object.is_same_object(old)));
        *list = served;
    }
    let prune = &material.prune;
    material.pruned_before.objects.retain(|old| !prune.iter().any(|it| it.is_same_object(old)));
    Ok(())
}

/// Asks what the tenant may do, so that no hook has run when the apply is refused: once for each
/// namespace, and for each kind without one. What the answers leave open is left to the API server.
async fn check_rights(
    release: &Release<'_>,
    hooks: &[PlannedHook],
    objects: &[PlannedObject],
    prune: &[ObjectRef],
) -> Result<(), Error> {
    let tenant = &release.tenant;
    let record = Records::of(release).reference(1);
    let mut needs: Vec<(&ObjectRef, &[&str])> = vec![(&record, &["get", "create", "update"])];
    needs.extend(hooks.iter().map(|hook| {
        let verbs: &[&str] = match hook.in_crds {
            true if hook.replaces => &["get", "create", "patch"],
            true => &["get", "create"],
            false => &["get", "create", "patch", "delete"],
        };
        (&hook.object, verbs)
    }));
    let objects = objects.iter().map(|object| &object.object);
    needs.extend(objects.map(|object| (object, &["get", "create", "patch"][..])));
    needs.extend(prune.iter().map(|object| (object, &["get", "delete"][..])));

    let mut rules: BTreeMap<&str, Option<Vec<Value>>> = BTreeMap::new();
    let (mut missing, mut lacking) = (Vec::new(), Vec::new());
    for (object, verbs) in needs {
        let Some(kind) = tenant.kind(object).await? else { continue };
        let resource = &kind.resource;
        let mut denied = Vec::new();
        for verb in verbs {
            let allowed = match &object.namespace {
                None => may(tenant, &resource.group, &resource.plural, verb).await?,
                Some(namespace) => {
                    if !rules.contains_key(namespace.as_str()) {
                        rules.insert(namespace, rules_in(tenant, namespace).await?);
                    }
                    let rules = rules.get(namespace.as_str()).and_then(Option::as_ref);
                    rules.is_none_or(|rules| {
                        rules.iter().any(|it| allows(it, &resource.group, &resource.plural, verb))
                    })
                }
            };
            if !allowed {
                denied.push(*verb);
            }
        }
        if !denied.is_empty() {
            let place = object.namespace.as_ref();
            let of = (&*resource.group, &*resource.plural);
            lacking.push(Right::new(&denied, of.0, of.1, place.map(String::as_str)));
            missing.push(format!(
                "{} may not {} {}{}, which {object} needs",
                tenant.identity.describe(),
                denied.join(", "),
                resource.plural,
                place.map_or(String::new(), |namespace| format!(" in namespace {namespace}")),
            ));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let remedy = match tenant.identity.user() {
        Some(user) => rights::remedy(&user, &lacking),
        None => "give its ServiceAccount a role with these rights".to_owned(),
    };
    let message = format!("{}; {remedy}", listed(&missing, MOST_NAMED));
    Err(Error::blocked(FORBIDDEN, message))
}

/// The rules for the tenant in `namespace`; `None` where the authorizer cannot list them all.
async fn rules_in(tenant: &Tenant<'_>, namespace: &str) -> Result<Option<Vec<Value>>, Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let mut review = tenant.review(path, &review).await?;
    if review.pointer("/status/incomplete") == Some(&Value::Bool(true)) {
        return Ok(None);
    }
    Ok(match review.pointer_mut("/status/resourceRules").map(Value::take) {
        Some(Value::Array(rules)) => Some(rules),
        _ => Some(Vec::new()),
    })
}

/// Whether the tenant may `verb` a resource without a namespace.
async fn may(tenant: &Tenant<'_>, group: &str, plural: &str, verb: &str) -> Result<bool, Error> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"group": group, "resource": plural, "verb": verb}},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = tenant.review(path, &review).await?;
    Ok(review.pointer("/status/allowed") == Some(&Value::Bool(true)))
}

/// Whether an RBAC rule allows `verb`; rules for single names count, the API server has the last
/// word.
fn allows(rule: &Value, group: &str, plural: &str, verb: &str) -> bool {
    let has = |key: &str, wanted: &str| {
        let values = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(Value::as_str).any(|value| value == "*" || value == wanted)
    };
    has("verbs", verb) && has("apiGroups", group) && has("resources", plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_what_it_names_or_stars() {
        let rule = json!({"verbs": ["get", "create"], "apiGroups": ["batch"], "resources": ["*"]});
        assert!(allows(&rule, "batch", "jobs", "create"));
        assert!(!allows(&rule, "batch", "jobs", "delete"));
        assert!(!allows(&rule, "apps", "deployments", "create"));
        assert!(!allows(&json!({}), "", "pods", "get"));
    }
}
