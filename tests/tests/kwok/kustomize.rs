//! What kustomize makes of a ReleaseLifecycle, and of what it names.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, root, target};
use serde_json::{Deserializer, Value, json};

/// What `kubectl kustomize` makes of the folder.
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

/// A copy of `examples/kustomize` to change.
fn copy(name: &str) -> Result<std::path::PathBuf> {
    let folder = target().join("tmp/kustomize").join(name);
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(root().join("examples/kustomize"))? {
        let file = file?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
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

#[tokio::test]
async fn names_that_kustomize_makes_reach_the_release() -> Result<()> {
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
    // And the API server takes it.
    let namespace = Namespace::new(kwok(), "kustomize").await?;
    let mut release = release.clone();
    release["metadata"]["namespace"] = json!(namespace.name);
    let file = target().join("tmp/kustomize/release.json");
    fs::create_dir_all(file.parent().context("a folder")?)?;
    fs::write(&file, release.to_string())?;
    let file = file.to_string_lossy();
    namespace.kubectl(&["create", "--dry-run=server", "--filename", &file])?;
    Ok(())
}

#[test]
fn what_changes_in_a_source_changes_the_release() -> Result<()> {
    let folder = copy("changed")?;
    let before = build(&folder)?;
    let file = folder.join("shop.yaml");
    fs::write(&file, fs::read_to_string(&file)?.replace("hello", "good morning"))?;
    let after = build(&folder)?;
    let source = |objects: &[Value]| {
        let release = find(objects, "ReleaseLifecycle", "eu-shop")?;
        anyhow::Ok(release["spec"]["source"]["objectsFrom"].clone())
    };
    let (before, after) = (source(&before)?, source(&after)?);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1], after[1], "the Secret is the same");
    Ok(())
}

#[test]
fn a_release_that_depends_on_another_follows_its_name() -> Result<()> {
    let folder = copy("depends")?;
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
