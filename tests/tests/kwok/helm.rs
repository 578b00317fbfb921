//! A release is an ordinary Helm release, to Helm 4 and to Helm 3.

mod records;

use anyhow::{Context, Result};
use e2e::{
    Namespace,
    helm::{self, HELMS},
    kwok,
    manifests::{Manifest, config_map, job},
    message,
};
use serde_json::{Value, json};

/// Every release; Helm 4 hides none and does not know the flag.
fn list(namespace: &Namespace, program: &str) -> Result<Value> {
    helm::json(namespace, program, if program == "helm3" { &["list", "--all"] } else { &["list"] })
}

#[tokio::test]
async fn helm_lists_and_shows_our_releases() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-read").await?;
    let controller = namespace.controller()?;
    let objects = |value: &str| {
        [config_map("main", value), job("hook").hook("pre-install,pre-upgrade").weight("-3")]
    };
    namespace.release("shop", &objects("1"), json!({"releaseName": "store"})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &objects("2"), json!({"releaseName": "store"})).await?;
    namespace.wait_ready("shop", &controller).await?;
    // One more that failed.
    let failing = [objects("3")[0].clone(), job("bad").hook("post-upgrade").fails()];
    namespace.release("shop", &failing, json!({"releaseName": "store"})).await?;
    namespace.wait_stalled("shop", &controller).await?;

    for program in HELMS {
        let list = list(&namespace, program)?;
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{program}: {list}");
        assert_eq!((&list[0]["name"], &list[0]["revision"]), (&json!("store"), &json!("3")));
        assert_eq!(list[0]["status"], "failed", "{program}: {list}");

        let status = helm::json(&namespace, program, &["status", "store", "--revision", "2"])?;
        assert_eq!(status["info"]["status"], "deployed", "{program}: {status}");
        assert_eq!(status["info"]["description"], "Upgrade complete");
        assert_eq!(status["hooks"][0]["last_run"]["phase"], "Succeeded", "{program}: {status}");
        assert_eq!(status["hooks"][0]["weight"], -3, "{program}: {status}");

        let history = helm::json(&namespace, program, &["history", "store"])?;
        let history: Vec<_> = history.as_array().into_iter().flatten().collect();
        let path: Vec<_> = history.iter().map(|record| &record["status"]).collect();
        assert_eq!(path, ["superseded", "deployed", "failed"], "{program}");
        let text = history[2]["description"].as_str().context("a description")?;
        assert!(
            text.contains("Release \"store\" failed: post-upgrade hook Job/bad failed"),
            "{text}"
        );

        let get =
            |what: &str| helm::run(&namespace, program, &["get", what, "store", "--revision", "2"]);
        let manifest = get("manifest")?;
        assert!(manifest.contains("name: main") && !manifest.contains("hook"), "{manifest}");
        let hooks = get("hooks")?;
        assert!(hooks.contains("kind: Job") && hooks.contains("helm.sh/hook"), "{hooks}");
        for what in ["all", "values", "notes", "metadata"] {
            get(what)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn helm_uninstalls_our_releases() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-uninstall").await?;
    let controller = namespace.controller()?;
    for (program, value) in [("helm", "1"), ("helm3", "2")] {
        let objects = [
            config_map("main", value),
            job("before").hook("pre-install"),
            job(&format!("{program}-bye")).hook("pre-delete"),
        ];
        namespace.release("shop", &objects, json!({})).await?;
        let release = namespace.wait_ready("shop", &controller).await?;
        // The second time after Helm had removed it, so nothing is left of the first.
        assert_eq!(message(&release), "install of revision 1 succeeded with 1 hook");
        // Or it would be installed again.
        namespace.release("shop", &objects, json!({"suspend": true})).await?;
        helm::run(&namespace, program, &["uninstall", "shop"])?;
        assert_eq!(namespace.object("ConfigMap", "main").await?, None, "{program}");
        assert_eq!(namespace.kubectl(&["get", "secrets", "-l", "owner=helm", "-o", "name"])?, "");
        let bye = namespace.object("Job", &format!("{program}-bye")).await?;
        assert!(bye.is_some(), "{program} runs the delete hooks of the record");
    }
    Ok(())
}

#[tokio::test]
async fn a_helm_that_goes_to_work_meanwhile_is_noticed_before_anything_is_applied() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-meanwhile").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let slow = job("migrate").hook("pre-upgrade");
    let slow = slow.set_pod("/metadata/annotations/releaselifecycle.dev~1test-delay", "5s");
    let upgrade = [config_map("main", "2"), slow, job("after").hook("post-upgrade")];
    namespace.release("shop", &upgrade, json!({})).await?;
    namespace.wait_active("migrate").await?;
    // Our revision 2 is pending, for which Helm's rollback does not ask.
    helm::run(&namespace, "helm", &["rollback", "shop", "1"])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(text.contains("another client made revision 3 of release shop"), "{text}");
    let main = namespace.object("ConfigMap", "main").await?.context("main is there")?;
    assert_eq!(main["data"]["value"], "1", "what Helm applied stays");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"]);
    let history = helm::json(&namespace, "helm", &["history", "shop"])?;
    let states: Vec<_> = history.as_array().into_iter().flatten().map(|it| &it["status"]).collect();
    assert_eq!(states, ["superseded", "failed", "deployed"]);
    Ok(())
}
