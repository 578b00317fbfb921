//! `cluster` and `cluster-down`: a cluster that outlives the command.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use testkit::cluster::{self, Cluster, Node, Options};

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    which: Which,
    /// Kind of the node; if a real node cannot run, it is simulated
    #[arg(long, env = "NODE", value_enum, default_value = "real")]
    node: NodeKind,
}

#[derive(Args)]
pub(crate) struct Down {
    #[command(flatten)]
    which: Which,
}

#[derive(Args)]
struct Which {
    /// Name of the cluster, which is also that of its folder under target/cluster
    #[arg(long, env = "CLUSTER_NAME", default_value = "default")]
    name: String,
    /// Cluster to use; "current" is that of the current kube context, which is neither started nor
    /// stopped
    #[arg(long, env = "CLUSTER", value_parser = ["local", "current"], default_value = "local")]
    cluster: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum NodeKind {
    Real,
    Kwok,
}

impl Up {
    pub(crate) fn is_current(&self) -> bool {
        self.which.is_current()
    }

    pub(crate) fn name(&self) -> &str {
        &self.which.name
    }
}

impl Which {
    fn is_current(&self) -> bool {
        self.cluster == "current"
    }

    fn dir(&self) -> anyhow::Result<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        // The programs live beside the clusters, in `bin`.
        if self.name.is_empty() || self.name == "bin" || !self.name.chars().all(plain) {
            bail!("{:?} cannot be a cluster's name: use letters, digits and dashes", self.name);
        }
        Ok(cluster::dir_of(&self.name))
    }
}

/// Starts the cluster, or finds it running; answers what a shell has to set.
pub(crate) fn up(args: &Up) -> anyhow::Result<String> {
    if args.is_current() {
        return current();
    }
    let cluster = start(args, None)?;
    Ok(export(&cluster.kubeconfig().display().to_string()))
}

/// Starts a cluster that outlives this process, or finds it running. `pod_delay` is how long a Job's
/// Pod takes on a simulated node.
pub(crate) fn start(args: &Up, pod_delay: Option<Duration>) -> anyhow::Result<Cluster> {
    let dir = args.which.dir()?;
    if let Some(cluster) = Cluster::attach(&dir) {
        eprintln!("The cluster in {} is running.", dir.display());
        return Ok(cluster);
    }
    let node = match args.node {
        NodeKind::Real => Node::Real,
        NodeKind::Kwok => Node::Kwok,
    };
    eprintln!("Starting a cluster in {}.", dir.display());
    let start = Instant::now();
    let mut options = Options::new(dir).node(node).detached();
    if let Some(delay) = pod_delay {
        options = options.pod_delay(delay..=delay);
    }
    let cluster = Cluster::start(options)?;
    let seconds = start.elapsed().as_secs_f32();
    eprintln!("Ready after {seconds:.1} s, with {}.", describe(cluster.node()));
    Ok(cluster)
}

pub(crate) fn describe(node: Node) -> &'static str {
    match node {
        Node::Real => "a node that runs containers",
        Node::Kwok => "a simulated node (KWOK): no container runs",
    }
}

/// Stops the cluster, if it is running.
pub(crate) fn down(args: &Down) -> anyhow::Result<()> {
    if args.which.is_current() {
        eprintln!("CLUSTER=current: nothing was started, nothing is stopped.");
        return Ok(());
    }
    let dir = args.which.dir()?;
    let ran = Cluster::attach(&dir).is_some();
    cluster::stop(&dir)?;
    let said = if ran { "The cluster was stopped" } else { "No cluster ran" };
    eprintln!("{said} in {}.", dir.display());
    Ok(())
}

/// The line that points a shell at the current kube context.
pub(crate) fn current() -> anyhow::Result<String> {
    let files = match env::var("KUBECONFIG") {
        Ok(files) if !files.is_empty() => files,
        _ => {
            let home = env::home_dir().context("neither KUBECONFIG nor a home folder is set")?;
            let file = home.join(".kube/config");
            if !file.is_file() {
                bail!(
                    "CLUSTER=current, but KUBECONFIG is not set and {} is not there",
                    file.display()
                );
            }
            file.display().to_string()
        }
    };
    let config = kube::config::Kubeconfig::from_env()
        .with_context(|| format!("reading {files}"))?
        .map_or_else(kube::config::Kubeconfig::read, Ok)
        .with_context(|| format!("reading {files}"))?;
    let context = config.current_context.filter(|c| !c.is_empty());
    let context = context.with_context(|| format!("{files} names no current context"))?;
    eprintln!("CLUSTER=current: using context {context} of {files}.");
    Ok(export(&files))
}

fn export(kubeconfig: &str) -> String {
    format!("export KUBECONFIG='{}'", kubeconfig.replace('\'', r"'\''"))
}
