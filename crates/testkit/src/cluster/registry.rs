//! The registry of a real node, so that an image without a tag, which a kubelet always pulls, is
//! found.
//!
//! It has busybox and nothing else: any other pull fails at once instead of waiting for a network
//! that is not there.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use anyhow::Context as _;
use serde_json::json;

use super::image::{Images, digest};

/// The address in the node's network namespace, where no other program listens.
pub(super) const ADDRESS: &str = "127.0.0.1:5000";

const SCRIPT: &str = include_str!("../../../../tests/cluster/registry.sh");
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes the files that busybox's httpd serves, and configures containerd to use it; returns the
/// server's folder.
pub(super) fn lay_out(node: &Path, images: &Images) -> anyhow::Result<String> {
    let site = node.join("registry");
    let write = |path: &Path, content: &[u8]| {
        let parent = path.parent().context("a file without a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::write(path, content).with_context(|| format!("writing {}", path.display()))
    };
    let script = site.join("cgi-bin/v2");
    write(&script, SCRIPT.as_bytes())?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .context("making the registry's script executable")?;

    let image = site.join("library/busybox");
    let layer = fs::read(&images.layer).context("reading the layer")?;
    let blob = |bytes: &[u8], media_type: &str| {
        let digest = digest(bytes);
        write(&image.join("blobs").join(&digest), bytes)?;
        anyhow::Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(images.busybox.as_bytes(), "application/vnd.oci.image.config.v1+json")?,
        "layers": [blob(&layer, "application/vnd.oci.image.layer.v1.tar")?],
    })
    .to_string();
    let digest = digest(manifest.as_bytes());
    write(&image.join("manifests").join(&digest), manifest.as_bytes())?;
    for tag in ["1", "latest"] {
        symlink(&digest, image.join("manifests").join(tag)).context("tagging busybox")?;
    }

    let hosts = format!(
        "[host.\"http://{ADDRESS}/cgi-bin/v2\"]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n"
    );
    // Every registry is this one.
    write(
        &node.join("registries/_default/hosts.toml"),
        format!("server = \"http://{ADDRESS}/cgi-bin/v2\"\n{hosts}").as_bytes(),
    )?;
    Ok(site.display().to_string())
}
