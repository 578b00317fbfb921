//! The charts of `tests/charts`. Besides its default values a chart has a case for each folder in
//! its `ci`: the YAML files there are its values, in their order. Each line of `set.txt` is a flag of
//! Helm's, `--set` or `--set-string`, that says what a `targetPath` does; of `flags.txt`, one that
//! only the command line has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use e2e::target;
use serde_json::{Value, json};
use testkit::cluster::bin;

/// A chart with values.
#[derive(Clone)]
pub(crate) struct Case {
    /// Of the chart, and of the folder with the values.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) values: Vec<PathBuf>,
    pub(crate) sets: Vec<Set>,
    pub(crate) needs: Needs,
    /// True if a first install has random values, which an upgrade then looks up.
    pub(crate) random: bool,
    /// Why it cannot be installed.
    pub(crate) dry_run_only: Option<String>,
}

/// Objects that the cluster must have before.
#[derive(Clone, Default)]
pub(crate) struct Needs {
    /// As `group/version/Kind`.
    pub(crate) kinds: Vec<String>,
    /// True if the chart's own CRDs.
    pub(crate) crds: bool,
    pub(crate) namespaces: Vec<String>,
}

/// A value at a path.
#[derive(Clone)]
pub(crate) struct Set {
    string: bool,
    pub(crate) path: String,
    /// As Helm's flag has it.
    value: String,
    /// True if it is one value, and stands in a Secret or a `ConfigMap`.
    one: bool,
}

impl Case {
    /// The chart's name.
    pub(crate) fn chart(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }

    /// Returns whether a `ReleaseLifecycle` can say the same.
    pub(crate) fn is_for_operator(&self) -> bool {
        self.sets.iter().all(|set| set.one)
    }

    /// Helm's flags for the values.
    pub(crate) fn flags(&self) -> Vec<String> {
        let files = self.values.iter().map(|file| format!("--values={}", file.display()));
        let sets = self.sets.iter().map(|set| {
            let flag = if set.string { "--set-string" } else { "--set" };
            format!("{flag}={}", set.text())
        });
        files.chain(sets).collect()
    }

    /// The values as the operator has them, of `valuesFrom`.
    pub(crate) fn as_text(&self) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        for file in &self.values {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            values.push(json!({"place": "spec.valuesFrom[0]", "yaml": text}));
        }
        values.extend(self.sets.iter().map(Set::request));
        Ok(values)
    }

    /// The same as JSON, as `spec.values` is.
    pub(crate) fn as_objects(&self) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        for file in &self.values {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let object: Value =
                serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
            values.push(json!({"place": "spec.values", "object": object}));
        }
        values.extend(self.sets.iter().map(Set::request));
        Ok(values)
    }
}

impl Set {
    /// As with `--set`.
    pub(crate) fn new(path: &str, value: &str) -> Self {
        Self { string: false, path: path.into(), value: value.into(), one: true }
    }

    fn parse(line: &str, one: bool) -> Result<Self> {
        let (flag, rest) = line.split_once(' ').context("a flag")?;
        let (path, value) = rest.split_once('=').context("path=value")?;
        let string = match flag {
            "--set" => false,
            "--set-string" => true,
            _ => bail!("{flag} is no flag for values"),
        };
        Ok(Self { string, path: path.into(), value: value.into(), one })
    }

    fn text(&self) -> String {
        format!("{}={}", self.path, self.value)
    }

    /// The value for a `targetPath`. What is a string whatever it looks like stands in quotes there,
    /// and a comma is only that.
    pub(crate) fn as_one_value(&self) -> String {
        let value = self.value.replace("\\,", ",");
        if self.string { format!("\"{value}\"") } else { value }
    }

    fn request(&self) -> Value {
        let place = "spec.valuesFrom[0]";
        if self.one {
            json!({"place": place, "targetPath": self.path, "value": self.as_one_value()})
        } else {
            json!({"place": place, "set": self.text(), "string": self.string})
        }
    }
}

/// `tests/charts`.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts")
}

/// All cases of the charts there.
pub(crate) fn ours() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for chart in folders(&folder())? {
        let name = name_of(&chart);
        // Its cases are in `refused`.
        if name != "refused" {
            cases.extend(of_chart(&name, &chart)?);
        }
    }
    cases.extend(of_chart("starter", &starter()?)?);
    Ok(cases)
}

/// The chart that `helm create` makes, which many charts began as.
fn starter() -> Result<PathBuf> {
    let dir = target().join("tmp/charts/created");
    let folder = dir.join("starter");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&dir)?;
    let output = Command::new(bin("helm")?).arg("create").arg(&folder).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm create {}: {said}", folder.display());
    Ok(folder)
}

/// The case without values, and those of `ci`.
fn of_chart(name: &str, folder: &Path) -> Result<Vec<Case>> {
    let plain = Case {
        name: name.to_owned(),
        folder: folder.to_owned(),
        values: Vec::new(),
        sets: Vec::new(),
        needs: Needs::default(),
        random: false,
        dry_run_only: None,
    };
    let mut cases = vec![plain.clone()];
    let ci = folder.join("ci");
    let values = if ci.is_dir() { folders(&ci)? } else { Vec::new() };
    for values in values {
        let mut case = Case { name: format!("{name} {}", name_of(&values)), ..plain.clone() };
        for file in children(&values)? {
            match file.extension().and_then(|it| it.to_str()) {
                Some("yaml") => case.values.push(file),
                Some("txt") => {
                    let (one, text) = (name_of(&file) == "set.txt", fs::read_to_string(&file)?);
                    let sets = text.lines().map(|line| Set::parse(line, one));
                    case.sets = sets.collect::<Result<_>>()?;
                }
                _ => bail!("{} is no file of values", file.display()),
            }
        }
        cases.push(case);
    }
    Ok(cases)
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns what is in a folder, sorted.
pub(crate) fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<_> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// The folders in a folder, sorted.
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(children(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}
