use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, helm};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{
    chart,
    program::Program,
    script::{Action, Script, Step},
    side::Ended,
};

/// Longer than any wait of Helm's in a case.
const PATIENCE: Duration = Duration::from_mins(2);

/// The real Helm.
pub(crate) struct Helm {
    program: Program,
    timeout: String,
    /// As whom it acts, if not as the administrator.
    limited: bool,
    running: Option<Running>,
}

struct Running {
    pid: u32,
    ended: JoinHandle<std::io::Result<Output>>,
}

impl Helm {
    pub(crate) fn new(program: Program, script: &Script) -> Self {
        let timeout = format!("{}s", script.timeout);
        Self { program, timeout, limited: script.limited, running: None }
    }

    pub(crate) fn begin(
        &mut self,
        namespace: &Namespace,
        step: &Step,
        objects: &[Value],
    ) -> Result<()> {
        let subject = match step.action {
            Action::Install(_) | Action::Upgrade(_) => chart(namespace, step.release, objects)?,
            Action::Rollback(revision) => revision.to_string(),
            _ => String::new(),
        };
        let mut command: Vec<&str> = match step.action {
            Action::UninstallWithoutHooks => vec!["uninstall", step.release, "--no-hooks"],
            _ => vec![step.action.word().context("a command")?, step.release],
        };
        command.extend(Some(subject.as_str()).filter(|subject| !subject.is_empty()));
        command.extend(&step.flags);
        self.running = Some(self.start(namespace, &command)?);
        Ok(())
    }

    pub(crate) async fn ended(&mut self) -> Result<Ended> {
        self.running.take().context("it was begun")?.ended().await
    }

    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        send(signal, self.running.as_ref().context("it runs")?.pid)
    }

    pub(crate) async fn also(
        &self,
        namespace: &Namespace,
        word: &str,
        release: &str,
        objects: &[Value],
    ) -> Result<Ended> {
        let chart = chart(namespace, release, objects)?;
        self.start(namespace, &[word, release, &chart])?.ended().await
    }

    fn start(&self, namespace: &Namespace, command: &[&str]) -> Result<Running> {
        let mut args = command.to_vec();
        args.extend(["--timeout", &self.timeout]);
        if self.program == Program::Helm4Wait && !args.contains(&"test") {
            args.push("--wait");
        }
        let user = format!("system:serviceaccount:{}:limited", namespace.name);
        if self.limited {
            args.extend(["--kube-as-user", &user]);
        }
        let name = if self.program == Program::Helm3 { "helm3" } else { "helm" };
        let child = helm::command(namespace, name, &args)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let pid = child.id();
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
        Ok(Running { pid, ended })
    }
}

impl Running {
    async fn ended(self) -> Result<Ended> {
        let Ok(output) = tokio::time::timeout(PATIENCE, self.ended).await else {
            send("KILL", self.pid)?;
            anyhow::bail!("helm did not end within {PATIENCE:?}");
        };
        let output = output.context("wait for helm")??;
        Ok(match output.status.code() {
            Some(0) => Ended::Ok,
            Some(_) => Ended::Failed(String::from_utf8_lossy(&output.stderr).into_owned()),
            None => Ended::Killed,
        })
    }
}

fn chart(namespace: &Namespace, release: &str, objects: &[Value]) -> Result<String> {
    Ok(chart::of(namespace, release, objects)?.folder().to_string_lossy().into_owned())
}

fn send(signal: &str, pid: u32) -> Result<()> {
    let args = [format!("-{signal}"), pid.to_string()];
    ensure!(Command::new("kill").args(args).status()?.success(), "kill -{signal} {pid} failed");
    Ok(())
}
