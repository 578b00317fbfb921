//! The operator on Helm's release: taken over, changed, and used by Helm behind its back.

use anyhow::{Result, ensure};
use e2e::Controller;

use crate::stage::{RELEASE, Stage};

const BY_HELM: [&str; 2] = ["helm migrate", "helm welcome"];
const BY_OPERATOR: [&str; 2] = ["operator migrate", "operator welcome"];

pub(crate) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    stage.by_helm("install", "1")?;
    stage.by_helm("upgrade", "2")?;
    stage.expect_hooks(&[BY_HELM, BY_HELM].concat())?;
    let controller = stage.namespace.controller()?;
    let taken_over = take_over(stage, &controller).await;
    stage.note("taken over: nothing runs, and Helm sees it as before", taken_over)?;
    let changed = change(stage, &controller).await;
    stage.note("then changed: one upgrade, its hooks once", changed)?;
    let tested = test(stage, &controller).await;
    stage.note("tested by Helm meanwhile: nothing else runs", tested)?;
    let answered = rollback(stage, &controller).await;
    stage.note("rolled back by Helm meanwhile: one upgrade, its hooks once", answered)?;
    let answered = upgrade_to_the_same(stage, &controller).await;
    stage.note("upgraded by Helm to what is wanted: nothing else runs", answered)?;
    let answered = upgrade(stage, &controller).await;
    stage.note("upgraded by Helm meanwhile: one upgrade, its hooks once", answered)?;
    let answered = uninstall(stage, &controller).await;
    stage.note("uninstalled by Helm meanwhile: installed again, its hooks once", answered)?;
    let deleted = delete(stage, &controller).await;
    stage.note("deleted: its hooks run once, and nothing is left", deleted)
}

async fn take_over(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.by_operator("2").await?;
    stage.wait_taken_over(controller, 2).await?;
    stage.expect_hands_off(&[])?;
    stage.expect_history(&["superseded", "deployed"])?;
    let status = stage.json(&["status", RELEASE])?;
    let description = &status["info"]["description"];
    ensure!(description == "Upgrade complete", "the description is {description}");
    Ok(())
}

async fn change(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.by_operator("3").await?;
    stage.wait_deployed(controller, 3).await?;
    stage.expect_hooks(&BY_OPERATOR)?;
    stage.expect_value("3").await?;
    stage.expect_history(&["superseded", "superseded", "deployed"])
}

/// Helm writes the record of the deployed revision anew.
async fn test(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.run(&["test", RELEASE])?;
    stage.wait_deployed(controller, 3).await?;
    stage.expect_hands_off(&["helm probe"])
}

async fn rollback(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.run(&["rollback", RELEASE, "2"])?;
    stage.wait_deployed(controller, 5).await?;
    stage.expect_hooks(&[["helm restore", "helm recheck"], BY_OPERATOR].concat())?;
    stage.expect_value("3").await
}

async fn upgrade_to_the_same(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.by_helm("upgrade", "3")?;
    stage.wait_deployed(controller, 6).await?;
    stage.expect_hands_off(&BY_HELM)
}

async fn upgrade(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.by_helm("upgrade", "4")?;
    stage.wait_deployed(controller, 8).await?;
    stage.expect_hooks(&[BY_HELM, BY_OPERATOR].concat())?;
    stage.expect_value("3").await
}

/// The hooks that were run last are the operator's: of what Helm's own leave behind, no record tells
/// any more that it is the release's.
async fn uninstall(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.run(&["uninstall", RELEASE])?;
    stage.wait_deployed(controller, 1).await?;
    stage.expect_hooks(&[["helm export", "helm goodbye"], BY_OPERATOR].concat())?;
    stage.expect_value("3").await?;
    stage.expect_history(&["deployed"])
}

async fn delete(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.namespace.kubectl(&["delete", "rl", RELEASE, "--wait=false"])?;
    stage.namespace.wait_released(RELEASE, controller).await?;
    stage.expect_hooks(&["operator export", "operator goodbye"])?;
    stage.expect_gone().await
}
