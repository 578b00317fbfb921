//! The manifest of `kubectl-lifecycle` for krew, from the template in `deploy/krew`.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use testkit::cluster::sha256;

const TEMPLATE: &str = include_str!("../../../deploy/krew/lifecycle.yaml");

#[derive(Args)]
pub(crate) struct Krew {
    /// Address of the folder from which krew downloads the archives, such as that of a release
    #[arg(long)]
    url: String,
    /// Folder with the archives, named as in deploy/krew/lifecycle.yaml
    archives: PathBuf,
}

/// Returns the manifest, with those platforms whose archives are in the folder.
pub(crate) fn manifest(args: &Krew) -> anyhow::Result<String> {
    ensure!(
        args.url.starts_with("https://"),
        "--url must begin with https://: krew refuses others"
    );
    let url = args.url.trim_end_matches('/');
    let text = TEMPLATE.replace("vVERSION", concat!("v", env!("CARGO_PKG_VERSION")));
    let mut plugin: Value =
        serde_saphyr::from_str(&text).context("read deploy/krew/lifecycle.yaml")?;
    plugin["spec"]["homepage"] = json!(url);
    let mut platforms = Vec::new();
    for mut platform in plugin["spec"]["platforms"].as_array().cloned().unwrap_or_default() {
        let uri = platform["uri"].as_str().unwrap_or_default();
        let name =
            uri.strip_prefix("URL/").context("a platform's uri begins with URL/")?.to_owned();
        let path = args.archives.join(&name);
        if !path.exists() {
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        platform["uri"] = json!(format!("{url}/{name}"));
        platform["sha256"] = json!(sha256(&bytes));
        platforms.push(platform);
    }
    ensure!(!platforms.is_empty(), "{} has no archive of a platform", args.archives.display());
    plugin["spec"]["platforms"] = json!(platforms);
    serde_saphyr::to_string(&plugin).context("write the manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_the_archives_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let url = "https://downloads.example/v0.1.0/".to_owned();
        let args = Krew { url, archives: folder.path().to_owned() };
        assert!(manifest(&args).unwrap_err().to_string().contains("has no archive"));
        fs::write(folder.path().join("kubectl-lifecycle-linux-arm64.tar.gz"), "abc").unwrap();
        let text = manifest(&args).unwrap();
        assert!(!text.contains("URL") && !text.contains("SHA256"), "{text}");
        let plugin: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(plugin["metadata"]["name"], "lifecycle");
        assert_eq!(plugin["spec"]["version"], concat!("v", env!("CARGO_PKG_VERSION")));
        let expected = json!([{
            "selector": {"matchLabels": {"os": "linux", "arch": "arm64"}},
            "uri": "https://downloads.example/v0.1.0/kubectl-lifecycle-linux-arm64.tar.gz",
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "bin": "kubectl-lifecycle",
        }]);
        assert_eq!(plugin["spec"]["platforms"], expected);
        // As krew checks it.
        let short = plugin["spec"]["shortDescription"].as_str().unwrap();
        assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    }
}
