//! Programs that outlive a call, but never the process that started them.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};

/// The memory settings. The cluster's programs are written in Go, which by default spends a quarter
/// of an API server's time on keeping its heap small. Up to the limit they may let it grow.
const MEMORY_FOR_TIME: [(&str, &str); 2] = [("GOGC", "400"), ("GOMEMLIMIT", "2GiB")];

/// The stored data of a started program, so that another process can stop it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) name: String,
    pub(super) pid: u32,
    /// The start time in clock ticks since boot. With the process id it identifies one process for
    /// ever.
    start_time: Option<u64>,
}

impl Started {
    pub(super) fn new(name: &str, pid: u32) -> Self {
        Self { name: name.to_owned(), pid, start_time: stat(pid).map(|s| s.start_time) }
    }

    pub(super) fn alive(&self) -> bool {
        if !Path::new("/proc/self/stat").exists() {
            return self.id().is_some_and(|pid| test_kill_process(pid).is_ok());
        }
        stat(self.pid).is_some_and(|s| s.state != 'Z' && Some(s.start_time) == self.start_time)
    }

    /// Kills the process and waits until it is gone. Another process that now has its id is left
    /// alone.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        if let Some(pid) = self.id().filter(|_| self.alive()) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        while self.alive() {
            if Instant::now() > deadline {
                bail!("{} (process {}) does not end after SIGKILL", self.name, self.pid);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn id(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }
}

struct Stat {
    state: char,
    parent: u32,
    start_time: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// Returns the direct children of a process.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|s| s.parent == parent))
        .collect()
}

/// The lifetime of a program: whether it ends with the process that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The kernel kills the program when this process ends, however it ends.
    Tied,
    Detached,
}

/// A program that was started here, with a log file of its own.
#[derive(Debug)]
pub(crate) struct Program {
    pub(super) started: Started,
    log: PathBuf,
    child: Child,
}

impl Program {
    pub(crate) fn spawn<I, S>(
        name: &str,
        program: &Path,
        args: I,
        logs: &Path,
        life: Life,
    ) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        let log = logs.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = if life == Life::Tied && cfg!(target_os = "linux") {
            let mut c = Command::new("setpriv");
            c.args(["--pdeathsig", "KILL", "--"]).arg(program);
            c
        } else {
            Command::new(program)
        };
        command
            .args(args.into_iter().map(Into::into))
            .envs(MEMORY_FOR_TIME)
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("duplicating a log's handle")?)
            .stderr(out);
        // A Ctrl-C in the terminal is for us, not for them.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = spawn(command)
            .with_context(|| format!("starting {name}: {} did not run", program.display()))?;
        Ok(Self { started: Started::new(name, child.id()), log, child })
    }

    /// Returns an error that shows the end of the log, if the program is no longer running.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("waiting for a child")? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}).\n{}", self.started.name, self.log_tail()),
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
        format!("The end of {}:\n{tail}", self.log.display())
    }

    /// Kills and reaps the process.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program from one thread that never ends. The kernel's "parent" of a tied program is the
/// thread that started it, and a test's thread ends with the test while the cluster may be shared.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let gone = || io::Error::other("the thread that starts programs is gone");
    let (answer, child) = mpsc::channel();
    SPAWNER.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// Runs a command to its end; its output is in the error if it fails.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running `{shown}`: the program did not start"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Repeats the question until the answer is yes. The question's last "not yet" is in the error.
pub(crate) fn wait_for<F>(what: &str, limit: Duration, mut question: F) -> anyhow::Result<()>
where
    F: FnMut() -> anyhow::Result<Result<(), String>>,
{
    let start = Instant::now();
    loop {
        match question().with_context(|| format!("waiting for {what}"))? {
            Ok(()) => return Ok(()),
            Err(not_yet) if start.elapsed() > limit => {
                bail!("waited {} s for {what}; last answer: {not_yet}", limit.as_secs());
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
