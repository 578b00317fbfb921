//! The child processes of the demo. Both end with it, however it ends.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    NAME, say,
    stage::{self, Stage, wait_for},
};

/// The controller, outside of the cluster.
pub(super) struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// The first controller of the story, with a log of its own.
    pub(super) fn start(stage: &Stage) -> anyhow::Result<Self> {
        let log = stage.log();
        let dir = log.parent().context("the log has no folder")?;
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        Self::start_again(stage)
    }

    /// The log goes on where that of the one before ended.
    pub(super) fn start_again(stage: &Stage) -> anyhow::Result<Self> {
        let log = stage.log();
        let file = File::options().append(true).open(&log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        let program = stage::program("releaselifecycle-controller")?;
        let mut command = if has_setpriv() {
            // Not even SIGKILL of the demo leaves one behind, which would spoil the next demo.
            let mut command = stage.command("setpriv".as_ref());
            command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
            command
        } else {
            stage.command(&program)
        };
        let child = command
            .args(["--listen", "127.0.0.1:0"])
            // As a container that is restarted in its Pod, the second one goes on at once.
            .args(["--identity", "demo"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log, if it ended by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("looking after the controller")? {
            None => Ok(()),
            Some(status) => bail!("the controller ended ({status}). {}", self.log_tail()),
        }
    }

    /// SIGKILL: no last words, no cleaning up.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.check()?;
        self.child.kill().context("killing the controller")?;
        let status = self.child.wait().context("waiting for the controller's end")?;
        if status.signal() != Some(9) {
            bail!("the controller ended before it could be killed ({status})");
        }
        Ok(())
    }

    /// SIGTERM, as a Pod that is deleted gets it.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.check()?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("the controller has no process id")?;
        kill_process(pid, Signal::TERM).context("stopping the controller")?;
        let end = wait_for("the controller to end after SIGTERM", Duration::from_secs(30), || {
            self.child.try_wait().context("looking after the controller")
        })?;
        if !end.success() {
            bail!("the controller did not end well after SIGTERM ({end}). {}", self.log_tail());
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
        format!("The end of {}:\n{}", stage::show(&self.log), tail.join("\n"))
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_setpriv() -> bool {
    let version = Command::new("setpriv").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// `kubectl lifecycle status --watch`, whose lines are shown as they come.
pub(super) struct Watch {
    child: Child,
    lines: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(stage: &Stage) -> anyhow::Result<Self> {
        let args = ["status", NAME, "-n", stage.play.namespace, "--watch"];
        say(&format!("$ kubectl lifecycle {}", args.join(" ")));
        let mut child = stage
            .command(&stage::program("kubectl-lifecycle")?)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting kubectl-lifecycle")?;
        let output = child.stdout.take().context("kubectl-lifecycle has no output")?;
        let lines = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                say(&format!("| {line}"));
            }
        });
        Ok(Self { child, lines: Some(lines) })
    }

    /// Waits until the operation has ended, which must have succeeded.
    pub(super) fn finish(
        &mut self,
        controller: &mut Controller,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let end = wait_for("the release to be ready", limit, || {
            controller.check()?;
            self.child.try_wait().context("looking after kubectl-lifecycle")
        });
        let end = end.with_context(|| format!("see {} too", stage::show(&controller.log)))?;
        if let Some(lines) = self.lines.take()
            && lines.join().is_err()
        {
            bail!("the output of kubectl-lifecycle could not be shown");
        }
        if !end.success() {
            bail!("the release is not ready: kubectl-lifecycle ended with {end}, see its lines");
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
