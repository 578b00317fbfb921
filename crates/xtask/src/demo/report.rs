//! Measurements and proofs of a demo, for programs: target/demo.json, target/demo-chart.json.

use std::{fs, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use super::stage;

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    pub(super) seconds: Seconds,
    /// `real`, `kwok`, or `current` for a cluster that is not ours.
    pub(super) node: String,
    pub(super) versions: Versions,
    pub(super) migration: Proof,
}

/// Wall times; zero for what was not reached.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seconds {
    pub(super) tools_build: f64,
    pub(super) cluster_start: f64,
    pub(super) cargo_build: f64,
    pub(super) install: f64,
    pub(super) upgrade: f64,
    total: f64,
}

#[derive(Default, Serialize)]
pub(super) struct Versions {
    pub(super) kubernetes: String,
    pub(super) helm: String,
    pub(super) controller: String,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proof {
    pub(super) uid_before: String,
    pub(super) uid_after: String,
    /// How often the Job was created and started by the API server's audit log; absent where that
    /// cannot be read.
    pub(super) creates: Option<usize>,
    pub(super) starts: Option<usize>,
}

impl Proof {
    pub(super) fn proof(&self) -> String {
        let log = match (self.creates, self.starts) {
            (Some(creates), Some(starts)) => {
                format!("; in the API server's audit log: {creates} creation, {starts} start")
            }
            _ => String::new(),
        };
        format!("The migration ran once: the same Job, UID {}{log}.", self.uid_after)
    }
}

impl Report {
    pub(super) fn finish(&mut self, total: Duration, error: Option<&anyhow::Error>) {
        self.ok = error.is_none();
        self.error = error.map(|error| format!("{error:#}"));
        self.seconds.total = seconds(total);
    }

    pub(super) fn write(&self, title: &str) -> anyhow::Result<()> {
        let path = stage::target().join(format!("{title}.json"));
        let mut text = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        text.push('\n');
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The demo's last line.
    pub(super) fn summary(&self, title: &str) -> String {
        let Seconds { tools_build, cluster_start, cargo_build: _, install, upgrade, total } =
            self.seconds;
        let cluster = tools_build + cluster_start;
        format!(
            "{title}: ok in {total:.0} s (cluster {cluster:.0} s, install {install:.0} s, upgrade \
             {upgrade:.0} s; the migration ran once, Job UID {})",
            self.migration.uid_after
        )
    }
}

/// To the millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
