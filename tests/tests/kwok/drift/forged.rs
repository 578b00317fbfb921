//! Plans that a tenant has written into a record: a Secret of its own.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{Namespace, kwok, manifests::config_map};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};

use super::{detection, settled, wait_drifted};

/// Objects that no `Manifest` of Helm's would be.
fn odd() -> [Value; 5] {
    let of = |api_version: &str, kind: &str, name: &str, more: Value| {
        let mut manifest =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        if let (Value::Object(manifest), Value::Object(more)) = (&mut manifest, more) {
            manifest.extend(more);
        }
        manifest
    };
    let text = json!({"a": "b"});
    [
        of("v1", "Secret", "a", json!({"data": "not a map", "stringData": text})),
        of("v1", "Secret", "b", json!({"data": ["not", "a", "map"], "stringData": text})),
        of(
            "v1",
            "ConfigMap",
            "d",
            json!({"metadata": {"name": "d", "labels": "text", "annotations": [1]}}),
        ),
        of("apps/v1", "Deployment", "f", json!({"spec": ["x"], "status": "text"})),
        of("batch/v1", "Job", "g", json!({"spec": {"template": "text"}})),
    ]
}

#[tokio::test]
async fn a_forged_plan_harms_nobody_else() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged").await?;
    let mut controller = namespace.controller()?;
    let objects = [config_map("main", "1")];
    namespace.release("shop", &objects, detection("warn", json!([]))).await?;
    settled(&namespace, &controller).await?;

    let record = "sh.helm.release.v1.shop.v1";
    let secret = namespace.object("Secret", record).await?.context("the record")?;
    let frozen = STANDARD.decode(secret["data"]["plan"].as_str().context("a plan")?)?;
    let mut plan = String::new();
    GzDecoder::new(&*frozen).read_to_string(&mut plan)?;
    let mut plan: Value = serde_json::from_str(&plan)?;
    for manifest in odd() {
        let object = json!({"apiVersion": manifest["apiVersion"], "kind": manifest["kind"],
                            "namespace": namespace.name, "name": manifest["metadata"]["name"]});
        let objects = plan["objects"].as_array_mut().context("the plan's objects")?;
        objects.push(json!({"object": object, "manifest": manifest}));
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(plan.to_string().as_bytes())?;
    let forged = json!({"data": {"plan": STANDARD.encode(gzip.finish()?)}}).to_string();
    namespace.kubectl(&["patch", "secret", record, "--type=merge", "-p", &forged])?;

    let missing = ["Secret/a", "Secret/b", "ConfigMap/d", "Deployment/f", "Job/g"];
    let missing = missing.map(|name| format!("{name}: is missing"));
    let parts: Vec<_> = missing.iter().map(String::as_str).collect();
    wait_drifted(&namespace, &controller, "DriftDetected", &parts).await?;
    // Where they are to be made, the API server says what it thinks of them.
    namespace.release("shop", &objects, detection("enabled", json!([]))).await?;
    wait_drifted(&namespace, &controller, "DriftNotCorrected", &["Deployment/f"]).await?;
    namespace.release("other", &[config_map("own", "1")], json!({})).await?;
    namespace.wait_ready("other", &controller).await?;
    let metrics = controller.http("/metrics")?.1;
    assert!(metrics.contains("\nreleaselifecycle_panics_total 0\n"), "{metrics}");
    assert!(controller.terminate()?.success());
    Ok(())
}

#[tokio::test]
async fn a_secret_with_the_name_of_a_record_stops_no_correction() -> Result<()> {
    let namespace = Namespace::new(kwok(), "hot").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], detection("enabled", json!([]))).await?;
    settled(&namespace, &controller).await?;
    // For Helm, too, it is no record without its labels.
    let name = "sh.helm.release.v1.shop.v2";
    namespace.kubectl(&["create", "secret", "generic", name, "--from-literal=a=b"])?;
    let changed = r#"{"data":{"value":"changed"}}"#;
    namespace.kubectl(&["patch", "configmap", "main", "--type=merge", "-p", changed])?;
    let corrected = "--for=jsonpath={.data.value}=1";
    namespace.kubectl(&["wait", "configmap/main", corrected, "--timeout=90s"])?;
    Ok(())
}
