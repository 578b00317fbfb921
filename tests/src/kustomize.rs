use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::target;

/// Writes a kustomization of its own folder `name` over that of the folder `of`, with these
/// `components`, as a user writes one to change it by `more`.
///
/// # Errors
/// If it cannot be written.
pub fn overlay(name: &str, of: &Path, components: &[&Path], more: &Value) -> Result<PathBuf> {
    let folder = target().join("tmp/overlay").join(name);
    fs::create_dir_all(&folder)?;
    // kustomize takes folders from elsewhere only by a relative path.
    let from = folder.canonicalize()?;
    let up: PathBuf = from.components().skip(1).map(|_| "..").collect();
    let relative = |to: &Path| anyhow::Ok(up.join(to.canonicalize()?.strip_prefix("/")?));
    let components = components.iter().map(|it| relative(it)).collect::<Result<Vec<_>>>()?;
    let mut kustomization = json!({"resources": [relative(of)?], "components": components});
    for (key, value) in more.as_object().context("fields of a kustomization")? {
        kustomization[key] = value.clone();
    }
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
    Ok(folder)
}
