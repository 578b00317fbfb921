//! Checks that the tenant has the rights that a plan needs.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use helm::ownership::{self, ResourcePolicy};
use lifecycle::{
    object::{ObjectRef, PlannedObject},
    plan::PlannedHook,
    reason::Reason,
};
use manifests::memory::Memory;
use serde_json::{Value, json};

use crate::{
    cluster::{
        error::Error,
        rights::{self, Right, Rules},
        tenant::Tenant,
    },
    records::Records,
    release::{Release, conflicts::listed},
};

/// The part of a message of at most one kilobyte that is left for the missing rights beside the
/// remedy.
const MOST_NAMED: usize = 560;

/// The most memory of rules that are shared: a tenant may have any number.
const MOST_SHARED: usize = 32 << 10;

/// An object, and the verbs that the work on it needs.
type Need<'a> = (&'a ObjectRef, &'static [&'static str]);

/// The verbs of a hook's life.
const OF_HOOK: &[&str] = &["get", "create", "patch", "delete"];

/// Checks the rights of the tenant, so that no hook has run when the apply is refused: once for
/// each namespace, and for each kind without one. Questions that the answers leave open are left to
/// the API server. Returns the rights that are missing only for the deletion of the release, with
/// the hooks `at_deletion`, if that is to be checked.
pub(super) async fn check(
    release: &Release<'_>,
    hooks: &[PlannedHook],
    objects: &[PlannedObject],
    prune: &[ObjectRef],
    at_deletion: Option<&[PlannedHook]>,
) -> Result<Option<String>, Error> {
    let record = Records::of(release).reference(1);
    let mut needs: Vec<Need<'_>> = vec![(&record, &["get", "create", "update"])];
    needs.extend(hooks.iter().filter(|hook| hook.runs()).map(|hook| {
        let verbs: &[&str] = match hook.in_crds {
            true if hook.replaces => &["get", "create", "patch"],
            true => &["get", "create"],
            false => OF_HOOK,
        };
        (&hook.object, verbs)
    }));
    let applied = objects.iter().map(|object| &object.object);
    needs.extend(applied.map(|object| (object, &["get", "create", "patch"][..])));
    needs.extend(prune.iter().map(|object| (object, &["get", "delete"][..])));
    let mut known = Known::new(&release.tenant);
    if let Some(message) = known.missing(&needs, "").await? {
        return Err(Error::blocked(Reason::Forbidden, message));
    }
    let Some(at_deletion) = at_deletion else { return Ok(None) };
    let hooks = at_deletion.iter().filter(|hook| hook.runs()).map(|hook| (&hook.object, OF_HOOK));
    let deleted = objects
        .iter()
        .filter(|planned| ownership::resource_policy(&planned.manifest) != ResourcePolicy::Keep);
    let deleted = deleted.map(|planned| (&planned.object, &["delete"][..]));
    let needs: Vec<Need<'_>> = hooks.chain(deleted).collect();
    known.missing(&needs, " when the release is deleted").await
}

/// The rights of a tenant, as far as they were asked for.
struct Known<'a> {
    tenant: &'a Tenant<'a>,
    /// The rules in each namespace.
    rules: BTreeMap<String, Rules>,
    /// True if what other releases were answered just now counts, and if it was used.
    shares: bool,
    has_shared: bool,
    /// The answers about resources without a namespace: group, plural and verb.
    may: BTreeMap<(String, String, &'static str), bool>,
}

impl<'a> Known<'a> {
    fn new(tenant: &'a Tenant<'a>) -> Self {
        let (rules, may) = (BTreeMap::new(), BTreeMap::new());
        Self { tenant, rules, shares: true, has_shared: false, may }
    }

    /// Returns the rights among `needs` that are missing, with the remedy. `when` follows the name
    /// of each object.
    async fn missing(&mut self, needs: &[Need<'_>], when: &str) -> Result<Option<String>, Error> {
        let missing = self.lacking(needs, when).await?;
        if missing.is_none() || !self.has_shared {
            return Ok(missing);
        }
        // Somebody may have given them a moment ago.
        (self.shares, self.has_shared) = (false, false);
        self.rules.clear();
        self.lacking(needs, when).await
    }

    async fn lacking(&mut self, needs: &[Need<'_>], when: &str) -> Result<Option<String>, Error> {
        let tenant = self.tenant;
        let (mut missing, mut lacking) = (Vec::new(), Vec::new());
        for (object, verbs) in needs {
            let Some(kind) = tenant.kind(object).await? else { continue };
            let resource = &kind.resource;
            let mut denied = Vec::new();
            for verb in *verbs {
                let place = object.namespace.as_deref();
                if !self.allow(place, &resource.group, &resource.plural, verb).await? {
                    denied.push(*verb);
                }
            }
            if !denied.is_empty() {
                let place = object.namespace.as_ref();
                let of = (&*resource.group, &*resource.plural);
                lacking.push(Right::new(&denied, of.0, of.1, place.map(String::as_str)));
                missing.push(format!(
                    "{} may not {} {}{}, which {object} needs{when}",
                    tenant.identity.describe(),
                    denied.join(", "),
                    resource.plural,
                    place.map_or(String::new(), |namespace| format!(" in namespace {namespace}")),
                ));
            }
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let remedy = match tenant.identity.user() {
            Some(user) => rights::remedy(&user, &lacking),
            None => "give its ServiceAccount a role with these rights".to_owned(),
        };
        Ok(Some(format!("{}; {remedy}", listed(&missing, MOST_NAMED))))
    }

    async fn allow(
        &mut self,
        namespace: Option<&str>,
        group: &str,
        plural: &str,
        verb: &'static str,
    ) -> Result<bool, Error> {
        let Some(namespace) = namespace else {
            let key = (group.to_owned(), plural.to_owned(), verb);
            if let Some(known) = self.may.get(&key) {
                return Ok(*known);
            }
            let answer = may(self.tenant, group, plural, verb).await?;
            self.may.insert(key, answer);
            return Ok(answer);
        };
        if !self.rules.contains_key(namespace) {
            let rules = self.rules_in(namespace).await?;
            self.rules.insert(namespace.to_owned(), rules);
        }
        let rules = self.rules.get(namespace).and_then(Option::as_ref);
        Ok(rules.is_none_or(|rules| rules.iter().any(|it| allows(it, group, plural, verb))))
    }

    /// Returns the rules in `namespace`, which its releases share for a moment.
    async fn rules_in(&mut self, namespace: &str) -> Result<Rules, Error> {
        let lately = &self.tenant.cluster().rules;
        let key = (self.tenant.identity.clone(), namespace.to_owned());
        if let Some(known) = lately.get(&key).filter(|_| self.shares) {
            self.has_shared = true;
            return Ok(known);
        }
        let asked_at = Instant::now();
        let rules: Rules = rules_in(self.tenant, namespace).await?.map(Arc::from);
        let mut memory = Memory::new(MOST_SHARED);
        let mut all = rules.iter().flat_map(|rules| rules.iter());
        let is_small = all.all(|rule| memory.take_value(rule).is_ok());
        if is_small {
            lately.keep(key, asked_at, rules.clone());
        }
        Ok(rules)
    }
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
