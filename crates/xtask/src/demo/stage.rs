//! The cluster, the programs, and what is applied before the story begins.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use testkit::cluster::{self as kit, Cluster, Node};

use super::{
    Play,
    report::{Report, seconds},
    say,
};
use crate::cluster;

/// How long a hook takes on a simulated node: long enough to be killed in.
const SIMULATED_HOOK: Duration = Duration::from_secs(4);
/// The time within which the rest of an earlier demo must be gone.
const REMOVAL: &str = "120s";
/// The label that tells the demo's namespace from one of the user's that has its name.
const OURS: &str = "releaselifecycle.dev/example";

const PROGRAMS: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "kubelet",
    "helm",
];

pub(super) struct Stage {
    pub(super) play: &'static Play,
    /// `None`: the current kube context's, which was there before and is not ours to look into.
    cluster: Option<Cluster>,
    kubectl: PathBuf,
    helm: PathBuf,
    /// How far the audit log went when the story began.
    pub(super) audit_offset: u64,
}

impl Stage {
    pub(super) fn set(
        play: &'static Play,
        args: &cluster::Up,
        report: &mut Report,
    ) -> anyhow::Result<Self> {
        let start = Instant::now();
        let stage = if args.is_current() {
            cluster::current()?;
            let (kubectl, helm) = (installed("kubectl")?, installed("helm")?);
            report.seconds.tools_build = seconds(start.elapsed());
            Self { play, cluster: None, kubectl, helm, audit_offset: 0 }
        } else {
            kit::ensure(&PROGRAMS)?;
            report.seconds.tools_build = seconds(start.elapsed());
            let start = Instant::now();
            let cluster = cluster::start(args, Some(SIMULATED_HOOK))?;
            report.seconds.cluster_start = seconds(start.elapsed());
            let (kubectl, helm) = (kit::bin("kubectl")?, kit::bin("helm")?);
            Self { play, cluster: Some(cluster), kubectl, helm, audit_offset: 0 }
        };
        stage.node_name().clone_into(&mut report.node);
        let version = stage.kubectl(&["version", "--output=json"])?;
        let version: Value = serde_json::from_str(&version).context("reading kubectl version")?;
        let version = version.pointer("/serverVersion/gitVersion").and_then(Value::as_str);
        version.unwrap_or("unknown").clone_into(&mut report.versions.kubernetes);
        report.versions.helm = stage.output(&stage.helm, &["version", "--short"])?;
        Ok(stage)
    }

    /// Builds the controller and the CLI, in the profile of this program.
    pub(super) fn build(&self, report: &mut Report) -> anyhow::Result<()> {
        let start = Instant::now();
        let dir = programs()?;
        let profile = match dir.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        testkit::programs::build(profile)?;
        report.seconds.cargo_build = seconds(start.elapsed());
        let controller = program("releaselifecycle-controller")?;
        report.versions.controller = self.output(&controller, &["--version"])?;
        Ok(())
    }

    /// Applies what the release needs, in the place of what an earlier demo left.
    pub(super) fn dress(&mut self) -> anyhow::Result<()> {
        for (how, path) in [("-k", "crds"), ("-f", "deploy/base/role-deployer.yaml")] {
            self.apply_quietly(how, path)?;
        }
        let crd = "crd/releaselifecycles.releaselifecycle.dev";
        self.kubectl(&["wait", crd, "--for=condition=Established", "--timeout=30s"])?;
        self.strike()?;
        if let Some(cluster) = &self.cluster {
            let log = cluster.audit_log();
            let length = fs::metadata(log).map(|metadata| metadata.len());
            self.audit_offset = length.with_context(|| format!("reading {}", log.display()))?;
        }
        self.apply_quietly("-f", &self.play.file("tenant.yaml"))
    }

    /// Applies what is not part of the story; `how` is kubectl's flag for `path`.
    pub(super) fn apply_quietly(&self, how: &str, path: &str) -> anyhow::Result<()> {
        self.kubectl(&["apply", "--server-side", "--force-conflicts", how, path]).map(drop)
    }

    /// The namespace holds all there is, but for volumes: the release's object, its records, its
    /// hooks.
    fn strike(&self) -> anyhow::Result<()> {
        let Play { namespace, folder, .. } = self.play;
        let query = ["get", "namespace", namespace, "--ignore-not-found", "--output=json"];
        let answer = self.kubectl(&query)?;
        if !answer.trim().is_empty() {
            let found: Value = serde_json::from_str(&answer).context("reading the namespace")?;
            let labels = found.pointer("/metadata/labels");
            let mark = labels.and_then(|labels| labels.get(OURS)).and_then(Value::as_str);
            if mark != Some(folder) {
                bail!(
                    "namespace {namespace} exists and is not the demo's: it has no label \
                     {OURS}={folder}. The demo would delete it; do that yourself, or use a cluster \
                     without it"
                );
            }
            say(&format!("Removing what an earlier demo left: namespace {namespace}."));
            // Its controller was stopped, and would have been needed to let the release go.
            let releases = self.json(&["get", "releaselifecycles"])?;
            for release in releases["items"].as_array().into_iter().flatten() {
                let name = release["metadata"]["name"].as_str().unwrap_or_default();
                let bare = r#"{"metadata": {"finalizers": null}}"#;
                let patch = ["patch", "releaselifecycle", name, "-n", namespace, "--type=merge"];
                self.kubectl(&[&patch[..], &["-p", bare]].concat())?;
            }
            let timeout = format!("--timeout={REMOVAL}");
            let delete = ["delete", "namespace", namespace, "--ignore-not-found", "--wait"];
            self.kubectl(&[&delete[..], &[&timeout]].concat())?;
        }
        // One whose claim is gone takes no other.
        let mark = format!("{OURS}={folder}");
        self.kubectl(&["delete", "persistentvolume", "-l", &mark, "--wait"])?;
        Ok(())
    }

    /// Applies one of the demo's releases, as a user would.
    pub(super) fn apply(&self, file: &str) -> anyhow::Result<()> {
        let path = self.play.file(file);
        say(&format!("$ kubectl apply --server-side -f {path}"));
        self.kubectl(&["apply", "--server-side", "-f", &path]).map(drop)
    }

    pub(super) fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.output(&self.kubectl, args)
    }

    pub(super) fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut all = args.to_vec();
        all.extend(["-n", self.play.namespace, "--output=json"]);
        let text = self.kubectl(&all)?;
        serde_json::from_str(&text).with_context(|| format!("reading kubectl {}", args.join(" ")))
    }

    /// The standard output, without the last newline.
    fn output(&self, program: &Path, args: &[&str]) -> anyhow::Result<String> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let shown = format!("{name} {}", args.join(" "));
        let output = self.command(program).args(args).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("running `{shown}`"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`{shown}` failed ({}): {}", output.status, error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Runs a program for the reader, who sees the command and what it says.
    pub(super) fn run_shown(&self, name: &str, args: &[&str]) -> anyhow::Result<()> {
        let (program, shown) = match name {
            "helm" => (self.helm.clone(), "helm"),
            "kubectl" => (self.kubectl.clone(), "kubectl"),
            _ => (program(name)?, "kubectl lifecycle"),
        };
        say(&format!("$ {shown} {}", args.join(" ")));
        self.output(&program, args)?.lines().for_each(|line| say(&format!("| {line}")));
        Ok(())
    }

    /// A command that talks to the stage's cluster.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(root());
        // The controller's flags as variables: the story tells of the defaults.
        forget(&mut command, &["RELEASELIFECYCLE_"]);
        if let Some(cluster) = &self.cluster {
            command.env("KUBECONFIG", cluster.kubeconfig());
        }
        command
    }

    /// The controller's log.
    pub(super) fn log(&self) -> PathBuf {
        target().join(self.play.title).join("controller.log")
    }

    /// The audit log, if it is ours.
    pub(super) fn audit_log(&self) -> Option<&Path> {
        self.cluster.as_ref().map(Cluster::audit_log)
    }

    /// Returns whether no container really runs.
    pub(super) fn is_simulated(&self) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| cluster.node() == Node::Kwok)
    }

    fn node_name(&self) -> &'static str {
        match self.cluster.as_ref().map(Cluster::node) {
            None => "current",
            Some(Node::Real) => "real",
            Some(Node::Kwok) => "kwok",
        }
    }

    pub(super) fn describe_node(&self) -> &'static str {
        let node = self.cluster.as_ref().map(Cluster::node);
        node.map_or("the cluster of the current kube context", cluster::describe)
    }

    /// Returns what to do next, and how.
    pub(super) fn hints(&self, name: &str) -> Vec<(&'static str, String)> {
        let namespace = self.play.namespace;
        let look = format!("kubectl get rl -A; kubectl get jobs -n {namespace}");
        let Some(cluster) = &self.cluster else {
            return vec![
                ("Look around:", look),
                ("Remove it:", format!("kubectl delete namespace {namespace}")),
            ];
        };
        let (bin, own) = (self.kubectl.parent().unwrap_or(&self.kubectl), programs());
        let own = own.map(|own| format!("{}:", own.display())).unwrap_or_default();
        vec![
            ("Look around:", format!("export KUBECONFIG={}", cluster.kubeconfig().display())),
            ("", format!("export PATH={own}{}:$PATH", bin.display())),
            ("", look),
            ("Stop it:", format!("make cluster-down CLUSTER_NAME={name}")),
        ]
    }
}

/// Keeps variables that begin so from `command`.
fn forget(command: &mut Command, prefixes: &[&str]) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if prefixes.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// From PATH if it is there, whatever its version: the cluster is not ours either.
fn installed(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.map_or_else(|| kit::bin(name), Ok)
}

/// The workspace's folder.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

pub(super) fn target() -> PathBuf {
    root().join("target")
}

/// `path` as a reader in the workspace's folder would name it.
pub(super) fn show(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// One of the programs that [`Stage::build`] made.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    Ok(programs()?.join(name))
}

/// Where cargo puts programs: where this one is.
fn programs() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("finding this program's own file")?;
    Ok(own.parent().context("this program's file is in no folder")?.to_owned())
}

/// Asks again and again until there is an answer.
pub(super) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().with_context(|| format!("waiting for {what}"))? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
}
