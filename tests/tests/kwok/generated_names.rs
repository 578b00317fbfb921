//! Names that kustomize makes for a ReleaseLifecycle, and for what it names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, message, root, target};
use serde_json::{Deserializer, Value, json};

/// Returns what `kubectl kustomize` makes of the folder.
fn build(folder: &Path) -> Result<Vec<Value>> {
    let create = ["create", "--dry-run=client", "--output=json", "--kustomize"];
    let text = kwok().kubectl([&create[..], &[&folder.to_string_lossy()]].concat())?;
    Ok(Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>()?)
}

fn find<'a>(objects: &'a [Value], kind: &str, prefix: &str) -> Result<&'a Value> {
    let is = |object: &&Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        object["kind"] == kind && name.starts_with(prefix)
    };
    objects.iter().find(is).with_context(|| format!("no {kind} {prefix} among {objects:#?}"))
}

/// A copy of `examples/kustomize` to change, for this namespace.
fn copy(name: &str, namespace: &str) -> Result<PathBuf> {
    let folder = target().join("tmp/kustomize").join(name);
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(root().join("examples/kustomize"))? {
        let file = file?;
        let text = fs::read_to_string(file.path())?;
        fs::write(folder.join(file.file_name()), text.replace("storefront", namespace))?;
    }
    Ok(folder)
}

#[test]
fn the_examples_configuration_is_the_one_that_is_shipped() -> Result<()> {
    let read = |path: &str| fs::read_to_string(root().join(path));
    let shipped = read("deploy/kustomize/name-reference.yaml")?;
    ensure!(read("examples/kustomize/name-reference.yaml")? == shipped, "copy the shipped one");
    Ok(())
}

#[test]
fn names_that_kustomize_makes_reach_the_release() -> Result<()> {
    let objects = build(&root().join("examples/kustomize"))?;
    let release = find(&objects, "ReleaseLifecycle", "eu-shop")?;
    let account = find(&objects, "ServiceAccount", "eu-shop-deployer")?;
    assert_eq!(release["spec"]["serviceAccountName"], account["metadata"]["name"]);
    let sources = release["spec"]["source"]["objectsFrom"].as_array().context("objectsFrom")?;
    assert_eq!(sources.len(), 2);
    for (source, (kind, prefix)) in
        sources.iter().zip([("ConfigMap", "eu-shop-objects-"), ("Secret", "eu-shop-secrets-")])
    {
        let made = find(&objects, kind, prefix)?;
        assert_eq!((&source["kind"], &source["name"]), (&json!(kind), &made["metadata"]["name"]));
    }
    Ok(())
}

/// A changed file is another `ConfigMap`, which the release names, which is an upgrade.
#[tokio::test]
async fn what_changes_in_a_source_upgrades_the_release() -> Result<()> {
    let namespace = Namespace::new(kwok(), "generated").await?;
    let folder = copy("changed", &namespace.name)?;
    let controller = namespace.controller()?;
    let apply = ["apply", "--kustomize", &folder.to_string_lossy()];
    let greeting = async || {
        let shop = namespace.object("ConfigMap", "shop").await?;
        anyhow::Ok(shop.map(|shop| shop["data"]["greeting"].clone()))
    };
    namespace.kubectl(&apply)?;
    let release = namespace.wait_ready("eu-shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 1 hook");
    assert_eq!(greeting().await?, Some(json!("hello")));

    let file = folder.join("shop.yaml");
    fs::write(&file, fs::read_to_string(&file)?.replace("hello", "good morning"))?;
    namespace.kubectl(&apply)?;
    let release = namespace.wait_ready("eu-shop", &controller).await?;
    assert_eq!(message(&release), "upgrade of revision 2 succeeded with 1 hook");
    assert_eq!(greeting().await?, Some(json!("good morning")));
    Ok(())
}

#[test]
fn a_release_that_depends_on_another_follows_its_name() -> Result<()> {
    let folder = copy("depends", "storefront")?;
    let release = |name: &str, more: Value| {
        let mut release = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": name},
            "spec": {"source": {"objectsFrom": [{"kind": "ConfigMap", "name": "shop-objects"}]}},
        });
        release["spec"]["dependsOn"] = more;
        release.to_string()
    };
    let both = [
        release("shop", json!([{"name": "elsewhere"}, {"name": "database"}])),
        release("database", json!([])),
    ];
    fs::write(folder.join("release.yaml"), both.join("\n---\n"))?;
    let objects = build(&folder)?;
    let shop = find(&objects, "ReleaseLifecycle", "eu-shop")?;
    // What is not of this kustomization keeps its name.
    assert_eq!(shop["spec"]["dependsOn"], json!([{"name": "elsewhere"}, {"name": "eu-database"}]));
    Ok(())
}

/// A Pod that names a `ConfigMap`, a Secret, an account and a claim at every place where it can.
fn pod(secret_volumes: &[(&str, &str)]) -> Value {
    let container = || {
        json!({"name": "a", "image": "busybox:1",
            "envFrom": [{"configMapRef": {"name": "map"}}, {"secretRef": {"name": "secret"}}],
            "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "a"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "a"}}}]})
    };
    let mut volumes = vec![
        json!({"name": "a", "configMap": {"name": "map"}}),
        json!({"name": "b", "secret": {"secretName": "secret"}}),
        json!({"name": "c", "persistentVolumeClaim": {"claimName": "claim"}}),
        json!({"name": "d", "projected": {"sources": [
            {"configMap": {"name": "map"}}, {"secret": {"name": "secret"}}]}}),
    ];
    volumes.extend(secret_volumes.iter().map(|(kind, field)| {
        let reference =
            if *kind == "azureFile" { json!("secret") } else { json!({"name": "secret"}) };
        json!({"name": kind, *kind: {*field: reference}})
    }));
    json!({"serviceAccountName": "account", "imagePullSecrets": [{"name": "secret"}], "containers": [container()],
        "initContainers": [container()], "volumes": volumes})
}

/// Every text of `value` that stands for a name of one of the four.
fn names<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => {
            let kinds = ["map", "secret", "account", "claim"];
            let is_name = |kind: &&str| text == *kind || text.starts_with(&format!("eu-{kind}"));
            found.extend(kinds.iter().any(is_name).then_some(text.as_str()));
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| names(value, found)),
        _ => {}
    }
}

#[test]
fn names_reach_everything_that_a_release_and_its_pods_name() -> Result<()> {
    let folder = copy("everything", "storefront")?;
    let kustomization = "namePrefix: eu-\nresources: [all.yaml]\n\
        configMapGenerator: [{name: map, literals: [a=b]}]\n\
        secretGenerator: [{name: secret, literals: [a=b]}]\n\
        configurations: [name-reference.yaml]\n";
    fs::write(folder.join("kustomization.yaml"), kustomization)?;
    let pod = pod(&[
        ("csi", "nodePublishSecretRef"),
        ("azureFile", "secretName"),
        ("cephfs", "secretRef"),
        ("flexVolume", "secretRef"),
        ("iscsi", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
        ("storageos", "secretRef"),
    ]);
    let object = |kind: &str, spec: Value| {
        json!({"apiVersion": "any/v1", "kind": kind, "metadata": {"name": kind.to_lowercase()},
            "spec": spec})
    };
    let mut template = object("PodTemplate", Value::Null);
    template["template"] = json!({"spec": pod});
    let template_of = json!({"template": {"spec": pod}});
    let objects = [
        object("Pod", pod.clone()),
        template,
        object("Deployment", template_of.clone()),
        object("Job", template_of.clone()),
        object("CronJob", json!({"jobTemplate": {"spec": template_of}})),
    ];
    let release = |name: &str, source: Value| {
        json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": name}, "spec": {"serviceAccountName": "account",
                "source": source, "valuesFrom": [{"kind": "ConfigMap", "name": "map"},
                    {"kind": "Secret", "name": "secret"}]}})
    };
    let secrets = json!({"secretRef": {"name": "secret"}, "certSecretRef": {"name": "secret"}});
    let core = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    let releases = [
        release("objects", json!({"objects": objects})),
        release("from", json!({"objectsFrom": [{"kind": "Secret", "name": "secret"}]})),
        release("oci", json!({"chart": {"oci": secrets}})),
        release("repository", json!({"chart": {"repository": secrets}})),
        release("map", json!({"chart": {"archive": {"kind": "ConfigMap", "name": "map"}}})),
        release("secret", json!({"chart": {"archive": {"kind": "Secret", "name": "secret"}}})),
        core("ServiceAccount", "account"),
        core("PersistentVolumeClaim", "claim"),
    ];
    let text: Vec<_> = releases.iter().map(Value::to_string).collect();
    fs::write(folder.join("all.yaml"), text.join("\n---\n"))?;
    let built = kwok().kubectl(["kustomize", &folder.to_string_lossy()])?;
    let built = helm::manifest::parse(&built)?;
    let mut count = 0;
    for object in built.iter().filter(|object| object["kind"] == "ReleaseLifecycle") {
        let mut found = Vec::new();
        names(&object["spec"], &mut found);
        let left: Vec<_> = found.iter().filter(|name| !name.starts_with("eu-")).collect();
        assert_eq!(left, Vec::<&&str>::new(), "{object:#}");
        count += found.len();
    }
    // So many in each of five Pods, and those of the releases themselves.
    assert_eq!(count, 5 * 23 + 6 * 3 + 7, "some name is not found any more");
    Ok(())
}
