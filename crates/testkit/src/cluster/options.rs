//! What is asked of a cluster.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// What the Pods of a cluster run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// A kubelet with containerd and runc. Needs root on Linux.
    Real,
    /// A simulated node: Pods of Jobs succeed after [`Options::pod_delay`], others become ready. A Pod's annotations
    /// steer it: `releaselifecycle.dev/test-outcome: fail` (or `never`), `releaselifecycle.dev/test-delay: 5s`.
    Kwok,
}

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's own folder. What an earlier cluster left there is removed.
    pub dir: PathBuf,
    /// What is asked for. Where a real node cannot run, the cluster falls back and [`Cluster::node`](super::Cluster::node) says so.
    pub node: Node,
    /// How long a Pod of a Job runs on a simulated node: a random time in this range.
    pub pod_delay: RangeInclusive<Duration>,
    /// The cluster outlives this process, until [`stop`](super::stop).
    pub detached: bool,
}

impl Options {
    /// A cluster with a simulated node in this folder, which ends with this process.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            node: Node::Kwok,
            pod_delay: Duration::ZERO..=Duration::from_millis(200),
            detached: false,
        }
    }

    #[must_use]
    pub fn node(self, node: Node) -> Self {
        Self { node, ..self }
    }

    #[must_use]
    pub fn pod_delay(self, pod_delay: RangeInclusive<Duration>) -> Self {
        Self { pod_delay, ..self }
    }

    #[must_use]
    pub fn detached(self) -> Self {
        Self { detached: true, ..self }
    }
}
