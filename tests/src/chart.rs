//! Charts that tests write.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{Namespace, target};

/// The folder of a chart.
pub struct Chart {
    name: String,
    folder: PathBuf,
}

impl Chart {
    /// Makes a chart of this name without templates.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(namespace: &Namespace, name: &str) -> Result<Self> {
        let folder = target().join("tmp/charts").join(&namespace.name).join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).context("remove the chart's former files")?;
        }
        let chart = Self { name: name.to_owned(), folder };
        chart.file("Chart.yaml", &format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n"))
    }

    /// Adds this file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn file(self, path: &str, text: &str) -> Result<Self> {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(self)
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Packages it as `helm package` does, but whatever is wrong with it. The same files make the
    /// same bytes, whenever they were written: an archive with another digest is another chart.
    ///
    /// # Errors
    /// If there is no `tar`.
    pub fn archive(&self) -> Result<PathBuf> {
        let archive = self.folder.with_extension("tgz");
        let parent = self.folder.parent().context("it is in a folder")?;
        let made = Command::new("tar")
            .args(["--sort=name", "--mtime=@1000000000", "--owner=0", "--group=0", "-czf"])
            .arg(&archive)
            .arg("-C")
            .args([parent, Path::new(&self.name)])
            .status()
            .context("run tar")?;
        ensure!(made.success(), "tar: {made}");
        Ok(archive)
    }

    /// Puts the archive into the Secret that [`Self::source`] names.
    ///
    /// # Errors
    /// As [`Self::archive`], and if the API server refuses it.
    pub async fn put(&self, namespace: &Namespace) -> Result<()> {
        let archive = fs::read(self.archive()?)?;
        put_archive(namespace, &self.name, &archive).await
    }

    /// Returns `spec` with this chart.
    pub fn source(&self) -> Value {
        source(&self.name)
    }
}

/// Puts `archive` into the Secret that [`source`] names.
///
/// # Errors
/// If the API server refuses it.
pub async fn put_archive(namespace: &Namespace, name: &str, archive: &[u8]) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "data": {"chart.tgz": STANDARD.encode(archive)},
    });
    namespace.apply(&secret).await
}

/// Returns `spec` with the chart in the Secret of this name.
pub fn source(name: &str) -> Value {
    json!({"source": {"chart": {"archive": {"kind": "Secret", "name": name, "key": "chart.tgz"}}}})
}
