//! The guide's commands while a hook runs and after it, and what a hook's container may do.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use e2e::{helm, hook};
use serde_json::{Value, json};
use testkit::cluster::bin;

use super::{Guide, NEW, OLD};

const JOB: &str = "shop-db-migration";
const BEGIN: &str = "echo \"Starting database migration...\"";
/// The script by which the container finds out what it is and may do.
const PROVE: &str = "{ id -u; id -G; touch /proof || true; grep CapEff /proc/self/status; \
                     grep NoNewPrivs /proc/self/status; ls /var/run/secrets || true; } \
                     > /data/proof 2>&1";

#[tokio::test]
async fn a_running_hook_is_followed_and_held_to_its_rights_limits_and_time() -> Result<()> {
    let Some(guide) = Guide::installed("guide-operations").await? else { return Ok(()) };
    let Guide { namespace, controller } = &guide;
    let waits = format!("{BEGIN}; {PROVE}; while [ ! -e /data/go ]; do sleep 0.1; done");
    guide.apply("upgrade.yaml", &[(BEGIN, &waits)])?;
    let runs = |job: Option<&Value>| job.is_some_and(|job| job["status"]["ready"] == 1);
    namespace.wait_object("Job", JOB, "running", runs).await?;
    look(&guide)?;
    limits(&guide)?;
    follow(&guide)?;
    rights(&guide)?;
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

    // Nor does the next upgrade miss what was deleted. Its migration does not end.
    let hangs = format!("{BEGIN}; touch /data/hangs; exec sleep 600");
    guide.apply("upgrade.yaml", &[(BEGIN, &hangs)])?;
    namespace.wait_object("Job", JOB, "running", runs).await?;
    guide.shell("until [ -e /data/hangs ]; do sleep 0.1; done")?;
    // Its time is up only now, however long its start has taken. One second is what the operator
    // stops a hook by.
    let deadline = r#"{"spec": {"activeDeadlineSeconds": 2}}"#;
    namespace.kubectl(&["patch", "job", JOB, "--type=merge", "--patch", deadline])?;
    let release = namespace.wait_stalled("shop", controller).await?;
    let ran = hook(&release, JOB).context("it is in status")?;
    assert_eq!(ran.reason.as_deref(), Some("DeadlineExceeded"), "{ran:#?}");
    assert_eq!(ran.log.as_deref(), Some("Starting database migration...\n"), "{ran:#?}");
    assert_eq!(guide.orders()?, NEW);
    assert_eq!(guide.backups()?, [OLD, NEW].concat());
    Ok(())
}

/// The guide's commands, while the migration runs.
fn look(guide: &Guide) -> Result<()> {
    let namespace = &guide.namespace;
    let listed = namespace.kubectl(&["get", "jobs", "-l", "app.kubernetes.io/managed-by=Helm"])?;
    assert!(listed.contains(JOB) && listed.contains("Running"), "{listed}");
    let described = namespace.kubectl(&["describe", "job", JOB])?;
    assert!(described.contains("1 Active (1 Ready)"), "{described}");
    let status = helm::run(namespace, "helm", &["status", "shop"])?;
    assert!(status.contains("STATUS: pending-upgrade"), "{status}");
    let status = namespace.kubectl(&["get", "rl", "shop", "-o", "wide"])?;
    let waiting = "waiting for hook Job/shop-db-migration (pre-upgrade, 3 of 4, attempt 1)";
    assert!(status.contains(waiting), "{status}");
    Ok(())
}

/// Requests, limits and the ServiceAccount, as the kubelet has them.
fn limits(guide: &Guide) -> Result<()> {
    let pods = ["get", "pods", "-l", "job-name=shop-db-migration", "-o", "json"];
    let pods: Value = serde_json::from_str(&guide.namespace.kubectl(&pods)?)?;
    let pod = &pods["items"][0];
    assert_eq!(pod["spec"]["serviceAccountName"], "shop-hook");
    let resources = &pod["status"]["containerStatuses"][0]["resources"];
    assert_eq!(resources["limits"], json!({"cpu": "500m", "memory": "128Mi"}), "{pod:#}");
    assert_eq!(resources["requests"], json!({"cpu": "250m", "memory": "64Mi"}), "{pod:#}");
    Ok(())
}

/// `kubectl logs -f`, from the middle of the migration to its end.
fn follow(guide: &Guide) -> Result<()> {
    let mut follower = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(bin("kubectl")?)
        .arg("--kubeconfig")
        .arg(guide.namespace.cluster().kubeconfig())
        .args(["--namespace", &guide.namespace.name, "logs", "-f", "job/shop-db-migration"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start kubectl logs -f")?;
    let mut lines = BufReader::new(follower.stdout.take().context("its output")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    assert_eq!(line, "Starting database migration...\n");
    guide.shell("touch /data/go")?;
    let mut rest = String::new();
    lines.read_to_string(&mut rest)?;
    assert_eq!(rest, "Migration completed successfully\n");
    ensure!(follower.wait()?.success(), "kubectl logs -f ends with the container");
    Ok(())
}

/// The security context, as it is from inside.
fn rights(guide: &Guide) -> Result<()> {
    let found = guide.shell("cat /data/proof")?;
    let found: Vec<_> = found.lines().collect();
    let expected = [
        "1000",
        "0 2000",
        "touch: /proof: Read-only file system",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "ls: /var/run/secrets: No such file or directory",
    ];
    assert_eq!(found, expected);
    Ok(())
}
