//! The shared part of the end-to-end tests: a cluster for each test program, a namespace and a
//! controller for each test. Nothing here is a mock; faults come from `testkit::proxy`.

#![expect(clippy::expect_used, reason = "a test may end where it stands")]

mod account;
mod admission;
mod audit_log;
mod chart;
mod controller;
pub mod documentation;
pub mod fixture;
pub mod forged;
pub mod helm;
pub mod internals;
mod kustomize;
pub mod manifests;
pub mod markdown;
mod namespace;
mod objects;
mod proxied;
pub mod trials;

use std::{path::PathBuf, sync::OnceLock};

use anyhow::Context;
use testkit::cluster::{Cluster, Node, Options};

pub use admission::Admission;
pub use audit_log::AuditLog;
pub use chart::{Chart, put_archive, source as chart_source};
pub use controller::{Controller, Logs};
pub use kustomize::overlay;
pub use namespace::{Namespace, condition, hook, message, reason};
pub use objects::is_write;
pub use proxied::Proxied;

/// Returns the cluster of this test program, with simulated nodes: Pods of Jobs complete within 200
/// ms, or fail if they have the annotation `releaselifecycle.dev/test-outcome: fail`.
///
/// # Panics
/// If it cannot be started: no test here makes sense without.
pub fn kwok() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| start(Node::Kwok).expect("a cluster with simulated nodes starts anywhere"))
}

/// Returns the cluster of this test program, with a node that runs containers; `None`, and a line
/// that says so, on a machine that cannot.
///
/// # Panics
/// If no cluster can be started at all.
pub fn containers() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| start(Node::Real).expect("a cluster starts anywhere"));
    if cluster.node() == Node::Real {
        return Some(cluster);
    }
    eprintln!("skipped: this machine cannot run containers, see above");
    None
}

/// Starts a cluster with simulated nodes whose API server writes its audit log by this policy.
///
/// # Errors
/// If it cannot be started.
pub fn kwok_audited(policy: &str) -> anyhow::Result<Cluster> {
    launch(|options| options.audit_policy(policy))
}

fn start(node: Node) -> anyhow::Result<Cluster> {
    launch(|options| options.node(node))
}

fn launch(change: impl FnOnce(Options) -> Options) -> anyhow::Result<Cluster> {
    let program = std::env::current_exe().context("find this program")?;
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A fixed folder for each program, so that the next run cleans the remains of a killed one.
    let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name).to_owned();
    let mut options = change(Options::new(""));
    options.dir = target().join("tmp/clusters").join(format!("{name}-{:?}", options.node));
    let cluster = Cluster::start(options)?;
    // The shipped manifests that the operator's tests need; they start the operator themselves.
    for (how, path) in [("-k", "crds"), ("-f", "deploy/base/role-deployer.yaml")] {
        let path = root().join(path);
        cluster.kubectl(["apply", "--server-side", how, &path.to_string_lossy()])?;
    }
    cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])?;
    Ok(cluster)
}

/// Returns the workspace's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the workspace's target directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
