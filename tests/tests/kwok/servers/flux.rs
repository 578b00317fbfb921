//! Sources of Flux. Here a test says in their status what source-controller would.

use std::{fs, path::Path, process::Command, sync::OnceLock};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, message};
use serde_json::{Value, json};
use testkit::servers::{Answer, Site};

use crate::flux;

use super::{controller, folder, package, says, scratch, wait_reason, wait_revision};

const GROUP: &str = "source.toolkit.fluxcd.io";

const KINDS: [(&str, &str); 5] = [
    ("OCIRepository", "ocirepositories"),
    ("GitRepository", "gitrepositories"),
    ("Bucket", "buckets"),
    ("HelmChart", "helmcharts"),
    ("ExternalArtifact", "externalartifacts"),
];

/// Flux's kinds on the cluster, once.
fn install() -> Result<()> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let install =
        || flux::install(&KINDS.map(|(kind, plural)| flux::crd(kind, plural, GROUP, "v1")));
    let installed = INSTALLED.get_or_init(|| install().map_err(|error| format!("{error:#}")));
    installed.clone().map_err(anyhow::Error::msg)
}

/// A source that nobody has looked at yet.
fn source(namespace: &Namespace, kind: &str) -> Result<()> {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": {"name": "shop", "namespace": namespace.name},
        "spec": {"url": "somewhere"},
    });
    namespace.cluster().apply(&object.to_string())
}

fn set_status(namespace: &Namespace, kind: &str, status: Value) -> Result<()> {
    let resource = format!("{}.v1.{GROUP}", kind.to_lowercase());
    let patch = json!({"status": status}).to_string();
    let args = ["patch", &resource, "shop", "--subresource=status", "--type=merge", "-p", &patch];
    namespace.kubectl(&args).map(drop)
}

/// The path at which source-controller serves it.
fn path(namespace: &Namespace, kind: &str, name: &str) -> String {
    format!("/{}/{}/shop/{name}.tar.gz", kind.to_lowercase(), namespace.name)
}

/// Puts the archive on the site at `path`, and answers the status that tells of it.
fn publish(site: &Site, path: &str, archive: Vec<u8>) -> Result<Value> {
    let digest = sha256(&archive)?;
    site.put(path, Answer::file(archive));
    let url = format!("{}{path}", site.url());
    let ready = json!({"type": "Ready", "status": "True", "reason": "Succeeded",
                       "message": "stored artifact", "lastTransitionTime": "2024-01-01T00:00:00Z"});
    Ok(json!({
        "observedGeneration": 1,
        "artifact": {"url": url, "digest": digest, "revision": path, "path": "x",
                     "lastUpdateTime": "2024-01-01T00:00:00Z"},
        "conditions": [ready],
    }))
}

fn sha256(bytes: &[u8]) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    let output = Command::new("sha256sum").arg(file.path()).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(format!("sha256:{}", text.split(' ').next().context("a digest")?))
}

/// As source-controller archives a repository: what is in the folder, without the folder.
fn archive(of: &Path) -> Result<Vec<u8>> {
    let output = Command::new("tar").args(["-cz", "-C"]).arg(of).arg(".").output()?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// `spec` that waits for the watch alone.
fn from(kind: &str, more: Value) -> Value {
    let mut reference = json!({"kind": kind, "name": "shop"});
    for (key, value) in more.as_object().into_iter().flatten() {
        reference[key] = value.clone();
    }
    json!({"source": {"sourceRef": reference}, "interval": "10h"})
}

#[tokio::test]
async fn a_new_artifact_is_an_upgrade() -> Result<()> {
    install()?;
    let namespace = Namespace::new(kwok(), "flux").await?;
    let controller = controller(&namespace)?;
    let site = Site::plain().await?;
    source(&namespace, "OCIRepository")?;
    let failed = json!({"type": "Ready", "status": "False", "reason": "OCIArtifactPullFailed",
                        "message": "no such tag", "lastTransitionTime": "2024-01-01T00:00:00Z"});
    set_status(
        &namespace,
        "OCIRepository",
        json!({"observedGeneration": 1, "conditions": [failed]}),
    )?;
    namespace.release("shop", &[], from("OCIRepository", json!({}))).await?;
    let release = wait_reason(&namespace, &controller, "shop", "SourceNotReady").await?;
    assert_eq!(
        message(&release),
        "spec.source.sourceRef (OCIRepository/shop): OCIRepository/shop has no artifact yet; its \
         condition Ready is False, OCIArtifactPullFailed: no such tag"
    );

    for (revision, version) in [(1, "1.0.0"), (2, "1.1.0")] {
        let archive = fs::read(package(&namespace, version, "")?)?;
        let path = path(&namespace, "OCIRepository", version);
        set_status(&namespace, "OCIRepository", publish(&site, &path, archive)?)?;
        wait_revision(&namespace, &controller, revision).await?;
        assert_eq!(says(&namespace).await?, format!("{version} hello"));
    }
    // Each was fetched once.
    let asked = ["1.0.0", "1.1.0"].map(|version| path(&namespace, "OCIRepository", version));
    assert_eq!(site.asked(), asked);
    Ok(())
}

#[tokio::test]
async fn every_kind_of_source_holds_charts() -> Result<()> {
    install()?;
    let site = Site::plain().await?;
    for (index, (kind, _)) in KINDS.iter().enumerate() {
        let namespace = Namespace::new(kwok(), &format!("flux-{index}")).await?;
        let controller = controller(&namespace)?;
        source(&namespace, kind)?;
        // A repository with the chart in a folder of it, and others that are the chart.
        let (archive, more) = match *kind {
            "GitRepository" | "Bucket" | "ExternalArtifact" => {
                let root = scratch(&namespace, "root")?;
                fs::create_dir_all(root.join("deploy"))?;
                let chart = folder(&namespace)?;
                fs::write(chart.join("values.yaml"), "greeting: hello\n")?;
                let to = root.join("deploy");
                let copied = Command::new("cp").arg("-r").arg(&chart).arg(&to).status()?;
                ensure!(copied.success(), "cp failed");
                (archive(&root)?, json!({"path": "./deploy/shop"}))
            }
            _ => (fs::read(package(&namespace, "1.2.3", "")?)?, json!({})),
        };
        let status = publish(&site, &path(&namespace, kind, "chart"), archive)?;
        set_status(&namespace, kind, status)?;
        namespace.release("shop", &[], from(kind, more)).await?;
        wait_revision(&namespace, &controller, 1).await?;
        assert_eq!(says(&namespace).await?, "1.2.3 hello", "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_said() -> Result<()> {
    install()?;
    let namespace = Namespace::new(kwok(), "flux-bad").await?;
    let controller = controller(&namespace)?;
    let site = Site::plain().await?;
    namespace.release("shop", &[], from("GitRepository", json!({}))).await?;
    let release = wait_reason(&namespace, &controller, "shop", "SourceNotFound").await?;
    assert!(message(&release).contains("GitRepository/shop does not exist"), "{release:?}");

    // The server has something else than the object says.
    source(&namespace, "GitRepository")?;
    let package = fs::read(package(&namespace, "1.2.3", "")?)?;
    let changed = path(&namespace, "GitRepository", "changed");
    let status = publish(&site, &changed, package.clone())?;
    site.put(&changed, Answer::file("something else"));
    set_status(&namespace, "GitRepository", status)?;
    let release = wait_reason(&namespace, &controller, "shop", "DigestMismatch").await?;
    assert!(
        message(&release).contains("spec.source.sourceRef (GitRepository/shop)"),
        "{release:?}"
    );

    // Somebody who may write the status names what is of another namespace, or elsewhere.
    let other = namespace.name.clone() + "-b";
    let status = publish(&site, &changed.replace(&namespace.name, &other), package.clone())?;
    set_status(&namespace, "GitRepository", status.clone())?;
    let release = wait_reason(&namespace, &controller, "shop", "SourceRefused").await?;
    assert!(message(&release).contains("no path of this source's"), "{}", message(&release));
    let mut status = publish(&site, &path(&namespace, "GitRepository", "fine"), package)?;
    status["artifact"]["url"] = status["artifact"]["url"]
        .as_str()
        .context("a URL")?
        .replace("127.0.0.1", "localhost")
        .into();
    set_status(&namespace, "GitRepository", status.clone())?;
    let says = |release: &_| message(release).contains("--flux-artifact-hosts");
    namespace.wait("shop", &controller, "another host is refused", says).await?;

    status["artifact"]["digest"] = "blake3:00".into();
    set_status(&namespace, "GitRepository", status.clone())?;
    wait_reason(&namespace, &controller, "shop", "InvalidSource").await?;

    status["artifact"]["url"] = "http://169.254.169.254/latest".into();
    status["artifact"]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    set_status(&namespace, "GitRepository", status.clone())?;
    wait_reason(&namespace, &controller, "shop", "SourceRefused").await?;

    // What belongs to an older spec of the source is not taken.
    status["observedGeneration"] = 0.into();
    set_status(&namespace, "GitRepository", status)?;
    let release = wait_reason(&namespace, &controller, "shop", "SourceNotReady").await?;
    assert!(message(&release).contains("has not been reconciled since it was changed"));
    Ok(())
}
