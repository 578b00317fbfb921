//! The rights that `deploy/` gives the operator, taken apart into single ones and put together again.

use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, root, target};
use serde_json::{Deserializer, Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
pub(super) const ACCOUNT: &str = "releaselifecycle-controller";

/// The role that a tenant's namespace binds to the operator.
pub(super) const IMPERSONATOR: &str = "releaselifecycle-impersonator";

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    Everywhere,
    /// In the operator's own namespace, by a Role.
    Home,
    /// In the namespaces of tenants, by a `RoleBinding` that each of them makes.
    Tenant,
}

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Right {
    pub(super) place: Place,
    pub(super) verb: String,
    /// As the API server says it: `releaselifecycles/status`.
    pub(super) resource: String,
    group: Value,
    names: Option<Value>,
}

impl Right {
    fn rule(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]});
        if let Some(names) = &self.names {
            rule["resourceNames"] = names.clone();
        }
        rule
    }

    /// Of a review of it.
    fn attributes(&self, home: &Namespace, tenant: &Namespace) -> Value {
        let place = if self.place == Place::Tenant { tenant } else { home };
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let name = self.names.as_ref().map_or(&Value::Null, |names| &names[0]);
        json!({"namespace": place.name, "group": self.group, "verb": self.verb, "resource": resource,
               "subresource": subresource, "name": name})
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// The component of `deploy/multi-tenant` that opens all namespaces to the operator.
pub(super) const ALL_NAMESPACES: &str = "multi-tenant/all-namespaces";

/// Returns what kustomize makes of a folder of `deploy/`.
pub(crate) fn objects(flavour: &str) -> Result<Vec<Value>> {
    let deploy = root().join("deploy");
    let path = if flavour == ALL_NAMESPACES {
        let component = deploy.join(ALL_NAMESPACES);
        e2e::overlay("all-namespaces", &deploy.join("multi-tenant"), &[&component], &json!({}))?
    } else {
        deploy.join(flavour)
    };
    let create = ["create", "--dry-run=client", "--output=json", "--kustomize"];
    let text = kwok().kubectl([&create[..], &[&path.to_string_lossy()]].concat())?;
    Ok(Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>()?)
}

/// Returns what `releaselifecycle-…` is called by [`apply_renamed`].
pub(super) fn renamed(home: &Namespace, rest: &str) -> String {
    format!("{}-{rest}", home.name)
}

/// Applies a folder's roles, whom they are bound to, and the operator's `ServiceAccount`. Roles hold for the
/// whole cluster, on which other tests rely on the shipped ones: these have names of their own.
pub(super) fn apply_renamed(home: &Namespace, flavour: &str, how: &str) -> Result<()> {
    let mut items = objects(flavour)?;
    items.retain(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        kind == "ServiceAccount" || object["apiVersion"] == format!("{GROUP}/v1")
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let list = list.replace("releaselifecycle-system", &home.name);
    let list = list.replace("releaselifecycle-", &renamed(home, ""));
    let folder = target().join("tmp/switch");
    fs::create_dir_all(&folder)?;
    let file = folder.join(&home.name).with_extension("json");
    fs::write(&file, list)?;
    kwok().kubectl(["apply", how, "--filename", &file.to_string_lossy()]).map(drop)
}

/// Every right of every role that is bound to the operator's ServiceAccount, by this folder or by the
/// tenants.
pub(super) fn rights(flavour: &str) -> Result<Vec<Right>> {
    let objects = objects(flavour)?;
    let mut rights = Vec::new();
    let mut is_impersonator_bound = false;
    for binding in &objects {
        let is_bound = |subject: &Value| {
            subject["kind"] == "ServiceAccount"
                && subject["name"] == ACCOUNT
                && subject["namespace"] == "releaselifecycle-system"
        };
        if !binding["subjects"].as_array().is_some_and(|them| them.iter().any(is_bound)) {
            continue;
        }
        let at_home = binding["kind"] == "RoleBinding";
        ensure!(
            !at_home || binding["metadata"]["namespace"] == "releaselifecycle-system",
            "{binding} is not in the operator's own namespace"
        );
        is_impersonator_bound |= binding["roleRef"]["name"] == IMPERSONATOR;
        let place = if at_home { Place::Home } else { Place::Everywhere };
        rights.extend(of_role(&objects, &binding["roleRef"], place)?);
    }
    if !is_impersonator_bound {
        let role = json!({"kind": "ClusterRole", "name": IMPERSONATOR});
        rights.extend(of_role(&objects, &role, Place::Tenant)?);
    }
    ensure!(!rights.is_empty(), "deploy/{flavour} gives the operator no rights");
    Ok(rights)
}

fn of_role(objects: &[Value], wanted: &Value, place: Place) -> Result<Vec<Right>> {
    let role = objects
        .iter()
        .find(|role| role["kind"] == wanted["kind"] && role["metadata"]["name"] == wanted["name"]);
    let role = role.with_context(|| format!("there is no {wanted}"))?;
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().context("rules")? {
        rights.extend(apart(rule, place)?);
    }
    Ok(rights)
}

fn apart(rule: &Value, place: Place) -> Result<Vec<Right>> {
    let list = |key: &str| -> Result<Vec<String>> {
        let items = rule[key].as_array().with_context(|| format!("no {key} in {rule}"))?;
        items.iter().map(|item| Ok(item.as_str().context("a text")?.to_owned())).collect()
    };
    let (groups, resources, verbs) = (list("apiGroups")?, list("resources")?, list("verbs")?);
    ensure!(groups.len() == 1, "{rule}: one group for each rule tells whose the resource is");
    let wild = [&groups, &resources, &verbs].iter().any(|them| them.contains(&"*".to_owned()));
    ensure!(!wild, "{rule}: a wildcard is not the least that is needed");
    let right = |verb: &String, resource: &String| Right {
        place,
        verb: verb.clone(),
        resource: resource.clone(),
        group: json!(groups[0]),
        names: rule.get("resourceNames").cloned(),
    };
    Ok(resources.iter().flat_map(|it| verbs.iter().map(move |verb| right(verb, it))).collect())
}

/// Makes the operator's ServiceAccount in `home` and gives it `rights`, as `tenant` would, too; waits
/// until it has them.
pub(super) async fn grant(home: &Namespace, tenant: &Namespace, rights: &[&Right]) -> Result<()> {
    let name = &home.name;
    let rules = |place: Place| -> Vec<_> {
        rights.iter().filter(|it| it.place == place).map(|it| it.rule()).collect()
    };
    let subject = json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": name});
    let role = |kind: &str, namespace: &Namespace, place: Place| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
               "metadata": {"name": name, "namespace": namespace.name}, "rules": rules(place)})
    };
    let binding = |kind: &str, namespace: &Namespace, of: &str| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
               "metadata": {"name": name, "namespace": namespace.name}, "subjects": [subject],
               "roleRef": {"apiGroup": GROUP, "kind": of, "name": name}})
    };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"name": ACCOUNT, "namespace": name}});
    let objects = [
        account,
        role("ClusterRole", home, Place::Everywhere),
        binding("ClusterRoleBinding", home, "ClusterRole"),
        role("Role", home, Place::Home),
        binding("RoleBinding", home, "Role"),
        role("Role", tenant, Place::Tenant),
        binding("RoleBinding", tenant, "Role"),
    ];
    let text: Vec<_> = objects.iter().map(Value::to_string).collect();
    home.cluster().apply(&text.join("\n---\n"))?;
    for right in rights {
        home.wait_allowed(ACCOUNT, right.attributes(home, tenant), true).await?;
    }
    Ok(())
}
