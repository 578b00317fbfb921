use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use testkit::programs;

use crate::target;

/// The longest time that a process takes for anything on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// The identity of a controller by default. One that follows a killed one has the same, as a
/// container that is restarted in its Pod, and continues at once. No other controller waits for its
/// lease, which is so long that a machine that is busy for a while does not end it.
const ALONE: [&str; 4] = ["--identity", "e2e", "--lease-seconds", "120"];

/// The real controller as a process of its own, serving one namespace.
pub struct Controller {
    child: Child,
    log: PathBuf,
    /// The offset at which the log of this process begins.
    offset: u64,
}

impl Controller {
    /// Starts it with `kubeconfig`, which may lead through the fault proxy. A second one for the
    /// same namespace continues in the same log, and as the same holder of the lease, unless `args`
    /// begin with another `--identity`.
    ///
    /// # Errors
    /// If it cannot be built or started.
    pub fn start(kubeconfig: &Path, namespace: &str, args: &[&str]) -> Result<Self> {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        if PROGRAM.get().is_none() {
            let built = programs::build("dev")?.join("releaselifecycle-controller");
            PROGRAM.get_or_init(|| built);
        }
        let path = PROGRAM.get().context("it was just built")?;
        Self::launch(path, kubeconfig, namespace, args)
    }

    /// Does the same as [`Self::start`], but with this program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(path: &Path, kubeconfig: &Path, namespace: &str, args: &[&str]) -> Result<Self> {
        let (own, log) = match args {
            ["--identity", identity, ..] => (None, format!("{namespace}-{identity}.log")),
            _ => (Some(ALONE), format!("{namespace}.log")),
        };
        let log = target().join("tmp/controllers").join(log);
        fs::create_dir_all(log.parent().unwrap_or(Path::new(".")))?;
        let file = File::options().create(true).append(true).open(&log)?;
        let offset = file.metadata()?.len();
        // It must not outlive a test that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .args(["--listen", "127.0.0.1:0", "--log", "debug,kube=info,hyper=info,tower=info"])
            .args(["--namespace", namespace])
            .args(own.into_iter().flatten())
            .args(args)
            .env("RELEASELIFECYCLE_KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("start the controller")?;
        Ok(Self { child, log, offset })
    }

    /// Returns the controller to be measured, and the profile that it was built with: `release` if
    /// that has been built.
    pub fn measured() -> (&'static str, PathBuf) {
        let release = target().join("release/releaselifecycle-controller");
        let dev = target().join("debug/releaselifecycle-controller");
        if release.exists() { ("release", release) } else { ("dev", dev) }
    }

    /// Returns its memory, in MiB, by a field of its status in `/proc`: `VmRSS` for the present,
    /// `VmHWM` for the maximum.
    ///
    /// # Errors
    /// If there is no such field.
    pub fn memory_mib(&self, field: &str) -> Result<f64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let text = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u32 = text.with_context(|| format!("{path} has no {field}"))?.trim().parse()?;
        Ok(f64::from(kib) / 1024.0)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it to die from a signal that another process sent.
    ///
    /// # Errors
    /// If the operating system cannot say.
    pub fn wait(&mut self) -> Result<()> {
        self.child.wait().context("wait for the controller")?;
        Ok(())
    }

    /// Returns its status after it ended by itself.
    ///
    /// # Errors
    /// If it does not end within 20 s.
    pub async fn end(&mut self) -> Result<ExitStatus> {
        let ended = || self.child.try_wait().context("wait for the controller");
        patiently_async("end", ended).await
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// If it is not within 20 s.
    pub async fn wait_ready(&self) -> Result<()> {
        let is_ready = || Ok((self.http("/readyz")?.0 == 200).then_some(()));
        patiently_async("get ready", is_ready).await
    }

    /// Waits until it stands by, while another replica leads.
    ///
    /// # Errors
    /// If it does not within 20 s.
    pub async fn wait_standing_by(&self) -> Result<()> {
        let stands_by = || {
            let stands_by = self.http("/readyz")?.0 == 200 && self.leads()? == Some(false);
            Ok(stands_by.then_some(()))
        };
        patiently_async("stand by", stands_by).await
    }

    /// Returns whether it leads, by its own metric; `None` if there is no such metric.
    ///
    /// # Errors
    /// As [`Self::http`].
    pub fn leads(&self) -> Result<Option<bool>> {
        let (_, text) = self.http("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix("releaselifecycle_leader "));
        Ok(value.map(|value| value == "1"))
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill the controller")?;
        self.wait()
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn ask_to_end(&self) -> Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        ensure!(sent.success(), "kill -TERM failed");
        Ok(())
    }

    /// Sends SIGTERM, and returns the exit status.
    ///
    /// # Errors
    /// If it does not end within 20 s.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.ask_to_end()?;
        patiently("end after SIGTERM", || self.child.try_wait().context("wait for the controller"))
    }

    /// Returns its answer at `path`: the status code and the body.
    ///
    /// # Errors
    /// If it does not listen within 20 s, or does not answer with HTTP.
    pub fn http(&self, path: &str) -> Result<(u16, String)> {
        let address = patiently("say where it listens", || {
            let text = self.log()?;
            let line = text.lines().find(|line| line.contains("serving /livez"));
            Ok(line.and_then(|line| Some(line.split_once("address=")?.1.trim().to_owned())))
        })?;
        let mut stream = TcpStream::connect(&address).with_context(|| format!("ask {address}"))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        let code = head.split(' ').nth(1).context("a status code")?;
        Ok((code.parse()?, body.to_owned()))
    }

    /// Returns the log of this process.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn log(&self) -> Result<String> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// An operator, wherever it runs.
pub trait Logs: Sync {
    /// Returns the last lines that it logged.
    fn log_tail(&self) -> String;
}

impl Logs for Controller {
    fn log_tail(&self) -> String {
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

/// Polls for a change that no watch reports.
fn patiently<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        thread::sleep(PAUSE);
    }
    bail!("the controller did not {what} within {PATIENCE:?}")
}

/// Does the same as [`patiently`], for a thread that may have to serve the proxy meanwhile. (It
/// must not end, as with `block_in_place`: the controllers that it started would be killed with
/// it.)
async fn patiently_async<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the controller did not {what} within {PATIENCE:?}")
}
