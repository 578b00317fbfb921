use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result};

use crate::{program, target};

/// The real controller as a process of its own, serving one namespace.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// Starts it with `kubeconfig`, which may lead through the fault proxy. A second one for the
    /// same namespace goes on in the same log.
    ///
    /// # Errors
    /// Where it cannot be built or started.
    pub fn start(kubeconfig: &Path, namespace: &str, args: &[&str]) -> Result<Self> {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        if PROGRAM.get().is_none() {
            let built = program("controller", "releaselifecycle-controller")?;
            PROGRAM.get_or_init(|| built);
        }
        let path = PROGRAM.get().context("it was just built")?;
        let log = target().join(format!("tmp/controllers/{namespace}.log"));
        fs::create_dir_all(log.parent().unwrap_or(Path::new(".")))?;
        let file = File::options().create(true).append(true).open(&log)?;
        // It must not outlive a test that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .args(["--listen", "127.0.0.1:0", "--log", "debug,kube=info,hyper=info,tower=info"])
            .args(["--namespace", namespace])
            .args(args)
            .env("RELEASELIFECYCLE_KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("start the controller")?;
        Ok(Self { child, log })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to die, of a signal that somebody else sent.
    ///
    /// # Errors
    /// Where the operating system cannot say.
    pub fn wait(&mut self) -> Result<()> {
        self.child.wait().context("wait for the controller")?;
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// Where it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill the controller")?;
        self.wait()
    }

    /// The last lines that it logged.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}
