//! Reads by Helm of the operator's release: two revisions, of which the second is deployed.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    stage::{RELEASE, Stage},
    subject::{CHART, Subject},
};

/// The value that is deployed.
pub(crate) const VALUE: &str = "2";

type Read = fn(&Stage<'_>) -> Result<()>;

/// Every command of Helm that only reads.
pub(crate) const ALL: [(&str, Read); 10] = [
    ("list", list),
    ("status", status),
    ("history", history),
    ("get manifest", manifest),
    ("get hooks", hooks),
    ("get values", values),
    ("get values --all", all_values),
    ("get notes", notes),
    ("get metadata", metadata),
    ("get all", all),
];

fn list(stage: &Stage<'_>) -> Result<()> {
    let list = stage.json(&["list"])?;
    let [release] = list.as_array().map_or(&[][..], Vec::as_slice) else {
        anyhow::bail!("one release is listed, not {list}");
    };
    is(release, "name", RELEASE)?;
    is(release, "revision", "2")?;
    is(release, "status", "deployed")?;
    let (name, version, app_version) = CHART;
    if stage.subject == Subject::Chart {
        is(release, "chart", &format!("{name}-{version}"))?;
        is(release, "app_version", app_version)?;
    } else {
        // Of objects that are no chart, `list` says MISSING where the record says nothing.
        let chart = release["chart"].as_str().context("a chart is named")?;
        ensure!(!chart.contains("MISSING"), "the chart is {chart}");
    }
    Ok(())
}

fn status(stage: &Stage<'_>) -> Result<()> {
    let status = stage.json(&["status", RELEASE])?;
    is(&status["info"], "status", "deployed")?;
    is(&status["info"], "description", "Upgrade complete")?;
    let hooks = status["hooks"].as_array().context("it has hooks")?;
    for (name, phase) in [("migrate", Some("Succeeded")), ("export", None)] {
        let hook = hooks.iter().find(|hook| hook["name"] == name).context(name)?;
        let found = hook["last_run"]["phase"].as_str().filter(|phase| !phase.is_empty());
        ensure!(found == phase, "hook {name} is {found:?}, not {phase:?}");
    }
    Ok(())
}

fn history(stage: &Stage<'_>) -> Result<()> {
    stage.expect_history(&["superseded", "deployed"])
}

fn manifest(stage: &Stage<'_>) -> Result<()> {
    let text = stage.run(&["get", "manifest", RELEASE])?;
    ensure!(text.contains("name: main") && !text.contains("kind: Job"), "{text}");
    has_value(&text)
}

fn hooks(stage: &Stage<'_>) -> Result<()> {
    let text = stage.run(&["get", "hooks", RELEASE])?;
    for name in ["migrate", "welcome", "restore", "recheck", "probe", "export", "goodbye"] {
        ensure!(text.contains(&format!("name: {name}")), "{name} is not in {text}");
    }
    ensure!(!text.contains("kind: ConfigMap"), "{text}");
    Ok(())
}

fn values(stage: &Stage<'_>) -> Result<()> {
    let values = stage.json(&["get", "values", RELEASE])?;
    let as_given = match stage.subject {
        Subject::Chart => values == json!({"value": VALUE}),
        Subject::Objects => values.is_null() || values == json!({}),
    };
    ensure!(as_given, "the values are {values}");
    Ok(())
}

fn all_values(stage: &Stage<'_>) -> Result<()> {
    let values = stage.json(&["get", "values", RELEASE, "--all"])?;
    let as_given = match stage.subject {
        Subject::Chart => values == json!({"value": VALUE, "kept": "by default"}),
        Subject::Objects => values.is_null() || values == json!({}),
    };
    ensure!(as_given, "the values are {values}");
    Ok(())
}

fn notes(stage: &Stage<'_>) -> Result<()> {
    let text = stage.run(&["get", "notes", RELEASE])?;
    let said = text.contains(&format!("The value of {RELEASE} is {VALUE}."));
    ensure!(said == (stage.subject == Subject::Chart), "the notes are {text:?}");
    Ok(())
}

fn metadata(stage: &Stage<'_>) -> Result<()> {
    let metadata = stage.json(&["get", "metadata", RELEASE])?;
    is(&metadata, "name", RELEASE)?;
    is(&metadata, "namespace", &stage.namespace.name)?;
    is(&metadata, "status", "deployed")?;
    ensure!(metadata["revision"] == 2, "the revision is {}", metadata["revision"]);
    if stage.subject == Subject::Chart {
        let (name, version, app_version) = CHART;
        is(&metadata, "chart", name)?;
        is(&metadata, "version", version)?;
        is(&metadata, "appVersion", app_version)?;
    }
    Ok(())
}

fn all(stage: &Stage<'_>) -> Result<()> {
    let text = stage.run(&["get", "all", RELEASE])?;
    for part in ["STATUS: deployed", "HOOKS:", "MANIFEST:", "name: main", "name: export"] {
        ensure!(text.contains(part), "{part} is not in {text}");
    }
    has_value(&text)
}

fn has_value(text: &str) -> Result<()> {
    let value = format!("value: \"{VALUE}\"");
    ensure!(text.contains(&value), "{value} is not in {text}");
    Ok(())
}

fn is(object: &Value, field: &str, expected: &str) -> Result<()> {
    ensure!(object[field] == expected, "{field} is {}, not {expected}", object[field]);
    Ok(())
}
