//! Charts that are fetched: from registries, repositories and Flux's sources, each a real server on
//! loopback.

mod bad;
mod flux;
mod oci;
mod repository;
mod signed;
mod waiting;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{Controller, Namespace, condition, helm, reason, target};
use serde_json::{Value, json};
use testkit::servers::{PASSWORD, Registry, USERNAME};

/// Its only object says which version of it was rendered, and what it was made with.
const TEMPLATE: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data:
  value: '{{ .Chart.Version }} {{ .Values.greeting }}'
  made: '{{ .Chart.Annotations.made }}'
";

/// The chart `shop` as `helm package` makes it. `made` tells apart what is of one version.
fn package(namespace: &Namespace, version: &str, made: &str) -> Result<PathBuf> {
    let folder = folder(namespace)?;
    fs::write(
        folder.join("Chart.yaml"),
        format!("apiVersion: v2\nname: shop\nversion: 0.0.0\nannotations: {{made: '{made}'}}\n"),
    )?;
    fs::write(folder.join("values.yaml"), "greeting: hello\n")?;
    let to = scratch(namespace, "packaged")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let args = ["package", &text(&folder), "--version", version, "--destination", &text(&to)];
    helm::run(namespace, "helm", &args)?;
    Ok(to.join(format!("shop-{version}.tgz")))
}

/// The folder of the chart, without a version.
fn folder(namespace: &Namespace) -> Result<PathBuf> {
    helm::chart(namespace, "shop", &[TEMPLATE.to_owned()])
}

/// A folder of the test's own.
fn scratch(namespace: &Namespace, name: &str) -> Result<PathBuf> {
    let folder = target().join("tmp/charts").join(&namespace.name).join(name);
    fs::create_dir_all(&folder)?;
    // The programs are started elsewhere.
    folder.canonicalize().context("a folder that was just made")
}

/// `helm push` to `oci://<registry>/charts`; the digest of the manifest.
fn push(
    namespace: &Namespace,
    registry: &Registry,
    package: &Path,
    more: &[&str],
) -> Result<String> {
    let to = format!("oci://{}/charts", registry.address());
    let package = package.to_string_lossy();
    let args = ["push", &package, &to, "--username", USERNAME, "--password", PASSWORD];
    let output = helm::command(namespace, "helm", &[&args[..], more].concat())?.output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "helm push: {said}");
    let digest = said.lines().find_map(|line| line.strip_prefix("Digest: "));
    Ok(digest.with_context(|| format!("no digest in {said:?}"))?.trim().to_owned())
}

/// A controller that fetches from this machine. Its cache is the test's own.
fn controller(namespace: &Namespace) -> Result<Controller> {
    let cache = scratch(namespace, "")?.join("cache");
    let allowed = ["--source-allow=127.0.0.0/8", "--flux-artifact-hosts=127.0.0.1"];
    let cache = cache.to_string_lossy();
    namespace.controller_with(&[&allowed[..], &["--chart-cache", &cache]].concat())
}

/// A Secret of these keys.
async fn secret(namespace: &Namespace, name: &str, data: Value) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                        "stringData": data});
    namespace.apply(&object).await
}

/// A Secret with the login of every server here.
async fn login(namespace: &Namespace, name: &str, password: &str) -> Result<()> {
    secret(namespace, name, json!({"username": USERNAME, "password": password})).await
}

/// `spec` with `oci`, looked at each second.
fn oci(registry: &Registry, more: Value) -> Value {
    let mut oci = json!({"url": format!("oci://{}/charts/shop", registry.address())});
    for (key, value) in more.as_object().into_iter().flatten() {
        oci[key] = value.clone();
    }
    json!({"source": {"chart": {"oci": oci}}, "interval": "1s"})
}

/// `spec` with a repository, looked at each second.
fn repository(url: &str, more: Value) -> Value {
    let mut repository = json!({"url": url, "name": "shop"});
    for (key, value) in more.as_object().into_iter().flatten() {
        repository[key] = value.clone();
    }
    json!({"source": {"chart": {"repository": repository}}, "interval": "1s"})
}

/// Returns what the release's only object says.
async fn says(namespace: &Namespace) -> Result<String> {
    let object = namespace.object("ConfigMap", "shop").await?;
    let object = object.context("the chart's object")?;
    let text = |key: &str| object["data"][key].as_str().unwrap_or_default().to_owned();
    Ok(format!("{} {}", text("value"), text("made")).trim().to_owned())
}

async fn wait_revision(
    namespace: &Namespace,
    controller: &Controller,
    revision: i32,
) -> Result<ReleaseLifecycle> {
    let is = format!("Ready at revision {revision}");
    let ready = |release: &ReleaseLifecycle| {
        let status = release.status.as_ref();
        status.is_some_and(|status| status.revision == Some(revision))
            && condition(release, "Ready").is_some_and(|ready| ready.status == "True")
    };
    namespace.wait("shop", controller, &is, ready).await
}

async fn wait_reason(
    namespace: &Namespace,
    controller: &Controller,
    name: &str,
    wanted: &str,
) -> Result<ReleaseLifecycle> {
    let is = |release: &ReleaseLifecycle| reason(release) == wanted;
    namespace.wait(name, controller, wanted, is).await
}

/// Neither the release nor the log shows what is secret.
fn keeps_secrets(namespace: &Namespace, controller: &Controller) -> Result<()> {
    let shown = namespace.kubectl(&["get", "rl,events", "-o", "yaml"])? + &controller.log()?;
    ensure!(!shown.contains(PASSWORD), "the password was shown");
    ensure!(!shown.contains("wrong-horse"), "the wrong password was shown");
    Ok(())
}
