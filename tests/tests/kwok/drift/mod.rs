//! Objects that somebody changes after they were deployed.

mod correct;
mod ignore;
mod own_work;
mod warn;

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{Controller, Namespace, condition};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// `spec` with this mode and these rules; objects are looked at each second.
fn detection(mode: &str, ignore: Value) -> Value {
    json!({"interval": "1s", "driftDetection": {"mode": mode, "ignore": ignore}})
}

/// A `ConfigMap` with these keys.
fn config(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Waits until `Drifted` has this reason and a message with all of `parts`.
async fn wait_drifted(
    namespace: &Namespace,
    controller: &Controller,
    reason: &str,
    parts: &[&str],
) -> Result<ReleaseLifecycle> {
    let is = |release: &ReleaseLifecycle| {
        condition(release, "Drifted").is_some_and(|drifted| {
            drifted.reason == reason && parts.iter().all(|part| drifted.message.contains(part))
        })
    };
    namespace.wait("shop", controller, &format!("{reason} with {parts:?}"), is).await
}

/// Waits until the release is deployed and was looked at, and until what is written from now on is
/// later than that.
async fn settled(namespace: &Namespace, controller: &Controller) -> Result<ReleaseLifecycle> {
    namespace.wait_ready("shop", controller).await?;
    let release = wait_drifted(namespace, controller, "NoDrift", &[]).await?;
    let baseline = release.status.as_ref().and_then(|status| status.baseline.as_ref());
    let deployed = baseline.context("a baseline")?.deployed_at;
    later_than(namespace, deployed).await?;
    Ok(release)
}

/// Waits until the API server's clock, which counts whole seconds, is past this one.
async fn later_than(namespace: &Namespace, time: Timestamp) -> Result<()> {
    for count in 0.. {
        namespace.apply(&config("clock", json!({"count": count.to_string()}))).await?;
        let clock = namespace.object("ConfigMap", "clock").await?.context("it was just applied")?;
        let at = clock["metadata"]["managedFields"][0]["time"].as_str().context("a time")?;
        if at.parse::<Timestamp>()?.as_second() > time.as_second() {
            break;
        }
    }
    Ok(())
}

/// Merges `change` into the object, as `kubectl edit` would.
fn edit(namespace: &Namespace, object: &str, change: &Value) -> Result<()> {
    namespace.kubectl(&["patch", object, "--type=merge", "-p", &change.to_string()])?;
    Ok(())
}

/// Removes the field at this JSON pointer.
fn remove(namespace: &Namespace, object: &str, pointer: &str) -> Result<()> {
    let patch = json!([{"op": "remove", "path": pointer}]).to_string();
    namespace.kubectl(&["patch", object, "--type=json", "-p", &patch])?;
    Ok(())
}

/// Waits until the field at this JSON pointer has this value; null where it is missing.
async fn wait_field(
    namespace: &Namespace,
    (kind, name): (&str, &str),
    pointer: &str,
    value: &Value,
) -> Result<()> {
    let is = |object: Option<&Value>| {
        object.is_some_and(|object| object.pointer(pointer).unwrap_or(&Value::Null) == value)
    };
    namespace.wait_object(kind, name, &format!("{value} at {pointer}"), is).await.map(drop)
}
