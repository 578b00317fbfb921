//! The machine and the versions of a run.

use std::{fs, process::Command, thread};

use anyhow::{Context as _, Result, ensure};
use e2e::root;
use serde_json::Value;
use testkit::cluster::Cluster;

/// The machine, as a reader needs to know it.
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    pub(crate) memory_mib: usize,
}

impl Machine {
    pub(crate) fn read() -> Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
        let cpus = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
        Ok(Self {
            cpu: model(&cpus).unwrap_or("unknown CPU").to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: total_mib(&memory).context("/proc/meminfo has MemTotal")?,
        })
    }

    pub(crate) fn line(&self) -> String {
        format!("{}, {} cores, {} GiB", self.cpu, self.cores, (self.memory_mib + 512) / 1024)
    }
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

fn total_mib(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? / 1024)
}

/// Returns the versions of all that took part.
pub(crate) fn versions(cluster: &Cluster) -> Result<String> {
    let server: Value = serde_json::from_str(&cluster.kubectl(["get", "--raw", "/version"])?)?;
    let kubernetes = server["gitVersion"].as_str().context("the API server has a version")?;
    let pins = fs::read_to_string(root().join("tests/cluster/go.mod")).context("read go.mod")?;
    let helm = pinned(&pins, "helm.sh/helm/v4").context("go.mod pins Helm")?;
    let kwok = pinned(&pins, "sigs.k8s.io/kwok").context("go.mod pins KWOK")?;
    let git = |args: &[&str]| said(Command::new("git").args(args).current_dir(root()));
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--", "crates", "engine", "Cargo.lock"])?;
    let changed = if changed.is_empty() { "" } else { " with changes" };
    Ok(format!(
        "Kubernetes {}, helm {helm}, KWOK {kwok}, ours at commit {commit}{changed}",
        kubernetes.trim_start_matches('v')
    ))
}

/// Returns the version of a module, by the text of `go.mod`.
fn pinned<'a>(pins: &'a str, module: &str) -> Option<&'a str> {
    let version = |line: &'a str| line.trim().strip_prefix(module)?.strip_prefix(" v");
    pins.lines().find_map(version)?.split_whitespace().next()
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn the_machine_is_read() {
    let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n";
    assert_eq!(model(cpuinfo), Some("A CPU @ 2 GHz"));
    assert_eq!(total_mib("MemFree: 1 kB\n"), None);
    assert_eq!(total_mib("MemTotal:       2048 kB\n"), Some(2));
    let pins = "tool a/b/cmd\nrequire (\n\ta/b v1.2.3 // indirect\n)\n";
    assert_eq!(pinned(pins, "a/b"), Some("1.2.3"));
    assert_eq!(pinned(pins, "a/c"), None);
}
