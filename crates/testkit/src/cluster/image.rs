//! The images of a real node, made from a static busybox: no registry is needed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{binaries::sha256, process::run};

pub(super) const BUSYBOX: [&str; 2] =
    ["docker.io/library/busybox:1", "docker.io/library/busybox:latest"];
/// The image of a Pod's sandbox. It is never pulled from a registry: the sandbox exists before
/// anything can be pulled.
pub(super) const PAUSE: &str = "localhost/pause:1";

/// The script of process 1. It ends on request, and reaps the orphans of a Pod with a shared
/// process namespace.
const PAUSE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done";

/// The images as files in the folder that they were made in.
pub(super) struct Images {
    /// The archive for `ctr images import`.
    pub(super) archive: PathBuf,
    pub(super) layer: PathBuf,
    /// The configuration of the busybox image.
    pub(super) busybox: String,
}

/// Makes both images.
pub(super) fn make(dir: &Path, busybox: &Path) -> anyhow::Result<Images> {
    let layer = dir.join("layer.tar");
    write_layer(&dir.join("rootfs"), &layer, busybox)?;
    let diff = digest(&fs::read(&layer).context("reading the layer")?);
    let busybox = config(&json!({"Cmd": ["sh"]}), &diff).to_string();
    let pause = json!({"Entrypoint": ["/bin/sh", "-c", PAUSE_SCRIPT]});
    let pause = config(&pause, &diff).to_string();

    let mut manifest = Vec::new();
    let mut files = vec!["manifest.json".to_owned(), "layer.tar".to_owned()];
    for (config, names) in [(&busybox, BUSYBOX.as_slice()), (&pause, &[PAUSE])] {
        let file = format!("{}.json", sha256(config.as_bytes()));
        fs::write(dir.join(&file), config).context("writing an image's configuration")?;
        manifest.push(json!({"Config": file, "RepoTags": names, "Layers": ["layer.tar"]}));
        files.push(file);
    }
    fs::write(dir.join("manifest.json"), Value::from(manifest).to_string())
        .context("writing the images' manifest")?;
    let archive = dir.join("images.tar");
    run(Command::new("tar").arg("-C").arg(dir).arg("-cf").arg(&archive).args(files))?;
    Ok(Images { archive, layer, busybox })
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

fn config(command: &Value, diff: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut config =
        json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
    if let (Some(config), Some(command)) = (config.as_object_mut(), command.as_object()) {
        config.extend(command.clone());
    }
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff]},
        "history": [{"created_by": "busybox"}],
    })
}

fn write_layer(root: &Path, layer: &Path, busybox: &Path) -> anyhow::Result<()> {
    for dir in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr/bin", "var/run"] {
        fs::create_dir_all(root.join(dir)).context("laying out the image")?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))
        .context("opening the image's /tmp")?;
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )
    .context("writing the image's users")?;
    fs::write(root.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")
        .context("writing the image's groups")?;
    fs::copy(busybox, root.join("bin/busybox")).context("copying busybox")?;
    for applet in run(Command::new(busybox).arg("--list"))?.lines().filter(|a| *a != "busybox") {
        symlink("busybox", root.join("bin").join(applet))
            .with_context(|| format!("linking {applet}"))?;
    }
    // The path that scripts expect.
    symlink("/bin/busybox", root.join("usr/bin/env")).context("linking env")?;
    run(Command::new("tar")
        .arg("-C")
        .arg(root)
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf"])
        .arg(layer)
        .arg("."))?;
    Ok(())
}
