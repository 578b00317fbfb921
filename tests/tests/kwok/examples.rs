use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, helm, kwok};
use serde_json::{Value, json};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut paths: Vec<_> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Returns what the API server makes of what is applied, with `how` and from `what`.
fn apply(how: &str, what: [&str; 2]) -> Result<Vec<Value>> {
    let apply = ["apply", "--server-side", "--output=json", how];
    let text = kwok().kubectl(apply.iter().chain(&what))?;
    let said: Value = serde_json::from_str(&text).with_context(|| format!("read {text}"))?;
    // Of several objects a list.
    let objects = said["items"].as_array().cloned().unwrap_or_else(|| vec![said]);
    for object in &objects {
        ensure!(object["metadata"]["namespace"] != "default", "{what:?} has no place: {object}");
    }
    Ok(objects)
}

/// In a dry run but for the tenants, so that no other test meets them.
#[tokio::test]
async fn the_api_server_takes_every_example() -> Result<()> {
    let mut releases = 0;
    let mut count = |objects: Vec<Value>| {
        releases += objects.iter().filter(|it| it["kind"] == "ReleaseLifecycle").count();
    };
    for folder in children(&examples())? {
        if folder.join("kustomization.yaml").exists() {
            // Its own namespace need not be there.
            let namespace = Namespace::new(kwok(), "examples").await?;
            let here = json!({"namespace": namespace.name});
            let overlay = e2e::overlay(&namespace.name, &folder, &[], &here)?;
            count(apply("--dry-run=server", ["--kustomize", &overlay.to_string_lossy()])?);
            continue;
        }
        let tenant = folder.join("tenant.yaml");
        apply("--dry-run=none", ["--filename", &tenant.to_string_lossy()])?;
        let is_manifest = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml");
        for file in children(&folder)?.into_iter().filter(is_manifest).filter(|it| *it != tenant) {
            count(apply("--dry-run=server", ["--filename", &file.to_string_lossy()])?);
        }
    }
    assert!(releases >= 8, "{releases} releases only");
    Ok(())
}

/// With each condition of its templates met, and not.
#[tokio::test]
async fn helm_finds_nothing_wrong_with_the_chart() -> Result<()> {
    let namespace = Namespace::new(kwok(), "examples-lint").await?;
    let chart = examples().join("guide-chart/shop");
    for values in [
        "environment=production",
        "database.host=,database.port=null",
        "migration.enabled=false,rollback.enabled=false,standIns.enabled=false,slack.webhook=",
    ] {
        let lint = ["lint", "--strict", &chart.to_string_lossy(), "--set", values];
        let said = helm::run(&namespace, "helm", &lint)?;
        ensure!(said.contains("0 chart(s) failed"), "{values}: {said}");
    }
    Ok(())
}

/// The guide's tables name a test for each row.
#[test]
fn every_test_that_the_guide_names_is_there() -> Result<()> {
    for (folder, tests) in [("guide", "guide"), ("guide-chart", "guide_chart")] {
        let text = fs::read_to_string(examples().join(folder).join("README.md"))?;
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containers").join(tests);
        let prefix = format!("{tests}::");
        let mut named = 0;
        for test in text.split('`').filter_map(|word| word.strip_prefix(&prefix)) {
            let (module, name) = test.split_once("::").context("a module and a test")?;
            let source = fs::read_to_string(there.join(format!("{module}.rs")))?;
            ensure!(source.contains(&format!("async fn {name}()")), "there is no test {test}");
            named += 1;
        }
        assert!(named > 0, "{folder}: no test is named");
    }
    Ok(())
}
