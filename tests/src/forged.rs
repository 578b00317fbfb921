//! Objects that a tenant can write into its own namespace to do harm: records of Helm, and plans beside
//! them, that no client has made.

use std::io::{Error, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// Seven bytes of text for each of `count` maps, of which each takes a hundred times as much in
/// memory.
pub fn maps(count: usize) -> String {
    format!("[{}0]", r#"{"":0},"#.repeat(count))
}

/// Returns the Secret of a record that Helm would list: a failed revision with these values as JSON,
/// and a plan beside it.
///
/// # Errors
/// If it cannot be compressed, which does not happen in memory.
pub fn record(
    release: &str,
    revision: u32,
    values: &str,
    plan: Option<&str>,
) -> Result<Value, Error> {
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

/// Returns a plan of this release with these objects, each as [`planned`] returns it.
pub fn plan(release: &str, objects: &str) -> String {
    format!(
        r#"{{"operation":"x","owner":{{"uid":"u","name":"{release}"}},"event":"Install","revision":1,"firstDeployed":null,"configDigest":"","configKey":"","timeoutSeconds":1,"wait":false,"hooks":[],"objects":[{objects}],"prune":[]}}"#
    )
}

/// Returns a `ConfigMap` of a plan, whose manifest has `more` fields.
pub fn planned(name: &str, more: &str) -> String {
    format!(
        r#"{{"object":{{"apiVersion":"v1","kind":"ConfigMap","name":"{name}"}},"manifest":{{"metadata":{{}}{more}}}}}"#
    )
}

/// Returns a plan of 15 MiB as text that would take more than a gigabyte of memory.
pub fn large_plan(release: &str) -> String {
    plan(release, &planned("x", &format!(r#","x":{}"#, maps(2_200_000))))
}

/// Returns a plan of 130 000 objects.
pub fn long_plan(release: &str) -> String {
    let objects: Vec<_> = (0..130_000).map(|n| planned(&format!("n{n}"), "")).collect();
    plan(release, &objects.join(","))
}

/// Returns the text, compressed as plans and records are.
///
/// # Errors
/// As [`record`].
pub fn gzip(text: &str) -> Result<Vec<u8>, Error> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes())?;
    gzip.finish()
}
