//! Findings on what means nothing and what can only fail come before anything runs: in the condition
//! `PreflightPassed` and in one Event object. With `preflight: Enforce` nothing begins then.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Chart, Namespace, condition, hook, kwok,
    manifests::{Manifest, config_map, deployment, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

fn warned(release: &ReleaseLifecycle) -> (&str, &str) {
    let passed = condition(release, "PreflightPassed").filter(|it| it.status == "False");
    passed.map_or(("", ""), |it| (&it.reason, &it.message))
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

/// The messages of the Event objects of this reason.
fn told(namespace: &Namespace, reason: &str) -> Result<Vec<String>> {
    let selector = format!("reason={reason}");
    let found =
        namespace.kubectl(&["get", "events", "-o", "json", "--field-selector", &selector])?;
    let found: Value = serde_json::from_str(&found)?;
    let items = found["items"].as_array().context("items")?;
    Ok(items.iter().map(|it| it["message"].as_str().unwrap_or_default().to_owned()).collect())
}

#[tokio::test]
async fn annotations_that_nobody_reads_are_told_once() -> Result<()> {
    let namespace = Namespace::new(kwok(), "words").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("near").annotation("helm.sh/hooks", "pre-install"),
        job("label").set("/metadata/labels", json!({"helm.sh/hook": "pre-install"})),
        job("keys")
            .hook("pre-install")
            .annotation("helm.sh/hook-wieght", "5")
            .annotation("helm.sh/hook-delete-policies", "hook-succeeded"),
        job("template").set_pod("/metadata/annotations", json!({"helm.sh/hook": "pre-install"})),
        config_map("main", "1"),
    ];
    let expected = [
        "spec.source.objects[0] (Job/near): annotation helm.sh/hooks: there is no such key; did you \
         mean helm.sh/hook?",
        "spec.source.objects[1] (Job/label): label helm.sh/hook: as a label it does nothing",
        "(Job/keys): annotation helm.sh/hook-delete-policies: there is no such key; did you mean \
         helm.sh/hook-delete-policy?",
        "(Job/keys): annotation helm.sh/hook-wieght: there is no such key; did you mean \
         helm.sh/hook-weight?",
        "(Job/template): helm.sh/hook in spec.template.metadata.annotations: on a Pod template it does \
         nothing",
    ];
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let (reason, text) = warned(&release);
    assert_eq!(reason, "MeaninglessAnnotation");
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // A look that finds nothing to do says it no second time.
    namespace.annotate("shop", "testAt", "1")?;
    let is = |release: &ReleaseLifecycle| {
        release.status.as_ref().is_some_and(|it| it.last_handled_test_at.is_some())
            && reason_is_ready(release)
    };
    let release = namespace.wait("shop", &controller, "looked at", is).await?;
    assert_eq!(warned(&release).0, "MeaninglessAnnotation");
    namespace.wait_event("MeaninglessAnnotation").await?;
    assert_eq!(told(&namespace, "MeaninglessAnnotation")?.len(), 1);

    namespace.release("shop", &[config_map("main", "2")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(warned(&release), ("", ""));
    Ok(())
}

fn reason_is_ready(release: &ReleaseLifecycle) -> bool {
    condition(release, "Ready").is_some_and(|ready| ready.status == "True")
}

#[tokio::test]
async fn a_chart_with_words_that_helm_does_not_know_does_as_in_helm() -> Result<()> {
    let namespace = Namespace::new(kwok(), "words-chart").await?;
    let controller = namespace.controller()?;
    let hook_of = |name: &str| job(name).hook("pre-install");
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/a.yaml", &hook_of("a").weight("high").to_string())?
        .file("templates/b.yaml", &hook_of("b").weight("-1").policy("hook-success").to_string())?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/b", "jobs/a"]);
    let (reason, text) = warned(&release);
    assert_eq!(reason, "MeaninglessAnnotation");
    for part in [
        "shop/templates/a.yaml (Job/a): annotation helm.sh/hook-weight: \"high\" is no whole number",
        "shop/templates/b.yaml (Job/b): annotation helm.sh/hook-delete-policy: unknown policy \
         \"hook-success\"",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    Ok(())
}

/// Returns what is mended by hand has a way on, too.
#[tokio::test]
async fn a_hook_that_needs_a_later_one_is_told_before_it_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "later-hook").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("a-job").hook("pre-install").set_pod("/spec/serviceAccountName", "z-sa"),
        account("z-sa").hook("pre-install"),
        config_map("app", "1"),
    ];
    namespace.release("sa", &objects, json!({})).await?;
    let is = |release: &ReleaseLifecycle| {
        hook(release, "a-job").is_some_and(|hook| hook.phase == HookPhase::Running)
    };
    let release = namespace.wait("sa", &controller, "running", is).await?;
    let text = "hook Job/a-job (pre-install) cannot run: ServiceAccount/z-sa is hook 2 of this \
                release and comes after this one: give it a lower weight";
    assert_eq!(warned(&release), ("PreflightWarning", text));
    namespace.wait_event("PreflightWarning").await?;
    assert_eq!(told(&namespace, "PreflightWarning")?, [text]);

    namespace.kubectl(&["create", "serviceaccount", "z-sa"])?;
    let release = namespace.wait_stalled("sa", &controller).await?;
    let text = message(&release);
    assert!(text.contains("HookNameTaken"), "{text}");
    let command = format!("kubectl delete serviceaccount/z-sa -n {}", namespace.name);
    assert!(
        text.contains(&format!("delete the object if it is not needed (`{command}`)")),
        "{text}"
    );
    let words: Vec<_> = command.split(' ').skip(1).collect();
    namespace.kubectl(&words)?;
    namespace.retry("sa", "1", &controller).await?;
    namespace.wait_ready("sa", &controller).await?;

    // What is there before the release is no deadlock.
    let again = [
        job("b-job").hook("pre-install").set_pod("/spec/serviceAccountName", "deployer"),
        account("deployer"),
    ];
    namespace.release("other", &again, json!({"install": {"takeOwnership": true}})).await?;
    let release = namespace.wait_ready("other", &controller).await?;
    assert_eq!(warned(&release), ("", ""));
    Ok(())
}

#[tokio::test]
async fn a_hook_that_needs_the_objects_of_its_release_is_told_and_can_be_helped() -> Result<()> {
    let namespace = Namespace::new(kwok(), "own-objects").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("migrate").hook("pre-install").set_pod("/spec/serviceAccountName", "web"),
        account("web"),
    ];
    namespace.release("pre", &objects, json!({})).await?;
    let is = |release: &ReleaseLifecycle| {
        hook(release, "migrate").is_some_and(|hook| hook.phase == HookPhase::Running)
    };
    let release = namespace.wait("pre", &controller, "running", is).await?;
    let text = "hook Job/migrate (pre-install) cannot run: ServiceAccount/web is an object of this \
                release and is applied after the hook: make it a pre-install hook of a lower weight, or \
                the hook a post-install hook";
    assert_eq!(warned(&release), ("PreflightWarning", text));

    namespace.kubectl(&["create", "serviceaccount", "web"])?;
    let release = namespace.wait_stalled("pre", &controller).await?;
    assert_eq!(reason(&release), "ApplyFailed");
    let text = message(&release);
    for part in ["/web belongs to no release", "spec.install.takeOwnership: true"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    namespace.release("pre", &objects, json!({"install": {"takeOwnership": true}})).await?;
    namespace.wait_ready("pre", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn objects_that_wait_for_a_post_hook_are_told_so() -> Result<()> {
    let namespace = Namespace::new(kwok(), "post-hook").await?;
    let controller = namespace.controller()?;
    let volume = json!([{"name": "v", "configMap": {"name": "config"}}]);
    let objects = [
        config_map("config", "1").hook("post-install"),
        job("migrate-db").hook("post-install"),
        deployment("web").unschedulable().set_pod("/spec/volumes", volume).set_pod(
            "/spec/initContainers",
            json!([{"name": "wait-for-migrations", "image": "busybox:1", "command": ["true"]}]),
        ),
    ];
    namespace.release("shop", &objects, json!({"timeout": "2s"})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "ReadyTimeout");
    assert!(
        message(&release).contains(
            "; hook ConfigMap/config (post-install) runs only after that: if they wait for it, make it a \
             pre-install hook, or set spec.wait: false"
        ),
        "{}",
        message(&release)
    );
    let text = "Deployment/web cannot become ready: ConfigMap/config is hook 1 of this release and \
                comes after the objects are ready: make it a pre-install hook, or an object of the \
                release; Deployment/web is waited for before hook Job/migrate-db (post-install) runs, \
                and its init container wait-for-migrations seems to wait for that hook: then neither \
                ends; make it a pre-install hook, or set spec.wait: false";
    assert_eq!(warned(&release), ("PreflightWarning", text));
    Ok(())
}

#[tokio::test]
async fn a_deletion_whose_hook_needs_what_was_never_made_is_told_so() -> Result<()> {
    let namespace = Namespace::new(kwok(), "delete-needs").await?;
    let controller = namespace.controller()?;
    let objects = [
        job("init").hook("pre-install").set("/spec/backoffLimit", 0).fails(),
        job("cleanup").hook("pre-delete").set_pod("/spec/serviceAccountName", "cleanup"),
        account("cleanup"),
        config_map("consul", "b"),
    ];
    namespace.release("consul", &objects, json!({})).await?;
    namespace.wait_stalled("consul", &controller).await?;
    namespace.kubectl(&["delete", "rl", "consul", "--wait=false"])?;
    let text = format!(
        "hook Job/cleanup (pre-delete) cannot run: ServiceAccount/cleanup is an object of this release \
         and does not exist: create it, or skip the hooks by `kubectl lifecycle skip consul \
         -n {}`",
        namespace.name
    );
    let is = |release: &ReleaseLifecycle| warned(release) == ("PreflightWarning", &text);
    namespace.wait("consul", &controller, "warned", is).await?;
    namespace.wait_event("PreflightWarning").await?;
    namespace.kubectl(&["create", "serviceaccount", "cleanup"])?;
    namespace.wait_released("consul", &controller).await
}

/// A hook that cannot run, and the object that it needs.
fn too_early(event: &str) -> [Value; 2] {
    [job("migrate").hook(event).set_pod("/spec/serviceAccountName", "web"), account("web")]
}

#[tokio::test]
async fn enforced_checks_hold_an_operation_back_until_the_finding_is_gone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "enforce").await?;
    let controller = namespace.controller()?;
    let enforce = json!({"preflight": "Enforce"});
    namespace.release("shop", &too_early("pre-install"), enforce.clone()).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "PreflightFailed");
    let text = message(&release);
    for part in [
        "the install does not begin: hook Job/migrate (pre-install) cannot run: ServiceAccount/web is \
         an object of this release and is applied after the hook: make it a pre-install hook",
        "To begin it nevertheless, set spec.preflight: Warn",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(warned(&release).0, "PreflightFailed");
    assert!(release.status.context("a status")?.operation.is_none(), "nothing has begun");
    assert!(namespace.object("Job", "migrate").await?.is_none());
    let written = namespace.tenant_writes()?;
    assert!(written.is_empty(), "a dry run writes nothing: {written:?}");

    namespace.release("shop", &too_early("post-install"), enforce).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let passed = condition(&release, "PreflightPassed").context("it was checked")?;
    assert_eq!((&*passed.status, &*passed.reason), ("True", "PreflightPassed"));
    Ok(())
}

#[tokio::test]
async fn nothing_is_checked_where_checks_are_off() -> Result<()> {
    let namespace = Namespace::new(kwok(), "off").await?;
    let controller = namespace.controller()?;
    let objects = [job("slow").hook("pre-install").set("/spec/activeDeadlineSeconds", 600)];
    namespace.release("shop", &objects, json!({"preflight": "Off"})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert!(condition(&release, "PreflightPassed").is_none());
    assert_eq!(told(&namespace, "PreflightWarning")?, [""; 0]);

    let objects = [job("other").hook("pre-install").set("/spec/activeDeadlineSeconds", 600)];
    namespace.release("warned", &objects, json!({})).await?;
    let release = namespace.wait_ready("warned", &controller).await?;
    assert_eq!(warned(&release).0, "PreflightWarning");
    namespace.release("warned", &objects, json!({"preflight": "Off"})).await?;
    let is = |release: &ReleaseLifecycle| condition(release, "PreflightPassed").is_none();
    namespace.wait("warned", &controller, "no longer warned of", is).await?;
    Ok(())
}

#[tokio::test]
async fn what_the_api_server_would_refuse_is_a_finding_without_the_values_of_a_secret() -> Result<()>
{
    const MARKER: &str = "Qhunterx2X";
    let namespace = Namespace::new(kwok(), "dry-run").await?;
    let controller = namespace.controller()?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "type": "kubernetes.io/tls", "data": {"tls.key": format!("{MARKER}!")}});
    let objects = [
        secret,
        config_map("bad", "1").set("/data/a b", MARKER),
        job("bad").hook("pre-install").set_pod("/spec/restartPolicy", MARKER),
        config_map("good", "1"),
    ];
    namespace.release("shop", &objects, json!({"preflight": "Enforce"})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "PreflightFailed");
    let text = message(&release);
    for part in [
        "hook Job/bad (pre-install) would be refused at the install: ",
        "Secret/keys would be refused at the install: refused with 500 (the API server's words are withheld",
        "ConfigMap/bad would be refused at the install: data[",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.contains("ConfigMap/good"), "{text}");
    namespace.wait_event("Blocked").await?;
    let told = told(&namespace, "Blocked")?.join("\n");
    for said in [text, told, controller.log()?] {
        assert!(!said.contains(MARKER), "{said}");
    }
    assert!(namespace.object("ConfigMap", "good").await?.is_none());

    namespace.release("shop", &objects[3..], json!({"preflight": "Enforce"})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn enforced_checks_hold_back_no_deletion_and_no_remediation() -> Result<()> {
    let namespace = Namespace::new(kwok(), "enforce-not").await?;
    let controller = namespace.controller()?;
    let slow =
        |name: &str, event: &str| job(name).hook(event).set("/spec/activeDeadlineSeconds", 600);
    let objects = |value: &str, more: Value| {
        [slow("back", "pre-rollback"), slow("end", "pre-delete"), config_map("main", value), more]
    };
    let spec = json!({"preflight": "Enforce", "upgrade": {"onFailure": "Rollback"}});
    namespace.release("shop", &objects("1", config_map("other", "1")), spec.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let bad = job("bad").hook("pre-upgrade").fails();
    namespace.release("shop", &objects("2", bad), spec).await?;
    let is = |release: &ReleaseLifecycle| {
        condition(release, "Remediated").is_some_and(|it| it.status == "True")
    };
    let release = namespace.wait("shop", &controller, "rolled back", is).await?;
    assert_eq!(warned(&release).0, "PreflightWarning");
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    assert!(namespace.tenant_did("create")?.contains(&"jobs/end".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_right_that_only_the_deletion_needs_is_missed_before_the_install() -> Result<()> {
    let namespace = Namespace::new(kwok(), "later-rights").await?;
    let controller = namespace.controller()?;
    namespace.kubectl(&["create", "serviceaccount", "limited"])?;
    let role = ["create", "role", "limited", "--verb=get,list,watch,create,update,patch"];
    namespace.kubectl(&[&role[..], &["--resource=configmaps,secrets"]].concat())?;
    let account = format!("--serviceaccount={}:limited", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "limited", "--role=limited", &account])?;
    namespace.wait_may("limited", "create", "configmaps", true).await?;
    let objects = [config_map("main", "1"), job("end").hook("pre-delete")];
    let spec = |preflight: &str| json!({"serviceAccountName": "limited", "preflight": preflight});
    namespace.release("shop", &objects, spec("Warn")).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let (reason, text) = warned(&release);
    assert_eq!(reason, "PreflightWarning");
    for part in [
        "ServiceAccount/limited may not get, create, patch, delete jobs in namespace",
        "which Job/end needs when the release is deleted",
        "may not delete configmaps",
        "kubectl create role",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // What stays needs no right.
    let mut kept = spec("Enforce");
    kept["deletion"] = json!({"objects": "Keep"});
    namespace.release("kept", &[config_map("other", "1")], kept).await?;
    let release = namespace.wait_ready("kept", &controller).await?;
    assert_eq!(warned(&release), ("", ""));
    Ok(())
}

#[tokio::test]
async fn what_the_plan_itself_brings_is_no_finding_of_a_dry_run() -> Result<()> {
    let namespace = Namespace::new(kwok(), "brings").await?;
    let controller = namespace.controller()?;
    let (name, other) = (&namespace.name, format!("{}-other", namespace.name));
    let account_of = format!("--serviceaccount={name}:deployer");
    namespace.kubectl(&[
        "create",
        "clusterrolebinding",
        name,
        "--clusterrole=cluster-admin",
        &account_of,
    ])?;
    let can = json!({"group": "", "resource": "namespaces", "verb": "delete"});
    namespace.wait_allowed("deployer", can, true).await?;
    let rbac = |kind: &str, more: Value| {
        let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": "web"}});
        object
            .as_object_mut()
            .into_iter()
            .for_each(|it| it.extend(more.as_object().cloned().unwrap_or_default()));
        object
    };
    let (group, api) = (format!("{name}.example.com"), "rbac.authorization.k8s.io");
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": format!("tables.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "tables", "singular": "table", "kind": "Table"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    let objects = [
        definition.hook("pre-install"),
        json!({"apiVersion": format!("{group}/v1"), "kind": "Table", "metadata": {"name": "a"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}),
        config_map("inside", "1").set("/metadata/namespace", &*other),
        account("web"),
        rbac(
            "Role",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        rbac(
            "RoleBinding",
            json!({"roleRef": {"apiGroup": api, "kind": "Role", "name": "web"},
            "subjects": [{"kind": "ServiceAccount", "name": "web"}]}),
        ),
    ];
    namespace.release("shop", &objects, json!({"preflight": "Enforce"})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(warned(&release), ("", ""));
    namespace.kubectl(&["delete", "rl", "shop"])?;
    namespace.kubectl(&["delete", "crd", &format!("tables.{group}")])?;
    namespace.kubectl(&["delete", "clusterrolebinding", name])?;
    Ok(())
}

/// Creates an object as Helm would.
fn as_helm(namespace: &Namespace, release: &str, object: Value) -> Result<()> {
    let object = object
        .set("/metadata/labels", json!({"app.kubernetes.io/managed-by": "Helm"}))
        .annotation("meta.helm.sh/release-name", release)
        .annotation("meta.helm.sh/release-namespace", &*namespace.name);
    let file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::fs::write(file.path(), object.to_string())?;
    let path = file.path().to_string_lossy();
    namespace.kubectl(&["create", "-f", &path, "--field-manager=helm"])?;
    Ok(())
}

#[tokio::test]
async fn fields_that_helm_still_owns_are_no_finding_of_a_dry_run() -> Result<()> {
    let namespace = Namespace::new(kwok(), "dry-run-helm").await?;
    let controller = namespace.controller()?;
    let with = |env: Value| deployment("web").set_pod("/spec/containers/0/env", json!([env]));
    as_helm(&namespace, "shop", with(json!({"name": "MODE", "value": "a"})))?;
    let from = json!({"fieldRef": {"fieldPath": "metadata.name"}});
    let objects = [with(json!({"name": "MODE", "valueFrom": from}))];
    namespace.release("shop", &objects, json!({"preflight": "Enforce"})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(warned(&release), ("", ""));
    let live = namespace.object("Deployment", "web").await?.context("it exists")?;
    let env = &serde_json::to_value(live)?["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!((&env["valueFrom"].is_object(), &env["value"]), (&true, &Value::Null));
    Ok(())
}

#[tokio::test]
async fn what_is_no_longer_in_the_release_and_stays_is_no_finding() -> Result<()> {
    let namespace = Namespace::new(kwok(), "stays").await?;
    let controller = namespace.controller()?;
    let needs = |name: &str, account: &str| {
        job(name).hook("post-upgrade").set_pod("/spec/serviceAccountName", account)
    };
    let kept = account("kept").annotation("helm.sh/resource-policy", "keep");
    let enforce = json!({"preflight": "Enforce"});
    let first = [kept, account("gone"), config_map("main", "1")];
    namespace.release("shop", &first, enforce.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let next = [config_map("main", "2"), needs("a", "kept"), needs("b", "gone")];
    namespace.release("shop", &next, enforce.clone()).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let text = message(&release);
    assert!(text.contains("ServiceAccount/gone is no longer an object of this release"), "{text}");
    assert!(!text.contains("ServiceAccount/kept"), "{text}");

    // What held it back is gone with it.
    namespace.release("shop", &first, enforce.clone()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_ne!(warned(&release).0, "PreflightFailed");
    namespace.release("shop", &next[..2], enforce).await?;
    let is = |release: &ReleaseLifecycle| {
        reason_is_ready(release) && release.status.as_ref().is_some_and(|it| it.revision == Some(2))
    };
    let release = namespace.wait("shop", &controller, "upgraded", is).await?;
    assert_eq!(warned(&release), ("", ""));
    Ok(())
}

#[tokio::test]
async fn a_rollback_begins_whatever_is_found_in_its_record() -> Result<()> {
    let namespace = Namespace::new(kwok(), "enforce-pin").await?;
    let controller = namespace.controller()?;
    let back = job("back").hook("pre-rollback").set("/spec/activeDeadlineSeconds", 600);
    let enforce = json!({"preflight": "Enforce"});
    let first = [config_map("main", "1"), back];
    namespace.release("shop", &first, enforce.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let next = [config_map("main", "2")];
    namespace.release("shop", &next, enforce).await?;
    let at = |revision: i32| {
        move |release: &ReleaseLifecycle| {
            let now = release.status.as_ref().and_then(|it| it.revision);
            reason_is_ready(release) && now == Some(revision)
        }
    };
    namespace.wait("shop", &controller, "upgraded", at(2)).await?;
    let pinned = json!({"preflight": "Enforce", "pinRevision": 1});
    namespace.release("shop", &next, pinned).await?;
    let release = namespace.wait("shop", &controller, "rolled back", at(3)).await?;
    assert_eq!(warned(&release).0, "PreflightWarning");
    assert!(namespace.object("Job", "back").await?.is_some());
    Ok(())
}
