//! The engine as the operator starts it, spoken to by hand.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use e2e::target;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster;

/// The rights of the engine.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// As in the operator.
    Nothing,
    /// As on the command line.
    Files,
}

/// A running engine. It ends with this value.
pub(crate) struct Engine {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The engine refused the chart.
#[derive(Debug, thiserror::Error)]
#[error("{kind}: {message}")]
pub(crate) struct Refused {
    pub(crate) kind: String,
    pub(crate) message: String,
}

fn program() -> PathBuf {
    target().join("debug/releaselifecycle-engine")
}

impl Engine {
    pub(crate) fn start(access: Access) -> Result<Self> {
        let mut command = Command::new(program());
        command.args(["render", "--memory-bytes=536870912", "--cpu-seconds=60"]);
        if matches!(access, Access::Files) {
            command.arg("--files");
        }
        let mut child = command
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the engine")?;
        let requests = child.stdin.take().context("its standard input")?;
        let answers = BufReader::new(child.stdout.take().context("its standard output")?);
        Ok(Self { child, requests, answers })
    }

    /// Returns what it renders; what it looks up is answered from the cluster.
    ///
    /// # Errors
    /// [`Refused`] is among the causes, where it says why not.
    pub(crate) async fn render(
        &mut self,
        request: Value,
        client: Option<&Client>,
    ) -> Result<Value> {
        self.send(&json!({"v": 1, "render": request}))?;
        loop {
            let mut answer = self.receive()?;
            if let Some(lookup) = answer.get("lookup") {
                let client = client.context("the engine looks something up")?;
                let found = cluster::lookup(client, lookup).await;
                self.send(&match found {
                    Ok(found) => json!({"v": 1, "found": found}),
                    Err(error) => json!({"v": 1, "failed": format!("{error:#}")}),
                })?;
            } else if let Some(error) = answer.get("error") {
                let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
                return Err(Refused { kind: text("kind"), message: text("message") }.into());
            } else {
                return Ok(answer["rendered"].take());
            }
        }
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.requests.write_all(&line).context("write to the engine")
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).context("read from the engine")? == 0 {
            bail!("the engine ended: {}", self.child.wait()?);
        }
        serde_json::from_str(&line).context("read the engine's answer")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may have ended by itself, and nothing more can be done for either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
