use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, condition, helm, hook, kwok,
    manifests::{Manifest, config_map, deployment, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

/// A release with this much around its removal.
fn objects() -> Vec<Value> {
    vec![
        config_map("settings", "1"),
        deployment("web"),
        config_map("kept", "1").annotation("helm.sh/resource-policy", " Keep "),
        config_map("unclear", "1").annotation("helm.sh/resource-policy", "foo"),
        job("seed").hook("pre-install"),
        job("backup").hook("pre-delete"),
        job("goodbye").hook("post-delete"),
    ]
}

async fn installed(namespace: &Namespace, objects: &[Value], more: Value) -> Result<Controller> {
    let controller = namespace.controller()?;
    namespace.release("shop", objects, more).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(controller)
}

fn delete(namespace: &Namespace, more: &[&str]) -> Result<String> {
    namespace.kubectl(&[&["delete", "rl", "shop", "--wait=false"], more].concat())
}

#[tokio::test]
async fn a_deletion_runs_its_hooks_around_the_removal_of_the_objects() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete").await?;
    let controller = installed(&namespace, &objects(), json!({})).await?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    let writes = namespace.tenant_writes()?;
    let from = writes.iter().position(|write| write == "create jobs/backup");
    let after: Vec<_> = writes[from.context("the pre-delete hook ran")?..]
        .iter()
        .filter(|write| write.starts_with("create") || write.starts_with("delete"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        after,
        [
            "create jobs/backup",
            // Helm's uninstall order.
            "delete deployments/web",
            "delete configmaps/settings",
            "delete configmaps/unclear",
            "create jobs/goodbye",
            // What hooks left behind, and the records.
            "delete jobs/backup",
            "delete jobs/goodbye",
            "delete jobs/seed",
            "delete secrets/sh.helm.release.v1.shop.v1",
        ]
    );
    assert!(namespace.object("ConfigMap", "kept").await?.is_some());
    namespace.wait_event("UnknownPolicy").await?;
    Ok(())
}

#[tokio::test]
async fn a_failed_pre_delete_hook_blocks_until_it_is_skipped() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-blocked").await?;
    let objects = [config_map("settings", "1"), job("backup").hook("pre-delete").fails()];
    let limit = json!({"deletion": {"timeout": "0s"}});
    let controller = installed(&namespace, &objects, limit).await?;
    delete(&namespace, &[])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    let text = message(&release);
    assert!(
        text.contains("Job/backup (pre-delete, 1 of 1") && text.contains("BackoffLimitExceeded"),
        "{text}"
    );
    assert!(text.contains("`kubectl lifecycle skip shop -n "), "{text}");
    assert!(namespace.object("ConfigMap", "settings").await?.is_some(), "nothing is deleted");
    // One more attempt, by request.
    namespace.annotate("shop", "retryAt", "1")?;
    let release = namespace
        .wait("shop", &controller, "at its second attempt", |release| {
            hook(release, "backup")
                .is_some_and(|hook| hook.attempt == 2 && hook.phase == HookPhase::Failed)
                && condition(release, "Stalled").is_some()
        })
        .await?;
    assert!(namespace.object("ConfigMap", "settings").await?.is_some(), "{release:?}");
    namespace.annotate("shop", "skipAt", "1")?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(namespace.object("ConfigMap", "settings").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_failed_delete_hook_is_tried_again_and_then_done_without_if_told_so() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-again").await?;
    let objects = [
        config_map("settings", "1"),
        job("backup").hook("pre-delete").policy("hook-failed").fails(),
        job("goodbye").hook("post-delete"),
    ];
    let deletion = json!({"deletion": {"timeout": "15s", "onTimeout": "SkipHooks"}});
    let controller = installed(&namespace, &objects, deletion).await?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    let created = namespace.tenant_did("create")?;
    let backups = created.iter().filter(|name| *name == "jobs/backup").count();
    assert!(backups >= 2, "{created:?}");
    assert!(!created.contains(&"jobs/goodbye".to_owned()), "{created:?}");
    assert_eq!(namespace.object("ConfigMap", "settings").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_failed_post_delete_hook_keeps_the_finalizer_and_the_record() -> Result<()> {
    let namespace = Namespace::new(kwok(), "post-delete").await?;
    let objects = [config_map("settings", "1"), job("goodbye").hook("post-delete").fails()];
    let limit = json!({"deletion": {"timeout": "0s"}});
    let controller = installed(&namespace, &objects, limit).await?;
    delete(&namespace, &[])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(message(&release).contains("Job/goodbye (post-delete"), "{}", message(&release));
    namespace.wait_gone("ConfigMap", "settings").await?;
    let list = helm::json(&namespace, "helm", &["list"])?;
    assert_eq!(list[0]["status"], "uninstalling", "{list}");
    // The settings of the deletion are read live.
    namespace.kubectl(&[
        "patch",
        "rl",
        "shop",
        "--type=merge",
        "-p",
        r#"{"spec": {"deletion": {"onTimeout": "SkipHooks"}}}"#,
    ])?;
    namespace.wait_released("shop", &controller).await?;
    let list = helm::json(&namespace, "helm", &["list"])?;
    assert_eq!(list, json!([]));
    Ok(())
}

#[tokio::test]
async fn objects_that_do_not_go_are_named_with_what_holds_them() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-held").await?;
    let held = config_map("held", "1").set("/metadata/finalizers", json!(["example.com/held"]));
    let objects = [held, job("goodbye").hook("post-delete")];
    let limit = json!({"deletion": {"timeout": "1s"}});
    let controller = installed(&namespace, &objects, limit).await?;
    delete(&namespace, &[])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "DeletionTimeout");
    let text = message(&release);
    assert!(text.contains("ConfigMap/held: held by finalizer example.com/held"), "{text}");
    assert_eq!(namespace.uid("Job", "goodbye").await?, None, "post-delete comes after");
    let patch = r#"{"metadata": {"finalizers": null}}"#;
    namespace.kubectl(&["patch", "configmap", "held", "--type=merge", "-p", patch])?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.tenant_did("create")?.contains(&"jobs/goodbye".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_goes_takes_its_release_along_without_hooks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-namespace").await?;
    let _controller = installed(&namespace, &objects(), json!({})).await?;
    namespace.kubectl(&["delete", "namespace", &namespace.name, "--timeout=60s"])?;
    let created = namespace.tenant_did("create")?;
    assert!(!created.contains(&"jobs/backup".to_owned()), "{created:?}");
    Ok(())
}

#[tokio::test]
async fn an_identity_that_is_pruned_first_is_named_and_can_be_given_back() -> Result<()> {
    let namespace = Namespace::new(kwok(), "identity-gone").await?;
    let controller = installed(&namespace, &objects(), json!({})).await?;
    let binding = namespace.kubectl(&["get", "rolebinding", "deployer", "-o", "json"])?;
    namespace.kubectl(&["delete", "rolebinding", "deployer"])?;
    delete(&namespace, &[])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "IdentityGone");
    let text = message(&release);
    assert!(text.contains("deployer") && text.contains("spec.deletion.objects"), "{text}");
    let mut binding: Value = serde_json::from_str(&binding)?;
    binding["metadata"] = json!({"name": "deployer", "namespace": namespace.name});
    namespace.cluster().apply(&binding.to_string())?;
    // It would be seen within a minute without.
    namespace.kubectl(&["annotate", "rl", "shop", "example.com/look=again"])?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.tenant_did("create")?.contains(&"jobs/backup".to_owned()));
    Ok(())
}

/// As a `GitOps` tool does when the folder of an application is removed, and put back.
#[tokio::test]
async fn a_release_pruned_with_its_identity_goes_once_that_is_applied_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "pruned-at-once").await?;
    let controller = installed(&namespace, &objects(), json!({})).await?;
    let kinds = ["serviceaccount/deployer", "rolebinding/deployer"];
    let identity = namespace.kubectl(&[&["get", "-o", "json"], &kinds[..]].concat())?;
    namespace.kubectl(&[&["delete", "--wait=false", "rl/shop"], &kinds[..]].concat())?;

    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "IdentityGone");
    let text = message(&release);
    for part in ["ServiceAccount or RoleBinding", "apply them again", "spec.deletion.objects"] {
        assert!(text.contains(part), "{text}");
    }
    // Nothing of the release went with its identity.
    assert!(namespace.object("ConfigMap", "settings").await?.is_some());
    assert!(namespace.object("Deployment", "web").await?.is_some());

    let mut again: Value = serde_json::from_str(&identity)?;
    for object in again["items"].as_array_mut().context("a list")? {
        object["metadata"] = json!({"name": "deployer", "namespace": namespace.name});
        object.as_object_mut().context("an object")?.remove("secrets");
    }
    namespace.cluster().apply(&again.to_string())?;
    // Nobody touches the release: it is looked at again by itself, within a minute.
    namespace
        .wait("shop", &controller, "going on", |release| reason(release) != "IdentityGone")
        .await?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(namespace.object("ConfigMap", "settings").await?, None);
    let created = namespace.tenant_did("create")?;
    for hook in ["jobs/backup", "jobs/goodbye"] {
        let ran = created.iter().filter(|name| *name == hook).count();
        assert_eq!(ran, 1, "{hook}: {created:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_object_is_kept_by_the_newest_revision_that_has_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-kept").await?;
    let data = config_map("data", "1").annotation("helm.sh/resource-policy", "keep");
    let controller = installed(&namespace, &[data, config_map("main", "1")], json!({})).await?;
    // It is dropped by a revision that fails before anything is pruned.
    let failing = [config_map("main", "2"), job("migrate").hook("pre-upgrade").fails()];
    namespace.release("shop", &failing, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(namespace.object("ConfigMap", "main").await?, None);
    assert!(namespace.object("ConfigMap", "data").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn what_nobody_may_look_at_any_more_can_be_kept() -> Result<()> {
    let namespace = Namespace::new(kwok(), "keep-blind").await?;
    let controller = installed(&namespace, &objects(), json!({})).await?;
    namespace.kubectl(&["delete", "rolebinding", "deployer"])?;
    delete(&namespace, &[])?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "IdentityGone");
    let patch = r#"{"spec": {"deletion": {"objects": "Keep"}}}"#;
    namespace.kubectl(&["patch", "rl", "shop", "--type=merge", "-p", patch])?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.object("ConfigMap", "settings").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_has_deleted_nothing_can_still_be_turned_into_keeping() -> Result<()> {
    let namespace = Namespace::new(kwok(), "keep-late").await?;
    let objects = [config_map("settings", "1"), job("backup").hook("pre-delete").fails()];
    let limit = json!({"deletion": {"timeout": "0s"}});
    let controller = installed(&namespace, &objects, limit).await?;
    delete(&namespace, &[])?;
    namespace.wait_stalled("shop", &controller).await?;
    let patch = r#"{"spec": {"deletion": {"objects": "Keep"}}}"#;
    namespace.kubectl(&["patch", "rl", "shop", "--type=merge", "-p", patch])?;
    namespace.wait_released("shop", &controller).await?;
    let list = helm::json(&namespace, "helm", &["list"])?;
    assert_eq!(list[0]["status"], "deployed", "{list}");
    Ok(())
}

#[tokio::test]
async fn a_hook_whose_kind_is_gone_holds_no_deletion_up_that_does_not_run_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-kind").await?;
    let group = format!("{}.example.com", namespace.name);
    let name = format!("things.{group}");
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                          "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    namespace.cluster().apply(&crd.to_string())?;
    namespace.kubectl(&["wait", "crd", &name, "--for=condition=Established", "--timeout=30s"])?;
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing",
                       "metadata": {"name": "first"}});
    let objects = [config_map("settings", "1"), thing.hook("post-upgrade")];
    let controller = installed(&namespace, &objects, json!({})).await?;
    namespace.kubectl(&["delete", "crd", &name])?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(namespace.object("ConfigMap", "settings").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_foreground_deletion_kills_no_hook() -> Result<()> {
    let namespace = Namespace::new(kwok(), "foreground").await?;
    let delay = "/metadata/annotations/releaselifecycle.dev~1test-delay";
    let objects =
        [config_map("settings", "1"), job("backup").hook("pre-delete").set_pod(delay, "2s")];
    let controller = installed(&namespace, &objects, json!({})).await?;
    delete(&namespace, &["--cascade=foreground"])?;
    namespace.wait_released("shop", &controller).await?;
    let writes = namespace.tenant_writes()?;
    let place = |what: &str| writes.iter().position(|write| write == what);
    let (ran, deleted) = (place("create jobs/backup"), place("delete configmaps/settings"));
    assert!(ran.is_some() && ran < deleted, "{writes:?}");
    let backups = writes.iter().filter(|write| *write == "create jobs/backup").count();
    assert_eq!(backups, 1, "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn a_release_that_is_kept_goes_on_as_helms() -> Result<()> {
    let namespace = Namespace::new(kwok(), "keep").await?;
    let keep = json!({"deletion": {"objects": "Keep"}});
    let controller = installed(&namespace, &objects(), keep).await?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.object("ConfigMap", "settings").await?.is_some());
    for program in ["helm", "helm3"] {
        let list = helm::json(&namespace, program, &["list"])?;
        assert_eq!(list[0]["status"], "deployed", "{program}: {list}");
    }
    helm::run(&namespace, "helm", &["uninstall", "shop", "--wait", "--timeout", "30s"])?;
    assert_eq!(namespace.object("ConfigMap", "settings").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_deletion_stops_the_hook_that_runs_and_then_runs_its_own() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-running").await?;
    let controller = installed(&namespace, &objects(), json!({})).await?;
    let mut upgrade = objects();
    upgrade.push(job("migrate").hook("pre-upgrade").never_ends());
    namespace.release("shop", &upgrade, json!({})).await?;
    namespace.wait_active("migrate").await?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    let writes = namespace.tenant_writes()?;
    let place = |what: &str| writes.iter().position(|write| write == what);
    let (stopped, backup) = (place("patch jobs/migrate"), place("create jobs/backup"));
    ensure!(stopped.is_some() && stopped < backup, "{writes:?}");
    assert_eq!(namespace.object("Job", "migrate").await?, None, "what hooks left behind goes");
    Ok(())
}

#[tokio::test]
async fn what_was_never_installed_goes_at_once() -> Result<()> {
    let namespace = Namespace::new(kwok(), "never").await?;
    let controller = namespace.controller()?;
    let wrong = json!({"apiVersion": "v1", "kind": "Nonsense", "metadata": {"name": "x"}});
    namespace.release("shop", &[wrong], json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    delete(&namespace, &[])?;
    namespace.wait_released("shop", &controller).await?;
    Ok(())
}
