//! Kinds of Flux on a cluster without Flux: as much of them as is read here.

use anyhow::Result;
use e2e::kwok;
use serde_json::{Value, json};

/// Returns the definition of a kind whose spec and status are anything.
pub(crate) fn crd(kind: &str, plural: &str, group: &str, version: &str) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": version, "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": any, "status": any},
                }},
            }],
        },
    })
}

/// Applies definitions, and waits until the cluster serves them.
pub(crate) fn install(crds: &[Value]) -> Result<()> {
    kwok().apply(&json!({"apiVersion": "v1", "kind": "List", "items": crds}).to_string())?;
    let name =
        |crd: &Value| format!("crd/{}", crd["metadata"]["name"].as_str().unwrap_or_default());
    let names: Vec<_> = crds.iter().map(name).collect();
    let mut args = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    args.extend(names.iter().map(String::as_str));
    kwok().kubectl(args).map(drop)
}
