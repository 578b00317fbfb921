use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes a kubeconfig for `server`, readable by its owner only. `ca_pem` may be empty.
pub(super) fn write(path: &Path, server: &str, ca_pem: &[u8], token: &str) -> Result<()> {
    let mut cluster = serde_json::json!({"server": server});
    if !ca_pem.is_empty() {
        // Plain http needs none. But without one, some clients read all certificates that the
        // machine trusts.
        cluster["certificate-authority-data"] = STANDARD.encode(ca_pem).into();
    }
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "admin"}}],
        "current-context": "proxy",
    });
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{config:#}").as_bytes()))
        .with_context(|| format!("write kubeconfig {}", path.display()))
}
