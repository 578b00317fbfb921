//! The operator's image, made as a user makes it.

use std::{env, fs, process::Command};

use anyhow::{Context, Result, ensure};
use e2e::{root, target};
use testkit::cluster::{Cluster, ensure_buildah};

/// The names that `deploy/` asks for, as containerd completes them.
const NAMES: [&str; 2] = ["docker.io/library/releaselifecycle-controller:dev", OTHER];
/// The name by which a user calls it.
pub(super) const OTHER: &str = "registry.example/ops/releaselifecycle:test";

/// `make image` in this profile, and into the cluster's node.
pub(super) fn load(cluster: &Cluster, profile: &str) -> Result<()> {
    ensure_buildah()?;
    let dir = target().canonicalize()?.join("tmp/image");
    // What an earlier run left would only grow.
    if dir.exists() {
        fs::remove_dir_all(&dir).context("remove the images of an earlier run")?;
    }
    fs::create_dir_all(&dir)?;
    let store = format!("--root {0}/root --runroot {0}/run --storage-driver vfs", dir.display());
    let builder = format!("buildah {store} bud --isolation chroot");
    let mut make = Command::new("make");
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        // Of the cargo that runs this program; see `testkit::programs`.
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            make.env_remove(&name);
        }
    }
    make.args(["image", "IMAGE=releaselifecycle-controller:test"]);
    run(make.args([format!("PROFILE={profile}"), format!("BUILDER={builder}")]))?;
    for (count, name) in NAMES.iter().enumerate() {
        let archive = dir.join(format!("{count}.tar"));
        let mut push = Command::new("buildah");
        push.args(store.split(' ')).args(["push", "--quiet", "releaselifecycle-controller:test"]);
        run(push.arg(format!("docker-archive:{}:{name}", archive.display())))?;
        cluster.load_images(&archive)?;
        fs::remove_file(&archive)?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.current_dir(root()).output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
