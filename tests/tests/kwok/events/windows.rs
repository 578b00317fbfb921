//! Operations that begin only within the windows of `spec.windows`.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Namespace, condition, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::remediation::states;

/// A window that opens at this time of the day, for an hour.
fn opens_at(time: Timestamp) -> Value {
    let time = time.to_zoned(TimeZone::UTC);
    json!({"schedule": format!("{} {} * * *", time.minute(), time.hour()), "duration": "1h"})
}

fn closed() -> Value {
    opens_at(Timestamp::now() + SignedDuration::from_hours(12))
}

fn waits(release: &ReleaseLifecycle) -> bool {
    reason(release) == "WindowClosed"
}

fn objects(value: &str) -> [Value; 2] {
    [config_map("main", value), job("hook").hook("pre-upgrade,pre-delete")]
}

#[tokio::test]
async fn an_upgrade_waits_for_its_window_and_begins_at_once_if_somebody_requests_it() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "windows").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let spec = json!({"windows": [closed()]});
    namespace.release("shop", &objects("2"), spec.clone()).await?;
    let release = namespace.wait("shop", &controller, "WindowClosed", waits).await?;
    let said = message(&release);
    assert!(said.starts_with("upgrade of revision 2 begins at 20"), "{said}");
    assert!(said.contains("`kubectl lifecycle retry shop -n "), "{said}");
    assert_eq!(condition(&release, "Ready").context("Ready")?.status, "Unknown");
    // As deployed, and after a restart, too.
    drop(controller);
    let controller = namespace.controller()?;
    namespace.annotate("shop", "example", "1")?;
    assert_eq!(states(&namespace)?, ["deployed"]);
    assert_eq!(namespace.tenant_did("create")?, [""; 0]);

    namespace.annotate("shop", "restartAt", "1")?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(states(&namespace)?, ["superseded", "deployed"]);
    // A window for another event holds nothing.
    let mut other = closed();
    other["events"] = json!(["Delete"]);
    namespace.release("shop", &objects("3"), json!({"windows": [other]})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(states(&namespace)?.len(), 3);
    // It holds the deletion, until it is no longer there.
    namespace.kubectl(&["delete", "rl/shop", "--wait=false"])?;
    namespace.wait("shop", &controller, "WindowClosed", waits).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook", "jobs/hook"]);
    namespace.kubectl(&[
        "patch",
        "rl/shop",
        "--type=merge",
        "-p",
        r#"{"spec":{"windows":null}}"#,
    ])?;
    namespace.kubectl(&["wait", "--for=delete", "rl/shop", "--timeout=90s"])?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"; 3]);
    Ok(())
}

#[tokio::test]
async fn what_waits_begins_when_the_window_opens() -> Result<()> {
    let namespace = Namespace::new(kwok(), "window-opens").await?;
    let controller = namespace.controller()?;
    // A whole minute, at least ten seconds away.
    let soon = Timestamp::now() + SignedDuration::from_secs(70);
    namespace.release("shop", &objects("1"), json!({"windows": [opens_at(soon)]})).await?;
    namespace.wait("shop", &controller, "WindowClosed", waits).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let status = release.status.context("it has a status")?;
    let began = status.operation.context("it has an operation")?.started_at;
    assert_eq!(began.to_zoned(TimeZone::UTC).minute(), soon.to_zoned(TimeZone::UTC).minute());
    Ok(())
}

#[tokio::test]
async fn a_failed_upgrade_is_rolled_back_outside_of_its_window() -> Result<()> {
    let namespace = Namespace::new(kwok(), "window-remedy").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let failing = [config_map("main", "2"), job("hook").hook("post-upgrade").fails()];
    let spec = json!({"windows": [closed()], "upgrade": {"onFailure": "Rollback"}});
    namespace.release("shop", &failing, spec).await?;
    namespace.wait("shop", &controller, "WindowClosed", waits).await?;
    namespace.annotate("shop", "restartAt", "1")?;
    let rolled_back = |release: &ReleaseLifecycle| {
        condition(release, "Remediated").is_some_and(|it| it.status == "True")
    };
    namespace.wait("shop", &controller, "rolled back", rolled_back).await?;
    assert_eq!(states(&namespace)?, ["superseded", "failed", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn a_window_that_cannot_be_read_is_named_and_nothing_begins() -> Result<()> {
    let namespace = Namespace::new(kwok(), "window-invalid").await?;
    let controller = namespace.controller()?;
    for (window, expected) in [
        (json!({"schedule": "0 2 * * soon"}), "spec.windows[0].schedule must be five fields"),
        (json!({"schedule": "0 2 31 4 *"}), "spec.windows[0].schedule names a day that does not"),
        (
            json!({"schedule": "0 2 * * *", "timeZone": "Mars/Olympus"}),
            "spec.windows[0].timeZone must be the name of a time zone",
        ),
    ] {
        let mut window = window;
        window["duration"] = json!("1h");
        namespace.release("shop", &objects("1"), json!({"windows": [window]})).await?;
        let says = |release: &ReleaseLifecycle| {
            reason(release) == "InvalidSchedule" && message(release).starts_with(expected)
        };
        namespace.wait("shop", &controller, expected, says).await?;
    }
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}
