//! The cluster as the operator describes it to the engine.

use anyhow::{Context, Result};
use e2e::Namespace;
use http::{Request, header::ACCEPT};
use kube::Client;
use serde_json::{Value, json};

use crate::charts::{Case, Needs};

/// Aggregated discovery, which Helm asks for too: what does not answer is left out of it.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The cluster's version, and each API version and kind that it serves.
pub(crate) async fn capabilities(client: &Client) -> Result<Value> {
    let version: Value = get(client, "/version", "application/json").await?.context("a version")?;
    let mut served = Vec::new();
    for path in ["/api", "/apis"] {
        let found = get(client, path, DISCOVERY).await?.context("discovery")?;
        for group in items(&found["items"]) {
            for version in items(&group["versions"]) {
                if version["freshness"] == "Stale" {
                    continue;
                }
                let name = group["metadata"]["name"].as_str().unwrap_or_default();
                let version_name = version["version"].as_str().unwrap_or_default();
                let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
                let gv = format!("{prefix}{version_name}");
                for resource in items(&version["resources"]) {
                    let sub = items(&resource["subresources"]);
                    for it in std::iter::once(resource).chain(sub) {
                        if let Some(kind) = it["responseKind"]["kind"].as_str() {
                            served.push(format!("{gv}/{kind}"));
                        }
                    }
                }
                served.push(gv);
            }
        }
    }
    served.sort();
    served.dedup();
    Ok(json!({"kubeVersion": version["gitVersion"], "apiVersions": served}))
}

/// The object or the list that the engine asks for; `null` where there is none.
pub(crate) async fn lookup(client: &Client, asked: &Value) -> Result<Value> {
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let root = format!("{root}/{version}");
    let served = get(client, &root, "application/json").await?;
    let served = served.with_context(|| format!("{version} is not served"))?;
    let is = |it: &&Value| {
        it["kind"] == kind && it["name"].as_str().is_some_and(|name| !name.contains('/'))
    };
    let Some(resource) = items(&served["resources"]).find(is) else { return Ok(Value::Null) };
    let mut path = root;
    if resource["namespaced"] == true && !text("namespace").is_empty() {
        path.extend(["/namespaces/", text("namespace")]);
    }
    path.extend(["/", resource["name"].as_str().unwrap_or_default()]);
    if !text("name").is_empty() {
        path.extend(["/", text("name")]);
    }
    Ok(get(client, &path, "application/json").await?.unwrap_or_default())
}

/// Makes what the chart needs besides itself. Helm refuses objects of kinds that it does not know, and
/// in a dry run it knows not even what the chart has in `crds`.
pub(crate) fn prepare(namespace: &Namespace, case: &Case) -> Result<()> {
    let Needs { kinds, crds, namespaces } = &case.needs;
    // Charts look into their namespace, and this is made a moment after it.
    let account = ["wait", "--for=create", "serviceaccount/default", "--timeout=60s"];
    namespace.kubectl(&account)?;
    for name in namespaces {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        namespace.cluster().apply(&object.to_string())?;
    }
    for kind in kinds {
        namespace.cluster().apply(&definition(kind)?.to_string())?;
    }
    if *crds {
        let folder = case.folder.join("crds");
        let folder = folder.to_string_lossy();
        // As Helm itself, or it would be refused what it applies later.
        let manager = "--field-manager=helm";
        namespace.kubectl(&["apply", "--server-side", manager, "--filename", &folder])?;
    }
    if *crds || !kinds.is_empty() {
        let all = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        namespace.kubectl(&all)?;
    }
    Ok(())
}

/// A CRD of a kind, given as `group/version/Kind`, that allows everything.
fn definition(kind: &str) -> Result<Value> {
    let mut parts = kind.splitn(3, '/');
    let mut part = || parts.next().context("kinds are group/version/Kind");
    let (group, version, kind) = (part()?, part()?, part()?);
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": singular},
            "scope": "Namespaced",
            "versions": [{"name": version, "served": true, "storage": true,
                          "schema": {"openAPIV3Schema": open}}],
        },
    }))
}

/// Returns what the API server answers; `None` where nothing is there.
async fn get(client: &Client, path: &str, accept: &str) -> Result<Option<Value>> {
    let request = Request::get(path).header(ACCEPT, accept).body(Vec::new())?;
    match client.request::<Value>(request).await {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error).with_context(|| format!("GET {path}")),
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
