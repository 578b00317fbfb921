//! Charts of other projects, as `tests/charts/real.yaml` pins them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::charts::{self, Case, Needs, Set, name_of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    #[serde(rename = "module")]
    path: String,
    version: String,
    sum: String,
    charts: Vec<Chart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Chart {
    path: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    random: Vec<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    crds: bool,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    dry_run_only: Option<String>,
}

/// All of them, fetched.
///
/// # Errors
/// Naming the module that cannot be fetched, or is not what was pinned.
pub(crate) fn all() -> Result<Vec<Case>> {
    let path = charts::folder().join("real.yaml");
    let text = fs::read_to_string(&path)?;
    let modules: Vec<Module> =
        serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
    let mut cases = Vec::new();
    for module in &modules {
        let folder = fetch(module)?;
        for chart in &module.charts {
            cases.extend(of_chart(chart, &folder.join(&chart.path)));
        }
    }
    Ok(cases)
}

fn of_chart(chart: &Chart, folder: &Path) -> Vec<Case> {
    let name = name_of(folder);
    let plain = Case {
        name: name.clone(),
        folder: folder.to_owned(),
        values: Vec::new(),
        sets: chart.set.iter().map(|(path, value)| Set::new(path, value)).collect(),
        needs: Needs {
            kinds: chart.kinds.clone(),
            crds: chart.crds,
            namespaces: chart.namespaces.clone(),
        },
        random: false,
        dry_run_only: chart.dry_run_only.clone(),
    };
    let with_values = chart.values.iter().map(|file| {
        let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Case {
            name: format!("{name} {}", stem.trim_end_matches("-values")),
            values: vec![folder.join(file)],
            random: chart.random.contains(file),
            ..plain.clone()
        }
    });
    std::iter::once(plain.clone()).chain(with_values).collect()
}

/// The module's folder, in Go's cache of modules.
fn fetch(module: &Module) -> Result<PathBuf> {
    let Module { path: name, version, sum, .. } = module;
    let output = Command::new("go")
        .args(["mod", "download", "-json", &format!("{name}@{version}")])
        // Not in any module's folder: these are nobody's dependencies.
        .current_dir(std::env::temp_dir())
        .output()
        .context("run go mod download")?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let dir = answer["Dir"].as_str().filter(|_| output.status.success());
    let said = answer["Error"]
        .as_str()
        .map_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned(), str::to_owned);
    let dir = dir.with_context(|| {
        format!(
            "tests/charts/real.yaml: the Go module {name}@{version}, which has charts that are \
             rendered here, cannot be fetched: {said}"
        )
    })?;
    ensure!(
        answer["Sum"] == sum.as_str(),
        "tests/charts/real.yaml: the Go module {name}@{version} is pinned as {sum}, and is {}",
        answer["Sum"],
    );
    Ok(dir.into())
}
