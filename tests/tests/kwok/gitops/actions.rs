//! Argo CD's actions beside `kubectl lifecycle`: offered where that makes a request, and the same change.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, manifests::config_map};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use testkit::audit::Event;

use super::lua;
use crate::cli::Cli;

/// The part that Argo CD reads from its `ConfigMap`.
const SHIPPED: &str = include_str!("../../../../deploy/argocd/actions.yaml");

/// Each action, and the command that does the same.
const COMMANDS: [(&str, &[&str]); 8] = [
    ("retry", &["retry"]),
    ("restart", &["retry", "--restart"]),
    ("cancel", &["cancel"]),
    ("skip", &["skip"]),
    ("test", &["test"]),
    ("approve", &["approve"]),
    ("suspend", &["suspend"]),
    ("resume", &["resume"]),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shipped {
    #[serde(rename = "discovery.lua")]
    discovery: String,
    definitions: Vec<Definition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: String,
    #[serde(rename = "action.lua")]
    script: String,
}

/// Argo CD's actions.
pub(super) struct Actions {
    discovery: String,
    scripts: BTreeMap<String, String>,
}

impl Actions {
    pub(super) fn shipped() -> Result<Self> {
        let Shipped { discovery, definitions } = serde_saphyr::from_str(SHIPPED)?;
        let scripts: BTreeMap<_, _> =
            definitions.into_iter().map(|it| (it.name, it.script)).collect();
        let compared = COMMANDS.map(|(action, _)| action);
        ensure!(scripts.keys().all(|it| compared.contains(&&**it)), "{:?}", scripts.keys());
        Ok(Self { discovery, scripts })
    }

    /// The change that each offered action makes of the object, by the action's name.
    fn changes(&self, object: &Value) -> Result<BTreeMap<&'static str, Value>> {
        let offered = lua::eval(&self.discovery, object)?;
        let offered = offered.as_object().context("a table of actions")?;
        ensure!(offered.len() == COMMANDS.len(), "{offered:?}");
        // Numbers and empty lists may come back in another form.
        let before = lua::eval("return obj", object)?;
        let mut changes = BTreeMap::new();
        for (action, _) in COMMANDS {
            if offered[action]["disabled"] == true {
                continue;
            }
            let script = self.scripts.get(action).with_context(|| format!("no {action}"))?;
            let change = difference(&before, &lua::eval(script, object)?);
            changes.insert(action, comparable(change)?);
        }
        Ok(changes)
    }

    /// Compares them with the requests of `kubectl lifecycle` on these objects, which do not change, and
    /// returns which are offered for each.
    pub(super) fn check(
        &self,
        namespace: &Namespace,
        objects: &BTreeMap<&str, Value>,
    ) -> Result<BTreeMap<String, Vec<&'static str>>> {
        let cli = Cli::new(namespace)?;
        let mut made = Vec::new();
        for name in objects.keys() {
            for (action, command) in COMMANDS {
                let end = cli.run(&[command, &[*name, "--dry-run"]].concat())?;
                if end.out.contains("(dry run: nothing was changed)") {
                    made.push((*name, action));
                }
            }
        }
        let is_request = |event: &Event| {
            let agent = event.user_agent.as_deref().unwrap_or_default();
            event.is_dry_run()
                && event.verb == "patch"
                && event.resource == "releaselifecycles"
                && agent.starts_with("kubectl-lifecycle/")
        };
        let asked: Vec<_> = namespace.audit()?.into_iter().filter(is_request).collect();
        ensure!(asked.len() == made.len(), "{} requests of {made:?}", asked.len());
        let mut expected: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
        for ((name, action), request) in made.into_iter().zip(asked) {
            ensure!(request.name.as_deref() == Some(name), "{request:?} is of {name}");
            expected.entry(name).or_default().insert(action, comparable(request.request)?);
        }
        let mut offered = BTreeMap::new();
        for (name, object) in objects {
            let changes = self.changes(object)?;
            let expected = expected.remove(name).unwrap_or_default();
            ensure!(changes == expected, "{name}: {changes:#?}, not {expected:#?}: {object:#}");
            offered.insert((*name).to_owned(), changes.into_keys().collect());
        }
        Ok(offered)
    }
}

/// The merge patch that makes `after` of `before`, as Argo CD computes it.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return after.clone() };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(old) if old == value => {}
            Some(old) => drop(patch.insert(key.clone(), difference(old, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    let removed = old.keys().filter(|key| !new.contains_key(*key));
    patch.extend(removed.map(|key| (key.clone(), Value::Null)));
    Value::Object(patch)
}

/// The patch without what differs each time: times, users, and which object was read.
fn comparable(mut patch: Value) -> Result<Value> {
    let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Ok(patch);
    };
    metadata.remove("uid");
    metadata.remove("resourceVersion");
    for (key, value) in
        metadata.get_mut("annotations").and_then(Value::as_object_mut).into_iter().flatten()
    {
        let text = value.as_str().context("a text")?;
        if key.ends_with("At") {
            let _: Timestamp = text.parse().with_context(|| format!("{key}={text}"))?;
            *value = json!("a time");
        } else if key.ends_with("By") {
            ensure!(!text.is_empty(), "{key} is empty");
            *value = json!("a user");
        }
    }
    if metadata.is_empty() {
        patch.as_object_mut().context("a patch")?.remove("metadata");
    }
    Ok(patch)
}

/// Argo CD's scripts see no null, and Argo CD turns `[{}]` into `[[]]`: both would be written.
#[tokio::test]
async fn a_spec_that_argo_cd_would_change_has_no_actions() -> Result<()> {
    let namespace = Namespace::new(kwok(), "lossy").await?;
    let actions = Actions::shipped()?;
    let policy = |ingress: Value| {
        let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "policy"}, "spec": {"podSelector": {}, "ingress": ingress}});
        json!({"source": {"objects": [policy, config_map("main", "1")]}})
    };
    let values = |values: Value| {
        let oci = json!({"url": "oci://registry.example/shop", "version": "1"});
        json!({"source": {"chart": {"oci": oci}}, "values": values})
    };
    for (name, spec, is_kept) in [
        ("ports", policy(json!([{"from": [{"podSelector": {}}], "ports": []}])), true),
        ("all", policy(json!([{}])), false),
        ("one-of-all", policy(json!([{"from": [{"podSelector": {}}, {}]}])), false),
        ("values", values(json!({"a": {"b": 1, "c": []}, "d": {}, "e": [{"f": "g"}]})), true),
        ("no-values", values(json!({})), true),
        ("null", values(json!({"a": null})), false),
        ("inner-null", values(json!({"a": {"b": null, "c": 1}})), false),
    ] {
        namespace.release(name, &[], spec).await?;
        let get = ["get", "rl", name, "--output=json", "--show-managed-fields"];
        let object: Value = serde_json::from_str(&namespace.kubectl(&get)?)?;
        let changes = actions.changes(&object)?;
        assert_eq!(!changes.is_empty(), is_kept, "{name}: {object:#}");
        // Argo CD runs an action that it does not offer, too.
        for script in actions.scripts.values().filter(|_| !is_kept) {
            let refused = lua::eval(script, &object).err().context("it is changed")?.to_string();
            assert!(refused.contains("use kubectl lifecycle"), "{name}: {refused}");
        }
    }
    Ok(())
}
