//! The guide's commands while a hook runs and after it, and what a hook's container may do.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use e2e::{helm, hook, message};
use serde_json::{Value, json};
use testkit::cluster::bin;

use super::{Guide, NEW, OLD};

const BEGIN: &str = "echo \"Starting database migration...\"";

#[tokio::test]
async fn a_running_hook_is_followed_and_hooks_are_cleaned_up_by_label() -> Result<()> {
    let Some(guide) = Guide::installed("guide-follow").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    let waits = format!("{BEGIN}; while [ ! -e /data/go ]; do sleep 0.1; done");
    guide.apply("upgrade.yaml", &[(BEGIN, &waits)])?;
    let job = "shop-db-migration";
    let runs = |job: Option<&Value>| job.is_some_and(|job| job["status"]["ready"] == 1);
    namespace.wait_object("Job", job, "running", runs).await?;

    let kubeconfig = namespace.cluster().kubeconfig();
    let mut follower = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(bin("kubectl")?)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--namespace", &namespace.name, "logs", "-f", "job/shop-db-migration"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start kubectl logs -f")?;
    let mut lines = BufReader::new(follower.stdout.take().context("its output")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    assert_eq!(line, "Starting database migration...\n");
    let listed = namespace.kubectl(&["get", "jobs", "-l", "app.kubernetes.io/managed-by=Helm"])?;
    assert!(listed.contains(job) && listed.contains("Running"), "{listed}");
    let described = namespace.kubectl(&["describe", "job", job])?;
    assert!(described.contains("1 Active (1 Ready)"), "{described}");
    let status = helm::run(namespace, "helm", &["status", "shop"])?;
    assert!(status.contains("STATUS: pending-upgrade"), "{status}");
    let status = namespace.kubectl(&["get", "rl", "shop"])?;
    assert!(status.contains("waiting for hook Job/shop-db-migration (pre-upgrade, 3 of 4"), "{status}");

    guide.shell("touch /data/go")?;
    let mut rest = String::new();
    lines.read_to_string(&mut rest)?;
    assert_eq!(rest, "Migration completed successfully\n");
    ensure!(follower.wait()?.success(), "kubectl logs -f ends with the container");
    namespace.wait_ready("shop", controller).await?;
    let status = helm::run(namespace, "helm", &["status", "shop"])?;
    assert!(status.contains("STATUS: deployed") && status.contains("REVISION: 2"), "{status}");
    let list = helm::run(namespace, "helm", &["list"])?;
    assert!(list.contains("shop") && list.contains("deployed"), "{list}");
    let history = helm::run(namespace, "helm", &["history", "shop"])?;
    assert!(history.contains("superseded") && history.contains("Upgrade complete"), "{history}");

    // Of the release itself nothing has the label.
    namespace.kubectl(&["delete", "jobs", "-l", "helm.sh/hook"])?;
    namespace.kubectl(&["delete", "pods", "-l", "helm.sh/hook"])?;
    assert_eq!(namespace.kubectl(&["get", "jobs", "-o", "name"])?, "");
    assert_eq!(guide.version().await?, "2");
    guide.apply("upgrade.yaml", &[("replicas: 1", "replicas: 2")])?;
    let release = namespace.wait_ready("shop", controller).await?;
    assert_eq!(message(&release), "upgrade of revision 3 succeeded with 5 hooks");
    Ok(())
}

/// The security context, the ServiceAccount and the limits, as they are from inside; then a
/// migration that does not end.
#[tokio::test]
async fn a_hook_is_held_to_its_rights_its_limits_and_its_time() -> Result<()> {
    let Some(guide) = Guide::installed("guide-limits").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    let proof = "{ id -u; id -G; touch /proof || true; grep CapEff /proc/self/status; \
                 grep NoNewPrivs /proc/self/status; ls /var/run/secrets || true; } \
                 > /data/proof 2>&1";
    let proves = format!("{BEGIN}; {proof}; while [ ! -e /data/go ]; do sleep 0.1; done");
    guide.apply("upgrade.yaml", &[(BEGIN, &proves)])?;
    let runs = |job: Option<&Value>| job.is_some_and(|job| job["status"]["ready"] == 1);
    namespace.wait_object("Job", "shop-db-migration", "running", runs).await?;
    let pods = ["get", "pods", "-l", "job-name=shop-db-migration", "-o", "json"];
    let pods: Value = serde_json::from_str(&namespace.kubectl(&pods)?)?;
    let pod = &pods["items"][0];
    assert_eq!(pod["spec"]["serviceAccountName"], "shop-hook");
    let resources = &pod["status"]["containerStatuses"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "500m", "memory": "128Mi"}), "{pod:#}");
    assert_eq!(resources["requests"], json!({"cpu": "250m", "memory": "64Mi"}), "{pod:#}");
    guide.shell("touch /data/go")?;
    namespace.wait_ready("shop", controller).await?;
    let found = guide.shell("cat /data/proof")?;
    let found: Vec<_> = found.lines().collect();
    assert_eq!(
        found,
        [
            "1000",
            "0 2000",
            "touch: /proof: Read-only file system",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "ls: /var/run/secrets: No such file or directory",
        ]
    );

    let hangs = format!("{BEGIN}; exec sleep 600");
    let deadline = ("activeDeadlineSeconds: 300", "activeDeadlineSeconds: 8");
    guide.apply("upgrade.yaml", &[(BEGIN, &hangs), deadline])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    let ran = hook(&release, "shop-db-migration").context("it is in status")?;
    assert_eq!(ran.reason.as_deref(), Some("DeadlineExceeded"), "{ran:#?}");
    assert_eq!(ran.log.as_deref(), Some("Starting database migration...\n"), "{ran:#?}");
    assert_eq!(guide.orders()?, NEW);
    guide.apply("upgrade.yaml", &[])?;
    namespace.wait_ready("shop", controller).await?;
    assert_eq!(guide.backups()?, [OLD, NEW, NEW].concat());
    Ok(())
}
