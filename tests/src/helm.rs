//! The real Helm, beside the operator on the same cluster.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::cluster::bin;

use crate::{Namespace, target};

/// Version 4 and version 3.
pub const HELMS: [&str; 2] = ["helm", "helm3"];

/// Returns the command `helm` or `helm3` with these arguments, for the namespace. It does not
/// outlive the thread that starts it, if the test is killed.
///
/// # Errors
/// If the program cannot be built.
pub fn command(namespace: &Namespace, program: &str, args: &[&str]) -> Result<Command> {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(bin(program)?)
        .args(["--namespace", &namespace.name])
        .args(args)
        .env("KUBECONFIG", namespace.cluster().kubeconfig());
    Ok(command)
}

/// Runs it, and returns its output.
///
/// # Errors
/// With its standard error, if it fails.
pub fn run(namespace: &Namespace, program: &str, args: &[&str]) -> Result<String> {
    let output = command(namespace, program, args)?.output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), text(output.stderr));
    Ok(text(output.stdout))
}

/// Runs it with `-o json`, and returns its output.
///
/// # Errors
/// As [`run`], and if the output is not JSON.
pub fn json(namespace: &Namespace, program: &str, args: &[&str]) -> Result<Value> {
    let text = run(namespace, program, &[args, &["-o", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("read {text:?}"))
}

/// Writes a chart with these templates, each a file of its own in this order, and returns its
/// folder.
///
/// # Errors
/// If it cannot be written.
pub fn chart(namespace: &Namespace, name: &str, templates: &[String]) -> Result<PathBuf> {
    let dir = target().join("tmp/charts").join(&namespace.name).join(name);
    let folder = dir.join("templates");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("remove the chart's former templates")?;
    }
    fs::create_dir_all(&folder)?;
    fs::write(dir.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\n"))?;
    for (index, text) in templates.iter().enumerate() {
        fs::write(folder.join(format!("{index:03}.yaml")), text)?;
    }
    Ok(dir)
}
