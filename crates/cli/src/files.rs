//! Manifests from files, folders and standard input.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use helm::manifest;
use lifecycle::hooks;
use manifests::placed::{Placed, is_list};
use serde_json::Value;

use crate::args::Files;

/// The place of what comes from standard input.
pub(crate) const STDIN: &str = "standard input";

/// The objects that were read, and the errors in others.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The objects, each with its place, such as `shop/job.yaml line 12`.
    pub(crate) objects: Vec<Placed>,
    pub(crate) problems: Vec<String>,
}

/// Reads the files and folders that `files` names, folders in alphabetical order as kubectl does.
///
/// # Errors
/// If a file cannot be read, or all of them are empty.
pub(crate) fn read(files: &Files) -> anyhow::Result<Read> {
    if files.files.is_empty() {
        bail!("name the manifests with -f: a file, a folder, or - for standard input");
    }
    let mut read = Read::default();
    for path in &files.files {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
            read.take(STDIN, bytes);
            continue;
        }
        let metadata = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?;
        let listed =
            if metadata.is_dir() { list(path, files.recursive)? } else { vec![path.clone()] };
        if listed.is_empty() {
            let hint = if files.recursive { "" } else { "; -R reads subfolders, too" };
            bail!("folder {} has no *.yaml, *.yml or *.json{hint}", path.display());
        }
        for path in listed {
            let name = path.display().to_string();
            let bytes = fs::read(&path).with_context(|| format!("reading {name}"))?;
            read.take(&name, bytes);
        }
    }
    if read.objects.is_empty() && read.problems.is_empty() {
        let names: Vec<_> = files.files.iter().map(|path| path.display().to_string()).collect();
        bail!("there are no manifests in {}", names.join(", "));
    }
    Ok(read)
}

/// Returns the manifests of a folder, and with `deep` of those below it.
fn list(folder: &Path, deep: bool) -> anyhow::Result<Vec<PathBuf>> {
    let reading = || format!("reading folder {}", folder.display());
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .with_context(reading)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.path();
        // The type of the entry itself: a symbolic link to a folder could lead to a cycle.
        let is_folder = entry.file_type().with_context(reading)?.is_dir();
        if is_folder && deep {
            found.extend(list(&path, deep)?);
        } else if !is_folder && is_manifest(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

impl Read {
    fn take(&mut self, name: &str, bytes: Vec<u8>) {
        let Ok(text) = String::from_utf8(bytes) else {
            self.problems.push(format!("{name}: this is not text in UTF-8"));
            return;
        };
        match parse(name, &text) {
            Ok(objects) => {
                self.problems.extend(objects.iter().filter_map(|it| kustomization(name, it)));
                self.objects.extend(objects.into_iter().flat_map(parts));
            }
            Err(problem) => self.problems.push(problem),
        }
    }
}

/// Returns the objects of a text, each with `name` and its line.
fn parse(name: &str, text: &str) -> Result<Vec<Placed>, String> {
    let objects = manifest::parse_with_lines(text).map_err(|error| format!("{name}: {error}"))?;
    let placed = |(line, manifest)| Placed { place: format!("{name} line {line}"), manifest };
    Ok(objects.into_iter().map(placed).collect())
}

/// Returns the items of a `List`, as `kubectl get -o yaml` writes its results; a `List` that is one
/// hook stays whole.
fn parts(object: Placed) -> Vec<Placed> {
    // The reader of the objects reports wrong annotations of a hook.
    if !is_list(&object.manifest) || !matches!(hooks::parse(&object.manifest), Ok(None)) {
        return vec![object];
    }
    let Placed { place, mut manifest } = object;
    let items = manifest["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let item = |(index, manifest)| Placed { place: format!("{place} items[{index}]"), manifest };
    items.into_iter().enumerate().map(item).collect()
}

/// Reports Kustomize's own file: it is not an object of a cluster, and its content would be lost.
fn kustomization(name: &str, object: &Placed) -> Option<String> {
    let path = Path::new(name);
    let is_named = path.file_stem().is_some_and(|stem| stem == "kustomization");
    let version = object.manifest.get("apiVersion").and_then(Value::as_str);
    let is_it = match version {
        Some(version) => version.starts_with("kustomize.config.k8s.io/"),
        None => is_named,
    };
    let folder = path.parent().map(Path::display).filter(|it| !it.to_string().is_empty());
    let folder = folder.map_or(".".to_owned(), |folder| folder.to_string());
    is_it.then(|| {
        format!(
            "{}: this is for kustomize; hand its result over: `kubectl kustomize {folder} | \
             kubectl lifecycle … -f -`",
            object.place
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read_folder(folder: &tempfile::TempDir, recursive: bool) -> anyhow::Result<Read> {
        read(&Files { files: vec![folder.path().to_owned()], recursive })
    }

    #[test]
    fn a_folder_is_read_in_order_and_each_object_knows_its_line() {
        let folder = folder(&[
            ("b.yml", "kind: B\n---\n\nkind: C\n"),
            ("a.json", r#"{"kind": "A"}"#),
            ("notes.txt", "no: manifest"),
            ("below/d.yaml", "kind: D\n"),
        ]);
        let places = |recursive| -> Vec<String> {
            let read = read_folder(&folder, recursive).unwrap();
            let base = format!("{}/", folder.path().display());
            read.objects.iter().map(|it| it.place.replace(&base, "")).collect()
        };
        assert_eq!(places(false), ["a.json line 1", "b.yml line 1", "b.yml line 4"]);
        assert_eq!(places(true)[3], "below/d.yaml line 1");
    }

    #[test]
    fn a_list_is_its_items_unless_it_is_a_hook() {
        let list = |annotations: &str| {
            format!(
                "apiVersion: v1\nkind: List\nmetadata: {{annotations: {annotations}}}\n\
                 items: [{{kind: A}}, {{kind: B}}]\n"
            )
        };
        let kinds = |annotations: &str| -> Vec<String> {
            let folder = folder(&[("a.yaml", &list(annotations))]);
            let objects = read_folder(&folder, false).unwrap().objects;
            let kind = |it: &Placed| it.manifest["kind"].as_str().unwrap().to_owned();
            assert!(objects.last().unwrap().place.contains("a.yaml line 1"));
            objects.iter().map(kind).collect()
        };
        assert_eq!(kinds("{}"), ["A", "B"]);
        assert_eq!(kinds("{helm.sh/hook: pre-install}"), ["List"]);
        assert_eq!(kinds("{helm.sh/hook: pre-instal}"), ["List"]);
    }

    #[test]
    fn what_cannot_be_understood_is_said_at_once_with_file_and_line() {
        let folder = folder(&[
            ("a.yaml", "kind: A\nmetadata: {name: [}\n"),
            ("b.yaml", "just text\n"),
            ("kustomization.yaml", "resources: [a.yaml]\n"),
        ]);
        let problems = read_folder(&folder, false).unwrap().problems.join("\n");
        for part in
            ["a.yaml: document 1 (line 2, column", "b.yaml: document 1 (line 1", "kustomize"]
        {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }

    #[test]
    fn a_folder_without_manifests_is_an_error_that_says_what_is_looked_for() {
        let folder = folder(&[("below/d.yaml", "kind: D\n")]);
        let error = read_folder(&folder, false).unwrap_err().to_string();
        assert!(error.contains("no *.yaml, *.yml or *.json; -R reads"), "{error}");
        let empty = self::folder(&[("a.yaml", "---\n# nothing\n")]);
        assert!(read_folder(&empty, false).unwrap_err().to_string().contains("no manifests in"));
    }
}
