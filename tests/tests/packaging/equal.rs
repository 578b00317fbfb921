//! The chart beside the kustomizations, object by object.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use e2e::{helm::HELMS, overlay, root};
use serde_json::{Value, json};

use super::render::{NAMESPACE, Objects, differences, kustomized, rendered};

/// The annotation by which Helm leaves an object where it is.
const KEEP: (&str, &str) = ("helm.sh/resource-policy", "keep");

fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

/// Takes Helm's own annotation off the two objects that stay: the only thing that the kustomizations lack.
fn without_keep(mut objects: Objects) -> Result<Objects> {
    for kind in ["CustomResourceDefinition", "Namespace"] {
        let object = objects.values_mut().find(|it| it["kind"] == kind);
        let metadata = &mut object.with_context(|| format!("no {kind}"))?["metadata"];
        let annotations = metadata["annotations"].as_object_mut();
        let annotations = annotations.with_context(|| format!("{kind} has no annotations"))?;
        let (key, value) = KEEP;
        ensure!(annotations.remove(key) == Some(json!(value)), "{kind} does not stay");
        if annotations.is_empty() {
            metadata.as_object_mut().context("metadata")?.remove("annotations");
        }
    }
    Ok(objects)
}

fn compare(what: &str, folder: &std::path::Path, values: &Value) -> Result<()> {
    let expected = kustomized(folder)?;
    for helm in HELMS {
        let found = without_keep(rendered(helm, NAMESPACE, values)?)?;
        let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&expected), "{helm}, {what}");
        for (id, object) in &found {
            let wrong = differences(object, &expected[id]);
            ensure!(wrong.is_empty(), "{helm}, {what}: {id}: {}", wrong.join("\n"));
        }
    }
    Ok(())
}

#[test]
fn the_chart_without_values_is_the_multi_tenant_kustomization() -> Result<()> {
    compare("multi-tenant", &deploy("multi-tenant"), &json!({}))
}

#[test]
fn the_chart_is_the_single_tenant_kustomization() -> Result<()> {
    let values = json!({"tenancy": {"mode": "single-tenant"}});
    compare("single-tenant", &deploy("single-tenant"), &values)
}

#[test]
fn the_chart_has_what_the_kustomization_has_for_monitoring() -> Result<()> {
    let expected = kustomized(&deploy("monitoring"))?;
    let create = json!({"create": true});
    let values = json!({"podMonitor": create, "prometheusRule": create, "dashboard": create});
    for helm in HELMS {
        let found = rendered(helm, NAMESPACE, &values)?;
        for (id, object) in &expected {
            let same = found.get(id).with_context(|| format!("{helm} makes no {id}"))?;
            let wrong = differences(same, object);
            ensure!(wrong.is_empty(), "{helm}: {id}: {}", wrong.join("\n"));
        }
    }
    Ok(())
}

#[test]
fn the_chart_is_the_component_of_all_namespaces() -> Result<()> {
    let component = deploy("multi-tenant/all-namespaces");
    let folder = overlay("chart-all", &deploy("multi-tenant"), &[&component], &json!({}))?;
    compare("all-namespaces", &folder, &json!({"tenancy": {"allNamespaces": true}}))
}

/// Values in the place of patches of the kustomization.
#[test]
fn the_values_are_what_patches_of_the_kustomization_are() -> Result<()> {
    let digest = format!("sha256:{:064}", 7);
    let tolerations =
        json!([{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]);
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "arm", "operator": "DoesNotExist"}]}],
    }}});
    let resources = json!({"limits": {"memory": "2Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}});
    let args = json!([
        "--concurrency=32",
        "--insecure-allow-http=false",
        "--log-format=json",
        "--source-allow=10.0.0.0/8",
        "--source-allow=charts.example.com:8443",
        "--takeover-seconds=604800"
    ]);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "releaselifecycle-controller", "namespace": NAMESPACE},
        "spec": {"replicas": 3, "template": {
            "metadata": {"labels": {"team": "ops"}, "annotations": {"note": "x"}},
            "spec": {
                "hostUsers": false, "nodeSelector": {"disk": "ssd"}, "tolerations": tolerations,
                "affinity": affinity, "priorityClassName": "system-cluster-critical",
                "imagePullSecrets": [{"name": "registry"}],
                "containers": [{"name": "controller", "imagePullPolicy": "Always", "args": args,
                    "resources": resources}],
            },
        }},
    });
    let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "releaselifecycle-controller"}, "$patch": "delete"});
    let image = "registry.example/ops/releaselifecycle";
    let kustomization = json!({
        "images": [{"name": "releaselifecycle-controller", "newName": image, "newTag": "0.1.0",
            "digest": digest}],
        "patches": [{"patch": deployment.to_string()}, {"patch": class.to_string()}],
    });
    let folder = overlay("chart-values", &deploy("multi-tenant"), &[], &kustomization)?;
    let values = json!({
        "image": {"repository": image, "tag": "0.1.0", "digest": digest, "pullPolicy": "Always",
            "pullSecrets": ["registry"]},
        "replicas": 3, "podLabels": {"team": "ops"}, "podAnnotations": {"note": "x"},
        "hostUsers": false, "nodeSelector": {"disk": "ssd"}, "tolerations": tolerations,
        "affinity": affinity, "priorityClassName": "system-cluster-critical", "resources": resources,
        "flags": {"concurrency": 32, "insecureAllowHttp": false, "logFormat": "json",
            "sourceAllow": ["10.0.0.0/8", "charts.example.com:8443"], "takeoverSeconds": 604_800},
    });
    compare("values", &folder, &values)
}

#[test]
fn the_chart_has_no_hooks_and_goes_into_any_namespace() -> Result<()> {
    let namespaces = json!({"tenancy": {"namespaces": ["shop"]}, "podMonitor": {"create": true}});
    let all = json!({"tenancy": {"allNamespaces": true}});
    let single = json!({"tenancy": {"mode": "single-tenant"}});
    for values in [namespaces, all, single] {
        for (id, object) in rendered("helm", "ops", &values)? {
            let annotations = object["metadata"]["annotations"].as_object();
            let mut names = annotations.into_iter().flat_map(|it| it.keys());
            ensure!(!names.any(|name| name.starts_with("helm.sh/hook")), "{id} is a hook");
            ensure!(!object.to_string().contains(NAMESPACE), "{id} is of {NAMESPACE}");
        }
    }
    Ok(())
}

/// An operator with `--namespace` has a lease of another name, which its role has to name.
#[test]
fn the_role_names_the_lease_that_the_operator_takes() -> Result<()> {
    for (flags, lease) in [
        (json!({}), "releaselifecycle-controller"),
        (json!({"namespace": "shop"}), "releaselifecycle-controller-shop"),
        (json!({"leaseName": "mine", "namespace": "shop"}), "mine"),
    ] {
        let objects = rendered("helm", NAMESPACE, &json!({"flags": flags}))?;
        let role = &objects[&format!("Role {NAMESPACE}/releaselifecycle-controller")];
        assert_eq!(role["rules"][0]["resourceNames"], json!([lease]), "{flags}");
    }
    Ok(())
}
