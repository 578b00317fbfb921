//! Health checks, and hooks that are awaited until their object is ready.

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, hook, kwok,
    manifests::{Manifest, config_map, deployment, job},
    message, reason,
};
use lifecycle::journal::HookPhase;
use serde_json::{Value, json};

use crate::cli::Cli;

/// A namespace whose API group has the kind Widget, and whose deployer has all rights.
struct Widgets {
    namespace: Namespace,
    group: String,
}

impl Widgets {
    async fn new(name: &str) -> Result<(Self, Controller)> {
        let namespace = Namespace::new(kwok(), name).await?;
        let group = format!("{}.example.com", namespace.name);
        let subject = format!("--serviceaccount={}:deployer", namespace.name);
        let role = "--clusterrole=cluster-admin";
        namespace.kubectl(&["create", "clusterrolebinding", &namespace.name, role, &subject])?;
        let controller = namespace.controller()?;
        Ok((Self { namespace, group }, controller))
    }

    fn definition(&self) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("widgets.{}", self.group)},
            "spec": {
                "group": self.group, "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object",
                        "x-kubernetes-preserve-unknown-fields": true}}}],
            },
        })
        .hook("pre-install")
        .weight("-1")
    }

    fn widget(&self, name: &str) -> Value {
        json!({"apiVersion": format!("{}/v1", self.group), "kind": "Widget",
               "metadata": {"name": name}, "spec": {"size": 3}})
    }

    fn checks(&self, current: &str, failed: Option<&str>) -> Value {
        // Another version of the same group.
        let mut check = json!({"apiVersion": format!("{}/v7", self.group), "kind": "Widget",
                               "current": current});
        if let Some(failed) = failed {
            check["failed"] = failed.into();
        }
        json!({"healthChecks": [{"apiVersion": "v1", "kind": "Service", "current": "true"}, check]})
    }

    fn set_status(&self, name: &str, status: &Value) -> Result<()> {
        let patch = json!({"status": status}).to_string();
        let kind = format!("widgets.{}", self.group);
        let args = ["patch", &kind, name, "--subresource=status", "--type=merge", "-p", &patch];
        self.namespace.kubectl(&args).map(drop)
    }

    async fn says(&self, controller: &Controller, words: &str) -> Result<ReleaseLifecycle> {
        let says = |release: &ReleaseLifecycle| message(release).contains(words);
        self.namespace.wait("shop", controller, words, says).await
    }

    fn clean_up(&self) -> Result<()> {
        let name = format!("widgets.{}", self.group);
        kwok().kubectl(["delete", "crd", "--ignore-not-found", &name])?;
        self.namespace.kubectl(&["delete", "clusterrolebinding", &self.namespace.name])?;
        Ok(())
    }
}

const READY: &str =
    "status.parts.filter(p, p.kind == 'door').all(p, p.open) && status.size == spec.size";

#[tokio::test]
async fn an_object_is_ready_once_its_expression_is_true() -> Result<()> {
    let (widgets, controller) = Widgets::new("health").await?;
    let namespace = &widgets.namespace;
    let objects =
        [widgets.definition(), widgets.widget("front"), job("after").hook("post-install")];
    namespace.release("shop", &objects, widgets.checks(READY, None)).await?;
    // kstatus would call it ready.
    let said = "Widget/front: spec.healthChecks[1].current: no such attribute: status";
    widgets.says(&controller, said).await?;
    widgets.set_status("front", &json!({"size": 3, "parts": [{"kind": "door", "open": false}]}))?;
    widgets.says(&controller, "Widget/front: spec.healthChecks[1].current is not true").await?;
    ensure!(namespace.object("Job", "after").await?.is_none(), "it waits for the object");
    // A changed check counts from the next operation on.
    namespace.release("shop", &objects, widgets.checks("false", None)).await?;
    widgets.set_status("front", &json!({"parts": [{"kind": "door", "open": true}]}))?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let revision = release.status.as_ref().and_then(|status| status.revision);
    assert_eq!(revision, Some(1), "a changed check upgrades nothing");
    assert_eq!(hook(&release, "after").map(|it| it.phase), Some(HookPhase::Succeeded));
    widgets.clean_up()
}

#[tokio::test]
async fn an_expression_that_is_never_true_ends_with_the_time_and_is_named() -> Result<()> {
    let (widgets, controller) = Widgets::new("health-never").await?;
    let namespace = &widgets.namespace;
    let objects = [widgets.definition(), widgets.widget("front")];
    let mut more = widgets.checks("metadata.name == 'back'", None);
    more["timeout"] = "3s".into();
    namespace.release("shop", &objects, more).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let (reason, said) = (reason(&release), message(&release));
    ensure!(reason == "ReadyTimeout", "{reason}: {said}");
    let words = "not ready within 3 s (spec.timeout): Widget/front: spec.healthChecks[1].current is \
                 not true";
    ensure!(said.contains(words), "{said}");
    widgets.clean_up()
}

#[tokio::test]
async fn an_object_that_has_failed_ends_the_operation_before_the_time() -> Result<()> {
    let (widgets, controller) = Widgets::new("health-failed").await?;
    let namespace = &widgets.namespace;
    let objects = [widgets.definition(), widgets.widget("front")];
    let failed = Some("has(status.broken) && status.broken");
    let mut more = widgets.checks("status.size == 3", failed);
    more["timeout"] = "1h".into();
    namespace.release("shop", &objects, more).await?;
    widgets.says(&controller, "spec.healthChecks[1].failed: no such attribute: status").await?;
    widgets.set_status("front", &json!({"broken": true}))?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let (reason, said) = (reason(&release), message(&release));
    ensure!(reason == "ObjectFailed", "{reason}: {said}");
    ensure!(said.contains("Widget/front: spec.healthChecks[1].failed is true"), "{said}");
    widgets.clean_up()
}

#[tokio::test]
async fn an_expression_that_does_not_compile_is_named_before_anything_begins() -> Result<()> {
    let namespace = Namespace::new(kwok(), "health-invalid").await?;
    let controller = namespace.controller()?;
    let check = |kind: &str, more: Value| {
        let mut check = json!({"apiVersion": "v1", "kind": kind, "current": "true"});
        for (key, value) in more.as_object().into_iter().flatten() {
            check[key] = value.clone();
        }
        check
    };
    let objects = [config_map("main", ""), job("migrate").hook("pre-install")];
    let more = json!({"healthChecks": [
        check("ConfigMap", json!({"current": "data.value = 'x'"})),
        check("Service", json!({"failed": "shiny(status)"})),
        check("Service", json!({"inProgress": "1 + 1"})),
    ]});
    namespace.release("shop", &objects, more).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let (found, said) = (reason(&release), message(&release));
    ensure!(found == "InvalidHealthCheck", "{found}: {said}");
    let words = [
        "spec.healthChecks[0].current does not compile: line 1, column 12: Syntax error",
        "spec.healthChecks[1].failed does not compile: line 1, column 6: undeclared reference to \
         'shiny'",
        "spec.healthChecks[2].inProgress does not compile: its result must be a bool, and is int",
        "spec.healthChecks[2] is for the same kind as spec.healthChecks[1]",
    ];
    for words in words {
        ensure!(said.contains(words), "{words} is not in {said}");
    }
    ensure!(namespace.tenant_writes()?.is_empty(), "{:?}", namespace.tenant_writes()?);
    let said = Cli::new(&namespace)?.run(&["plan", "shop"])?;
    for words in words {
        ensure!(said.err.contains(words), "{words} is not in {}", said.err);
    }
    // Corrected, it begins.
    let more =
        json!({"healthChecks": [check("ConfigMap", json!({"current": "data.value == 'x'"}))]});
    namespace.release("shop", &[config_map("main", "x")], more).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn the_api_server_refuses_what_is_no_check() -> Result<()> {
    let namespace = Namespace::new(kwok(), "health-schema").await?;
    let check = json!({"apiVersion": "v1", "kind": "ConfigMap", "current": "true"});
    let long = "true || true".repeat(200);
    for (checks, words) in [
        (json!([check.clone().set("/current", long)]), "may not be more than 2048"),
        (json!([{"apiVersion": "v1", "kind": "ConfigMap"}]), "current: Required value"),
        (json!(vec![check; 21]), "must have at most 20 items"),
    ] {
        let more = json!({"healthChecks": checks});
        let refused = namespace.release("shop", &[config_map("main", "")], more).await;
        let error = format!("{:#}", refused.err().context(words)?);
        ensure!(error.contains(words), "{words} is not in {error}");
    }
    Ok(())
}

fn awaits(name: &str, more: Value) -> Value {
    let mut rule = json!({"match": {"name": name}, "readiness": "Ready"});
    for (key, value) in more.as_object().into_iter().flatten() {
        rule[key] = value.clone();
    }
    json!({"rules": [rule]})
}

#[tokio::test]
async fn a_hook_of_any_kind_is_awaited_until_it_is_ready_and_goes_on_after_a_kill() -> Result<()> {
    let (widgets, mut controller) = Widgets::new("health-hook").await?;
    let namespace = &widgets.namespace;
    let objects = [
        widgets.definition(),
        widgets.widget("database").hook("pre-install").policy("hook-succeeded"),
        job("after").hook("pre-install").weight("1"),
        config_map("main", ""),
    ];
    let mut more = widgets.checks("status.phase == 'Ready'", None);
    more["hooks"] = awaits("database", json!({"timeout": "1h"}));
    namespace.release("shop", &objects, more).await?;
    let said = "spec.healthChecks[1].current: no such attribute: status";
    let release = widgets.says(&controller, said).await?;
    let uid = hook(&release, "database").and_then(|it| it.uid.clone()).context("it has a UID")?;
    controller.kill()?;
    widgets.set_status("database", &json!({"phase": "Busy"}))?;
    let controller = namespace.controller()?;
    widgets.says(&controller, "spec.healthChecks[1].current is not true").await?;
    ensure!(namespace.object("Job", "after").await?.is_none(), "it comes after the hook");
    widgets.set_status("database", &json!({"phase": "Ready"}))?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let ran = hook(&release, "database").context("it is in status")?;
    assert_eq!((ran.uid.as_deref(), ran.attempt), (Some(&*uid), 1));
    assert_eq!(ran.phase, HookPhase::Succeeded);
    let created = namespace.tenant_did("create")?;
    ensure!(created.iter().filter(|it| **it == "widgets/database").count() == 1, "{created:?}");
    let kind = format!("widgets.{}", widgets.group);
    let left = namespace.kubectl(&["get", &kind, "-o", "name"])?;
    ensure!(left.is_empty(), "its delete policy is hook-succeeded: {left}");
    widgets.clean_up()
}

#[tokio::test]
async fn a_hook_that_is_not_ready_in_time_has_failed_and_stays() -> Result<()> {
    let namespace = Namespace::new(kwok(), "health-late").await?;
    let controller = namespace.controller()?;
    let cache = deployment("cache")
        .unschedulable()
        .hook("pre-install")
        .annotation("releaselifecycle.dev/hook-readiness", "Ready")
        .annotation("releaselifecycle.dev/hook-timeout", "3s");
    namespace.release("shop", &[cache, config_map("main", "")], json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let (reason, said) = (reason(&release), message(&release));
    ensure!(reason == "HookFailed", "{reason}: {said}");
    let words =
        "Timeout: Deployment/cache was not ready within 3 s (timeout in the hook's annotations): ";
    ensure!(said.contains(words), "{said}");
    ensure!(namespace.object("Deployment", "cache").await?.is_some(), "nobody deletes it");
    ensure!(namespace.object("ConfigMap", "main").await?.is_none(), "nothing was applied");
    // Another attempt has an object of its own.
    let first = namespace.uid("Deployment", "cache").await?;
    namespace.retry("shop", "1", &controller).await?;
    namespace.wait_stalled("shop", &controller).await?;
    ensure!(namespace.uid("Deployment", "cache").await? != first, "it is the same");
    Ok(())
}

#[tokio::test]
async fn a_hook_is_ready_by_its_status_or_fails_by_its_check() -> Result<()> {
    let namespace = Namespace::new(kwok(), "health-status").await?;
    let controller = namespace.controller()?;
    let cache = deployment("cache").hook("pre-install");
    let settings = config_map("settings", "broken").hook("post-install");
    let check = json!({"apiVersion": "v1", "kind": "ConfigMap", "current": "data.value == 'good'",
                       "failed": "data.value == 'broken'"});
    let more = json!({"hooks": {"rules": [{"readiness": "Ready"}]}, "healthChecks": [check]});
    namespace.release("shop", &[cache, settings], more).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    let said = message(&release);
    ensure!(reason(&release) == "HookFailed", "{said}");
    ensure!(said.contains("ObjectFailed: spec.healthChecks[0].failed is true"), "{said}");
    let phase = |name| hook(&release, name).map(|it| it.phase);
    assert_eq!(phase("cache"), Some(HookPhase::Succeeded));
    assert_eq!(phase("settings"), Some(HookPhase::Failed));
    Ok(())
}

#[tokio::test]
async fn a_hostile_expression_delays_nobody_else() -> Result<()> {
    let hostile = Namespace::new(kwok(), "health-hostile").await?;
    let args = ["--engine-memory-mib", "256", "--engine-processes", "2", "--concurrency", "3"];
    let controller = hostile.controller_with(&args)?;
    let text = "a".repeat(100_000);
    let eats = format!("data.value.replace('a', data.value){} == ''", ".replace('a', data.value)");
    let loops = "data.value.split('').all(a, data.value.split('').all(b, \
                 data.value.split('').all(c, a + b + c != '')))";
    for (name, expression) in [("eats", &*eats), ("loops", loops)] {
        let check = json!({"apiVersion": "v1", "kind": "ConfigMap", "current": expression});
        let more = json!({"healthChecks": [check], "timeout": "1h"});
        hostile.release(name, &[config_map(name, &text)], more).await?;
    }
    let is_said = |release: &ReleaseLifecycle| {
        message(release).contains(
            "spec.healthChecks[0].current: the health checks cannot be evaluated: \
                                   it takes more than 256 MiB of memory",
        )
    };
    hostile.wait("eats", &controller, "stopped", is_said).await?;
    let is_said =
        |release: &ReleaseLifecycle| message(release).contains("it exceeds the cost limit");
    hostile.wait("loops", &controller, "stopped", is_said).await?;
    // While they are tried again, others have theirs evaluated, of this namespace, too.
    let check = json!({"apiVersion": "v1", "kind": "ConfigMap", "current": "data.value == 'x'"});
    let more = json!({"healthChecks": [check]});
    hostile.release("witness", &[config_map("witness", "x")], more).await?;
    hostile.wait_ready("witness", &controller).await?;
    Ok(())
}
