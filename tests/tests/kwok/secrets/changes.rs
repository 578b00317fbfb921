//! Objects that are there already: what they held before is as secret as what they are to hold.

use std::time::Duration;

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Controller, Namespace, condition, kwok,
    manifests::{Manifest, config_map, deployment, job},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Canaries, from_secret, put, refused};

/// Puts these objects into the Secret of the release, and has them applied.
async fn release(namespace: &Namespace, name: &str, objects: &[Value], more: Value) -> Result<()> {
    let text: Vec<_> = objects.iter().map(ToString::to_string).collect();
    put(namespace, name, json!({"all.yaml": text.join("\n---\n")})).await?;
    let mut spec = from_secret(name);
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    namespace.release(name, &[], spec).await
}

/// Waits until the release says this.
async fn says(
    namespace: &Namespace,
    controller: &Controller,
    name: &str,
    part: &str,
) -> Result<()> {
    let is = |release: &ReleaseLifecycle| {
        let conditions = release.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|it| it.message.contains(part) || it.reason == part)
    };
    namespace.wait(name, controller, part, is).await.map(drop)
}

#[tokio::test]
async fn of_fields_that_cannot_be_changed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-fixed").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let objects = |canaries: &mut Canaries, time: &str| {
        let mut c = |what: &str| canaries.odd(&format!("{what} {time}"));
        let named = json!([{"name": "main", "image": "x", "args": [c("args")],
                            "env": [{"name": "PASSWORD", "value": c("env")}]}]);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fixed"},
                            "immutable": true, "stringData": {"a": c("Secret")}});
        let typed = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "typed"},
                           "type": format!("a/{}", time), "stringData": {"a": c("typed")}});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}});
        let service =
            if time == "before" { service.set("/spec/clusterIP", "10.0.0.77") } else { service };
        let set = deployment("set")
            .set("/kind", "StatefulSet")
            .set("/spec/serviceName", time)
            .set("/spec/replicas", 0);
        vec![
            config_map("fixed", &c("data")).set("/immutable", true),
            secret,
            typed,
            job("once").set_pod("/spec/containers", named),
            deployment("web")
                .set("/spec/selector/matchLabels/b", time)
                .set("/spec/template/metadata/labels/b", time)
                .set("/metadata/annotations/a", c("annotation"))
                .set("/spec/replicas", 0),
            set.set("/metadata/annotations/a", c("annotation")),
            service,
        ]
    };
    release(&namespace, "shop", &objects(&mut canaries, "before"), json!({"timeout": "5s"}))
        .await?;
    refused(&namespace, &controller, ["shop"]).await?;
    release(&namespace, "shop", &objects(&mut canaries, "after"), json!({"timeout": "5s"})).await?;
    says(&namespace, &controller, "shop", "cannot be changed once the object is there").await?;
    canaries.check(&namespace, &controller, &[])
}

#[tokio::test]
async fn of_drift_and_of_conflicts() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-drift").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let path = format!("/{}", canaries.plain("mount path"));
    let mounts = json!([{"name": "main", "image": "x",
        "env": [{"name": "PASSWORD", "value": canaries.odd("env")}],
        "volumeMounts": [{"name": "v", "mountPath": path}]}]);
    let web = deployment("web")
        .set("/spec/replicas", 0)
        .set_pod("/spec/containers", mounts)
        .set_pod("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                        "stringData": {"a": canaries.odd("Secret")}});
    let objects = [web.clone(), secret, config_map("c", &canaries.odd("data"))];
    let drift = json!({"interval": "1s", "driftDetection": {"mode": "warn"}});
    release(&namespace, "shop", &objects, drift.clone()).await?;
    says(&namespace, &controller, "shop", "NoDrift").await?;
    // A change in the second of the install counts as part of it.
    let installed = Timestamp::now().as_second();
    while Timestamp::now().as_second() <= installed {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let change = |object: &str, patch: Value| {
        namespace.kubectl(&["patch", object, "--field-manager=other", "-p", &patch.to_string()])
    };
    change("configmap/c", json!({"data": {"value": canaries.odd("drifted data")}}))?;
    change("secret/s", json!({"stringData": {"a": canaries.odd("drifted Secret")}}))?;
    let env = json!([{"name": "main", "env": [{"name": "PASSWORD", "value": canaries.odd("drifted env")}],
                      "volumeMounts": [{"mountPath": path, "readOnly": true}]}]);
    change("deployment/web", json!({"spec": {"template": {"spec": {"containers": env}}}}))?;
    says(&namespace, &controller, "shop", "DriftDetected").await?;
    says(&namespace, &controller, "shop", "Deployment/web").await?;
    canaries.check(&namespace, &controller, &[])?;

    // Another manager owns them now.
    let mut other = web;
    other["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("b");
    let file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::fs::write(file.path(), other.to_string())?;
    let file = file.path().to_string_lossy();
    namespace.kubectl(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=other",
        "-f",
        &file,
    ])?;
    other["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = json!("c");
    other["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] =
        json!(canaries.odd("new env"));
    release(&namespace, "shop", &[other], drift).await?;
    says(&namespace, &controller, "shop", "other field managers own").await?;
    canaries.check(&namespace, &controller, &[])
}

/// Has the API server refuse changes of the `ConfigMaps` of this name, in the words of `message`.
async fn guard(namespace: &Namespace, name: &str, message: &str) -> Result<()> {
    let policy = format!("{}-{name}", namespace.name);
    let object = |kind: &str, spec: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
               "metadata": {"name": policy}, "spec": spec})
        .to_string()
    };
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                      "operations": ["UPDATE", "DELETE"]});
    let policies = [
        object(
            "ValidatingAdmissionPolicy",
            json!({
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "name", "expression": format!("oldObject.metadata.name == '{name}'")}],
            "validations": [{"expression": "false", "messageExpression": message}]}),
        ),
        object(
            "ValidatingAdmissionPolicyBinding",
            json!({
            "policyName": policy, "validationActions": ["Deny", "Audit"],
            "matchResources": {"namespaceSelector":
                {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}}}),
        ),
    ];
    namespace.cluster().apply(&policies.join("\n---\n"))?;
    let dry = ["annotate", "configmap", name, "--dry-run=server", "--overwrite", "probe=1"];
    for _ in 0..300 {
        if namespace.kubectl(&dry).is_err() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{name} is not guarded")
}

#[tokio::test]
async fn of_policies_that_refuse_a_change_or_a_deletion() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-guard").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let names = ["changed", "pruned", "deleted"];
    for name in names {
        let objects = [
            config_map(name, &canaries.odd(&format!("{name} before"))),
            config_map(&format!("{name}-2"), "1"),
        ];
        release(&namespace, name, &objects, json!({})).await?;
    }
    for name in names {
        namespace.wait_ready(name, &controller).await?;
        let of = |object: &str| format!("({object} == null ? '' : {object}.data.value)");
        let message = format!(
            "'was ' + {0} + {0}.upperAscii() + ' is ' + {1} + '!'",
            of("oldObject"),
            of("object")
        );
        guard(&namespace, name, &message).await?;
    }
    let after = config_map("changed", &canaries.odd("changed after"));
    release(&namespace, "changed", &[after], json!({})).await?;
    release(&namespace, "pruned", &[config_map("pruned-2", "1")], json!({})).await?;
    namespace.kubectl(&["delete", "rl", "deleted", "--wait=false"])?;
    for name in names {
        says(&namespace, &controller, name, "denied request: was ").await?;
    }
    let release = namespace.releases().get("changed").await?;
    let said = &condition(&release, "Ready").context("Ready")?.message;
    assert!(said.contains("denied request: was …… is …!"), "{said}");
    canaries.check(&namespace, &controller, &[])
}
