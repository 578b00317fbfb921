//! Runs the commands of the documentation, and applies its manifests.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use testkit::{cluster, cluster::Cluster, programs};

use crate::{
    markdown::{self, Block},
    root,
};

/// The reasons for which a block may be left out (`sh,ignore=…`). Each is run elsewhere, or cannot
/// run on a cluster that tests share.
const IGNORED: [&str; 2] = [
    // An operator that serves every namespace would interfere with other tests; `deploy/` has its
    // own.
    "operator", // It names a repository, or a folder, of the reader's.
    "yours",
];

/// Groups whose kinds a cluster without those tools does not know. A manifest of them has to be in
/// `deploy/`, word for word, where other tests check it, or be a file that the page uses later.
const FOREIGN: [&str; 5] = [
    "kustomize.toolkit.fluxcd.io",
    "source.toolkit.fluxcd.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.config.k8s.io",
    "argoproj.io",
];

/// A page of the documentation.
pub struct Page {
    name: String,
    /// Its text.
    pub text: String,
    blocks: Vec<Block>,
}

/// The folder of the pages.
pub fn book() -> PathBuf {
    root().join("docs/src")
}

/// Returns the pages of `docs/`.
///
/// # Errors
/// If the folder cannot be read.
pub fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for folder in [book(), book().join("internals")] {
        for entry in fs::read_dir(folder)? {
            pages.push(entry?.path());
        }
    }
    pages.retain(|page| page.extension().is_some_and(|it| it == "md"));
    pages.sort();
    Ok(pages)
}

impl Page {
    /// Reads the page at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or has a block that no test could judge.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let blocks = markdown::blocks(&text).with_context(|| name.clone())?;
        Ok(Self { name, text, blocks })
    }

    /// Reads the page of `docs/src`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_docs(name: &str) -> Result<Self> {
        Self::read(&book().join(name))
    }

    /// Returns its blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Lets the API server check every YAML block: in a dry run, in a namespace that exists.
    ///
    /// # Errors
    /// If it refuses one.
    pub fn check_yaml(&self, cluster: &Cluster, namespace: &str) -> Result<()> {
        for block in self.blocks.iter().filter(|block| block.language == "yaml") {
            check_block(cluster, namespace, block)
                .with_context(|| format!("{} line {}", self.name, block.line))?;
        }
        Ok(())
    }

    /// Runs its shell blocks, in order and in one shell, as a reader would who is in a clone of the
    /// repository and saves each file that is shown under its name; returns the output.
    ///
    /// # Errors
    /// With all output, if a command fails.
    pub fn run(&self, cluster: &Cluster) -> Result<String> {
        self.run_after(cluster, "")
    }

    /// Does the same as [`Self::run`], after commands that the page assumes.
    ///
    /// # Errors
    /// As there.
    pub fn run_after(&self, cluster: &Cluster, before: &str) -> Result<String> {
        self.run_blocks(cluster, before, false)
    }

    /// Does the same as [`Self::run`], on a cluster of its own: also what other tests of a shared cluster
    /// would notice (`sh,ignore=operator`).
    ///
    /// # Errors
    /// As there.
    pub fn run_alone(&self, cluster: &Cluster) -> Result<String> {
        self.run_blocks(cluster, "", true)
    }

    fn run_blocks(&self, cluster: &Cluster, before: &str, is_alone: bool) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let root = root().canonicalize()?;
        for name in ["crds", "deploy", "docs", "examples", "target"] {
            symlink(root.join(name), folder.path().join(name))?;
        }
        // A page's changes to it must not affect others.
        let kubeconfig = folder.path().join("kubeconfig");
        fs::copy(cluster.kubeconfig(), &kubeconfig)?;
        let mut path = vec![programs::build("dev")?];
        for program in ["kubectl", "helm"] {
            path.extend(cluster::bin(program)?.parent().map(Path::to_owned));
        }
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let script = format!("{before}\n{}", self.script(is_alone)?);
        fs::write(folder.path().join("page.sh"), script)?;
        // It must not outlive a test that is killed.
        let output = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "bash", "-euo", "pipefail", "-c"])
            .arg("exec 2>&1; . ./page.sh")
            .current_dir(folder.path())
            .env("KUBECONFIG", &kubeconfig)
            .env("PATH", std::env::join_paths(path)?)
            .stdin(Stdio::null())
            .output()
            .context("run bash")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{}: {}\n{said}", self.name, output.status);
        Ok(said)
    }

    fn script(&self, is_alone: bool) -> Result<String> {
        let mut lines = Vec::new();
        for block in &self.blocks {
            let place = format!("{} line {}", self.name, block.line);
            if let Some(file) = block.attribute("file") {
                lines.push(format!("cat > {file} <<'END-OF-FILE'\n{}END-OF-FILE", block.text));
            }
            if block.language != "sh" {
                continue;
            }
            match block.attribute("ignore") {
                Some("operator") if is_alone => {}
                Some(reason) if IGNORED.contains(&reason) => continue,
                Some(reason) => bail!("{place}: {reason:?} is no reason: {IGNORED:?}"),
                None => {}
            }
            lines.push(format!("echo '=== {place}'"));
            for line in block.text.lines() {
                match make_target(line) {
                    // It needs a cluster, or minutes, of its own; it is enough that there is such a
                    // target.
                    Some(target) => ensure!(is_target(target)?, "{place}: no target {target:?}"),
                    None => lines.push(line.to_owned()),
                }
            }
        }
        Ok(lines.join("\n"))
    }
}

fn check_block(cluster: &Cluster, namespace: &str, block: &Block) -> Result<()> {
    let documents = helm::manifest::parse(&block.text).context("YAML that cannot be read")?;
    ensure!(!documents.is_empty(), "it is empty");
    for mut object in documents {
        let api = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        if FOREIGN.iter().any(|group| api.starts_with(group)) {
            ensure!(
                block.attribute("file").is_some() || is_shipped(&block.text)?,
                "deploy/ has no such text"
            );
            continue;
        }
        if api.is_empty() {
            if is_shipped(&block.text)? {
                continue;
            }
            object = completed(object)?;
        }
        // A page's namespaces do not exist.
        let namespaced = object["metadata"]["namespace"].is_string() || api.is_empty();
        if namespaced || object["kind"] == "ReleaseLifecycle" {
            object["metadata"]["namespace"] = json!(namespace);
        }
        dry_run(cluster, namespace, &object)?;
    }
    Ok(())
}

/// Returns the target of a line that runs `make`.
fn make_target(line: &str) -> Option<&str> {
    let line = line.trim_start_matches("eval \"$(");
    let words = line.strip_prefix("make ")?.split([' ', ')']);
    words.into_iter().find(|word| !word.starts_with('-') && !word.contains('='))
}

fn is_target(name: &str) -> Result<bool> {
    let makefile = fs::read_to_string(root().join("Makefile"))?;
    Ok(makefile.lines().any(|line| line.starts_with(&format!("{name}:"))))
}

/// Returns a part of a release, with the fields that the page leaves out.
fn completed(part: Value) -> Result<Value> {
    let mut whole = json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1",
        "kind": "ReleaseLifecycle",
        "metadata": {"name": "part"},
        "spec": {},
    });
    for (key, value) in part.as_object().context("no mapping")? {
        ensure!(["metadata", "spec"].contains(&&**key), "{key} is no part of a release");
        for (field, value) in value.as_object().context("no mapping")? {
            whole[key][field] = value.clone();
        }
    }
    if whole["spec"]["source"].is_null() {
        whole["spec"]["source"] = json!({"objects": []});
    }
    Ok(whole)
}

fn dry_run(cluster: &Cluster, namespace: &str, object: &Value) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), object.to_string())?;
    let file = file.path().to_string_lossy();
    let args = ["apply", "--server-side", "--dry-run=server", "--namespace", namespace];
    cluster.kubectl(args.into_iter().chain(["--filename", &*file]))?;
    Ok(())
}

/// Returns whether a file of `deploy/` holds this text.
fn is_shipped(text: &str) -> Result<bool> {
    let mut folders = vec![root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path)?.contains(text.trim()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
