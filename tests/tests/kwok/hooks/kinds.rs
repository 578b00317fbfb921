//! Hooks of every kind and form.

use anyhow::{Context, Result};
use e2e::{
    Namespace, hook, kwok,
    manifests::{Manifest, config_map, job, pod},
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

#[tokio::test]
async fn the_items_of_a_list_run_one_after_the_other() -> Result<()> {
    let namespace = Namespace::new(kwok(), "list").await?;
    let controller = namespace.controller()?;
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {},
                      "items": [job("z"), config_map("y", "1"), pod("x")]});
    let plain = json!({"apiVersion": "v1", "kind": "List", "metadata": {},
                       "items": [config_map("one", "1"), config_map("two", "1")]});
    // Without a name, a List comes first among equal weights.
    let objects = [job("a").hook("pre-install"), list.hook("pre-install"), plain];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let order: Vec<_> = release.status.context("a status")?.hooks;
    let order: Vec<_> = order.iter().map(|hook| (hook.name.as_str(), hook.phase)).collect();
    let done = HookPhase::Succeeded;
    assert_eq!(order, [("z", done), ("y", done), ("x", done), ("a", done)]);
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, ["jobs/z", "configmaps/y", "pods/x", "jobs/a"]);
    assert!(namespace.object("ConfigMap", "two").await?.is_some(), "an object of the release");
    Ok(())
}

#[tokio::test]
async fn what_the_api_server_would_name_has_another_name_each_time() -> Result<()> {
    let namespace = Namespace::new(kwok(), "generate").await?;
    let controller = namespace.controller()?;
    let unnamed = |name: &str| {
        job("x").set("/metadata/generateName", name).set("/metadata/name", Value::Null)
    };
    let objects = |value: &str| {
        let mut hook = unnamed("migrate-").hook("pre-install,pre-upgrade");
        hook["metadata"].as_object_mut().map(|metadata| metadata.remove("name"));
        [config_map("main", value), hook]
    };
    let mut names = Vec::new();
    for value in ["1", "2"] {
        namespace.release("shop", &objects(value), json!({})).await?;
        let release = namespace.wait_ready("shop", &controller).await?;
        let hooks = release.status.context("a status")?.hooks;
        names.push(hooks.first().context("it ran")?.name.clone());
    }
    assert!(names.iter().all(|name| name.starts_with("migrate-") && name.len() == 16), "{names:?}");
    assert_ne!(names[0], names[1]);
    let created = namespace.tenant_did("create")?;
    assert_eq!(created, names.iter().map(|name| format!("jobs/{name}")).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn a_crd_as_hook_is_applied_each_time_and_brings_its_kind() -> Result<()> {
    let namespace = Namespace::new(kwok(), "crd").await?;
    let args = ["--single-tenant"];
    let controller = namespace.controller_with(&args)?;
    let group = format!("{}.example.com", namespace.name);
    let crd = |description: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("things.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": "Thing", "plural": "things"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                    "openAPIV3Schema": {"type": "object", "description": description}}}],
            },
        })
        .hook("pre-install,pre-upgrade")
        .weight("-1")
        .policy("before-hook-creation,hook-succeeded")
    };
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing",
                       "metadata": {"name": "first"}})
    .hook("pre-install");
    for value in ["1", "2"] {
        let objects = [config_map("main", value), crd(value), thing.clone()];
        namespace.release("shop", &objects, json!({"serviceAccountName": null})).await?;
        let release = namespace.wait_ready("shop", &controller).await?;
        let ran = hook(&release, &format!("things.{group}")).context("it is in status")?;
        assert_eq!(ran.phase, HookPhase::Succeeded);
    }
    let name = format!("things.{group}");
    let path = "jsonpath={.spec.versions[0].schema.openAPIV3Schema.description}";
    assert_eq!(namespace.kubectl(&["get", "crd", &name, "-o", path])?, "2");
    assert_eq!(
        namespace.kubectl(&["get", &name, "-o", "name"])?.trim(),
        format!("thing.{group}/first")
    );
    namespace.kubectl(&["delete", "crd", &name])?;
    Ok(())
}

#[tokio::test]
async fn a_hook_may_live_in_another_namespace() -> Result<()> {
    let namespace = Namespace::new(kwok(), "here").await?;
    let other = Namespace::new(kwok(), "there").await?;
    let subject = format!("--serviceaccount={}:deployer", namespace.name);
    let bind = ["create", "rolebinding", "guest", "--clusterrole=releaselifecycle-deployer"];
    other.kubectl(&[&bind[..], &[&subject]].concat())?;
    let controller = namespace.controller()?;
    let away = job("away").hook("pre-install").set("/metadata/namespace", other.name.as_str());
    namespace.release("shop", &[config_map("main", "1"), away], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "away").context("it is in status")?;
    assert_eq!(ran.namespace.as_deref(), Some(other.name.as_str()));
    assert_eq!(other.uid("Job", "away").await?, ran.uid);
    Ok(())
}

#[tokio::test]
async fn one_object_may_be_a_test_twice() -> Result<()> {
    let namespace = Namespace::new(kwok(), "twice").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", "1"), job("smoke").hook("test,test-success")];
    namespace.release("shop", &objects, json!({"test": {"enable": true}})).await?;
    namespace
        .wait("shop", &controller, "tested", |release| {
            e2e::condition(release, "TestSuccess").is_some_and(|it| it.status == "True")
        })
        .await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/smoke", "jobs/smoke"]);
    Ok(())
}
