//! The forms in which a chart reaches the engine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::target;
use serde_json::{Value, json};
use testkit::cluster::bin;

use crate::charts::{Case, name_of};

pub(crate) enum Form {
    /// An archive as `helm package` makes it, the values as text.
    Packaged(PathBuf),
    /// An archive with the chart in a folder, as Flux's artifacts are; the values as objects.
    Within { archive: Vec<u8>, path: String },
    /// A folder on this machine, as the command line has it.
    Folder(PathBuf),
}

impl Form {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Packaged(_) => "packaged",
            Self::Within { .. } => "within an archive",
            Self::Folder(_) => "a folder",
        }
    }

    pub(crate) fn package(&self) -> Option<&Path> {
        if let Self::Packaged(archive) = self { Some(archive) } else { None }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// The chart and its values in a request.
    pub(crate) fn request(&self, case: &Case) -> Result<Value> {
        Ok(match self {
            Self::Packaged(archive) => {
                let archive = fs::read(archive).context("read the package")?;
                json!({"chart": BASE64_STANDARD.encode(archive), "values": case.as_text()?})
            }
            Self::Within { archive, path } => json!({
                "chart": BASE64_STANDARD.encode(archive), "path": path,
                "values": case.as_objects()?,
            }),
            Self::Folder(folder) => json!({"folder": folder, "values": case.as_text()?}),
        })
    }
}

/// The chart in every form.
pub(crate) fn forms(case: &Case) -> Result<Vec<Form>> {
    let folder = case.folder.canonicalize()?;
    let dir = target().join("tmp/packages").join(case.name.replace(' ', "-"));
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(vec![
        Form::Packaged(packaged(&folder, &dir)?),
        Form::Within { archive: archive(&folder, &dir)?, path: format!("./{}", name_of(&folder)) },
        Form::Folder(folder),
    ])
}

/// Returns what `helm package` makes of the folder.
pub(crate) fn packaged(folder: &Path, dir: &Path) -> Result<PathBuf> {
    let mut command = Command::new(bin("helm")?);
    command.arg("package").arg(folder).arg("--destination").arg(dir);
    let output = command.output().context("run helm package")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm package {}: {said}", folder.display());
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.trim().rsplit_once(": ").context("the package's path")?.1.into())
}

pub(crate) fn archive(folder: &Path, dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join("within.tar.gz");
    let parent = folder.parent().context("a chart is in a folder")?;
    let mut command = Command::new("tar");
    command.arg("-czf").arg(&path).arg("-C").arg(parent).arg(name_of(folder));
    let output = command.output().context("run tar")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tar of {}: {said}", folder.display());
    fs::read(path).context("read the archive")
}
