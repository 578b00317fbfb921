//! The real Helm.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::{Namespace, helm};
use serde_json::Value;

use crate::{RELEASE, charts::Case, rendered::Rendered};

/// Returns what `helm install` or `helm upgrade` would do with the chart in this folder or archive.
pub(crate) fn dry_run(
    namespace: &Namespace,
    event: &str,
    chart: &Path,
    case: &Case,
) -> Result<Rendered> {
    let flags = ["--dry-run=server", "-o=json"];
    let release = with_chart(namespace, &[event, RELEASE], chart, case, &flags)?;
    let release: Value = serde_json::from_str(&release).context("read what helm prints")?;
    Ok(Rendered::from_helm(&release))
}

/// Installs the chart, without its hooks.
pub(crate) fn install(namespace: &Namespace, case: &Case) -> Result<()> {
    with_chart(namespace, &["install", RELEASE], &case.folder, case, &["--no-hooks"]).map(drop)
}

/// Returns what was installed.
pub(crate) fn record(namespace: &Namespace) -> Result<Rendered> {
    Ok(Rendered::from_helm(&helm::json(namespace, "helm", &["status", RELEASE])?))
}

/// The chart's CRDs.
pub(crate) fn crds(namespace: &Namespace, case: &Case) -> Result<String> {
    helm::run(namespace, "helm", &["show", "crds", &case.folder.to_string_lossy()])
}

/// Removes the release.
pub(crate) fn uninstall(namespace: &Namespace) -> Result<()> {
    remove_webhooks(namespace)?;
    helm::run(namespace, "helm", &["uninstall", RELEASE, "--no-hooks"]).map(drop)
}

/// Removes what would hold up whatever comes after: webhooks that nobody serves.
pub(crate) fn remove_webhooks(namespace: &Namespace) -> Result<()> {
    let webhooks = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
    namespace.kubectl(&["delete", webhooks, "--all"]).map(drop)
}

/// Runs Helm on the chart with its values; what it prints.
fn with_chart(
    namespace: &Namespace,
    words: &[&str],
    chart: &Path,
    case: &Case,
    flags: &[&str],
) -> Result<String> {
    let (chart, values) = (chart.to_string_lossy(), case.flags());
    let mut args = words.to_vec();
    args.push(&chart);
    args.extend(values.iter().map(String::as_str));
    args.extend(flags);
    helm::run(namespace, "helm", &args)
}
