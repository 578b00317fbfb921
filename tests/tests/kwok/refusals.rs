//! Refusals of the API server: the cause is named, and where a command helps, it is there to paste.

use anyhow::{Context, Result, ensure};
use e2e::{
    Admission, Controller, Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

/// Waits until the release stands still with a message that has all of `parts`, which it answers with.
async fn told(
    namespace: &Namespace,
    controller: &Controller,
    name: &str,
    parts: &[&str],
) -> Result<String> {
    let release = namespace.wait_stalled(name, controller).await?;
    let said = message(&release);
    for part in parts {
        ensure!(said.contains(part), "{part:?} is not in {said:?}");
    }
    ensure!(!said.contains("withheld"), "{said}");
    Ok(said)
}

/// Runs the commands of a message, as somebody would who pastes them.
fn paste(namespace: &Namespace, said: &str) -> Result<()> {
    let commands: Vec<_> =
        said.split('`').filter_map(|part| part.strip_prefix("kubectl create ")).collect();
    ensure!(!commands.is_empty(), "no command in {said:?}");
    for command in commands {
        let args: Vec<_> = ["create"].into_iter().chain(command.split_whitespace()).collect();
        namespace.kubectl(&args).with_context(|| format!("{args:?} of {said:?}"))?;
    }
    Ok(())
}

fn quota(hard: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "counts"},
           "spec": {"hard": hard}})
}

#[tokio::test]
async fn a_quota_is_named_also_of_secrets_and_no_role_is_advised() -> Result<()> {
    for (counted, objects) in [
        ("count/secrets", vec![config_map("x", "1")]),
        ("count/jobs.batch", vec![config_map("x", "1"), job("a").hook("pre-install")]),
        ("count/configmaps", vec![config_map("x", "1")]),
    ] {
        let namespace = Namespace::new(kwok(), "quota").await?;
        let controller = namespace.controller()?;
        namespace.apply(&quota(json!({counted: "0"}))).await?;
        let counts = |quota: Option<&Value>| {
            quota.is_some_and(|it| it.pointer("/status/hard").is_some_and(|hard| !hard.is_null()))
        };
        namespace.wait_object("ResourceQuota", "counts", "counted", counts).await?;
        namespace.release("shop", &objects, json!({})).await?;
        let limited = format!("limited: {counted}=0");
        let parts = ["exceeded quota: counts, requested: ", &limited, "describe resourcequota"];
        let said = told(&namespace, &controller, "shop", &parts).await?;
        ensure!(!said.contains("releaselifecycle-deployer"), "{said}");
        namespace.kubectl(&["delete", "resourcequota", "counts"])?;
        namespace.retry("shop", "1", &controller).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_a_role_may_not_grant_is_named_whole_and_the_commands_help() -> Result<()> {
    let namespace = Namespace::new(kwok(), "grants").await?;
    let controller = namespace.controller()?;
    let group = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "m7"},
        "rules": [{"apiGroups": [""], "resources": ["endpoints"], "verbs": ["get", "list", "watch"]}]});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
        "metadata": {"name": "m7"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "m7"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace.name}]});
    namespace.release("shop", &[role, binding], json!({})).await?;
    let right = format!("get, list, watch on endpoints in namespace {}", namespace.name);
    let account = format!("ServiceAccount {}/deployer", namespace.name);
    let parts = ["may not grant what it does not have itself", &right, &account, "Role/m7"];
    let said = told(&namespace, &controller, "shop", &parts).await?;
    paste(&namespace, &said)?;
    namespace.retry("shop", "1", &controller).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_in_no_namespace_wants_a_binding_in_the_cluster() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cluster-scoped").await?;
    let controller = namespace.controller()?;
    let name = format!("{}-empty", namespace.name);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                      "metadata": {"name": name}, "rules": []});
    namespace.release("shop", &[role], json!({})).await?;
    let parts = ["may not get, create, patch clusterroles", "kubectl create clusterrolebinding"];
    let said = told(&namespace, &controller, "shop", &parts).await?;
    ensure!(!said.contains("releaselifecycle-deployer"), "{said}");
    paste(&namespace, &said)?;
    namespace.annotate("shop", "retryAt", "1")?;
    namespace.wait_ready("shop", &controller).await?;
    let own = format!("{}-deployer-more", namespace.name);
    for kind in ["clusterrole", "clusterrolebinding"] {
        namespace.kubectl(&["delete", kind, &own])?;
    }
    namespace.kubectl(&["delete", "clusterrole", &name])?;
    Ok(())
}

#[tokio::test]
async fn a_service_account_that_is_not_there_is_said_to_be_missing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "no-account").await?;
    let controller = namespace.controller()?;
    namespace
        .release("shop", &[config_map("x", "1")], json!({"serviceAccountName": "ghost"}))
        .await?;
    let missing = format!("ServiceAccount {}/ghost does not exist", namespace.name);
    let create = format!("`kubectl create serviceaccount ghost -n {}`", namespace.name);
    let said = told(&namespace, &controller, "shop", &[&missing, &create]).await?;
    ensure!(!said.contains("cannot list"), "{said}");
    paste(&namespace, &said)?;
    namespace.annotate("shop", "retryAt", "1")?;
    namespace.wait_ready("shop", &controller).await?;
    // One that is there, and lacks a right, is not said to be missing.
    namespace.kubectl(&["create", "serviceaccount", "poor"])?;
    namespace
        .release("poor", &[config_map("y", "1")], json!({"serviceAccountName": "poor"}))
        .await?;
    let parts = ["cannot list resource \"secrets\"", "--clusterrole=releaselifecycle-deployer"];
    told(&namespace, &controller, "poor", &parts).await?;
    Ok(())
}

#[tokio::test]
async fn what_comes_from_a_secret_is_repeated_nowhere() -> Result<()> {
    const CANARY: &str = "hunter2 is the password!";
    let namespace = Namespace::new(kwok(), "canary").await?;
    let controller = namespace.controller()?;
    namespace
        .admission(
            "Job",
            "weak",
            Admission::Refuse("PASSWORD is hunter2 is the password!, so weak"),
        )
        .await?;
    let container =
        |name: &str| json!([{"name": "m", "image": "x", "env": [{"name": name, "value": CANARY}]}]);
    let with = |job: Value, name: &str| job.set("/spec/template/spec/containers", container(name));
    let mut number = config_map("n", "1");
    number["data"]["value"] = json!({"nested": CANARY});
    let cases = [
        (
            "label",
            config_map("a", "1").set("/metadata/labels", json!({"license": CANARY})),
            "metadata.labels",
        ),
        ("key", config_map("b", "1").set("/data", json!({CANARY: "1"})), "data[…]: Invalid value"),
        ("env", with(job("c").hook("pre-install"), "hunter2=the password!"), "env[0].name"),
        ("type", number, "expected string"),
        (
            "policy",
            with(job("weak-d").hook("pre-install"), "PASSWORD"),
            "denied request: PASSWORD is …, so weak",
        ),
        (
            "secret",
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "e"},
                          "type": "kubernetes.io/tls", "stringData": {"tls.crt": CANARY}}),
            "refused with 422 for data[…]",
        ),
    ];
    for (name, object, says) in cases {
        let source = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                            "stringData": {"all": object.to_string()}});
        namespace.apply(&source).await?;
        let from = json!({"source": {"objectsFrom": [{"kind": "Secret", "name": name}]}});
        namespace.release(name, &[], from).await?;
        let release = namespace.wait_stalled(name, &controller).await?;
        ensure!(
            message(&release).contains(says),
            "{name}: {}: {}",
            reason(&release),
            message(&release)
        );
    }
    let shown = namespace.kubectl(&["get", "rl,events", "-o", "yaml"])? + &controller.log()?;
    let seen: Vec<_> = shown.lines().filter(|line| line.contains("hunter2")).collect();
    ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}
