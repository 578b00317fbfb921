//! How a release ends: what its deletion does without, what it leaves behind, and what is said of it.

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Logs, Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

/// A release `shop` that is deployed, by a controller with these arguments.
async fn installed_with(
    namespace: &Namespace,
    args: &[&str],
    objects: &[Value],
    more: Value,
) -> Result<Controller> {
    let controller = namespace.controller_with(args)?;
    namespace.release("shop", objects, more).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(controller)
}

async fn installed(namespace: &Namespace, objects: &[Value], more: Value) -> Result<Controller> {
    installed_with(namespace, &[], objects, more).await
}

fn delete(namespace: &Namespace) -> Result<String> {
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])
}

/// The texts of the Event objects with this reason that are about the release.
fn told(namespace: &Namespace, reason: &str) -> Result<Vec<String>> {
    let selector = format!("reason={reason},involvedObject.kind=ReleaseLifecycle");
    let path = "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}";
    let said = namespace.kubectl(&["get", "events", "--field-selector", &selector, "-o", path])?;
    Ok(said.lines().map(str::to_owned).collect())
}

fn command(verb: &str, namespace: &Namespace) -> String {
    format!("`kubectl lifecycle {verb} shop -n {}`", namespace.name)
}

#[tokio::test]
async fn a_deletion_that_stands_at_a_hook_says_so_once_and_what_is_skipped_then() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ends-blocked").await?;
    let objects = [config_map("settings", "1"), job("backup").hook("pre-delete").fails()];
    let limit = json!({"deletion": {"timeout": "0s"}});
    let controller = installed(&namespace, &objects, limit).await?;
    delete(&namespace)?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    for verb in ["retry", "skip"] {
        assert!(text.contains(&command(verb, &namespace)), "{text}");
    }
    namespace.wait_told("Blocked", &command("skip", &namespace)).await?;
    // It is looked at again, and says nothing new.
    namespace.kubectl(&["annotate", "rl", "shop", "example.com/look=again"])?;
    let patch = r#"{"spec": {"deletion": {"onTimeout": "SkipHooks"}}}"#;
    namespace.kubectl(&["patch", "rl", "shop", "--type=merge", "-p", patch])?;
    namespace.wait_released("shop", &controller).await?;
    let skipped =
        "hook Job/backup (pre-delete), which has failed: spec.deletion.timeout has passed";
    namespace.wait_told("HookSkipped", skipped).await?;
    namespace.wait_told("DeleteSucceeded", "; skipped: hook Job/backup (pre-delete)").await?;
    let blocked = told(&namespace, "Blocked")?;
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_deletion_leaves_behind_is_listed() -> Result<()> {
    for asked in [true, false] {
        let namespace = Namespace::new(kwok(), "ends-left").await?;
        let held = |name: &str| {
            config_map(name, "1").set("/metadata/finalizers", json!(["example.com/held"]))
        };
        let objects = [held("first"), held("second"), config_map("third", "1")];
        let on_timeout = if asked { "Block" } else { "SkipHooks" };
        let limit = json!({"deletion": {"timeout": "1s", "onTimeout": on_timeout}});
        let controller = installed(&namespace, &objects, limit).await?;
        delete(&namespace)?;
        if asked {
            let release = namespace.wait_stalled("shop", &controller).await?;
            assert_eq!(reason(&release), "DeletionTimeout");
            assert!(message(&release).contains(&command("skip", &namespace)), "{release:?}");
            namespace.annotate("shop", "skipAt", "1")?;
        }
        namespace.wait_released("shop", &controller).await?;
        let left = "ConfigMap/first: held by finalizer example.com/held; ConfigMap/second: held by \
                    finalizer example.com/held";
        namespace.wait_told("ReleaseLeft", left).await?;
        namespace.wait_told("DeleteSucceeded", &format!("; left behind: {left}")).await?;
        for text in [told(&namespace, "ReleaseLeft")?, told(&namespace, "DeleteSucceeded")?] {
            assert!(text.len() == 1 && !text[0].contains("third"), "{text:?}");
        }
        let free = r#"{"metadata": {"finalizers": null}}"#;
        for name in ["first", "second"] {
            namespace.kubectl(&["patch", "configmap", name, "--type=merge", "-p", free])?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_a_hook_made_and_holds_data_stays_and_is_said() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ends-key").await?;
    let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-key"},
                     "stringData": {"key": "sesame"}});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                       "metadata": {"name": "shop-data"},
                       "spec": {"accessModes": ["ReadWriteOnce"],
                                "resources": {"requests": {"storage": "1Mi"}}}});
    let objects = [
        config_map("settings", "1"),
        key.hook("pre-install"),
        claim.hook("pre-install"),
        config_map("note", "1").hook("pre-install"),
    ];
    let controller = installed(&namespace, &objects, json!({})).await?;
    delete(&namespace)?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.object("Secret", "shop-key").await?.is_some());
    assert!(namespace.object("PersistentVolumeClaim", "shop-data").await?.is_some());
    assert_eq!(namespace.object("ConfigMap", "note").await?, None);
    let command = format!(
        "`kubectl delete persistentvolumeclaim/shop-data secret/shop-key -n {}`",
        namespace.name
    );
    namespace.wait_told("ObjectKept", &command).await?;
    let said = told(&namespace, "ObjectKept")?;
    assert!(said.iter().all(|text| !text.contains("sesame")), "{said:?}");
    // As it is shown, it works.
    let args = command.trim_matches('`').split(' ').skip(1).collect::<Vec<_>>();
    namespace.cluster().kubectl(args)?;
    namespace.wait_gone("Secret", "shop-key").await?;
    Ok(())
}

#[tokio::test]
async fn leftovers_of_hooks_go_whose_records_are_gone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ends-pruned").await?;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "once"}});
    let first =
        [config_map("main", "1"), job("once").hook("pre-install"), account.hook("pre-install")];
    let one = json!({"maxHistory": 1});
    let controller = installed(&namespace, &first, one.clone()).await?;
    for value in ["2", "3"] {
        namespace.release("shop", &[config_map("main", value)], one.clone()).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    namespace.wait_gone("Secret", "sh.helm.release.v1.shop.v2").await?;
    assert!(namespace.object("ServiceAccount", "once").await?.is_some());
    delete(&namespace)?;
    namespace.wait_released("shop", &controller).await?;
    namespace.wait_gone("Job", "once").await?;
    namespace.wait_gone("ServiceAccount", "once").await?;
    Ok(())
}

#[tokio::test]
async fn what_waits_behind_a_hook_is_told_how_to_end_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ends-waiting").await?;
    let stuck = [config_map("main", "1"), job("migrate").hook("pre-install").never_ends()];
    let controller = namespace.controller()?;
    namespace.release("shop", &stuck, json!({})).await?;
    namespace.wait_active("migrate").await?;
    namespace.release("shop", &[config_map("main", "2")], json!({})).await?;
    let text = format!(
        "Generation 2 of the object comes after this; to end this now: {}",
        command("cancel", &namespace)
    );
    namespace
        .wait("shop", &controller, "told", |release| message(release).ends_with(&text))
        .await?;
    namespace.annotate("shop", "cancelAt", "1")?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

/// A release with objects in another namespace and in none, and what else it takes to make them.
struct Outside {
    namespace: Namespace,
    other: Namespace,
    role: String,
}

impl Outside {
    async fn new(prefix: &str) -> Result<Self> {
        let namespace = Namespace::new(kwok(), prefix).await?;
        let other = Namespace::new(kwok(), "ends-other").await?;
        let role = format!("{}-leak", namespace.name);
        let deployer = format!("--serviceaccount={}:deployer", namespace.name);
        let binding = ["create", "rolebinding", "elsewhere", &deployer];
        other.kubectl(&[&binding[..], &["--clusterrole=releaselifecycle-deployer"]].concat())?;
        let verbs = "--verb=get,create,patch,delete,update";
        let rights = format!("{}-rights", namespace.name);
        let roles = "--resource=clusterroles.rbac.authorization.k8s.io,namespaces";
        let cluster = kwok();
        cluster.kubectl(["create", "clusterrole", &rights, verbs, roles])?;
        let role_of = format!("--clusterrole={rights}");
        cluster.kubectl(["create", "clusterrolebinding", &rights, &role_of, &deployer])?;
        let may = json!({"verb": "create", "group": "rbac.authorization.k8s.io",
                         "resource": "clusterroles"});
        namespace.wait_allowed("deployer", may, true).await?;
        Ok(Self { namespace, other, role })
    }

    /// Where the controller keeps its lease, since the namespace goes.
    fn args(&self) -> [&str; 2] {
        ["--lease-namespace", &self.other.name]
    }

    async fn installed(&self, objects: &[Value], more: Value) -> Result<Controller> {
        installed_with(&self.namespace, &self.args(), objects, more).await
    }

    fn objects(&self, hook: Value) -> Vec<Value> {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                          "metadata": {"name": self.role}, "rules": []});
        let elsewhere =
            config_map("leak", "1").set("/metadata/namespace", self.other.name.as_str());
        vec![config_map("leak", "1"), elsewhere, role, hook]
    }

    fn role_is_there(&self) -> Result<bool> {
        let found = kwok().kubectl([
            "get",
            "clusterrole",
            &self.role,
            "--ignore-not-found",
            "-o",
            "name",
        ])?;
        Ok(!found.trim().is_empty())
    }

    /// Deletes the namespace and waits until its records are gone, while no operator runs.
    async fn lose_records(&self) -> Result<()> {
        kwok().kubectl(["delete", "namespace", &self.namespace.name, "--wait=false"])?;
        self.namespace.wait_gone("Secret", "sh.helm.release.v1.shop.v1").await
    }

    fn wait_namespace_gone(&self) -> Result<()> {
        let namespace = format!("namespace/{}", self.namespace.name);
        kwok().kubectl(["wait", "--for=delete", &namespace, "--timeout=60s"])?;
        Ok(())
    }
}

#[tokio::test]
async fn what_is_outside_goes_with_the_namespace_though_the_records_are_gone() -> Result<()> {
    let outside = Outside::new("ends-outside").await?;
    let Outside { namespace, other, .. } = &outside;
    let hook = job("drain").hook("pre-delete");
    drop(outside.installed(&outside.objects(hook), json!({})).await?);
    outside.lose_records().await?;
    let _controller = namespace.controller_with(&outside.args())?;
    outside.wait_namespace_gone()?;
    assert!(!outside.role_is_there()?);
    assert_eq!(other.object("ConfigMap", "leak").await?, None);
    Ok(())
}

#[tokio::test]
async fn what_is_outside_goes_with_the_namespace_though_a_hook_runs() -> Result<()> {
    let outside = Outside::new("ends-running").await?;
    let Outside { namespace, other, .. } = &outside;
    let hook = job("drain").hook("pre-delete").never_ends();
    let _controller = outside.installed(&outside.objects(hook), json!({})).await?;
    delete(namespace)?;
    namespace.wait_active("drain").await?;
    kwok().kubectl(["delete", "namespace", &namespace.name, "--wait=false"])?;
    outside.wait_namespace_gone()?;
    assert!(!outside.role_is_there()?);
    assert_eq!(other.object("ConfigMap", "leak").await?, None);
    Ok(())
}

#[tokio::test]
async fn what_is_outside_and_may_not_be_deleted_is_said_to_stay() -> Result<()> {
    let outside = Outside::new("ends-stays").await?;
    let Outside { namespace, other, role } = &outside;
    let hook = job("drain").hook("pre-delete");
    drop(outside.installed(&outside.objects(hook), json!({})).await?);
    kwok().kubectl(["delete", "clusterrolebinding", &format!("{}-rights", namespace.name)])?;
    outside.lose_records().await?;
    let controller = namespace.controller_with(&outside.args())?;
    outside.wait_namespace_gone()?;
    assert!(outside.role_is_there()?);
    assert_eq!(other.object("ConfigMap", "leak").await?, None, "it could be deleted");
    // No Event object can be made in the namespace.
    let about = format!("reason=ReleaseLeft,involvedObject.name={}", namespace.name);
    let events = ["-n", "default", "--field-selector", &about];
    let wait = ["wait", "events", "--for=create", "--timeout=20s"];
    kwok().kubectl([&wait[..], &events].concat())?;
    let path = ["-o", "jsonpath={.items[*].message}"];
    let said = kwok().kubectl([&["get", "events"][..], &events, &path].concat())?;
    let command = format!("`kubectl delete clusterrole.rbac.authorization.k8s.io/{role}`");
    assert!(said.starts_with("ReleaseLifecycle shop: ") && said.contains(&command), "{said}");
    assert!(controller.log_tail().contains(&command), "{}", controller.log_tail());
    kwok().kubectl(["delete", "clusterrole", role])?;
    Ok(())
}

/// Returns whether the release's ServiceAccount has its rights from the namespace that goes, or from without.
async fn nothing_begins(from_without: bool) -> Result<()> {
    let outside = Outside::new("ends-nothing").await?;
    let namespace = &outside.namespace;
    let controller = outside.installed(&[config_map("main", "1")], json!({})).await?;
    if from_without {
        let account = format!("--serviceaccount={}:deployer", namespace.name);
        let role = "--clusterrole=releaselifecycle-deployer";
        let name = format!("{}-all", namespace.name);
        kwok().kubectl(["create", "clusterrolebinding", &name, role, &account])?;
    }
    // So that the release stays for longer than all else in there.
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
    let spec = json!({
        "matchConstraints": {"resourceRules": [{
            "apiGroups": ["releaselifecycle.dev"], "apiVersions": ["*"],
            "operations": ["DELETE"], "resources": ["releaselifecycles"]}]},
        "validations": [{"expression": "false", "message": "not yet"}],
    });
    let binding = json!({"policyName": namespace.name, "validationActions": ["Deny"],
                         "matchResources": {"namespaceSelector": selector}});
    let object = |kind: &str, spec: &Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
               "metadata": {"name": namespace.name}, "spec": spec})
        .to_string()
    };
    let policy = object("ValidatingAdmissionPolicy", &spec);
    let binding = object("ValidatingAdmissionPolicyBinding", &binding);
    kwok().apply(&format!("{policy}\n---\n{binding}"))?;
    let start = std::time::Instant::now();
    while namespace.kubectl(&["delete", "rl", "shop", "--dry-run=server"]).is_ok() {
        ensure!(start.elapsed().as_secs() < 60, "the policy does not work");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    kwok().kubectl(["delete", "namespace", &namespace.name, "--wait=false"])?;
    let release = namespace
        .wait("shop", &controller, "left alone", |it| reason(it) == "NamespaceTerminating")
        .await?;
    assert!(message(&release).contains(&namespace.name), "{}", message(&release));
    let log = controller.log_tail();
    assert!(!log.contains("UninstalledByHelm"), "{log}");
    let operation = release.status.as_ref().and_then(|status| status.operation.as_ref());
    let operation = operation.context("the install")?;
    assert!(operation.revision == 1 && operation.completed_at.is_some(), "{operation:?}");
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        kwok().kubectl(["delete", kind, &namespace.name])?;
    }
    Ok(())
}

#[tokio::test]
async fn nothing_begins_in_a_namespace_that_goes() -> Result<()> {
    nothing_begins(true).await
}

#[tokio::test]
async fn nobody_is_told_to_give_rights_in_a_namespace_that_goes() -> Result<()> {
    nothing_begins(false).await
}

#[tokio::test]
async fn a_release_that_holds_its_own_namespace_goes_with_it_after_its_hooks() -> Result<()> {
    let outside = Outside::new("ends-own").await?;
    let namespace = &outside.namespace;
    let own = json!({"apiVersion": "v1", "kind": "Namespace",
                     "metadata": {"name": namespace.name}});
    let objects = [own, config_map("in-own", "1"), job("bye").hook("post-delete")];
    let take = json!({"install": {"takeOwnership": true}});
    let _controller = outside.installed(&objects, take).await?;
    delete(namespace)?;
    outside.wait_namespace_gone()?;
    let writes = namespace.tenant_writes()?;
    let place = |what: &str| writes.iter().position(|write| write == what);
    let own = format!("delete namespaces/{}", namespace.name);
    let (object, hook, own) =
        (place("delete configmaps/in-own"), place("create jobs/bye"), place(&own));
    ensure!(object.is_some() && object < hook && hook < own, "{writes:?}");
    Ok(())
}
