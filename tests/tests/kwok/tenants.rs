//! Objects that a tenant writes, with the rights that any tenant has, cost the operator a bounded amount of
//! memory and time, and does not reach the release of another.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace,
    forged::{self, record},
    kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

/// The memory of the operator, in MiB, whatever tenants write. Without charts.
const MOST_MEMORY: f64 = 256.0;

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
    let bulk = forged::maps(180_000);
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
    let (memory, time) = (forged::large_plan("memory"), forged::long_plan("time"));
    create(&namespace, &record("memory", 1, "0", Some(&memory))?)?;
    create(&namespace, &record("time", 1, "0", Some(&time))?)?;
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
        let values = forged::maps(values);
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

#[tokio::test]
async fn a_name_that_is_a_path_leads_the_operator_nowhere() -> Result<()> {
    let namespace = Namespace::new(kwok(), "path").await?;
    let mut controller = namespace.controller()?;
    let victim = format!("../../{}/releaselifecycles/victim", namespace.name);
    let depends = json!({"dependsOn": [{"name": victim}]});
    namespace.release("shop", &[config_map("main", "1")], depends).await?;
    let waits = |release: &_| reason(release) == "DependencyNotReady";
    let release = namespace.wait("shop", &controller, "waiting", waits).await?;
    assert!(message(&release).contains("it does not exist"), "{}", message(&release));
    let log = std::fs::read_to_string(namespace.cluster().audit_log())?;
    let asked = |line: &str| {
        let uri = line.split_once(r#""requestURI":""#).and_then(|(_, rest)| rest.split('"').next());
        uri.is_some_and(|uri| uri.contains(&namespace.name) && uri.contains("victim"))
    };
    assert_eq!(log.lines().find(|line| asked(line)), None);
    check(&namespace, &mut controller).await
}

#[tokio::test]
async fn long_annotations_take_no_memory() -> Result<()> {
    const EACH: usize = 240_000;
    let namespace = Namespace::new(kwok(), "long").await?;
    let mut controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let before = controller.memory_mib("VmHWM")?;
    let folder = tempfile::tempdir()?;
    // Records of releases that nobody manages, and Jobs that look like hooks that are held back.
    for n in 0..200 {
        let owner = format!("{}/{n}-{}", namespace.name, "x".repeat(EACH));
        let record = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
            "metadata": {"name": format!("sh.helm.release.v1.other-{n}.v1"),
                         "labels": {"owner": "helm"},
                         "annotations": {"releaselifecycle.dev/owner": &owner}}});
        let held = job(&format!("long-{n}"))
            .set("/metadata/labels", json!({"releaselifecycle.dev/uid": "x"}))
            .set(
                "/metadata/annotations",
                json!({"releaselifecycle.dev/owner": owner, "releaselifecycle.dev/gate": "held"}),
            )
            .set("/spec/suspend", true);
        std::fs::write(folder.path().join(format!("{n}-a.json")), record.to_string())?;
        std::fs::write(folder.path().join(format!("{n}-b.json")), held.to_string())?;
    }
    namespace.kubectl(&["create", "-f", &folder.path().to_string_lossy()])?;
    namespace.release("shop", &[config_map("main", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let more = controller.memory_mib("VmHWM")? - before;
    ensure!(more < 48.0, "{more} MiB for 200 times two annotations of {EACH} bytes");
    check(&namespace, &mut controller).await
}
