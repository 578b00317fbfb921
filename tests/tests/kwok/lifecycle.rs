use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

#[tokio::test]
async fn an_install_and_an_upgrade_without_hooks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "plain").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("a", "1"), config_map("b", "1")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(1));
    namespace.release("shop", &[config_map("a", "2")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(2));
    assert_eq!(namespace.kubectl(&["get", "cm", "a", "-o", "jsonpath={.data.value}"])?, "2");
    assert!(namespace.kubectl(&["get", "cm", "b"]).is_err(), "b was to be pruned");
    Ok(())
}

#[tokio::test]
async fn an_object_outside_of_namespaces_stays_through_upgrades_and_rollbacks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "outside").await?;
    let name = &namespace.name;
    let account = format!("--serviceaccount={name}:deployer");
    namespace.kubectl(&[
        "create",
        "clusterrolebinding",
        name,
        "--clusterrole=cluster-admin",
        &account,
    ])?;
    let controller = namespace.controller()?;
    let class = |value: i32| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
               "metadata": {"name": name}, "value": 7, "description": value.to_string()})
    };
    let uid =
        || namespace.kubectl(&["get", "priorityclass", name, "-o", "jsonpath={.metadata.uid}"]);
    namespace.release("shop", &[class(1), config_map("a", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let made = uid()?;
    namespace.release("shop", &[class(2), config_map("a", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(uid()?, made);
    let pin = json!({"pinRevision": 1});
    namespace.release("shop", &[class(2), config_map("a", "2")], pin).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(uid()?, made);
    namespace.release("shop", &[config_map("a", "3")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert!(uid().is_err(), "it was to be pruned");
    namespace.kubectl(&["delete", "clusterrolebinding", name])?;
    Ok(())
}

/// The status of each record, as Helm writes it, by revision.
fn records(namespace: &Namespace) -> Result<String> {
    let path =
        "jsonpath={range .items[*]}{.metadata.labels.version}={.metadata.labels.status} {end}";
    let args = ["get", "secrets", "-l", "owner=helm", "--sort-by=.metadata.name", "-o", path];
    namespace.kubectl(&args)
}

#[tokio::test]
async fn what_others_have_put_on_a_record_stays() -> Result<()> {
    let namespace = Namespace::new(kwok(), "record-marks").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("a", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let record = "sh.helm.release.v1.shop.v1";
    let marks = r#"{"metadata": {"finalizers": ["example.com/backup"],
                                 "annotations": {"example.com/seen": "yes"}}}"#;
    namespace.kubectl(&["patch", "secret", record, "--type=merge", "-p", marks])?;
    // It becomes superseded by a PUT.
    namespace.release("shop", &[config_map("a", "2")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(records(&namespace)?, "1=superseded 2=deployed ");
    let metadata = namespace.object("Secret", record).await?.unwrap_or_default();
    let metadata = &metadata["metadata"];
    assert_eq!(metadata["finalizers"], json!(["example.com/backup"]));
    assert_eq!(metadata["annotations"]["example.com/seen"], "yes");
    let none = r#"{"metadata": {"finalizers": null}}"#;
    namespace.kubectl(&["patch", "secret", record, "--type=merge", "-p", none])?;
    Ok(())
}

#[tokio::test]
async fn an_upgrade_after_a_failed_install_is_still_an_install() -> Result<()> {
    let namespace = Namespace::new(kwok(), "again").await?;
    let mut controller = namespace.controller()?;
    let before = job("before").hook("pre-install");
    let upgrade = job("upgrade").hook("pre-upgrade");
    let after = job("after").hook("post-install");
    let first = [
        before.clone(),
        upgrade.clone(),
        config_map("kept", "1"),
        config_map("orphan", "1"),
        after.clone().fails(),
    ];
    namespace.release("shop", &first, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), None);
    assert_eq!(records(&namespace)?, "1=failed ");
    assert!(namespace.object("ConfigMap", "orphan").await?.is_some());

    // What failed is not tried again for nothing, not even by another process.
    controller.kill()?;
    let controller = namespace.controller()?;
    let good = [before, upgrade, config_map("kept", "2"), after];
    namespace.release("witness", &[config_map("witness", "")], json!({})).await?;
    namespace.wait_ready("witness", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/before", "jobs/after"]);

    namespace.release("shop", &good, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 2 succeeded with 2 hooks");
    assert_eq!(
        namespace.tenant_did("create")?,
        ["jobs/before", "jobs/after", "jobs/before", "jobs/after"]
    );
    assert_eq!(namespace.object("ConfigMap", "orphan").await?, None, "left by the failed attempt");
    assert_eq!(records(&namespace)?, "1=failed 2=deployed 1=deployed ");
    Ok(())
}

#[tokio::test]
async fn a_failed_upgrade_leaves_the_deployed_record_and_can_be_mended() -> Result<()> {
    let namespace = Namespace::new(kwok(), "mend").await?;
    let controller = namespace.controller()?;
    let hook = || job("hook").hook("post-upgrade");
    namespace.release("shop", &[config_map("main", "1"), hook()], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let bad = [config_map("main", "2"), config_map("extra", "2"), hook().fails()];
    namespace.release("shop", &bad, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(
        message(&release).starts_with("upgrade of revision 2 failed: "),
        "{}",
        message(&release)
    );
    assert_eq!(release.status.as_ref().and_then(|status| status.revision), Some(1));
    assert_eq!(records(&namespace)?, "1=deployed 2=failed ");

    namespace.release("shop", &[config_map("main", "3"), hook()], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "upgrade of revision 3 succeeded with 1 hook");
    assert_eq!(records(&namespace)?, "1=superseded 2=failed 3=deployed ");
    assert_eq!(namespace.object("ConfigMap", "extra").await?, None, "left by the failed upgrade");
    Ok(())
}

#[tokio::test]
async fn going_back_to_what_is_deployed_after_a_failed_upgrade_is_an_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "back").await?;
    let controller = namespace.controller()?;
    let good = [config_map("main", "1")];
    let bad: [Value; 2] = [config_map("main", "2"), job("hook").hook("post-upgrade").fails()];
    namespace.release("shop", &good, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &bad, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    // The objects are the failed revision's by now.
    namespace.release("shop", &good, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(3));
    assert_eq!(namespace.kubectl(&["get", "cm", "main", "-o", "jsonpath={.data.value}"])?, "1");
    Ok(())
}

#[tokio::test]
async fn a_change_of_what_is_not_deployed_runs_no_hooks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "same").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("hook").hook("pre-install,pre-upgrade")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &objects, json!({"timeout": "10m"})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!((reason(&release), &*message(&release)), ("InSync", "revision 1 is deployed"));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"]);
    Ok(())
}
