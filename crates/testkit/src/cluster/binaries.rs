//! The cluster's programs: found in the right version, or built from the Go module that pins them.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use sha2::{Digest as _, Sha256};

use super::say;

struct Binary {
    name: &'static str,
    package: &'static str,
    pins: &'static Pins,
    /// The module whose version is the program's.
    module: &'static str,
    version: &'static [&'static str],
}

/// A Go module that pins programs.
struct Pins {
    /// The folder below `tests/`.
    folder: &'static str,
    go_mod: &'static str,
    go_sum: &'static str,
}

static CLUSTER: Pins = Pins {
    folder: "cluster",
    go_mod: include_str!("../../../../tests/cluster/go.mod"),
    go_sum: include_str!("../../../../tests/cluster/go.sum"),
};

/// A module of its own, so that its pins do not cause the cluster to be built again.
static REGISTRY: Pins = Pins {
    folder: "registry",
    go_mod: include_str!("../../../../tests/registry/go.mod"),
    go_sum: include_str!("../../../../tests/registry/go.sum"),
};

const KUBERNETES: &str = "k8s.io/kubernetes";

/// The order of the builds: the first ones compile the packages that the others share.
const BINARIES: &[Binary] = &[
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", &["--version"]),
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl", &["version", "--client"]),
    kubernetes(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        &["--version"],
    ),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", &["--version"]),
    Binary {
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        pins: &CLUSTER,
        module: "go.etcd.io/etcd/server/v3",
        version: &["--version"],
    },
    Binary {
        name: "kwok",
        package: "sigs.k8s.io/kwok/cmd/kwok",
        pins: &CLUSTER,
        module: "sigs.k8s.io/kwok",
        version: &["--version"],
    },
    kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet", &["--version"]),
    Binary {
        name: "helm3",
        package: "helm.sh/helm/v3/cmd/helm",
        pins: &CLUSTER,
        module: "helm.sh/helm/v3",
        version: &["version", "--short"],
    },
    Binary {
        name: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        pins: &CLUSTER,
        module: "helm.sh/helm/v4",
        version: &["version", "--short"],
    },
    Binary {
        name: "registry",
        package: "github.com/distribution/distribution/v3/cmd/registry",
        pins: &REGISTRY,
        module: "github.com/distribution/distribution/v3",
        version: &["--version"],
    },
];

const fn kubernetes(
    name: &'static str,
    package: &'static str,
    version: &'static [&'static str],
) -> Binary {
    Binary { name, package, pins: &CLUSTER, module: KUBERNETES, version }
}

/// Returns the path of one of the cluster's programs; it is built first if need be.
///
/// Names: `kube-apiserver`, `kubectl`, `kube-controller-manager`, `kube-scheduler`, `etcd`, `kwok`,
/// `kubelet`, `helm` (version 4) and `helm3`; and `registry`, which has a module of its own.
pub fn bin(name: &str) -> anyhow::Result<PathBuf> {
    let mut paths = ensure(&[name])?;
    paths.pop().with_context(|| format!("no path for {name}"))
}

/// Makes sure that these programs are there, and builds those that are missing; returns their paths
/// in order.
pub fn ensure(names: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    // Asking programs for their versions takes longer than most of their later uses.
    static FOUND: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let wanted = names
        .iter()
        .map(|name| {
            BINARIES
                .iter()
                .find(|b| b.name == *name)
                .ok_or_else(|| anyhow!("{name} is not a program of the local cluster"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut found = FOUND.lock().map_err(|_| anyhow!("another thread failed to build"))?;
    for binary in &wanted {
        if !found.contains_key(binary.name)
            && let Some(path) = binary.installed()
        {
            found.insert(binary.name, path);
        }
    }
    if wanted.iter().any(|b| !found.contains_key(b.name)) {
        build_missing(&wanted, &mut found)?;
    }
    Ok(wanted.iter().filter_map(|b| found.get(b.name).cloned()).collect())
}

fn build_missing(
    wanted: &[&'static Binary],
    found: &mut BTreeMap<&'static str, PathBuf>,
) -> anyhow::Result<()> {
    fs::create_dir_all(build_dir())
        .with_context(|| format!("creating {}", build_dir().display()))?;
    let lock = build_dir().join(".lock");
    let lock = File::create(&lock).with_context(|| format!("creating {}", lock.display()))?;
    if lock.try_lock().is_err() {
        say("Waiting for another process that builds the cluster's programs.");
        lock.lock().context("locking the cluster's programs")?;
    }
    // In the table's order, whatever the caller's, and only those that no other process has built
    // meanwhile.
    let missing: Vec<&Binary> = BINARIES
        .iter()
        .filter(|b| wanted.iter().any(|w| w.name == b.name) && b.installed().is_none())
        .collect();
    if !missing.is_empty() {
        check_go()?;
    }
    for (i, binary) in missing.iter().enumerate() {
        build(binary, &format!("[{}/{}] {}", i + 1, missing.len(), binary.name))?;
    }
    for binary in wanted {
        let path = binary.installed();
        let path = path.with_context(|| format!("{} was built and is not there", binary.name))?;
        found.insert(binary.name, path);
    }
    Ok(())
}

impl Binary {
    /// Returns the version that `go.mod` pins.
    fn pinned(&self) -> &'static str {
        self.pins
            .go_mod
            .lines()
            .filter_map(|line| line.trim().strip_prefix(self.module)?.strip_prefix(' '))
            .find(|rest| rest.starts_with('v'))
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or("unknown")
    }

    fn installed(&self) -> Option<PathBuf> {
        self.found().or_else(|| {
            let path = build_dir().join(self.name);
            let stamp = fs::read_to_string(self.stamp()).ok()?;
            (path.is_file() && stamp == self.stamp_text()).then_some(path)
        })
    }

    /// Returns an installed program of another origin, if it reports the pinned version.
    fn found(&self) -> Option<PathBuf> {
        let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let path = env::var_os("PATH").unwrap_or_default();
        assets
            .into_iter()
            .chain(env::split_paths(&path))
            .map(|dir| dir.join(self.name.trim_end_matches('3')))
            .filter(|path| path.is_file())
            .find(|path| {
                let output = Command::new(path).args(self.version).stdin(Stdio::null()).output();
                output.is_ok_and(|o| {
                    let text = String::from_utf8_lossy(&o.stdout).into_owned();
                    let pinned = self.pinned().trim_start_matches('v');
                    text.split(|c: char| c.is_whitespace() || c == '+')
                        .any(|word| word.trim_start_matches('v') == pinned)
                })
            })
    }

    fn stamp(&self) -> PathBuf {
        build_dir().join(format!(".{}.stamp", self.name))
    }

    fn stamp_text(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.pins.go_mod, self.pins.go_sum, self.package, &linker_flags()] {
            hash.update(part);
        }
        hex(&hash.finalize())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the digest in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Pins {
    fn dir(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(self.folder)
    }
}

/// Returns `target/cluster` of the workspace.
pub(super) fn target_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.canonicalize().unwrap_or(workspace).join("target/cluster")
}

fn build_dir() -> PathBuf {
    target_dir().join("bin")
}

/// Returns the same flags for every program, or the packages that they share would be compiled more
/// than once.
fn linker_flags() -> String {
    let version = BINARIES.iter().find(|b| b.module == KUBERNETES).map_or("", Binary::pinned);
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
    let package = "k8s.io/component-base/version";
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}

fn check_go() -> anyhow::Result<()> {
    let wanted = CLUSTER.go_mod.lines().find_map(|l| l.strip_prefix("go ")).unwrap_or("1.26");
    // It runs in the module's folder, where an older Go fetches the one it needs, or reports why
    // not.
    let answer = Command::new("go").args(["env", "GOVERSION"]).current_dir(CLUSTER.dir()).output();
    let found = match answer {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("`go` on PATH: {error}"),
    };
    bail!(
        "the local cluster's programs are built from source, which needs Go {wanted} or newer ({found}). \
         Install it from your distribution or from the Go project's site, put the programs of the right version into \
         KUBEBUILDER_ASSETS, or set CLUSTER=current to use the current kube context"
    )
}

fn build(binary: &Binary, title: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut child = Command::new("go")
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &linker_flags(), "-o"])
        .arg(build_dir().join(binary.name))
        .arg(binary.package)
        .current_dir(binary.pins.dir())
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running go")?;
    say(&format!("{title} {} ...", binary.pinned()));
    let mut compiled = 0_u32;
    let mut said = Instant::now();
    let mut complaints = Vec::new();
    let lines = child.stderr.take().map(BufReader::new).into_iter().flat_map(BufReader::lines);
    for line in lines.map_while(Result::ok) {
        // `-v` names each package when it is begun: a word without a space.
        if line.contains(' ') || line.starts_with('#') {
            complaints.push(line);
            continue;
        }
        compiled += 1;
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            say(&format!("{title} ... {} s, {compiled} packages", start.elapsed().as_secs()));
        }
    }
    let status = child.wait().context("waiting for go")?;
    if !status.success() {
        bail!("building {} failed ({status}):\n{}", binary.package, complaints.join("\n"));
    }
    say(&format!("{title} built in {} s", start.elapsed().as_secs()));
    fs::write(binary.stamp(), binary.stamp_text())
        .with_context(|| format!("writing {}", binary.stamp().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_pinned() {
        for binary in BINARIES {
            assert!(binary.pinned().starts_with('v'), "{} is not in go.mod", binary.name);
        }
        assert!(linker_flags().contains("gitMinor=36"), "{}", linker_flags());
    }
}
