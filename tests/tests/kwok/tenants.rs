//! What a tenant writes, with the rights that any tenant has, costs the operator a bounded amount of
//! memory and time, and does not reach the release of another.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Controller, Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// The memory of the operator, in MiB, whatever tenants write. Without charts.
const MOST_MEMORY: f64 = 256.0;

fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes())?;
    Ok(gzip.finish()?)
}

/// A record that Helm would list, as a Secret, with a plan beside it.
fn record(release: &str, revision: u32, values: &str, plan: Option<&str>) -> Result<Value> {
    let record = format!(
        r#"{{"name":"{release}","namespace":"","version":{revision},"info":{{"status":"failed"}},"manifest":"","chart":{{"metadata":{{"name":"x","version":"0.0.1"}}}},"config":{{"a":{values}}}}}"#
    );
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": format!("sh.helm.release.v1.{release}.v{revision}"),
            "labels": {"name": release, "owner": "helm", "status": "failed",
                       "version": revision.to_string()}},
        "data": {"release": STANDARD.encode(STANDARD.encode(gzip(&record)?))},
    });
    if let Some(plan) = plan {
        secret["data"]["plan"] = STANDARD.encode(gzip(plan)?).into();
    }
    Ok(secret)
}

/// A plan of this release with these objects.
fn plan(release: &str, objects: &str) -> String {
    format!(
        r#"{{"operation":"x","owner":{{"uid":"u","name":"{release}"}},"event":"Install","revision":1,"firstDeployed":null,"configDigest":"","configKey":"","timeoutSeconds":1,"wait":false,"hooks":[],"objects":[{objects}],"prune":[]}}"#
    )
}

fn create(namespace: &Namespace, object: &Value) -> Result<()> {
    let kubectl = |file: &str| namespace.kubectl(&["create", "-f", file]);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("object.json");
    std::fs::write(&file, object.to_string())?;
    kubectl(&file.to_string_lossy()).map(|_| ())
}

/// Checks that the operator serves another release, and has stayed small and alive.
async fn check(namespace: &Namespace, controller: &mut Controller) -> Result<()> {
    let asked = Instant::now();
    ensure!(controller.http("/livez")?.0 == 200);
    ensure!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    namespace.release("other", &[config_map("own", "1")], json!({})).await?;
    namespace.wait_ready("other", controller).await?;
    let memory = controller.memory_mib("VmHWM")?;
    ensure!(memory < MOST_MEMORY, "{memory} MiB");
    let metrics = controller.http("/metrics")?.1;
    ensure!(metrics.contains("\nreleaselifecycle_panics_total 0\n"), "{metrics}");
    ensure!(controller.terminate()?.success());
    Ok(())
}

#[tokio::test]
async fn an_object_that_takes_much_memory_is_stalled_alone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "large").await?;
    let mut controller = namespace.controller()?;
    let bulk = format!("[{}0]", r#"{"":0},"#.repeat(180_000));
    for name in ["a", "b", "c"] {
        let release = format!(
            r#"{{"apiVersion":"releaselifecycle.dev/v1alpha1","kind":"ReleaseLifecycle","metadata":{{"name":"{name}"}},"spec":{{"serviceAccountName":"deployer","source":{{"chart":{{"archive":{{"kind":"Secret","name":"no","key":"no"}}}}}},"values":{{"a":{bulk}}}}}}}"#
        );
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("release.json");
        std::fs::write(&file, release)?;
        namespace.kubectl(&["create", "-f", &file.to_string_lossy()])?;
    }
    for name in ["a", "b", "c"] {
        let stalled = namespace.wait_stalled(name, &controller).await?;
        assert_eq!(reason(&stalled), "TooLarge");
        let text = message(&stalled);
        assert!(text.contains("more than 32 MiB of memory"), "{text}");
    }
    check(&namespace, &mut controller).await
}

#[tokio::test]
async fn a_plan_that_takes_much_memory_or_time_is_none() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bomb").await?;
    let deep = format!("[{}0]", r#"{"":0},"#.repeat(2_200_000));
    let of = |name: &str, more: &str| {
        format!(
            r#"{{"object":{{"apiVersion":"v1","kind":"ConfigMap","name":"{name}"}},"manifest":{{"metadata":{{}}{more}}}}}"#
        )
    };
    let many: Vec<_> = (0..130_000).map(|n| of(&format!("n{n}"), "")).collect();
    let memory = plan("memory", &of("x", &format!(r#","x":{deep}"#)));
    create(&namespace, &record("memory", 1, "0", Some(&memory))?)?;
    create(&namespace, &record("time", 1, "0", Some(&plan("time", &many.join(","))))?)?;
    let mut controller = namespace.controller()?;
    for name in ["memory", "time"] {
        namespace.release(name, &[config_map(name, "1")], json!({})).await?;
        namespace.wait_ready(name, &controller).await?;
    }
    check(&namespace, &mut controller).await
}

#[tokio::test]
async fn a_history_that_takes_much_memory_is_refused() -> Result<()> {
    let namespace = Namespace::new(kwok(), "history").await?;
    for (name, values) in [("some", 60_000), ("many", 500_000)] {
        let values = format!("[{}0]", r#"{"":0},"#.repeat(values));
        for revision in 1..=12 {
            create(&namespace, &record(name, revision, &values, None)?)?;
        }
    }
    let mut controller = namespace.controller()?;
    for (name, expected) in [("some", "RecordTooLarge"), ("many", "RecordUnreadable")] {
        namespace.release(name, &[config_map(name, "1")], json!({})).await?;
        let stalled = namespace.wait_stalled(name, &controller).await?;
        assert_eq!(reason(&stalled), expected, "{}", message(&stalled));
    }
    check(&namespace, &mut controller).await
}

#[tokio::test]
async fn forged_held_hooks_delay_no_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "held").await?;
    let mut controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let uid = release.metadata.uid.context("a UID")?;
    let forged: Vec<_> = (0..150)
        .map(|n| {
            let owner = format!("{}/shop", namespace.name);
            // Half of them say that they are of a former object of this name.
            let of = if n % 2 == 0 { uid.clone() } else { format!("former-{n}") };
            job(&format!("forged-{n}"))
                .set("/metadata/labels", json!({"releaselifecycle.dev/uid": of}))
                .set(
                    "/metadata/annotations",
                    json!({"releaselifecycle.dev/owner": owner, "releaselifecycle.dev/gate": "held",
                           "releaselifecycle.dev/run": format!("x/{n}/1")}),
                )
                .set("/spec/suspend", true)
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": forged});
    create(&namespace, &list)?;
    let objects = [config_map("main", "2"), job("migrate").hook("pre-upgrade")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    check(&namespace, &mut controller).await
}
