//! The parts of a cluster, stored as they are started: any process that finds the folder can stop
//! it.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{
    Node, certs,
    node::{owns, remove_cgroups},
    process::Started,
};

pub(super) const FILE: &str = "cluster.json";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) node: Node,
    pub(super) ready: bool,
    pub(super) server: String,
    pub(super) token: String,
    pub(super) ca_pem: String,
    pub(super) started: Vec<Started>,
    /// The parent of the containers' cgroups, which outlive their processes.
    pub(super) cgroup: Option<String>,
}

impl State {
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            ready: false,
            server: String::new(),
            token: String::new(),
            ca_pem: String::new(),
            started: Vec::new(),
            cgroup: None,
        }
    }

    pub(super) fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// Replaces the file in one step: a reader that is not locked out sees all or nothing.
    pub(super) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let new = dir.join(format!("{FILE}.new"));
        certs::write(&new, &serde_json::to_string_pretty(self).context("writing the state")?)?;
        fs::rename(&new, dir.join(FILE)).with_context(|| format!("replacing {FILE}"))
    }

    /// Returns whether everything that was started still runs.
    pub(super) fn alive(&self) -> bool {
        !self.started.is_empty() && self.started.iter().all(Started::alive)
    }

    pub(super) fn stop(&self) -> anyhow::Result<()> {
        self.started.iter().rev().try_for_each(Started::kill)?;
        self.cgroup.as_deref().map_or(Ok(()), remove_cgroups)
    }

    /// Stops the parts of a real node.
    pub(super) fn forget_node(&mut self) -> anyhow::Result<()> {
        let (node, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.started).into_iter().partition(owns);
        self.started = others;
        node.iter().rev().try_for_each(Started::kill)?;
        self.cgroup.take().as_deref().map_or(Ok(()), remove_cgroups)
    }
}
