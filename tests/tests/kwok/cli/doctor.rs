//! `doctor`, as an administrator and as a user who may do little.

use anyhow::{Context, Result};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

use super::Cli;

fn finding<'a>(all: &'a Value, subject: &str) -> Result<(&'a str, &'a str)> {
    let mut rows = all.as_array().context("a list")?.iter();
    let row = rows.find(|row| row["subject"] == subject);
    let row = row.with_context(|| format!("{subject} in {all:#}"))?;
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    Ok((text("result"), text("message")))
}

#[tokio::test]
async fn doctor_finds_what_is_wrong_with_a_release() -> Result<()> {
    let namespace = Namespace::new(kwok(), "doctor").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let objects = [config_map("main", "1")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;

    let all: Value = serde_json::from_str(&cli.run(&["doctor", "shop", "-o", "json"])?.out)?;
    assert_eq!(finding(&all, "definition")?.0, "ok", "{all:#}");
    assert_eq!(finding(&all, "clock")?.0, "ok", "{all:#}");
    let (result, message) = finding(&all, "leader")?;
    assert!(result == "ok" && message.contains(&namespace.name), "{message}");
    for subject in ["release", "account", "rights"] {
        assert_eq!(finding(&all, subject)?.0, "ok", "{all:#}");
    }

    let failing = [job("migrate").hook("pre-install").fails(), config_map("blog", "1")];
    namespace.release("blog", &failing, json!({})).await?;
    namespace.wait_stalled("blog", &controller).await?;
    let end = cli.run(&["doctor", "blog"])?;
    let sentence = ". Change the spec, or resume where it failed: `kubectl lifecycle retry blog";
    assert!(end.out.contains(sentence), "{}", end.out);

    let account = json!({"serviceAccountName": "nobody"});
    namespace.release("lost", &objects, account).await?;
    namespace.wait_stalled("lost", &controller).await?;
    let end = cli.run(&["doctor", "lost"])?;
    assert_eq!(end.code, Some(1), "{end:#?}");
    let remedy = format!("`kubectl create serviceaccount nobody -n {}`", namespace.name);
    assert!(end.out.contains(&remedy), "{}", end.out);
    assert!(end.out.lines().any(|line| line.starts_with("failed") && line.contains(" rights ")));
    Ok(())
}

#[tokio::test]
async fn doctor_says_which_rights_its_checks_need() -> Result<()> {
    let namespace = Namespace::new(kwok(), "doctor-rights").await?;
    let objects = [config_map("main", "1")];
    namespace.release("shop", &objects, json!({})).await?;
    let cli = Cli::of_user(&namespace, "jane", "get,list")?;
    let end = cli.run(&["doctor", "shop", "-o", "json"])?;
    let all: Value = serde_json::from_str(&end.out)?;
    for (subject, needed) in [
        ("definition", "customresourcedefinitions"),
        ("operator", "deployments"),
        ("leader", "leases"),
        ("account", "serviceaccounts"),
        ("rights", "subjectaccessreviews"),
    ] {
        let (result, message) = finding(&all, subject)?;
        assert!(result == "unchecked" && message.contains(needed), "{subject}: {message}");
    }
    assert_eq!(end.code, Some(0), "{end:#?}");
    Ok(())
}
