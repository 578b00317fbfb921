//! The requirements of a real node on the machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use super::{process::run, say};

/// Programs, and Debian's packages that hold them.
const TOOLS: [(&str, &str); 9] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Returns the programs that a real node lacks here, with the Debian package to install for it.
pub fn missing() -> Vec<(&'static str, &'static str)> {
    let mut missing: Vec<_> =
        TOOLS.into_iter().filter(|(program, _)| find(program).is_none()).collect();
    if cni_dir().is_none() {
        missing.push(("the CNI plugins bridge and host-local", "containernetworking-plugins"));
    }
    if busybox().is_none() {
        missing.push(("a statically linked busybox", "busybox-static"));
    }
    missing
}

/// Installs the programs that a real node lacks, if that is possible.
pub(super) fn ensure_node() -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("a node that runs containers needs Linux");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("a node that runs containers needs root");
    }
    ensure(missing)
}

/// Installs buildah, which builds images without a daemon, if it is missing and that is possible.
pub fn ensure_buildah() -> anyhow::Result<()> {
    ensure(|| match find("buildah") {
        Some(_) => Vec::new(),
        None => vec![("buildah", "buildah")],
    })
}

fn ensure(missing: impl Fn() -> Vec<(&'static str, &'static str)>) -> anyhow::Result<()> {
    let lacking = missing();
    if lacking.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = lacking.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    if find("apt-get").is_none() {
        let what: Vec<_> = lacking.iter().map(|(program, _)| *program).collect();
        bail!("missing: {} (on Debian: {})", what.join(", "), packages.join(", "));
    }
    say(&format!("Installing {} with apt-get.", packages.join(", ")));
    if apt(&packages).is_err() {
        // The lists may be old, or never fetched.
        run(Command::new("apt-get").arg("update"))?;
        apt(&packages)?;
    }
    match missing().first() {
        None => Ok(()),
        Some((what, package)) => bail!("{package} is installed, but {what} was not found"),
    }
}

fn apt(packages: &[&str]) -> anyhow::Result<()> {
    run(Command::new("apt-get")
        // It must not replace another vendor's containerd.
        .args(["install", "-y", "--no-install-recommends", "--no-remove"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // As in single-user mode: the packages' services are not started.
        .env("RUNLEVEL", "1"))
    .with_context(|| format!("installing {}", packages.join(", ")))
    .map(drop)
}

/// Returns the folder of the CNI plugins: Debian's, or the one that upstream's archives use.
pub(super) fn cni_dir() -> Option<PathBuf> {
    ["/usr/lib/cni", "/opt/cni/bin"]
        .into_iter()
        .map(PathBuf::from)
        .find(|dir| dir.join("bridge").is_file() && dir.join("host-local").is_file())
}

/// Returns a busybox that runs without any libraries.
pub(super) fn busybox() -> Option<PathBuf> {
    let path = find("busybox")?;
    // A dynamic program names its loader in the first page.
    let head: Vec<u8> = fs::read(&path).ok()?.into_iter().take(4096).collect();
    (!head.windows(4).any(|w| w == b"/ld-")).then_some(path)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Not every user's PATH has the administrator's folders.
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).to_owned()))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
