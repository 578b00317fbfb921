use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::target;

/// Writes a kustomization of its own folder `name` over that of the folder `of`, as a user writes
/// one to change it by `more`.
///
/// # Errors
/// If it cannot be written.
pub fn overlay(name: &str, of: &Path, more: &Value) -> Result<PathBuf> {
    let folder = target().join("tmp/overlay").join(name);
    fs::create_dir_all(&folder)?;
    // kustomize takes folders from elsewhere only by a relative path.
    let (from, to) = (folder.canonicalize()?, of.canonicalize()?);
    let up: PathBuf = from.components().skip(1).map(|_| "..").collect();
    let mut kustomization = json!({"resources": [up.join(to.strip_prefix("/")?)]});
    for (key, value) in more.as_object().context("fields of a kustomization")? {
        kustomization[key] = value.clone();
    }
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
    Ok(folder)
}
