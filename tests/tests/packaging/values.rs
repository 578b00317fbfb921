//! The values of the chart: each does something, wrong ones are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result, ensure};
use e2e::{documentation::book, helm::HELMS, manifests::Manifest, root};
use serde_json::{Value, json};

use super::render::{NAMESPACE, chart, defaults, helm, rendered};

/// Another value for each of `values.yaml`, by its JSON pointer.
fn others() -> BTreeMap<&'static str, Value> {
    let number = |value: u32| json!(value);
    BTreeMap::from([
        ("/image/repository", json!("registry.example/x")),
        ("/image/tag", json!("1")),
        ("/image/digest", json!(format!("sha256:{:064}", 1))),
        ("/image/pullPolicy", json!("Never")),
        ("/image/pullSecrets", json!(["registry"])),
        ("/replicas", number(1)),
        ("/shards", json!([{"name": "a", "selector": "shard=a"}])),
        ("/tenancy/mode", json!("single-tenant")),
        ("/tenancy/namespaces", json!(["shop"])),
        ("/tenancy/allNamespaces", json!(true)),
        ("/flags/namespace", json!("shop")),
        ("/flags/defaultServiceAccount", json!("deployer")),
        ("/flags/concurrency", number(1)),
        ("/flags/sourceWatches", number(0)),
        ("/flags/recordWatches", number(0)),
        ("/flags/takeoverSeconds", number(1)),
        ("/flags/engineProcesses", number(1)),
        ("/flags/engineMemoryMib", number(128)),
        ("/flags/engineCpuSeconds", number(1)),
        ("/flags/engineSeconds", number(1)),
        ("/flags/chartCacheMib", number(0)),
        ("/flags/sourceAllow", json!(["10.0.0.0/8"])),
        ("/flags/fluxArtifactHosts", json!(["source.example"])),
        ("/flags/insecureAllowHttp", json!(false)),
        ("/flags/metricsPerRelease", json!(true)),
        ("/flags/leaseName", json!("mine")),
        ("/flags/leaseSeconds", number(5)),
        ("/flags/logFormat", json!("json")),
        ("/flags/log", json!("debug")),
        ("/resources/requests/cpu", json!("1")),
        ("/resources/requests/memory", json!("1Gi")),
        ("/resources/limits/memory", json!("2Gi")),
        ("/priorityClassName", json!("")),
        ("/nodeSelector", json!({"a": "b"})),
        ("/tolerations", json!([{"operator": "Exists"}])),
        ("/affinity", json!({"nodeAffinity": {}})),
        ("/podLabels", json!({"a": "b"})),
        ("/podAnnotations", json!({"a": "b"})),
        ("/hostUsers", json!(false)),
        ("/namespace/create", json!(false)),
        ("/crds/install", json!(false)),
        ("/crds/keep", json!(false)),
        ("/networkPolicy/create", json!(false)),
        ("/admissionPolicy/create", json!(false)),
        ("/podMonitor/create", json!(true)),
        ("/podMonitor/labels", json!({"a": "b"})),
        ("/podMonitor/interval", json!("1m")),
        ("/prometheusRule/create", json!(true)),
        ("/prometheusRule/labels", json!({"a": "b"})),
        ("/dashboard/create", json!(true)),
        ("/dashboard/labels", json!({"a": "b"})),
    ])
}

/// The pointers to what has no keys of its own.
fn leaves(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value.as_object().filter(|it| !it.is_empty()) {
        None => drop(found.insert(path.to_owned())),
        Some(map) => {
            for (key, value) in map {
                leaves(&format!("{path}/{key}"), value, found);
            }
        }
    }
}

#[test]
fn every_value_changes_what_is_rendered() -> Result<()> {
    let (others, mut known) = (others(), BTreeSet::new());
    leaves("", &defaults()?, &mut known);
    let tried: BTreeSet<_> = others.keys().map(|it| (*it).to_owned()).collect();
    assert_eq!(tried, known, "each value of values.yaml is tried");
    for (pointer, other) in others {
        // Values of what is not made do nothing.
        let base = match pointer {
            "/podMonitor/labels" | "/podMonitor/interval" => {
                json!({"podMonitor": {"create": true}})
            }
            "/prometheusRule/labels" => json!({"prometheusRule": {"create": true}}),
            "/dashboard/labels" => json!({"dashboard": {"create": true}}),
            _ => json!({}),
        };
        let before = rendered("helm", NAMESPACE, &base)?;
        let after = rendered("helm", NAMESPACE, &base.set(pointer, other));
        let after = after.with_context(|| pointer.to_owned())?;
        ensure!(before != after, "{pointer} changes nothing");
    }
    Ok(())
}

#[test]
fn wrong_values_are_refused_and_named() -> Result<()> {
    for (values, expected) in [
        (json!({"imag": {}}), "'imag' not allowed"),
        (json!({"image": {"tga": "1"}}), "'tga' not allowed"),
        (json!({"image": {"digest": "sha256:1"}}), "/image/digest"),
        (json!({"image": {"tag": 1}}), "/image/tag"),
        (json!({"image": {"tag": ""}}), "image.tag or image.digest is needed"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        (json!({"image": {"pullSecrets": [{"name": "x"}]}}), "/image/pullSecrets/0"),
        (json!({"replicas": "2"}), "/replicas"),
        (json!({"replicas": -1}), "/replicas"),
        (json!({"shards": [{"name": "a"}]}), "/shards/0"),
        (
            json!({"shards": [{"name": "a", "selector": "a"}], "flags": {"leaseName": "b"}}),
            "each shard has a lease of its own",
        ),
        (json!({"tenancy": {"mode": "both"}}), "/tenancy/mode"),
        (json!({"tenancy": {"namespaces": ["Shop"]}}), "/tenancy/namespaces/0"),
        (json!({"tenancy": {"namespaces": ["a.b"]}}), "/tenancy/namespaces/0"),
        (json!({"tenancy": {"namespaces": ["kube-system"]}}), "the ServiceAccounts of kube-system"),
        (json!({"tenancy": {"namespaces": [NAMESPACE]}}), "the ServiceAccounts of"),
        (
            json!({"tenancy": {"mode": "single-tenant", "allNamespaces": true}}),
            "are for tenancy.mode multi-tenant",
        ),
        (json!({"tenancy": {"namespaces": ["a"], "allNamespaces": true}}), "set one of them"),
        (json!({"flags": {"single-tenant": true}}), "'single-tenant' not allowed"),
        (json!({"flags": {"concurrency": 0}}), "/flags/concurrency"),
        (json!({"flags": {"concurrency": 1.5}}), "/flags/concurrency"),
        (json!({"flags": {"leaseSeconds": 4}}), "/flags/leaseSeconds"),
        (json!({"flags": {"sourceAllow": "10.0.0.0/8"}}), "/flags/sourceAllow"),
        (json!({"flags": {"insecureAllowHttp": "false"}}), "/flags/insecureAllowHttp"),
        (json!({"flags": {"logFormat": "xml"}}), "/flags/logFormat"),
        (json!({"resources": {"limit": {}}}), "'limit' not allowed"),
        (json!({"resources": {"limits": {"memory": "much"}}}), "/resources/limits/memory"),
        (json!({"tolerations": {"key": "a"}}), "/tolerations"),
        (json!({"tolerations": [{"kye": "a"}]}), "'kye' not allowed"),
        (json!({"affinity": {"nodes": {}}}), "'nodes' not allowed"),
        (json!({"nodeSelector": {"a": true}}), "/nodeSelector/a"),
        (json!({"podLabels": {"app.kubernetes.io/name": "x"}}), "/podLabels"),
        (json!({"podAnnotations": []}), "/podAnnotations"),
        (json!({"hostUsers": "no"}), "/hostUsers"),
        (json!({"crds": {"install": "no"}}), "/crds/install"),
        (json!({"podMonitor": {"interval": "often"}}), "/podMonitor/interval"),
        (json!({"dashboard": {"labels": {"a": 1}}}), "/dashboard/labels/a"),
    ] {
        for program in HELMS {
            let error = rendered(program, NAMESPACE, &values).err();
            let error = error.with_context(|| format!("{program} accepts {values}"))?.to_string();
            ensure!(error.contains(expected), "{program}, {values}: {error}");
        }
    }
    Ok(())
}

#[test]
fn each_shard_has_a_deployment_and_a_lease() -> Result<()> {
    let values = json!({"shards": [{"name": "a", "selector": "shard=a"},
                                   {"name": "rest", "selector": "shard!=a"}]});
    let objects = rendered("helm", NAMESPACE, &values)?;
    let of_kind = |kind: &'static str| objects.values().filter(move |it| it["kind"] == kind);
    let mut labels = BTreeSet::new();
    let mut flags = BTreeSet::new();
    for deployment in of_kind("Deployment") {
        let of_pods = &deployment["spec"]["template"];
        ensure!(deployment["spec"]["selector"]["matchLabels"] == of_pods["metadata"]["labels"]);
        labels.insert(of_pods["metadata"]["labels"]["releaselifecycle.dev/shard"].to_string());
        flags.insert(of_pods["spec"]["containers"][0]["args"].to_string());
    }
    assert_eq!(labels, ["\"a\"", "\"rest\""].map(str::to_owned).into());
    let of_shards = ["[\"--selector=shard!=a\"]", "[\"--selector=shard=a\"]"];
    assert_eq!(flags, of_shards.map(str::to_owned).into());
    // As the operator names them (`tests/tests/kwok/replicas/shards.rs`).
    let leases =
        json!(["releaselifecycle-controller-3d8dfb26", "releaselifecycle-controller-77a1ece5"]);
    let mut rules = of_kind("Role").flat_map(|role| role["rules"].as_array().into_iter().flatten());
    ensure!(rules.any(|rule| rule["resourceNames"] == leases), "the Role names other leases");
    Ok(())
}

#[test]
fn a_namespace_of_others_is_refused() -> Result<()> {
    for namespace in ["default", "kube-system"] {
        for program in HELMS {
            let error = rendered(program, namespace, &json!({})).err();
            let error = error.with_context(|| format!("{program} accepts {namespace}"))?;
            ensure!(error.to_string().contains("a namespace of its own"), "{program}: {error}");
            let own = json!({"namespace": {"create": false}});
            rendered(program, namespace, &own).with_context(|| namespace.to_owned())?;
        }
    }
    Ok(())
}

#[test]
fn helm_finds_nothing_to_complain_about() -> Result<()> {
    for program in HELMS {
        for values in [
            json!({}),
            json!({"tenancy": {"mode": "single-tenant"}}),
            json!({"tenancy": {"allNamespaces": true}, "podMonitor": {"create": true}}),
        ] {
            let chart = chart();
            let lint = ["lint", "--strict", &*chart.to_string_lossy(), "--namespace", NAMESPACE];
            let output = helm(program, &lint, &values)?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(output.status.success(), "{program}: {said}");
            ensure!(!said.contains("[WARNING]"), "{program}: {said}");
        }
    }
    Ok(())
}

/// The help of the operator is generated into the page.
#[test]
fn the_flags_are_those_of_the_operator() -> Result<()> {
    /// Given by the chart itself, or of no use in a Pod.
    const OTHERS: [&str; 12] = [
        "single-tenant",
        "selector",
        "listen",
        "metrics-address",
        "kubeconfig",
        "engine",
        "chart-cache",
        "lease-namespace",
        "identity",
        "no-leader-election",
        "help",
        "version",
    ];
    let page = fs::read_to_string(book().join("operations.md"))?;
    let flags = page.lines().filter_map(|line| {
        let (_, flag) = line.strip_prefix("  ")?.split_once("--")?;
        let is_flag = line.trim_start().starts_with("--") || line.trim_start().starts_with('-');
        is_flag.then(|| flag.split(|c: char| !c.is_ascii_lowercase() && c != '-').next())?
    });
    let mut flags: BTreeSet<_> = flags.map(str::to_owned).collect();
    for other in OTHERS {
        ensure!(flags.remove(other), "the operator has no --{other}");
    }
    let values = defaults()?;
    let names = values["flags"].as_object().context("flags")?.keys().map(|name| {
        let mut kebab = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() {
                kebab.push('-');
            }
            kebab.push(c.to_ascii_lowercase());
        }
        kebab
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), flags);
    Ok(())
}

#[test]
fn the_readme_of_the_chart_names_every_value() -> Result<()> {
    let readme = fs::read_to_string(chart().join("README.md"))?;
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let named: BTreeSet<_> = rows.map(|row| format!("/{}", row.replace('.', "/"))).collect();
    let mut known = BTreeSet::new();
    leaves("", &defaults()?, &mut known);
    let of_flags = |pointer: &String| pointer.starts_with("/flags/");
    let of_resources = |pointer: &String| pointer.starts_with("/resources/");
    known.retain(|pointer| !of_flags(pointer) && !of_resources(pointer));
    known.extend(["/flags/*".to_owned(), "/resources".to_owned()]);
    assert_eq!(named, known);
    Ok(())
}

/// The page names the oldest version, and that of the tests.
#[test]
fn older_versions_of_kubernetes_are_refused() -> Result<()> {
    let chart = chart();
    let template = ["template", &*chart.to_string_lossy(), "--kube-version", "v1.29.9"];
    for program in HELMS {
        let output = helm(program, &template, &json!({}))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{program}: 1.29 is accepted");
        ensure!(said.contains("requires kubeVersion: >=1.30.0-0"), "{program}: {said}");
    }
    let pins = fs::read_to_string(root().join("tests/cluster/go.mod"))?;
    let (_, rest) = pins.split_once("k8s.io/kubernetes v").context("Kubernetes")?;
    let minor = rest.split('.').take(2).collect::<Vec<_>>().join(".");
    let page = fs::read_to_string(book().join("install.md"))?;
    for said in ["1.30 or later", &format!("The tests run on {minor}.")] {
        ensure!(page.contains(said), "install.md does not say {said:?}");
    }
    Ok(())
}

#[test]
fn the_versions_are_those_of_the_workspace() -> Result<()> {
    let text = fs::read_to_string(root().join("deploy/chart/Chart.yaml"))?;
    let chart: Value = serde_saphyr::from_str(&text)?;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
    Ok(())
}
