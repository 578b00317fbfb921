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
    kinds::Kind,
    records::{self, Stored},
    release::Release,
    tenant::Tenant,
};

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
    check_rights(tenant, desired).await?;
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
        hooks: plan_hooks(desired, begin.event),
        prune: prune_set(earlier_objects(history), &desired.objects),
        objects: desired.objects.clone(),
    })
}

/// The objects of every record since and including the last deployed one. Records of ours only
/// get here.
fn earlier_objects(history: &[Stored]) -> impl Iterator<Item = ObjectRef> {
    let deployed = history
        .iter()
        .filter(|stored| {
            use helm::record::Status::{Deployed, Superseded};
            matches!(stored.release.info.status, Deployed | Superseded)
        })
        .map(|stored| stored.release.version)
        .max()
        .unwrap_or(0);
    history
        .iter()
        .filter(move |stored| stored.release.version >= deployed)
        .filter_map(|stored| stored.plan.as_ref())
        .flat_map(|(plan, _)| plan.objects.iter().map(|object| object.object.clone()))
}

/// Every kind must be served; those without a namespace lose the one they were given.
async fn find_kinds(tenant: &Tenant<'_>, desired: &mut Desired) -> Result<(), Error> {
    let mut unknown = Vec::new();
    for object in desired.refs_mut() {
        match tenant.kind(object).await? {
            Some(kind) if kind.scope == Scope::Cluster => object.namespace = None,
            Some(_) => {}
            None => unknown.push(format!(
                "{object}: the cluster does not know kind {} of apiVersion {}; correct it, or \
                 install its CustomResourceDefinition first",
                object.kind, object.api_version
            )),
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::blocked("UnknownKind", unknown.join("; ")))
}

struct Need<'a> {
    object: &'a ObjectRef,
    kind: Kind,
    verbs: &'static [&'static str],
}

/// Asks once for each namespace what the tenant may do there, so that no hook has run when the
/// apply is refused. What the answer leaves open is left to the API server.
async fn check_rights(tenant: &Tenant<'_>, desired: &mut Desired) -> Result<(), Error> {
    const OBJECT: &[&str] = &["get", "create", "patch"];
    const HOOK: &[&str] = &["get", "create", "patch", "delete"];
    let mut needed: BTreeMap<String, Vec<Need<'_>>> = BTreeMap::new();
    let hooks = desired.hooks.iter().map(|hook| (&hook.object, HOOK));
    let objects = desired.objects.iter().map(|object| (&object.object, OBJECT));
    for (object, verbs) in hooks.chain(objects) {
        let (Some(kind), Some(namespace)) = (tenant.kind(object).await?, &object.namespace) else {
            // Whether a rule counts for objects without a namespace, this review does not say.
            continue;
        };
        needed.entry(namespace.clone()).or_default().push(Need { object, kind, verbs });
    }
    let mut missing = Vec::new();
    for (namespace, needs) in &needed {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let review = tenant.review(path, &review).await?;
        if review.pointer("/status/incomplete") == Some(&Value::Bool(true)) {
            continue;
        }
        let rules = review.pointer("/status/resourceRules").and_then(Value::as_array);
        let rules = rules.map_or(&[][..], Vec::as_slice);
        for Need { object, kind, verbs } in needs {
            let resource = &kind.resource;
            let allowed = |verb: &str| {
                rules.iter().any(|rule| allows(rule, &resource.group, &resource.plural, verb))
            };
            let denied: Vec<_> = verbs.iter().copied().filter(|verb| !allowed(verb)).collect();
            if !denied.is_empty() {
                missing.push(format!(
                    "{} may not {} {} in namespace {namespace}, which {object} needs",
                    tenant.identity.describe(),
                    denied.join(", "),
                    resource.plural
                ));
            }
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
