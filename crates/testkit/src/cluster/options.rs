//! The options of a cluster.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// The audit policy by default, by which tests judge.
const AUDIT_POLICY: &str = include_str!("../../../../tests/cluster/audit-policy.yaml");

/// The kind of node on which the Pods of a cluster run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// A kubelet with containerd and runc. Needs root on Linux.
    Real,
    /// A simulated node: Pods of Jobs succeed after [`Options::pod_delay`], others become ready. A
    /// Pod's annotations control it: `releaselifecycle.dev/test-outcome: fail` (or `never`),
    /// `releaselifecycle.dev/test-delay: 5s`.
    Kwok,
}

/// The options for the start of a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's own folder. The remains of an earlier cluster there are removed.
    pub dir: PathBuf,
    /// The requested kind. If a real node cannot run, the cluster falls back and
    /// [`Cluster::node`](super::Cluster::node) says so.
    pub node: Node,
    /// The time that a Pod of a Job runs on a simulated node: a random time in this range.
    pub pod_delay: RangeInclusive<Duration>,
    /// True if the cluster outlives this process, until [`stop`](super::stop).
    pub detached: bool,
    /// The policy of the API server's audit log.
    pub audit_policy: String,
}

impl Options {
    /// A cluster with a simulated node in this folder, which ends with this process.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            node: Node::Kwok,
            pod_delay: Duration::ZERO..=Duration::from_millis(200),
            detached: false,
            audit_policy: AUDIT_POLICY.to_owned(),
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
    pub fn audit_policy(self, audit_policy: impl Into<String>) -> Self {
        Self { audit_policy: audit_policy.into(), ..self }
    }

    #[must_use]
    pub fn detached(self) -> Self {
        Self { detached: true, ..self }
    }
}
