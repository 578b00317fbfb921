//! Several replicas: one leads, by its lease, and the others stand by.

mod election;
mod fences;
mod handover;
mod shards;

use anyhow::{Context, Result};
use e2e::{Controller, Namespace};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// For how long a lease is held without being renewed.
const DURATION: f64 = 15.0;

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
    namespace.wait_leader("a").await?;
    let b = start("b")?;
    b.wait_standing_by().await?;
    Ok((a, b))
}
