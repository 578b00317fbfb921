//! The companions of the files of a release: the notes from the changelog, the checksums, and a statement of
//! where the files come from.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Value, json};
use testkit::cluster::sha256;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHANGELOG: &str = include_str!("../../../CHANGELOG.md");
/// The files that are written here.
const NOTES: &str = "RELEASE-NOTES.md";
const STATEMENT: &str = "provenance.json";
const CHECKSUMS: &str = "SHA256SUMS";

#[derive(Args)]
pub(crate) struct Release {
    /// Folder with the files of the release
    folder: PathBuf,
}

/// Writes the notes, the statement and the checksums beside the files.
pub(crate) fn write(args: &Release) -> anyhow::Result<()> {
    let folder = &args.folder;
    let notes =
        notes(CHANGELOG, VERSION).context("CHANGELOG.md has no section for this version")?;
    put(folder, NOTES, &notes)?;
    let mut files = files(folder)?;
    ensure!(files.len() > 1, "{} has no files of a release", folder.display());
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain"])?.is_empty();
    let statement = format!("{:#}\n", statement(&files, &commit, is_changed));
    put(folder, STATEMENT, &statement)?;
    files.push((STATEMENT.to_owned(), sha256(statement.as_bytes())));
    put(folder, CHECKSUMS, &checksums(&files))
}

fn put(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// Returns the section of a version, or that of what is not released yet.
fn notes(changelog: &str, version: &str) -> Option<String> {
    let of = |title: &str| {
        let rest = changelog.split_once(&format!("\n## {title}"))?.1;
        let (_, body) = rest.split_once('\n')?;
        let body = body.split("\n## ").next().unwrap_or(body);
        Some(format!("# {version}\n\n{}\n", body.trim()))
    };
    of(version).or_else(|| of("Unreleased"))
}

/// Returns the names of the files, but for those that are about all others, with their digests.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && ![STATEMENT, CHECKSUMS].contains(&&*name) {
            let bytes = fs::read(entry.path()).with_context(|| format!("read {name}"))?;
            found.push((name, sha256(&bytes)));
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the lines that `sha256sum --check` reads.
fn checksums(files: &[(String, String)]) -> String {
    files.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

/// Returns a statement of in-toto with a predicate of SLSA (<https://slsa.dev/spec/v1.0/provenance>): the
/// files, and the commit that they were built from. It is not signed.
fn statement(files: &[(String, String)], commit: &str, is_changed: bool) -> Value {
    let subjects: Value = files
        .iter()
        .map(|(name, digest)| json!({"name": name, "digest": {"sha256": digest}}))
        .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:releaselifecycle:make-release",
                "externalParameters": {"version": VERSION, "workTreeIsChanged": is_changed},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    {"name": "Cargo.lock", "digest": {"sha256": sha256(include_bytes!("../../../Cargo.lock"))}},
                    {"name": "engine/go.sum", "digest": {"sha256": sha256(include_bytes!("../../../engine/go.sum"))}},
                ],
            },
            "runDetails": {"builder": {"id": "urn:releaselifecycle:makefile"}},
        },
    })
}

fn git(args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").args(args).output().context("run git")?;
    ensure!(output.status.success(), "git {}: {}", args.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_are_the_section_of_the_version() {
        let changelog = "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.2.0 - 2026-01-01\n\n- two\n\n## 0.1.0\n\n- one\n";
        assert_eq!(notes(changelog, "0.2.0").unwrap(), "# 0.2.0\n\n- two\n");
        assert_eq!(notes(changelog, "0.3.0").unwrap(), "# 0.3.0\n\n- new\n");
        assert_eq!(notes("# Changelog\n", "0.1.0"), None);
        assert!(notes(CHANGELOG, VERSION).is_some());
    }

    #[test]
    fn each_file_is_in_the_checksums_and_in_the_statement() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.tgz"), "b").unwrap();
        fs::write(folder.path().join("a.yaml"), "abc").unwrap();
        let found = files(folder.path()).unwrap();
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found[0], ("a.yaml".to_owned(), digest.to_owned()));
        assert!(checksums(&found).starts_with(&format!("{digest}  a.yaml\n")));
        let statement = statement(&found, "c0ffee", false);
        assert_eq!(
            statement["subject"][0],
            json!({"name": "a.yaml", "digest": {"sha256": digest}})
        );
        let from = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
        assert_eq!(from[0]["digest"]["gitCommit"], "c0ffee");
    }
}
