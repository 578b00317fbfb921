//! The operator on a release of a Helm that keeps its records in `ConfigMaps`, and back.

use anyhow::{Result, ensure};
use e2e::{Controller, helm};

use crate::stage::{RELEASE, Stage};

pub(crate) async fn play(stage: &mut Stage<'_>) -> Result<()> {
    for (action, value) in [("install", "1"), ("upgrade", "2")] {
        by_helm(stage, action, value)?;
    }
    stage.expect_hooks(&["helm migrate", "helm welcome", "helm migrate", "helm welcome"])?;
    let controller = stage.namespace.controller()?;
    let taken_over = take_over(stage, &controller).await;
    stage.note("taken over: nothing runs, and Helm finds it among its Secrets", taken_over)?;
    let changed = change(stage, &controller).await;
    stage.note("then changed: one upgrade, its hooks once", changed)?;
    let handed_back = hand_back(stage, &controller).await;
    stage.note("handed back: rolled back and uninstalled by Helm, each hook once", handed_back)
}

fn by_helm(stage: &Stage<'_>, action: &str, value: &str) -> Result<()> {
    let chart = stage.subject.for_helm(&stage.namespace, value)?;
    let chart = chart.iter().map(String::as_str);
    let args: Vec<_> = [action, RELEASE].into_iter().chain(chart).collect();
    let mut command = helm::command(&stage.namespace, stage.helm.program, &args)?;
    let output = command.env("HELM_DRIVER", "configmap").output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {action}: {said}", stage.helm);
    Ok(())
}

async fn take_over(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.by_operator("2").await?;
    stage.wait_taken_over(controller, 2).await?;
    stage.expect_hands_off(&[])?;
    // Those since the last deployed one.
    stage.expect_history(&["deployed"])
}

async fn change(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.by_operator("3").await?;
    stage.wait_deployed(controller, 3).await?;
    stage.expect_hooks(&["operator migrate", "operator welcome"])?;
    stage.expect_value("3").await?;
    stage.expect_history(&["superseded", "deployed"])
}

async fn hand_back(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.hand_over(controller).await?;
    stage.run(&["rollback", RELEASE, "2"])?;
    stage.expect_value("2").await?;
    stage.run(&["uninstall", RELEASE])?;
    stage.expect_hands_off(&["helm restore", "helm recheck", "helm export", "helm goodbye"])?;
    stage.expect_gone().await
}
