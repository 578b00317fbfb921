//! The attacker's requests, made once: they shall cost the operator more than the attacker.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Chart, Namespace, forged,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

/// The charts that take much.
pub(super) const CHARTS: [&str; 4] = ["loops", "eats", "floods", "looks"];

const SMALL: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n\
                     data: {a: b}\n";

pub(super) struct Bombs {
    /// The JSON of values, and of an object's field.
    maps: String,
    /// Records with a plan that takes much memory, and with one of many objects.
    pub(super) plans: [Value; 2],
    /// Releases, and their records.
    pub(super) histories: Vec<(&'static str, Vec<Value>)>,
    /// Values of 1 MiB, as YAML.
    lines_of_values: String,
    /// A Secret of 1 MiB of short lines.
    pub(super) lines: Value,
    pub(super) sources: Vec<(&'static str, Value)>,
    /// Plans in base64.
    pub(super) odd_plans: Vec<String>,
}

/// Returns a source of the chart of this name.
pub(super) fn chart(name: &str) -> Value {
    e2e::chart_source(name)["source"].clone()
}

/// Puts all charts where releases find them.
pub(super) async fn put_charts(namespace: &Namespace) -> Result<()> {
    let looks = r#"{{ range until 300 }}{{ $x := lookup "v1" "Secret" $.Release.Namespace "lines" }}{{ end }}"#;
    for (name, template) in [
        ("small", ""),
        ("loops", "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}"),
        (
            "eats",
            "{{ $s := repeat 1048576 \"x\" }}{{ range until 10000 }}{{ $s = print $s $s }}{{ end }}",
        ),
        ("floods", "{{ range until 200 }}{{ repeat 1048576 \"x\" }}{{ end }}"),
        ("looks", looks),
    ] {
        let chart = Chart::new(namespace, name)?
            .file("templates/a.yaml", &format!("{SMALL}---\n{template}"))?;
        chart.put(namespace).await?;
    }
    Ok(())
}

fn config_map_of(name: &str, key: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}})
}

impl Bombs {
    pub(super) fn new() -> Result<Self> {
        let plan = |name: &str, plan: &str| forged::record(name, 1, "0", Some(plan));
        let plans = [
            plan("plan-memory", &forged::large_plan("plan-memory"))?,
            plan("plan-time", &forged::long_plan("plan-time"))?,
        ];
        let histories = [("history-some", 60_000), ("history-many", 178_000)];
        let histories = histories.into_iter().map(|(name, count)| {
            let values = forged::maps(count);
            let records = (1..=12).map(|revision| forged::record(name, revision, &values, None));
            Ok((name, records.collect::<Result<_, _>>()?))
        });
        let lines: String = (0..190_000).map(|n| format!("{:04x}\n", n % 65_536)).collect();
        let many: Vec<_> =
            (0..11_000).map(|n| config_map(&format!("n{n}"), "").to_string()).collect();
        let deep = forged::maps(140_000);
        let deep = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"deep"}},"x":{deep}}}"#
        );
        let odd = [
            r#"{"object":{"apiVersion":"v1","kind":"Secret","name":"x"},"manifest":{"metadata":{"name":"x"},"data":"text","stringData":{"a":"b"}}}"#,
            r#"{"object":{"apiVersion":"apps/v1","kind":"Deployment","name":"../x"},"manifest":{"metadata":{"labels":[1]},"spec":["x"]}}"#,
        ];
        let odd_plans = odd.iter().map(|object| {
            let secret = plan("odd", &forged::plan("odd", object))?;
            anyhow::Ok(secret["data"]["plan"].as_str().unwrap_or_default().to_owned())
        });
        Ok(Self {
            maps: forged::maps(190_000),
            plans,
            histories: histories.collect::<Result<_>>()?,
            lines_of_values: (0..60_000).map(|n| format!("k{n}: {{b: 0}}\n")).collect(),
            lines: json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lines"},
                          "data": {"x": STANDARD.encode(lines)}}),
            sources: vec![
                ("source-many", config_map_of("source-many", "all.yaml", &many.join("\n---\n"))),
                ("source-deep", config_map_of("source-deep", "all.yaml", &deep)),
            ],
            odd_plans: odd_plans.collect::<Result<_>>()?,
        })
    }

    /// A release whose values take 130 MiB of memory.
    pub(super) fn huge_spec(&self, name: &str) -> String {
        format!(
            r#"{{"apiVersion":"releaselifecycle.dev/v1alpha1","kind":"ReleaseLifecycle","metadata":{{"name":"{name}"}},"spec":{{"serviceAccountName":"deployer","source":{{"chart":{{"archive":{{"kind":"Secret","name":"small","key":"chart.tgz"}}}}}},"values":{{"a":{}}}}}}}"#,
            self.maps
        )
    }

    pub(super) fn values(&self, name: &str) -> Value {
        config_map_of(name, "values.yaml", &self.lines_of_values)
    }

    /// A release with a large plan, and a hook that runs until it is deleted.
    pub(super) fn forced(name: &str) -> String {
        let hook = endless_hook(name);
        let large = forged::maps(40_000);
        format!(
            r#"{{"apiVersion":"releaselifecycle.dev/v1alpha1","kind":"ReleaseLifecycle","metadata":{{"name":"{name}"}},"spec":{{"serviceAccountName":"deployer","source":{{"objects":[{hook},{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"x":{large}}}]}}}}}}"#
        )
    }

    pub(super) fn endless(name: &str) -> Value {
        json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": name},
            "spec": {"serviceAccountName": "deployer",
                     "source": {"objects": [endless_hook(name), config_map(name, "1")]}},
        })
    }
}

fn endless_hook(name: &str) -> Value {
    job(name).hook("pre-install").runs("sleep 3600")
}
