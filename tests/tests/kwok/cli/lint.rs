//! `lint`: what the operator would refuse and what can only fail, without a cluster.

use anyhow::{Context, Result};
use e2e::{
    Chart, Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

use super::Cli;

fn release(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
           "metadata": {"name": name}, "spec": spec})
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

/// Returns what programs get, whatever the exit code is.
fn found(cli: &Cli<'_>, code: i32, args: &[&str]) -> Result<Value> {
    let end = cli.run(&[&["lint"], args, &["-o", "json"]].concat())?;
    assert_eq!(end.code, Some(code), "{end:?}");
    serde_json::from_str(&end.out).with_context(|| format!("{end:?}"))
}

fn rules(found: &Value) -> Vec<&str> {
    let all = found["findings"].as_array().into_iter().flatten();
    all.map(|it| it["rule"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn each_release_in_the_files_is_checked_at_all_events() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-lint").await?;
    let cli = Cli::new(&namespace)?;
    let objects = [
        job("migrate").hook("pre-install").set_pod("/spec/serviceAccountName", "web"),
        job("clean").hook("post-delete").set_pod("/spec/serviceAccountName", "web"),
        account("web"),
    ];
    let rule = json!({"rules": [{"match": {"name": "migrations"}, "retries": 1}]});
    let spec = json!({"source": {"objects": objects}, "hooks": rule});
    cli.write("releases/shop.json", &release("shop", spec.clone()).to_string())?;
    let wrong = json!({"source": {"objects": [job("a").hook("pre-instal")]}});
    let good = json!({"source": {"objects": [config_map("a", "1")]}});
    cli.write("releases/good.json", &release("good", good).to_string())?;
    let folder = cli.folder.path().join("releases").to_string_lossy().into_owned();

    let text = found(&cli, 0, &["-f", &folder])?;
    assert_eq!(rules(&text), ["needs-later-object", "rule-without-effect", "needs-deleted-object"]);
    assert_eq!((&text["errors"], &text["warnings"]), (&json!(0), &json!(3)));
    let first = &text["findings"][0];
    assert_eq!(first["events"], json!(["install"]));
    assert_eq!((&first["release"], &first["object"]), (&json!("shop"), &json!("Job/migrate")));
    assert_eq!(first["file"], format!("{folder}/shop.json"));
    assert_eq!(text["findings"][1]["events"], json!(["install", "upgrade"]));
    found(&cli, 1, &["-f", &folder, "--fail-on", "warning"])?;
    found(&cli, 0, &["-f", &folder, "good", "--fail-on", "warning"])?;
    let mut off = spec;
    off["preflight"] = json!("Off");
    let off = cli.write("off.json", &release("shop", off).to_string())?;
    assert!(rules(&found(&cli, 0, &["-f", &off.to_string_lossy()])?).is_empty());

    cli.write("releases/wrong.json", &release("wrong", wrong).to_string())?;
    cli.write("releases/broken.yaml", "a: [\n")?;
    let text = found(&cli, 1, &["-f", &folder])?;
    assert_eq!(rules(&text), ["refused"], "nothing is known of the others");
    assert_eq!(text["findings"][0]["file"], format!("{folder}/broken.yaml"));
    std::fs::remove_file(cli.folder.path().join("releases/broken.yaml"))?;
    let text = found(&cli, 1, &["-f", &folder])?;
    assert_eq!((rules(&text).len(), &text["errors"]), (4, &json!(1)));
    Ok(())
}

#[tokio::test]
async fn a_release_whose_chart_is_elsewhere_is_checked_with_the_chart_that_is_named() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "cli-lint-oci").await?;
    let cli = Cli::new(&namespace)?;
    let oci = json!({"url": "oci://registry.example/shop", "version": "1.0.0"});
    let spec = json!({"source": {"chart": {"oci": oci}}});
    let file = cli.write("shop.json", &release("shop", spec.clone()).to_string())?;
    let file = file.to_string_lossy().into_owned();
    let text = found(&cli, 0, &["-f", &file, "--fail-on", "warning"])?;
    assert_eq!((rules(&text), &text["notes"]), (vec!["needs-chart"], &json!(1)));
    assert_eq!(
        (&text["findings"][0]["file"], &text["findings"][0]["line"]),
        (&json!(file), &json!(1))
    );
    let hook = job("late").hook("test").set("/spec/activeDeadlineSeconds", 600);
    let chart = Chart::new(&namespace, "shop")?.file("templates/a.yaml", &hook.to_string())?;
    let folder = chart.folder().to_string_lossy().into_owned();
    assert_eq!(rules(&found(&cli, 0, &["-f", &file, "--chart", &folder])?), ["long-deadline"]);
    let mut wrong = spec;
    wrong["timeout"] = json!("soon");
    cli.write("shop.json", &release("shop", wrong).to_string())?;
    let text = found(&cli, 1, &["-f", &file])?;
    assert_eq!((rules(&text), &text["findings"][0]["line"]), (vec!["refused"], &json!(1)));
    Ok(())
}

#[tokio::test]
async fn releases_of_one_name_in_two_namespaces_are_two_releases() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-lint-names").await?;
    let cli = Cli::new(&namespace)?;
    let late = job("late").hook("test").set("/spec/activeDeadlineSeconds", 600);
    for home in [&*namespace.name, "prod", "test"] {
        let spec = json!({"source": {"objects": [late.clone()]}});
        let release = release("shop", spec).set("/metadata/namespace", home);
        cli.write(&format!("releases/{home}.json"), &release.to_string())?;
    }
    let folder = cli.folder.path().join("releases").to_string_lossy().into_owned();
    // Every command here has --namespace.
    let text = found(&cli, 0, &["-R", "-f", &folder])?;
    assert_eq!(rules(&text), ["long-deadline"]);
    assert_eq!(text["findings"][0]["namespace"], *namespace.name);
    assert_eq!(text["findings"][0]["file"], format!("{folder}/{}.json", namespace.name));
    std::fs::remove_file(cli.folder.path().join(format!("releases/{}.json", namespace.name)))?;
    let text = found(&cli, 1, &["-f", &folder])?;
    let said = text["findings"][0]["message"].as_str().unwrap_or_default();
    assert!(said.ends_with("; there: prod/shop, test/shop"), "{said}");
    Ok(())
}

#[tokio::test]
async fn values_that_are_elsewhere_are_no_mistake() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-lint-values").await?;
    let cli = Cli::new(&namespace)?;
    let oci = json!({"url": "oci://registry.example/shop", "version": "1.0.0"});
    let from = json!([{"kind": "Secret", "name": "passwords"}]);
    let spec = json!({"source": {"chart": {"oci": oci}}, "valuesFrom": from});
    let file = cli.write("shop.json", &release("shop", spec).to_string())?;
    let file = file.to_string_lossy().into_owned();
    let chart = Chart::new(&namespace, "shop")?;
    let folder = chart.folder().to_string_lossy().into_owned();
    let text = found(&cli, 0, &["-f", &file, "--chart", &folder])?;
    assert_eq!(rules(&text), ["needs-values"]);
    let said = text["findings"][0]["message"].as_str().unwrap_or_default();
    assert!(said.contains("Secret/passwords, which is not in these files"), "{said}");
    Ok(())
}

#[tokio::test]
async fn code_scanning_reads_rules_places_and_levels() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-sarif").await?;
    let cli = Cli::new(&namespace)?;
    let objects = [
        config_map("first", "1"),
        job("migrate").hook("pre-install").set_pod("/spec/serviceAccountName", "web"),
        account("web"),
    ];
    let text = objects.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n");
    let file = cli.write("shop.yaml", &text)?.to_string_lossy().into_owned();
    let end = cli.run(&["lint", "-f", &file, "-o", "sarif", "--fail-on", "warning"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    let sarif: Value = serde_json::from_str(&end.out)?;
    assert_eq!(sarif["version"], "2.1.0");
    assert!(sarif["$schema"].as_str().is_some_and(|it| it.ends_with("sarif-schema-2.1.0.json")));
    let run = &sarif["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "kubectl-lifecycle");
    let results = run["results"].as_array().context("results")?;
    assert_eq!(results.len(), 1, "{sarif:#}");
    let known = run["tool"]["driver"]["rules"].as_array().context("rules")?;
    let is_known = known.iter().any(|rule| rule["id"] == results[0]["ruleId"]);
    assert!(is_known && results[0]["ruleId"] == "needs-later-object", "{sarif:#}");
    assert_eq!(results[0]["level"], "warning");
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], format!("file://{file}"));
    assert_eq!(place["region"]["startLine"], 3);
    Ok(())
}

#[tokio::test]
async fn a_chart_is_checked_by_its_templates() -> Result<()> {
    const ONLY_INSTALL: &str = "{{ if .Release.IsUpgrade }}{{ fail \"no\" }}{{ end }}\n";
    let namespace = Namespace::new(kwok(), "cli-lint-chart").await?;
    let cli = Cli::new(&namespace)?;
    let hook = job("late").hook("test").set("/spec/activeDeadlineSeconds", 600);
    let chart = Chart::new(&namespace, "shop")?.file("templates/a.yaml", &hook.to_string())?;
    let folder = chart.folder().to_string_lossy().into_owned();
    let text = found(&cli, 0, &["shop", &folder])?;
    assert_eq!(rules(&text), ["long-deadline"]);
    assert_eq!(text["findings"][0]["file"], format!("{folder}/templates/a.yaml"));
    let chart = chart.file("templates/b.yaml", ONLY_INSTALL)?;
    let text = found(&cli, 0, &["shop", &folder])?;
    assert!(rules(&text).contains(&"needs-cluster"), "{text:#}");
    assert_eq!(text["notes"], 1);
    let _ = chart.file("templates/b.yaml", "{{ fail \"never\" }}\n")?;
    let text = found(&cli, 1, &["shop", &folder])?;
    assert_eq!(rules(&text), ["refused"]);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_checked_has_another_exit_code() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-lint-bad").await?;
    let cli = Cli::new(&namespace)?;
    let said = cli.bad(2, &["lint", "shop"])?;
    assert!(said.contains("`kubectl lifecycle plan shop`"), "{said}");
    assert!(cli.bad(2, &["lint", "-f", "/none.yaml"])?.contains("/none.yaml"));
    assert!(cli.bad(2, &["lint"])?.contains("Usage"));
    // A name, a comment and the end of the line are text, and no command for a terminal.
    let file = cli.write("a.yaml", "kind: \"\\e[2J\"\nmetadata: {name: a}\n")?;
    let end = cli.run(&["lint", "-f", &file.to_string_lossy()])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(!end.out.contains('\u{1b}'), "{end:?}");
    Ok(())
}
