//! Helm on the operator's release: while it is the operator's, and after it was handed over.

use anyhow::{Result, ensure};
use e2e::Controller;
use serde_json::json;

use crate::{
    reads,
    stage::{RELEASE, Stage},
    subject::Subject,
};

/// The hooks that an install and an upgrade run.
const INSTALLED: [&str; 4] =
    ["operator migrate", "operator welcome", "operator migrate", "operator welcome"];

pub(crate) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    let controller = stage.namespace.controller()?;
    for (revision, value) in (1..).zip(["1", reads::VALUE]) {
        stage.by_operator(value).await?;
        stage.wait_deployed(&controller, revision).await?;
    }
    stage.expect_hooks(&INSTALLED)?;
    for (what, read) in reads::ALL {
        let read = read(stage);
        stage.note(what, read)?;
    }
    let tested = test(stage);
    stage.note("test: its hook runs once", tested)?;
    let handed_over = hand_over(stage, &controller).await;
    stage.note("after the hand-over the release is deployed, and no hook has run", handed_over)?;
    drop(controller);
    let rolled_back = rollback(stage).await;
    stage.note("rollback: the hooks of its target run once", rolled_back)?;
    let upgraded = upgrade(stage).await;
    stage.note("upgrade: its hooks run once", upgraded)?;
    let uninstalled = uninstall(stage).await;
    stage.note("uninstall: its hooks run once, and nothing is left", uninstalled)
}

fn test(stage: &Stage<'_>) -> Result<()> {
    let text = stage.run(&["test", RELEASE])?;
    ensure!(text.contains("Succeeded"), "{text}");
    stage.expect_hands_off(&["helm probe"])?;
    stage.expect_history(&["superseded", "deployed"])
}

async fn hand_over(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.hand_over(controller).await?;
    stage.expect_hands_off(&[])?;
    stage.expect_history(&["superseded", "deployed"])?;
    stage.expect_value(reads::VALUE).await
}

async fn rollback(stage: &Stage<'_>) -> Result<()> {
    stage.run(&["rollback", RELEASE, "1"])?;
    stage.expect_hooks(&["helm restore", "helm recheck"])?;
    stage.expect_history(&["superseded", "superseded", "deployed"])?;
    stage.expect_value("1").await
}

async fn upgrade(stage: &Stage<'_>) -> Result<()> {
    if stage.subject == Subject::Chart {
        // What it is not told is in the operator's record.
        let folder = stage.subject.for_helm(&stage.namespace, "")?.swap_remove(0);
        stage.run(&["upgrade", RELEASE, &folder, "--reuse-values", "--set-string", "more=3"])?;
        let values = stage.json(&["get", "values", RELEASE])?;
        ensure!(values == json!({"value": "1", "more": "3"}), "the values are {values}");
        stage.expect_value("1").await?;
    } else {
        stage.by_helm("upgrade", "3")?;
        stage.expect_value("3").await?;
    }
    stage.expect_hooks(&["helm migrate", "helm welcome"])?;
    stage.expect_history(&["superseded", "superseded", "superseded", "deployed"])
}

async fn uninstall(stage: &Stage<'_>) -> Result<()> {
    stage.run(&["uninstall", RELEASE])?;
    stage.expect_hooks(&["helm export", "helm goodbye"])?;
    stage.expect_gone().await
}
