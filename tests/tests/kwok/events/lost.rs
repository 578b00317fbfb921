//! Two stores, and either of them lost.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::json;

const DELAY: &str = "/metadata/annotations/releaselifecycle.dev~1test-delay";

#[tokio::test]
async fn a_lost_status_is_made_anew_once_a_person_asks_and_the_running_hook_goes_on() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "lost").await?;
    let mut controller = namespace.controller()?;
    let objects = [
        config_map("main", "1"),
        job("first").hook("pre-install").policy("hook-succeeded"),
        job("second").hook("pre-install").weight("1").set_pod(DELAY, "5s"),
        job("third").hook("post-install"),
    ];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("second").await?;
    let uid = namespace.uid("Job", "second").await?;
    controller.kill()?;
    namespace.lose_status("shop")?;
    let controller = namespace.controller()?;
    namespace.resume_lost("shop", &controller).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_event("JournalRebuilt").await?;
    assert_eq!(namespace.uid("Job", "second").await?, uid);
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/first", "jobs/second", "jobs/third"], "nothing is run again");
    Ok(())
}

#[tokio::test]
async fn a_hook_of_which_nothing_is_left_waits_for_a_persons_word() -> Result<()> {
    for (word, again) in [("skipAt", false), ("retryAt", true)] {
        let namespace = Namespace::new(kwok(), "lost-unknown").await?;
        let mut controller = namespace.controller()?;
        let objects = [
            config_map("main", "1"),
            job("first").hook("pre-install").never_ends(),
            job("later").hook("post-install"),
        ];
        namespace.release("shop", &objects, json!({"timeout": "2s"})).await?;
        namespace.wait_active("first").await?;
        controller.kill()?;
        namespace.lose_status("shop")?;
        // A policy or a person may have deleted it.
        namespace.kubectl(&["delete", "job", "first"])?;
        let controller = namespace.controller()?;
        namespace.resume_lost("shop", &controller).await?;
        let is_at_first = |release: &ReleaseLifecycle| {
            reason(release) == "JournalLost" && message(release).contains("Job/first")
        };
        let release = namespace.wait("shop", &controller, "at its hook", is_at_first).await?;
        assert_eq!(reason(&release), "JournalLost");
        let text = message(&release);
        assert!(
            text.contains("Job/first") && text.contains("`kubectl lifecycle skip shop -n "),
            "{text}"
        );
        assert_eq!(namespace.tenant_did("create")?, ["jobs/first"], "nothing is run again");
        namespace.annotate("shop", word, "1")?;
        if again {
            namespace
                .wait("shop", &controller, "at its second attempt", |release| {
                    message(release).contains("Job/first did not end within 2 s")
                })
                .await?;
            assert_eq!(namespace.tenant_did("create")?, ["jobs/first", "jobs/first"]);
        } else {
            // Of the post hook nobody can tell either.
            namespace
                .wait("shop", &controller, "at the next one", |release| {
                    reason(release) == "JournalLost" && message(release).contains("Job/later")
                })
                .await?;
            namespace.annotate("shop", "retryAt", "1")?;
            namespace.wait_ready("shop", &controller).await?;
            assert_eq!(namespace.tenant_did("create")?, ["jobs/first", "jobs/later"]);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_record_that_is_deleted_by_hand_ends_the_operation() -> Result<()> {
    let namespace = Namespace::new(kwok(), "record-lost").await?;
    let mut controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("first").hook("pre-install").never_ends()];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_active("first").await?;
    controller.kill()?;
    namespace.kubectl(&["delete", "secret", "sh.helm.release.v1.shop.v1"])?;
    let controller = namespace.controller()?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "PlanLost");
    assert!(message(&release).contains("sh.helm.release.v1.shop.v1"), "{}", message(&release));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/first"]);
    // A change of the spec begins anew.
    namespace.release("shop", &[config_map("main", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_status_lost_after_the_end_changes_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "lost-idle").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("first").hook("pre-install")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.annotate("shop", "restartAt", "1")?;
    namespace
        .wait("shop", &controller, "at revision 2", |release| {
            let revision = release.status.as_ref().and_then(|status| status.revision);
            revision == Some(2) && reason(release) == "UpgradeSucceeded"
        })
        .await?;
    // An old request is not answered again either.
    namespace.lose_status("shop")?;
    let release = namespace
        .wait("shop", &controller, "in sync", |release| reason(release) == "InSync")
        .await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(2));
    // What failed is not run again silently either.
    let failing = [config_map("main", "2"), job("second").hook("pre-upgrade").fails()];
    namespace.release("shop", &failing, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    namespace.lose_status("shop")?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "GivenUp");
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/first", "jobs/second"]);
    Ok(())
}

#[tokio::test]
async fn two_objects_with_one_release_name_do_not_share_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "one-name").await?;
    let controller = namespace.controller()?;
    let of = |value: &str| [config_map("main", value), job("first").hook("pre-install")];
    let name = json!({"releaseName": "store"});
    namespace.release("one", &of("1"), name.clone()).await?;
    namespace.wait_ready("one", &controller).await?;
    namespace.release("two", &of("2"), name).await?;
    let release = namespace.wait_stalled("two", &controller).await?;
    assert_eq!(reason(&release), "ForeignRelease");
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    assert_eq!(main["data"]["value"], "1");
    // It goes without taking the other's release along.
    namespace.kubectl(&["delete", "rl", "two", "--timeout=30s"])?;
    namespace.annotate("one", "restartAt", "1")?;
    namespace
        .wait("one", &controller, "upgraded", |release| reason(release) == "UpgradeSucceeded")
        .await?;
    assert!(namespace.object("ConfigMap", "main").await?.is_some());
    Ok(())
}
