//! A Helm that is in the middle of a hook when the operator comes: alive, or killed a moment later.

use std::{
    fmt,
    process::{Child, Stdio},
};

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{Controller, helm, manifests::Manifest, message, reason};
use serde_json::{Value, json};

use crate::{
    stage::{RELEASE, Stage},
    subject::{folder, objects},
};

/// A command of Helm, and the hook in which it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Install,
    Upgrade,
    Rollback,
    Uninstall,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ends by itself, once its hook has ended.
    Lives,
    /// By SIGKILL.
    Killed,
}

impl Command {
    pub(crate) const ALL: [Self; 4] =
        [Self::Install, Self::Upgrade, Self::Rollback, Self::Uninstall];

    /// The hook that it is in.
    fn hook(self) -> &'static str {
        match self {
            Self::Install | Self::Upgrade => "migrate",
            Self::Rollback => "restore",
            Self::Uninstall => "export",
        }
    }

    /// Returns what is run before.
    fn prepare(self, stage: &Stage<'_>, slow: &str) -> Result<()> {
        match self {
            Self::Install => Ok(()),
            Self::Upgrade => stage.by_helm("install", "1"),
            Self::Rollback => {
                // Its hooks are those of the revision that is gone back to.
                stage.run(&["install", RELEASE, slow])?;
                stage.by_helm("upgrade", "1")
            }
            Self::Uninstall => stage.run(&["install", RELEASE, slow]).map(drop),
        }
    }

    fn start(self, stage: &Stage<'_>, slow: &str) -> Result<Child> {
        let args = match self {
            Self::Install => vec!["install", RELEASE, slow],
            Self::Upgrade => vec!["upgrade", RELEASE, slow],
            Self::Rollback => vec!["rollback", RELEASE, "1"],
            Self::Uninstall => vec!["uninstall", RELEASE],
        };
        let mut command = helm::command(&stage.namespace, stage.helm.program, &args)?;
        command.stdout(Stdio::null()).spawn().context("start helm")
    }

    /// The revision that is deployed in the end, and the states of all.
    fn repaired(self) -> (i32, &'static [&'static str]) {
        match self {
            Self::Install => (2, &["failed", "deployed"]),
            Self::Upgrade => (3, &["superseded", "failed", "deployed"]),
            Self::Rollback => (4, &["superseded", "superseded", "failed", "deployed"]),
            // Nothing had been deleted yet.
            Self::Uninstall => (1, &["deployed"]),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Uninstall => "uninstall",
        })
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lives => "is alive",
            Self::Killed => "was killed",
        })
    }
}

/// Nobody who is dead is waited for longer.
const SOON: [&str; 2] = ["--takeover-seconds", "1"];

pub(crate) async fn play(stage: &mut Stage<'_>, command: Command, fate: Fate) -> Result<()> {
    let hook = command.hook();
    let slow = |value| -> Vec<Value> {
        let slow = |it: Value| if it["metadata"]["name"] == hook { it.never_ends() } else { it };
        objects(value).into_iter().map(slow).collect()
    };
    let chart = folder(&stage.namespace, "slow", &slow("1"))?;
    command.prepare(stage, &chart)?;
    stage.did()?;
    let mut helm = command.start(stage, &chart)?;
    let controller = stage.namespace.controller_with(&SOON)?;
    // What is the same as Helm's is to be left alone in the end.
    let is_helms = fate == Fate::Lives || command == Command::Uninstall;
    let wanted = if is_helms { slow("1") } else { objects("2") };
    let meanwhile = meet(stage, &controller, hook, &wanted).await;
    let respected = meanwhile.and_then(|()| stage.expect_hands_off(&[&format!("helm {hook}")]));
    if respected.is_err() || fate == Fate::Killed {
        helm.kill()?;
        helm.wait()?;
    }
    stage.note("it is waited for while its hook runs", respected)?;
    stage.namespace.let_end(hook).await?;
    let ended = |job: Option<&Value>| job.is_some_and(|job| job["status"]["succeeded"] == 1);
    stage.namespace.wait_object("Job", hook, "complete", ended).await?;
    if fate == Fate::Lives {
        let status = helm.wait()?;
        ensure!(status.success(), "helm ended with {status}");
        let left = left_alone(stage, &controller).await;
        return stage.note("what it has made is taken over, and nothing runs", left);
    }
    // Nobody writes to the record any more; it would be looked at in a minute.
    stage.nudge()?;
    let repaired = repaired(stage, &controller, command).await;
    stage.note("then the release is gone on with, each hook once", repaired)
}

/// Asks the operator for the release, and waits until it has seen that somebody is at work on it.
async fn meet(
    stage: &Stage<'_>,
    controller: &Controller,
    hook: &str,
    wanted: &[Value],
) -> Result<()> {
    stage.namespace.wait_active(hook).await?;
    stage.namespace.release(RELEASE, wanted, json!({})).await?;
    let text = format!("hook Job/{hook} of revision");
    let waits = |release: &ReleaseLifecycle| {
        reason(release) == "HelmAtWork" && message(release).contains(&text)
    };
    stage.namespace.wait(RELEASE, controller, "waiting for Helm", waits).await.map(drop)
}

async fn left_alone(stage: &Stage<'_>, controller: &Controller) -> Result<()> {
    stage.wait_taken_over(controller, 2).await?;
    stage.expect_hands_off(&["helm welcome"])?;
    stage.expect_history(&["superseded", "deployed"])
}

async fn repaired(stage: &Stage<'_>, controller: &Controller, command: Command) -> Result<()> {
    let (revision, states) = command.repaired();
    stage.wait_deployed(controller, revision).await?;
    if command == Command::Uninstall {
        stage.expect_hands_off(&[])?;
    } else {
        stage.expect_hooks(&["operator migrate", "operator welcome"])?;
        stage.expect_value("2").await?;
    }
    stage.expect_history(states)
}
