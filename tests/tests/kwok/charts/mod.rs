//! Releases that are made from charts.

mod bad;
mod crds;
mod limits;
mod lookup;
mod values;

use anyhow::{Context, Result};
use e2e::{Chart, Namespace, helm, hook, kwok, message};
use serde_json::{Value, json};

/// A `ConfigMap` of this name, with this template as its data.
fn config_map(name: &str, data: &str) -> String {
    let data: String = data.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n{data}")
}

/// The data of a `ConfigMap`.
async fn data(namespace: &Namespace, name: &str) -> Result<Value> {
    let found = namespace.object("ConfigMap", name).await?;
    Ok(found.map_or(Value::Null, |found| found["data"].clone()))
}

/// `first`, with what `second` has besides.
fn merged(mut first: Value, second: Value) -> Value {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}

const HOOK: &str = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook-{{ .Release.Revision }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: \"busybox:1\", command: [\"true\"]}]
";

#[tokio::test]
async fn a_chart_is_installed_and_upgraded_and_its_record_is_what_helm_would_write() -> Result<()> {
    let namespace = Namespace::new(kwok(), "chart").await?;
    let controller = namespace.controller()?;
    let facts = "name: {{ .Release.Name }}\nrevision: \"{{ .Release.Revision }}\"\n\
                 upgrade: \"{{ .Release.IsUpgrade }}\"\nversion: {{ .Chart.Version }}\n\
                 who: {{ .Values.who }}\n\
                 jobs: \"{{ .Capabilities.APIVersions.Has \"batch/v1/Job\" }}\"\n\
                 before: {{ (lookup \"v1\" \"ConfigMap\" .Release.Namespace \"facts\").data | \
                 toJson | quote }}";
    let chart = Chart::new(&namespace, "shop")?
        .file("values.yaml", "who: world\n")?
        .file("templates/facts.yaml", &config_map("facts", facts))?
        .file("templates/hook.yaml", HOOK)?
        .file("templates/NOTES.txt", "Hello {{ .Values.who }} {{ .Release.Revision }}\n")?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 1 hook");
    assert!(hook(&release, "shop-hook-1").is_some(), "{release:#?}");
    let expected = json!({"name": "shop", "revision": "1", "upgrade": "false", "version": "1.0.0",
                          "who": "world", "jobs": "true", "before": "null"});
    assert_eq!(data(&namespace, "facts").await?, expected);
    let notes = helm::run(&namespace, "helm", &["get", "notes", "shop"])?;
    assert_eq!(notes.trim_end(), "NOTES:\nHello world 1");

    let more = merged(chart.source(), json!({"values": {"who": "moon"}}));
    let folder = chart.folder().to_string_lossy();
    let dry = ["upgrade", "shop", &folder, "--set", "who=moon", "--dry-run=server"];
    let helms = helm::json(&namespace, "helm", &dry)?;
    namespace.release("shop", &[], more).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "upgrade of revision 2 succeeded with 1 hook");
    let facts = data(&namespace, "facts").await?;
    assert_eq!(facts["upgrade"], "true");
    // What the first revision made is what the second looks up.
    let before: Value = serde_json::from_str(facts["before"].as_str().context("it is text")?)?;
    assert_eq!(before, expected);
    for helm in helm::HELMS {
        let manifest = helm::run(&namespace, helm, &["get", "manifest", "shop"])?;
        assert_eq!(Some(manifest.trim_end()), helms["manifest"].as_str().map(str::trim_end));
        assert_eq!(
            helm::json(&namespace, helm, &["get", "values", "shop"])?,
            json!({"who": "moon"})
        );
        let metadata = helm::json(&namespace, helm, &["get", "metadata", "shop"])?;
        assert_eq!((&metadata["chart"], &metadata["version"]), (&json!("shop"), &json!("1.0.0")));
    }
    Ok(())
}

#[tokio::test]
async fn nothing_happens_while_chart_and_values_stay_as_they_are() -> Result<()> {
    let namespace = Namespace::new(kwok(), "chart-same").await?;
    let mut controller = namespace.controller()?;
    let random = "random: {{ randAlphaNum 16 }}\nnow: {{ now | unixEpoch | quote }}";
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/random.yaml", &config_map("random", random))?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let made = data(&namespace, "random").await?;
    // Another process has to make up its mind anew, and sees all of this.
    controller.kill()?;
    let controller = namespace.controller()?;
    namespace.annotate("shop", "retryAt", "1")?;
    let seen = namespace.wait("shop", &controller, "looked at", |release| {
        let status = release.status.as_ref();
        status.is_some_and(|status| status.last_handled_retry_at.as_deref() == Some("1"))
    });
    assert_eq!(seen.await?.status.and_then(|status| status.revision), Some(1));
    assert_eq!(data(&namespace, "random").await?, made);
    Ok(())
}
