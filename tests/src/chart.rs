//! Charts that tests write, packaged by the real Helm.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{Namespace, helm, target};

/// The folder of a chart.
pub struct Chart {
    name: String,
    folder: PathBuf,
}

impl Chart {
    /// A chart of this name without templates.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn new(namespace: &Namespace, name: &str) -> Result<Self> {
        let folder = target().join("tmp/charts").join(&namespace.name).join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).context("remove the chart's former files")?;
        }
        let chart = Self { name: name.to_owned(), folder };
        chart.file("Chart.yaml", &format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n"))
    }

    /// With this file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn file(self, path: &str, text: &str) -> Result<Self> {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(self)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// As `helm package` makes it.
    ///
    /// # Errors
    /// With what Helm says against it.
    pub fn archive(&self, namespace: &Namespace) -> Result<PathBuf> {
        let folder = self.folder.to_string_lossy();
        let there = target().join("tmp/archives").join(&namespace.name);
        let made =
            helm::run(namespace, "helm", &["package", &folder, "-d", &there.to_string_lossy()])?;
        let path = made.rsplit(": ").next().context("helm says where it is")?;
        Ok(PathBuf::from(path.trim()))
    }

    /// Puts the archive into the Secret that [`Self::source`] names.
    ///
    /// # Errors
    /// As [`Self::archive`], and where the API server refuses it.
    pub async fn put(&self, namespace: &Namespace) -> Result<()> {
        let archive = fs::read(self.archive(namespace)?)?;
        put_archive(namespace, &self.name, &archive).await
    }

    /// `spec` with this chart.
    pub fn source(&self) -> Value {
        source(&self.name)
    }
}

/// Puts `archive` into the Secret that [`source`] names.
///
/// # Errors
/// Where the API server refuses it.
pub async fn put_archive(namespace: &Namespace, name: &str, archive: &[u8]) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "data": {"chart.tgz": STANDARD.encode(archive)},
    });
    namespace.apply(&secret).await
}

/// `spec` with the chart in the Secret of this name.
pub fn source(name: &str) -> Value {
    json!({"source": {"chart": {"archive": {"kind": "Secret", "name": name, "key": "chart.tgz"}}}})
}
