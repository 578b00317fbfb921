//! Several replicas: one leads, by its lease, and the others stand by.

mod election;
mod fences;
mod handover;

use anyhow::{Context, Result};
use e2e::{Controller, Namespace};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// For how long a lease is held without being renewed.
const DURATION: f64 = 15.0;

/// The name of the lease of an operator that serves `namespace` alone.
fn lease(namespace: &Namespace) -> String {
    format!("releaselifecycle-controller-{}", namespace.name)
}

/// Waits until `identity` holds the lease.
async fn wait_leader(namespace: &Namespace, identity: &str) -> Result<Value> {
    let is = |lease: Option<&Value>| holder(lease) == Some(identity);
    let what = format!("held by {identity}");
    namespace.wait_object("Lease", &lease(namespace), &what, is).await?.context("the lease")
}

fn holder(lease: Option<&Value>) -> Option<&str> {
    lease?.pointer("/spec/holderIdentity")?.as_str()
}

fn time(lease: &Value, field: &str) -> Result<Timestamp> {
    let text = lease["spec"][field].as_str().with_context(|| format!("no {field} in {lease}"))?;
    Ok(text.parse()?)
}

/// From `then` to `now`.
fn seconds(then: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(then).as_secs_f64()
}

/// A replica `a` that leads, and `b` that stands by, with these arguments.
async fn pair(namespace: &Namespace, args: &[&str]) -> Result<(Controller, Controller)> {
    let start = |identity| {
        let args: Vec<_> = ["--identity", identity].iter().chain(args).copied().collect();
        namespace.controller_with(&args)
    };
    let a = start("a")?;
    wait_leader(namespace, "a").await?;
    let b = start("b")?;
    b.wait_standing_by()?;
    Ok((a, b))
}
