//! The operator: a `ReleaseLifecycle` with the chart, and the record that it writes for Helm.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use e2e::{Controller, Namespace, chart_source, helm, put_archive};
use serde_json::{Value, json};

use crate::{RELEASE, charts::Case, rendered::Rendered};

/// A release that an operator of its own looks after.
pub(crate) struct Operator<'a> {
    namespace: &'a Namespace,
    spec: Value,
    controller: Controller,
}

impl<'a> Operator<'a> {
    /// Starts it. The release may do everything, as who runs Helm here.
    pub(crate) async fn start(namespace: &'a Namespace, case: &Case) -> Result<Self> {
        let account = format!("--serviceaccount={}:deployer", namespace.name);
        let binding = ["create", "clusterrolebinding", &namespace.name, &account];
        namespace.kubectl(&[&binding[..], &["--clusterrole=cluster-admin"]].concat())?;
        let mut spec = chart_source("chart");
        // What a chart's objects do is no part of this.
        spec["wait"] = false.into();
        let mut from = Vec::new();
        for (index, file) in case.values.iter().enumerate() {
            // The last ones as objects, but for what could not be told apart then.
            if index + 1 == case.values.len() && case.sets.is_empty() {
                spec["values"] = serde_saphyr::from_str::<Value>(&fs::read_to_string(file)?)?;
                continue;
            }
            let name = format!("values-{index}");
            put(namespace, &name, "values.yaml", &fs::read_to_string(file)?).await?;
            from.push(json!({"kind": "Secret", "name": name}));
        }
        for (index, set) in case.sets.iter().enumerate() {
            let name = format!("set-{index}");
            put(namespace, &name, "value", &set.as_one_value()).await?;
            from.push(json!({"kind": "Secret", "name": name, "valuesKey": "value",
                             "targetPath": set.path}));
        }
        spec["valuesFrom"] = from.into();
        // Charts may be larger than is usual, and the machine slower.
        let bounds = ["--engine-memory-mib=512", "--engine-cpu-seconds=60", "--engine-seconds=90"];
        Ok(Self { namespace, spec, controller: namespace.controller_with(&bounds)? })
    }

    /// Installs the chart in this archive; the record.
    pub(crate) async fn install(&self, archive: &Path) -> Result<Rendered> {
        put_archive(self.namespace, "chart", &fs::read(archive)?).await?;
        self.namespace.release(RELEASE, &[], self.spec.clone()).await?;
        self.namespace.wait_ready(RELEASE, &self.controller).await?;
        self.record("1")
    }

    /// Lets it upgrade to the same chart, compressed otherwise, which is another archive; the record.
    /// Returns whether the upgrade succeeds is no matter: the webhooks of a chart may stand in its way.
    pub(crate) async fn upgrade(&self, archive: &Path) -> Result<Rendered> {
        put_archive(self.namespace, "chart", &compressed_otherwise(archive)?).await?;
        let is = |release: &api::ReleaseLifecycle| {
            let operation = release.status.as_ref().and_then(|status| status.operation.as_ref());
            operation.is_some_and(|it| it.revision == 2 && it.plan_digest.is_some())
        };
        self.namespace.wait(RELEASE, &self.controller, "at revision 2", is).await?;
        self.record("2")
    }

    /// Ends the operator, and leaves the release to Helm.
    pub(crate) fn leave(mut self) -> Result<()> {
        self.controller.kill()?;
        let none = "{\"metadata\": {\"finalizers\": null}}";
        self.namespace.kubectl(&["patch", "rl", RELEASE, "--type=merge", "--patch", none])?;
        self.namespace.kubectl(&["delete", "rl", RELEASE]).map(drop)
    }

    fn record(&self, revision: &str) -> Result<Rendered> {
        let args = ["status", RELEASE, "--revision", revision];
        Ok(Rendered::from_helm(&helm::json(self.namespace, "helm", &args)?))
    }
}

async fn put(namespace: &Namespace, name: &str, key: &str, text: &str) -> Result<()> {
    let metadata = json!({"name": name});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
                        "stringData": {key: text}});
    namespace.apply(&secret).await
}

fn compressed_otherwise(archive: &Path) -> Result<Vec<u8>> {
    let mut unpacked = Command::new("gzip")
        .arg("-dc")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("run gzip")?;
    let tar = unpacked.stdout.take().context("its output")?;
    let packed = Command::new("gzip").args(["-c", "-1", "-n"]).stdin(tar).output()?;
    ensure!(unpacked.wait()?.success() && packed.status.success(), "gzip failed");
    Ok(packed.stdout)
}
