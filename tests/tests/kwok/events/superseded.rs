//! Requests while an operation has been journalled but not recorded, and late ones of
//! operations that are over.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace, Proxied, condition, helm, kwok,
    manifests::{Manifest, config_map, job},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use testkit::proxy::{Counted, Fault, When};

const RECORDS: Counted = Counted::Of("POST", "/secrets");

/// Revision 2 is deployed, and its controller is led through a proxy.
async fn at_revision_2(namespace: &Namespace) -> Result<(Proxied, Controller)> {
    let proxied = Proxied::new(namespace).await?;
    let controller = proxied.controller()?;
    for value in ["1", "2"] {
        namespace.release("shop", &[config_map("main", value)], json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    Ok((proxied, controller))
}

async fn main_is(namespace: &Namespace, value: &str) -> Result<()> {
    let is = |main: Option<&Value>| main.is_some_and(|main| main["data"]["value"] == value);
    namespace.wait_object("ConfigMap", "main", value, is).await?;
    Ok(())
}

fn failing(value: &str) -> [Value; 2] {
    [config_map("main", value), job("bad").hook("pre-upgrade,pre-rollback").fails()]
}

/// The controller is killed at the record of an operation for `first`; `then` is asked for before
/// the next one begins. Answers with the states of all revisions.
async fn struck(
    namespace: &Namespace,
    when: When,
    first: (&[Value], Value),
    then: (&[Value], Value),
) -> Result<Vec<String>> {
    let (proxied, mut controller) = at_revision_2(namespace).await?;
    proxied.proxy.arm_counting(Fault::KillAt { n: 1, pid: controller.pid(), when }, RECORDS)?;
    namespace.release("shop", first.0, first.1).await?;
    proxied.proxy.wait_hit(Duration::from_mins(1)).await?;
    controller.wait()?;
    namespace.release("shop", then.0, then.1).await?;
    let controller = namespace.controller()?;
    namespace.wait_ready("shop", &controller).await?;
    let history = helm::json(namespace, "helm", &["history", "shop"])?;
    let states = history.as_array().into_iter().flatten().map(|it| &it["status"]);
    Ok(states.filter_map(Value::as_str).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_supersedes_an_upgrade_that_was_not_recorded() -> Result<()> {
    for policy in ["Wait", "CancelNow"] {
        let namespace = Namespace::new(kwok(), "not-recorded").await?;
        let more = |pin: Option<i32>| json!({"onNewSpec": policy, "pinRevision": pin});
        let bad = failing("3");
        let states =
            struck(&namespace, When::Before, (&bad, more(None)), (&bad, more(Some(1)))).await?;
        assert_eq!(states, ["superseded", "superseded", "failed", "deployed"], "{policy}");
        main_is(&namespace, "1").await?;
        assert!(namespace.tenant_did("create")?.iter().all(|made| made != "jobs/bad"), "{policy}");
    }
    Ok(())
}

/// Once it is recorded, it runs, and then what the user asks for is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_comes_after_an_upgrade_that_was_recorded() -> Result<()> {
    let namespace = Namespace::new(kwok(), "recorded").await?;
    let bad = [config_map("main", "3"), job("bad").hook("pre-upgrade").fails()];
    let pinned = json!({"pinRevision": 1});
    let states = struck(&namespace, When::After, (&bad, json!({})), (&bad, pinned)).await?;
    assert_eq!(states, ["superseded", "superseded", "failed", "deployed"]);
    main_is(&namespace, "1").await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/bad"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_spec_supersedes_a_rollback_that_was_not_recorded() -> Result<()> {
    let namespace = Namespace::new(kwok(), "unpinned").await?;
    let deployed = [config_map("main", "2")];
    let pinned = json!({"pinRevision": 1});
    let next = [config_map("main", "4")];
    let states = struck(&namespace, When::Before, (&deployed, pinned), (&next, json!({}))).await?;
    assert_eq!(states, ["superseded", "superseded", "failed", "deployed"]);
    main_is(&namespace, "4").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_to_what_is_deployed_leaves_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "repinned").await?;
    let deployed = [config_map("main", "2")];
    let pin = |revision: i32| json!({"pinRevision": revision, "onNewSpec": "CancelNow"});
    struck(&namespace, When::Before, (&deployed, pin(1)), (&deployed, pin(2))).await?;
    main_is(&namespace, "2").await
}

/// An upgrade goes on as an upgrade, with the spec as it is by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_upgrade_takes_the_place_of_one_that_was_not_recorded() -> Result<()> {
    let namespace = Namespace::new(kwok(), "renewed").await?;
    let next = [config_map("main", "4"), job("good").hook("pre-upgrade")];
    let bad = failing("3");
    let states = struck(&namespace, When::Before, (&bad, json!({})), (&next, json!({}))).await?;
    assert_eq!(states.last().map(String::as_str), Some("deployed"));
    main_is(&namespace, "4").await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/good"]);
    Ok(())
}

/// The request for the record of a first install arrives when the object was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_came_late_for_an_object_that_is_gone_stands_in_nobodys_way() -> Result<()> {
    let namespace = Namespace::new(kwok(), "late-record").await?;
    let proxied = Proxied::new(&namespace).await?;
    let mut late = proxied.replica("late")?;
    namespace.wait_leader("late").await?;
    let for_ = Duration::from_mins(5);
    let stop = Fault::StopAt { n: 1, pid: late.pid(), when: When::Before, for_ };
    proxied.proxy.arm_counting(stop, RECORDS)?;
    let objects = [config_map("main", "1"), job("once").hook("pre-install")];
    namespace.release("shop", &objects, json!({})).await?;
    proxied.proxy.wait_hit(Duration::from_mins(1)).await?;
    let controller = namespace.replica("next")?;
    namespace.wait_leader("next").await?;
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    // It is sent at last, and its sender learns that another one leads.
    proxied.proxy.resume();
    late.end().await?;
    let is_there = |record: Option<&Value>| record.is_some();
    namespace.wait_object("Secret", "sh.helm.release.v1.shop.v1", "there", is_there).await?;
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(2));
    let history = helm::json(&namespace, "helm", &["history", "shop"])?;
    assert_eq!(history[0]["status"], "failed", "{history}");
    Ok(())
}

/// As an apply does that was held up in the network: with the operator's own marks and manager.
fn apply_late(namespace: &Namespace, mut object: Value) -> Result<()> {
    let metadata = object["metadata"].as_object_mut().context("metadata")?;
    metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&&**key));
    let file = namespace.cluster().dir().join(format!("{}-late.json", namespace.name));
    std::fs::write(&file, object.to_string())?;
    let manager = format!("--field-manager={}", api::names::FIELD_MANAGER);
    let file = file.to_string_lossy().into_owned();
    namespace.kubectl(&["apply", "--server-side", "--force-conflicts", &manager, "-f", &file])?;
    Ok(())
}

#[tokio::test]
async fn what_a_late_apply_brought_back_goes_with_the_next_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "late-apply").await?;
    let controller = namespace.controller()?;
    let both = [config_map("main", "1"), config_map("extra", "1")];
    namespace.release("shop", &both, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let extra = namespace.object("ConfigMap", "extra").await?.context("extra")?;
    namespace.release("shop", &[config_map("main", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_gone("ConfigMap", "extra").await?;
    apply_late(&namespace, extra)?;
    namespace.release("shop", &[config_map("main", "3")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_gone("ConfigMap", "extra").await
}

#[tokio::test]
async fn what_a_late_apply_has_overwritten_is_drift() -> Result<()> {
    let namespace = Namespace::new(kwok(), "late-overwrite").await?;
    let controller = namespace.controller()?;
    let more = json!({"interval": "2s", "driftDetection": {"mode": "warn"}});
    namespace.release("shop", &[config_map("main", "1")], more).await?;
    namespace.wait_ready("shop", &controller).await?;
    let mut main = namespace.object("ConfigMap", "main").await?.context("main")?;
    let seen = |release: &_| condition(release, "Drifted").is_some_and(|it| it.status == "False");
    let release = namespace.wait("shop", &controller, "looked at", seen).await?;
    // Field managers have times of whole seconds: what is written within that of the deployment
    // cannot be told from it.
    let baseline = release.status.and_then(|status| status.baseline).context("a baseline")?;
    while Timestamp::now().as_second() <= baseline.deployed_at.as_second() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    main["data"]["value"] = json!("0");
    apply_late(&namespace, main)?;
    let drifted = |release: &_| {
        condition(release, "Drifted").is_some_and(|it| it.message.contains("/data/value"))
    };
    namespace.wait("shop", &controller, "drifted", drifted).await?;
    Ok(())
}
