//! What `deploy/` gives the operator, taken apart into single rights and put together again.

use std::fmt;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, root};
use serde_json::{Deserializer, Value, json};

const GROUP: &str = "rbac.authorization.k8s.io";
pub(super) const ACCOUNT: &str = "releaselifecycle-controller";

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Right {
    /// In a Role, which holds in the operator's own namespace, and not in a `ClusterRole`.
    at_home: bool,
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
    fn attributes(&self, home: &str) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let name = self.names.as_ref().map_or(&Value::Null, |names| &names[0]);
        json!({"namespace": home, "group": self.group, "verb": self.verb, "resource": resource,
               "subresource": subresource, "name": name})
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// What kustomize makes of a folder of `deploy/`.
pub(super) fn objects(flavour: &str) -> Result<Vec<Value>> {
    let path = root().join("deploy").join(flavour);
    let create = ["create", "--dry-run=client", "--output=json", "--kustomize"];
    let text = kwok().kubectl([&create[..], &[&path.to_string_lossy()]].concat())?;
    Ok(Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>()?)
}

/// Every right of every role that is bound to the operator's ServiceAccount.
pub(super) fn rights(flavour: &str) -> Result<Vec<Right>> {
    let objects = objects(flavour)?;
    let mut rights = Vec::new();
    for binding in &objects {
        let is_bound = |subject: &Value| {
            subject["kind"] == "ServiceAccount"
                && subject["name"] == ACCOUNT
                && subject["namespace"] == "releaselifecycle-system"
        };
        if !binding["subjects"].as_array().is_some_and(|them| them.iter().any(is_bound)) {
            continue;
        }
        let wanted = &binding["roleRef"];
        let role = objects.iter().find(|role| {
            role["kind"] == wanted["kind"] && role["metadata"]["name"] == wanted["name"]
        });
        let role = role.with_context(|| format!("deploy/{flavour} has no {wanted}"))?;
        let at_home = binding["kind"] == "RoleBinding";
        ensure!(
            !at_home || binding["metadata"]["namespace"] == "releaselifecycle-system",
            "{binding} is not in the operator's own namespace"
        );
        for rule in role["rules"].as_array().context("rules")? {
            rights.extend(apart(rule, at_home)?);
        }
    }
    ensure!(!rights.is_empty(), "deploy/{flavour} gives the operator no rights");
    Ok(rights)
}

fn apart(rule: &Value, at_home: bool) -> Result<Vec<Right>> {
    let list = |key: &str| -> Result<Vec<String>> {
        let items = rule[key].as_array().with_context(|| format!("no {key} in {rule}"))?;
        items.iter().map(|item| Ok(item.as_str().context("a text")?.to_owned())).collect()
    };
    let (groups, resources, verbs) = (list("apiGroups")?, list("resources")?, list("verbs")?);
    ensure!(groups.len() == 1, "{rule}: one group for each rule tells whose the resource is");
    let wild = [&groups, &resources, &verbs].iter().any(|them| them.contains(&"*".to_owned()));
    ensure!(!wild, "{rule}: a wildcard is not the least that is needed");
    let right = |verb: &String, resource: &String| Right {
        at_home,
        verb: verb.clone(),
        resource: resource.clone(),
        group: json!(groups[0]),
        names: rule.get("resourceNames").cloned(),
    };
    Ok(resources.iter().flat_map(|it| verbs.iter().map(move |verb| right(verb, it))).collect())
}

/// Makes the operator's ServiceAccount in `home` and gives it `rights`; waits until it has them.
pub(super) async fn grant(home: &Namespace, rights: &[&Right]) -> Result<()> {
    let name = &home.name;
    let rules = |at_home: bool| -> Vec<_> {
        rights.iter().filter(|it| it.at_home == at_home).map(|it| it.rule()).collect()
    };
    let subject = json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": name});
    let role = |kind: &str, rules: Vec<Value>| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
               "metadata": {"name": name, "namespace": name}, "rules": rules})
    };
    let binding = |kind: &str, of: &str| {
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
               "metadata": {"name": name, "namespace": name}, "subjects": [subject],
               "roleRef": {"apiGroup": GROUP, "kind": of, "name": name}})
    };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                         "metadata": {"name": ACCOUNT, "namespace": name}});
    let objects = [
        account,
        role("ClusterRole", rules(false)),
        binding("ClusterRoleBinding", "ClusterRole"),
        role("Role", rules(true)),
        binding("RoleBinding", "Role"),
    ];
    let text: Vec<_> = objects.iter().map(Value::to_string).collect();
    home.cluster().apply(&text.join("\n---\n"))?;
    for right in rights {
        home.wait_allowed(ACCOUNT, right.attributes(&home.name), true).await?;
    }
    Ok(())
}
