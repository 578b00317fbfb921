//! The programs of this project: those of the workspace, built by cargo, and the engine, by Go.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

/// Builds every program of the project and returns their folder. It builds the whole workspace,
/// since cargo chooses the features of shared dependencies by all that is built together.
///
/// # Errors
/// If one does not compile; cargo or Go has printed why on standard error.
pub fn build(profile: &str) -> Result<PathBuf> {
    // Once in a process: a call of cargo and Go costs half a second each time.
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = built.get(profile) {
        return Ok(folder.clone());
    }
    let folder = build_now(profile)?;
    built.insert(profile.to_owned(), folder.clone());
    Ok(folder)
}

fn build_now(profile: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or(root);
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set by the cargo that runs this program for its package; ring's build script would take them
    // for its own and cause everything that uses TLS to be compiled again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command
        .args(["build", "--quiet", "--workspace", "--bins", "--profile", profile])
        .current_dir(&root)
        .status()
        .context("run cargo build")?;
    ensure!(status.success(), "`cargo build --workspace --bins` failed ({status}), see above");
    let folder = target().join(if profile == "dev" { "debug" } else { profile });
    engine(&root, &folder)?;
    Ok(folder)
}

/// Returns the target folder of the workspace.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or(root);
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn engine(root: &Path, folder: &Path) -> Result<()> {
    // Another test program may run the one that is there, or build it at the same time.
    let built = folder.join(format!("releaselifecycle-engine-{}", std::process::id()));
    let status = Command::new("go")
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&built)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(root.join("engine"))
        .status()
        .context("run go build; Go 1.26 or later is needed")?;
    ensure!(status.success(), "`go build` in engine/ failed ({status}), see above");
    fs::rename(&built, folder.join("releaselifecycle-engine")).context("replace the engine")
}
