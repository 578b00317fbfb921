//! The pages of `docs/` that are generated: the reference, from the CRD, and what the programs say of
//! themselves, between a pair of comments in any page.

mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

const BEGIN: &str = "<!-- help:begin ";
const END: &str = "<!-- help:end -->";

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

/// Every page that is generated, whole or in part, as it has to be.
pub(crate) fn texts() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut texts = vec![reference_page()?];
    for entry in fs::read_dir(pages()).context("read docs/src")? {
        let path = entry?.path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        if text.contains(BEGIN) {
            let text = with_help(&text).with_context(|| format!("in {}", path.display()))?;
            texts.push((path, text));
        }
    }
    Ok(texts)
}

fn reference_page() -> anyhow::Result<(PathBuf, String)> {
    Ok((pages().join("reference.md"), reference::text(&api::crd())?))
}

/// The page with the help of each program that it names.
fn with_help(page: &str) -> anyhow::Result<String> {
    let (mut text, mut rest) = (String::new(), page);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (program, after) = after.split_once(" -->").context("a comment does not end")?;
        let (_, after) = after.split_once(END).with_context(|| format!("{END} is missing"))?;
        text.extend([format!("{before}{BEGIN}{program} -->\n\n{}{END}", sections(program)?)]);
        rest = after;
    }
    Ok(text + rest)
}

/// The help of the program, and of each of its commands under a heading of its own.
fn sections(program: &str) -> anyhow::Result<String> {
    let whole = help(program, &[])?;
    let mut text = fenced(&whole);
    for command in commands(&whole) {
        let spoken = program.replacen("kubectl-", "kubectl ", 1);
        text.extend([format!("## {spoken} {command}\n\n{}", fenced(&help(program, &[command])?))]);
    }
    Ok(text)
}

fn fenced(help: &str) -> String {
    format!("```text\n{}\n```\n\n", help.trim_end())
}

/// Returns what clap lists under "Commands:".
fn commands(help: &str) -> impl Iterator<Item = &str> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help")
}

/// Of a program of this workspace, which lies beside this one.
fn help(program: &str, command: &[&str]) -> anyhow::Result<String> {
    let me = std::env::current_exe().context("find this program")?;
    let path = me.with_file_name(program);
    let output = Command::new(&path)
        .args(command)
        .arg("--help")
        // Help shows what the environment sets.
        .env_clear()
        .output()
        .with_context(|| format!("run {}", path.display()))?;
    ensure!(output.status.success(), "{program} --help failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("help in UTF-8")?;
    // A line that ends in a space is no line of a page.
    Ok(text.lines().map(|line| format!("{}\n", line.trim_end())).collect())
}

/// Writes the pages.
pub(crate) fn write() -> anyhow::Result<()> {
    for (path, text) in texts()? {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Fails where a page is not as it has to be.
pub(crate) fn check() -> anyhow::Result<()> {
    for (path, text) in texts()? {
        if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("{} is out of date: run `make generate`", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_the_generated_one() {
        let (path, text) = reference_page().unwrap();
        assert!(fs::read_to_string(path).unwrap() == text, "run `make generate`");
    }

    #[test]
    fn commands_are_found_in_the_help() {
        let help = "Usage: x\n\nCommands:\n  status  Show\n            more of it\n  help    Print\n\nOptions:\n  -h";
        assert_eq!(commands(help).collect::<Vec<_>>(), ["status"]);
    }
}
