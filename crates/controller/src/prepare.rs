//! From the desired objects to a plan: parse, look the kinds up, check rights and owners. Nothing
//! is changed here, so everything that is wrong is said at once and can be mended at leisure.

use std::collections::BTreeMap;

use helm::ownership;
use kube::discovery::Scope;
use lifecycle::{
    event::Event,
    plan::{ObjectRef, Owner, Plan, config_digest, plan_hooks, prune_set},
    source::Desired,
};
use serde_json::{Value, json};

use crate::{
    error::Error,
    records::{self, Stored},
    release::Release,
    tenant::Tenant,
};

/// Status stays under 64 KiB with so many.
const MOST_HOOKS: usize = 100;

/// What an operation is to do.
pub(crate) struct Begin {
    pub(crate) id: String,
    pub(crate) event: Event,
    pub(crate) revision: i32,
}

/// The objects of the source, parsed (no client required).
pub(crate) fn desired(release: &Release<'_>) -> Result<Desired, Error> {
    let objects = &release.object.spec.source.objects;
    Desired::parse(objects, &release.namespace).map_err(|errors| {
        let all: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Error::blocked("InvalidSource", all.join("; "))
    })
}

/// The plan of an operation that is about to begin (client required).
pub(crate) async fn plan(
    release: &Release<'_>,
    desired: &mut Desired,
    history: &[Stored],
    begin: Begin,
) -> Result<Plan, Error> {
    let tenant = &release.tenant;
    find_kinds(tenant, desired).await?;
    let hooks = plan_hooks(desired, begin.event);
    if hooks.len() > MOST_HOOKS {
        let message = format!(
            "{} hooks run at this {}, more than the {MOST_HOOKS} whose state fits into status; \
             split the release",
            hooks.len(),
            begin.event
        );
        return Err(Error::blocked("TooManyHooks", message));
    }
    let prune = prune_set(earlier_objects(history), &desired.objects);
    check_rights(release, desired, &prune).await?;
    check_owners(release, desired).await?;
    let latest = history.iter().max_by_key(|stored| stored.release.version);
    // One key for the life of the release, so that digests can be compared.
    let key = latest
        .and_then(|stored| Some(stored.plan.as_ref()?.0.config_key.clone()))
        .unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    let inputs = records::config_inputs(&release.name, &release.object.spec.source.objects);
    let timeout = release.object.timeout().as_secs();
    Ok(Plan {
        operation: begin.id,
        owner: Owner { uid: release.uid().to_owned(), name: release.object_name().to_owned() },
        first_deployed: latest.and_then(|stored| stored.release.info.first_deployed),
        event: begin.event,
        revision: begin.revision,
        config_digest: config_digest(key.as_bytes(), &inputs),
        config_key: key,
        timeout_seconds: i64::try_from(timeout).unwrap_or(i64::MAX),
        wait: release.object.wait(),
        hooks,
        prune,
        objects: desired.objects.clone(),
    })
}

/// The objects of every record since and including the last deployed one. Records of ours only
/// get here.
fn earlier_objects(history: &[Stored]) -> impl Iterator<Item = ObjectRef> {
    let plans = history.iter().filter_map(|stored| stored.plan.as_ref());
    plans.flat_map(|(plan, _)| plan.objects.iter().map(|object| object.object.clone()))
}

/// Every kind must be served; those without a namespace lose the one they were given.
async fn find_kinds(tenant: &Tenant<'_>, desired: &mut Desired) -> Result<(), Error> {
    let mut unknown = Vec::new();
    for object in desired.refs_mut() {
        match tenant.kind(object).await? {
            Some(kind) if kind.scope == Scope::Cluster => object.namespace = None,
            Some(_) => {}
            None => unknown.push(format!(
                "{object}: the cluster does not know kind {:?} of apiVersion {:?}; correct them, or \
                 install the CustomResourceDefinition first",
                object.kind, object.api_version
            )),
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::blocked("UnknownKind", unknown.join("; ")))
}

/// Asks what the tenant may do, so that no hook has run when the apply is refused: once for each
/// namespace, and for each kind without one. What the answers leave open is left to the API server.
async fn check_rights(
    release: &Release<'_>,
    desired: &Desired,
    prune: &[ObjectRef],
) -> Result<(), Error> {
    let tenant = &release.tenant;
    let record = records::reference(&release.name, &release.namespace, 1);
    let mut needs: Vec<(&ObjectRef, &[&str])> = vec![(&record, &["get", "create", "update"])];
    let hooks = desired.hooks.iter().map(|hook| &hook.object);
    needs.extend(hooks.map(|object| (object, &["get", "create", "patch", "delete"][..])));
    let objects = desired.objects.iter().map(|object| &object.object);
    needs.extend(objects.map(|object| (object, &["get", "create", "patch"][..])));
    needs.extend(prune.iter().map(|object| (object, &["get", "delete"][..])));

    let mut rules: BTreeMap<&str, Option<Vec<Value>>> = BTreeMap::new();
    let mut missing = Vec::new();
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
    let message = format!(
        "{}; bind the ClusterRole releaselifecycle-deployer, or a role with these rights, to it",
        missing.join("; ")
    );
    Err(Error::blocked("Forbidden", message))
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

/// No object may be another release's. Hooks carry no owner in Helm, but they do here.
async fn check_owners(release: &Release<'_>, desired: &Desired) -> Result<(), Error> {
    let mut taken = Vec::new();
    for object in &desired.objects {
        let live = release.tenant.get(&object.object).await?;
        let Some(live) = live else { continue };
        if let Err(error) = ownership::check(&live, &release.name, &release.namespace) {
            taken.push(error.to_string());
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    Err(Error::blocked("NotOwned", taken.join("; ")))
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
