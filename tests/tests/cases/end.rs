//! The end state: which objects there are, and what the records say.

use anyhow::Result;
use e2e::Namespace;
use helm::{ownership, record::ApplyMethod};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::Value;

use crate::script::NAMESPACE;

/// The kinds that cases use.
const KINDS: [(&str, &str); 8] = [
    ("v1", "ServiceAccount"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
    ("NAMESPACE.example.com/v1", "Widget"),
];
const CLUSTER_KINDS: [(&str, &str); 2] =
    [("v1", "Namespace"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")];

/// The objects that every namespace has.
const ALWAYS: [&str; 5] = [
    "configmaps/kube-root-ca.crt",
    // The beginning of the names of the operator's charts.
    "secrets/chart-of-step-",
    "serviceaccounts/default",
    "serviceaccounts/deployer",
    "serviceaccounts/limited",
];

/// The last lines of a transcript, `methods` with how each record says that it was applied.
pub(crate) async fn lines(namespace: &Namespace, methods: bool) -> Result<Vec<String>> {
    let name = &namespace.name;
    let mut lines = Vec::new();
    let mut namespaces = vec![name.clone()];
    for (api_version, kind) in CLUSTER_KINDS {
        for object in list(namespace, None, api_version, kind).await? {
            let object_name = text(&object["metadata"]["name"]);
            if object_name.contains(name.as_str()) && object_name != *name {
                lines.push(left(&object, kind, ""));
                if kind == "Namespace" {
                    namespaces.push(object_name);
                }
            }
        }
    }
    let mut records = Vec::new();
    for place in &namespaces {
        let prefix = if place == name { String::new() } else { format!("{place}/") };
        for (api_version, kind) in KINDS {
            let api_version = api_version.replace(NAMESPACE, name);
            for object in list(namespace, Some(place), &api_version, kind).await? {
                if object["type"] == helm::record::SECRET_TYPE {
                    records.push(object);
                } else if object["metadata"]["ownerReferences"].is_null() {
                    lines.push(left(&object, kind, &prefix));
                }
            }
        }
    }
    lines.retain(|line| !ALWAYS.iter().any(|other| line.contains(other)));
    let mut releases = Vec::new();
    for secret in &records {
        releases.push(helm::secret::from_secret(secret)?.0);
    }
    releases.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    for release in &releases {
        lines.extend(record(release, methods));
    }
    Ok(lines)
}

async fn list(
    namespace: &Namespace,
    place: Option<&str>,
    api_version: &str,
    kind: &str,
) -> Result<Vec<Value>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let client = namespace.client.clone();
    let api: Api<DynamicObject> = match place {
        Some(place) => Api::namespaced_with(client, place, &resource),
        None => Api::all_with(client, &resource),
    };
    match api.list(&ListParams::default()).await {
        Ok(found) => {
            Ok(found.items.into_iter().map(serde_json::to_value).collect::<Result<_, _>>()?)
        }
        // Most cases have no Widgets.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn left(object: &Value, kind: &str, prefix: &str) -> String {
    let metadata = &object["metadata"];
    let mut line = format!("left {prefix}{}/{}", plural(kind), text(&metadata["name"]));
    let mut say = |word: &str| {
        if !word.is_empty() {
            line.push(' ');
            line.push_str(word);
        }
    };
    match kind {
        "Job" => say(job_state(object)),
        "Pod" => say(object["status"]["phase"].as_str().unwrap_or("no phase")),
        "ConfigMap" => say(object["data"]["value"].as_str().unwrap_or_default()),
        _ => {}
    }
    if let Some((release, _)) = ownership::owner(object) {
        say(&format!("of {release}"));
    }
    if metadata["deletionTimestamp"].is_string() {
        say("Terminating");
    }
    line
}

fn job_state(job: &Value) -> &str {
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let true_ones = conditions.filter(|condition| condition["status"] == "True");
    let ends = ["Complete", "Failed", "Suspended"];
    let mut ended = true_ones.filter_map(|condition| condition["type"].as_str());
    ended.find(|type_| ends.contains(type_)).unwrap_or("running")
}

fn record(release: &helm::record::Release, methods: bool) -> Vec<String> {
    let mut hooks: Vec<_> = release.hooks.iter().map(hook).collect();
    hooks.sort();
    let mut head = format!("record {}.{} {}", release.name, release.version, release.info.status);
    if methods {
        head.push_str(match release.apply_method {
            Some(ApplyMethod::Ssa) => ", applied by the server",
            _ => ", applied by the client",
        });
    }
    std::iter::once(head).chain(hooks).collect()
}

fn hook(hook: &helm::record::Hook) -> String {
    let weight = match hook.weight {
        0 => String::new(),
        weight => format!(" {weight}"),
    };
    let head = format!("  {}/{}{weight} {}", plural(&hook.kind), hook.name, hook.events.join(","));
    // Helm writes the default policy down when the hook is run.
    match hook.last_run.phase {
        Some(phase) => format!("{head}: {phase:?} ({})", hook.delete_policies.join(",")),
        None => format!("{head}: not run"),
    }
}

fn plural(kind: &str) -> String {
    format!("{}s", kind.to_lowercase())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
