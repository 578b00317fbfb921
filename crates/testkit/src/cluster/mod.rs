//! A Kubernetes cluster on this machine, without a container engine: the real control plane, and a
//! node that either runs real containers or simulates them (KWOK).
//!
//! Two clusters share nothing: each gets free ports, interfaces, sockets and folders. A cluster
//! ends with the process that started it, unless it is detached.

mod binaries;
pub(crate) mod certs;
mod control_plane;
mod image;
mod kwok;
mod network;
mod node;
mod options;
mod prerequisites;
pub(crate) mod process;
mod registry;
mod state;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
pub use binaries::{bin, ensure, sha256};
use control_plane::ControlPlane;
pub(crate) use image::digest;
pub use options::{Node, Options};
pub use prerequisites::{ensure_buildah, missing};
use process::{Life, Program};
use state::State;

/// A running cluster. Dropping it stops it, unless it is detached.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    kubeconfig: PathBuf,
    audit_log: PathBuf,
    state: State,
    programs: Vec<Program>,
    life: Life,
}

/// The number of attempts. Free ports are chosen and can be taken before the program binds them.
const ATTEMPTS: u32 = 4;

impl Cluster {
    /// Starts a cluster and waits until its node is ready and a Pod can be created.
    pub fn start(options: Options) -> anyhow::Result<Self> {
        let _lock = lock(&options.dir)?;
        if let Ok(state) = State::load(&options.dir) {
            if state.alive() {
                bail!("a cluster is already running in {}: stop it first", options.dir.display());
            }
            state.stop()?;
        }
        let mut attempt = 1;
        loop {
            match Self::start_once(&options) {
                Err(e) if attempt < ATTEMPTS && format!("{e:#}").contains("already in use") => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Returns the cluster that runs in this folder, if one does. Dropping it does not stop it.
    pub fn attach(dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        let state = State::load(&dir).ok()?;
        if !state.ready || !state.alive() {
            return None;
        }
        let cluster = Self::with_state(dir, state, Life::Detached);
        cluster.kubectl(["get", "--raw", "/readyz"]).is_ok().then_some(cluster)
    }

    fn start_once(options: &Options) -> anyhow::Result<Self> {
        let dir = prepare_dir(&options.dir)?;
        let life = if options.detached { Life::Detached } else { Life::Tied };
        let mut cluster = Self::with_state(dir, State::new(options.node), life);
        match cluster.boot(options) {
            Ok(()) => Ok(cluster),
            Err(error) => {
                // The error of the program that ended explains more than that of the one that
                // waited for it.
                let error = cluster.check_programs().err().unwrap_or(error);
                cluster.shut_down().context("stopping what was started")?;
                Err(error.context(format!("starting a cluster in {}", options.dir.display())))
            }
        }
    }

    fn boot(&mut self, options: &Options) -> anyhow::Result<()> {
        ensure(&control_plane::PROGRAMS)?;
        let mut node = match options.node {
            Node::Kwok => None,
            Node::Real => self.or_simulate(node::RealNode::begin)?,
        };
        let outside = node.as_ref().map(|n| n.network.host);
        let plane = ControlPlane::begin(self, outside, &options.audit_policy)?;
        // While the API server comes up.
        if let Some(real) = &node
            && self.or_simulate(|cluster| real.prepare(cluster))?.is_none()
        {
            node = None;
        }
        plane.wait_for_api(self)?;
        let joined = match &node {
            Some(real) => self.or_simulate(|cluster| real.join(cluster, &plane))?,
            None => None,
        };
        if joined.is_none() {
            self.state.node = Node::Kwok;
            kwok::join(self, &options.pod_delay)?;
        }
        plane.finish(self)?;
        self.state.ready = true;
        self.state.save(&self.dir)
    }

    /// Handles a step of the real node; if it fails, the node's remains are removed and the reason
    /// is printed.
    fn or_simulate<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let error = match step(self) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        say(&format!("No real node here, a simulated one (KWOK) instead: {error:#}"));
        let (node, others) =
            std::mem::take(&mut self.programs).into_iter().partition(|p| node::owns(&p.started));
        self.programs = others;
        kill_all(node);
        self.state.forget_node()?;
        self.state.save(&self.dir)?;
        Ok(None)
    }

    fn with_state(dir: PathBuf, state: State, life: Life) -> Self {
        Self {
            kubeconfig: dir.join("kubeconfig"),
            audit_log: dir.join("audit.log"),
            dir,
            state,
            programs: Vec::new(),
            life,
        }
    }

    /// Returns the kubeconfig file of a member of `system:masters`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns the API server's URL.
    pub fn server(&self) -> &str {
        &self.state.server
    }

    /// Returns the certificate that signed the API server's.
    pub fn ca_pem(&self) -> &str {
        &self.state.ca_pem
    }

    /// Returns the bearer token of a member of `system:masters`.
    pub fn token(&self) -> &str {
        &self.state.token
    }

    /// Returns the path of the log of the API server's requests, one JSON object a line. It is
    /// never rotated, and stays when the cluster stops.
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the kind of node on which the Pods do run, which may be less than was requested.
    pub fn node(&self) -> Node {
        self.state.node
    }

    /// Returns the ids of the processes of the cluster, except for those inside a real node.
    pub fn pids(&self) -> Vec<u32> {
        self.state.started.iter().map(|s| s.pid).collect()
    }

    /// Runs kubectl as administrator; returns its standard output.
    pub fn kubectl<I, S>(&self, args: I) -> anyhow::Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        process::run(
            Command::new(bin("kubectl")?).arg("--kubeconfig").arg(&self.kubeconfig).args(args),
        )
    }

    /// Runs `kubectl apply --server-side` on a text with one or more objects.
    pub fn apply(&self, text: &str) -> anyhow::Result<()> {
        let file = self.dir.join(format!("apply-{}.yaml", control_plane::random()?));
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        let path = file.as_os_str();
        let applied =
            self.kubectl(["apply".as_ref(), "--server-side".as_ref(), "-f".as_ref(), path]);
        fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        applied.map(drop)
    }

    /// Loads the images of an archive, as `docker save` writes it, into the real node: Pods there find
    /// them without a registry.
    pub fn load_images(&self, archive: &Path) -> anyhow::Result<()> {
        let init = self.state.started.iter().find(|started| node::is_init(started));
        let init = init.context("only a node that runs containers takes images")?;
        node::import(init.pid, archive)
    }

    /// Stops the cluster, detached or not.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.shut_down()
    }

    fn launch<I, S>(&mut self, name: &str, program: &Path, args: I) -> anyhow::Result<u32>
    where
        I: IntoIterator<Item = S>,
        S: Into<std::ffi::OsString>,
    {
        let program = Program::spawn(name, program, args, &self.dir.join("logs"), self.life)?;
        let pid = program.started.pid;
        self.state.started.push(program.started.clone());
        self.programs.push(program);
        self.state.save(&self.dir)?;
        Ok(pid)
    }

    fn check_programs(&mut self) -> anyhow::Result<()> {
        self.programs.iter_mut().try_for_each(Program::check)
    }

    fn shut_down(&mut self) -> anyhow::Result<()> {
        kill_all(std::mem::take(&mut self.programs));
        self.state.stop()?;
        self.state.started.clear();
        remove_remains(&self.dir)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.life == Life::Tied
            && !self.state.started.is_empty()
            && let Err(error) = self.shut_down()
        {
            say(&format!("Stopping the cluster in {}: {error:#}", self.dir.display()));
        }
    }
}

/// Stops the cluster in this folder, whoever started it; does nothing if there is none. Logs and
/// the audit log stay.
pub fn stop(dir: &Path) -> anyhow::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let _lock = lock(dir)?;
    if let Ok(state) = State::load(dir) {
        state.stop()?;
    }
    remove_remains(dir)
}

/// Returns the folder of the detached cluster of this name.
pub fn dir_of(name: &str) -> PathBuf {
    binaries::target_dir().join(name)
}

/// Prints to standard error, past the test harness, which would hold back a long build's progress
/// until it is over.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Kills the programs, the last started first, so that none reports a server that is gone.
fn kill_all(programs: Vec<Program>) {
    programs.into_iter().rev().for_each(|mut p| p.kill());
}

fn lock(dir: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let path = dir.join(".lock");
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

fn prepare_dir(dir: &Path) -> anyhow::Result<PathBuf> {
    remove_remains(dir)?;
    remove(&dir.join("logs"))?;
    remove(&dir.join("audit.log"))?;
    for name in ["logs", "pki", "config"] {
        let path = dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    }
    dir.canonicalize().with_context(|| format!("resolving {}", dir.display()))
}

/// Removes everything except the files worth reading afterwards.
fn remove_remains(dir: &Path) -> anyhow::Result<()> {
    ["node", "etcd", "pki", "config", "kubeconfig", state::FILE]
        .iter()
        .try_for_each(|name| remove(&dir.join(name)))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Replaces `${NAME}`s by their values.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
    })
}
