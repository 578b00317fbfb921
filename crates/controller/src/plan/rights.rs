//! Checks that the tenant has the rights that a plan needs.

use std::collections::BTreeMap;

use lifecycle::{
    object::{ObjectRef, PlannedObject},
    plan::PlannedHook,
    reason::Reason,
};
use serde_json::{Value, json};

use crate::{
    cluster::{
        error::Error,
        rights::{self, Right},
        tenant::Tenant,
    },
    records::Records,
    release::{Release, conflicts::listed},
};

/// The part of a message of at most one kilobyte that is left for the missing rights beside the
/// remedy.
const MOST_NAMED: usize = 560;

/// Checks the rights of the tenant, so that no hook has run when the apply is refused: once for
/// each namespace, and for each kind without one. Questions that the answers leave open are left to
/// the API server.
pub(super) async fn check(
    release: &Release<'_>,
    hooks: &[PlannedHook],
    objects: &[PlannedObject],
    prune: &[ObjectRef],
) -> Result<(), Error> {
    let tenant = &release.tenant;
    let record = Records::of(release).reference(1);
    let mut needs: Vec<(&ObjectRef, &[&str])> = vec![(&record, &["get", "create", "update"])];
    needs.extend(hooks.iter().filter(|hook| hook.runs()).map(|hook| {
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
    Err(Error::blocked(Reason::Forbidden, message))
}

/// Returns the rules for the tenant in `namespace`; `None` if the authorizer cannot list them all.
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

/// Returns true if the tenant may `verb` a resource without a namespace.
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

/// Returns true if an RBAC rule allows `verb`; rules for single names count, the API server has the
/// last word.
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
