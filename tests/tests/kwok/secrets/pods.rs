//! Reports of the kubelet, controllers and policies on Pods and on other objects, and those of custom
//! resources' own rules say.

use anyhow::{Context, Result};
use api::ReleaseLifecycle;
use e2e::{
    Admission, Namespace, kwok,
    manifests::{Manifest, deployment, job, pod},
};
use serde_json::{Value, json};

use super::{Canaries, from_secret, put, refused};

/// Writes the status of an object, as its controller would.
fn status(namespace: &Namespace, object: &str, status: &Value) -> Result<()> {
    let patch = json!({"status": status}).to_string();
    namespace.kubectl(&["patch", object, "--subresource=status", "--type=merge", "-p", &patch])?;
    Ok(())
}

fn with_secrets(object: Value, env: &str, arg: &str) -> Value {
    object.set_pod(
        "/spec/containers",
        json!([{"name": "main", "image": "busybox:1",
        "command": ["sh"], "args": ["-c", arg], "env": [{"name": "PASSWORD", "value": env}]}]),
    )
}

#[tokio::test]
async fn of_pods_and_their_makers() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-pods").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let mut texts = Vec::new();
    for name in ["waits", "ends", "refused", "web"] {
        texts.push((
            name,
            canaries.odd(&format!("env of {name}")),
            canaries.odd(&format!("arg of {name}")),
        ));
    }
    let quoted = |at: usize| format!("exec: {:?}: PASSWORD={} not found", texts[at].2, texts[at].1);
    namespace.admission("Pod", "refused", Admission::Refuse(&quoted(2))).await?;
    namespace.admission("Pod", "web", Admission::Refuse(&quoted(3))).await?;
    let objects = [
        pod("waits").hook("pre-install").unschedulable(),
        pod("ends").hook("pre-install").unschedulable(),
        job("refused").hook("pre-install"),
        deployment("web"),
    ];
    for (object, (name, env, arg)) in objects.into_iter().zip(&texts) {
        let object = with_secrets(object, env, arg).to_string();
        put(&namespace, name, json!({"all.yaml": object})).await?;
        namespace.release(name, &[], from_secret(name)).await?;
    }
    let says = async |name: &str, part: &str| -> Result<ReleaseLifecycle> {
        let is = |release: &ReleaseLifecycle| e2e::message(release).contains(part);
        namespace.wait(name, &controller, part, is).await
    };
    for name in ["waits", "ends"] {
        namespace.wait_object("Pod", name, "made", |pod| pod.is_some()).await?;
        says(name, "Unschedulable").await?;
    }
    let container = |state: Value| {
        json!({"containerStatuses": [{"name": "main", "image": "x", "imageID": "", "ready": false,
                                      "restartCount": 0, "state": state}]})
    };
    let waiting = json!({"waiting": {"reason": "CreateContainerError", "message": quoted(0)}});
    status(&namespace, "pod/waits", &container(waiting))?;
    let ended =
        json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": quoted(1)}});
    let mut failed = container(ended);
    failed["phase"] = "Failed".into();
    failed["message"] = quoted(1).into();
    status(&namespace, "pod/ends", &failed)?;
    says("waits", "CreateContainerError: exec: ").await?;
    says("ends", "exit code 128 (StartError)").await?;
    says("refused", "no Pod can be made: ").await?;
    says("web", "no Pod can be made: ").await?;
    canaries.check(&namespace, &controller, &[])
}

#[tokio::test]
async fn of_custom_resources() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-crs").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let group = format!("{}.example.com", namespace.name);
    let rules = json!([{"rule": "!has(self.bad)", "messageExpression": "'user ' + self.user + ', ' + self.bad"}]);
    let text = json!({"type": "string"});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("vaults.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "vaults", "kind": "Vault"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"user": text, "bad": text, "size": {"type": "string", "pattern": "^a$"}},
                             "x-kubernetes-validations": rules},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]}});
    namespace.cluster().apply(&crd.to_string())?;
    namespace.kubectl(&[
        "wait",
        "--for=condition=Established",
        "crd",
        &format!("vaults.{group}"),
    ])?;
    let resource = format!("--resource=vaults.{group}");
    namespace.kubectl(&["create", "role", "vaults", "--verb=*", &resource])?;
    let account = format!("--serviceaccount={}:deployer", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "vaults", "--role=vaults", &account])?;
    let vault = |name: &str, spec: Value| json!({"apiVersion": format!("{group}/v1"), "kind": "Vault", "metadata": {"name": name}, "spec": spec});
    let user = canaries.odd("user");
    let cases = [
        (
            "rule",
            vault(
                "rule",
                json!({"user": canaries.plain("rule's user"), "bad": canaries.plain("bad")}),
            ),
        ),
        ("pattern", vault("pattern", json!({"size": canaries.odd("size")}))),
        ("field", vault("field", json!({"users": canaries.odd("unknown field")}))),
        ("status", vault("status", json!({"user": user}))),
    ];
    for (name, object) in &cases {
        put(&namespace, name, json!({"all.yaml": object.to_string()})).await?;
        namespace.release(name, &[], from_secret(name)).await?;
    }
    let said = refused(&namespace, &controller, ["rule", "pattern", "field", "status"]).await?;
    assert!(said.contains("Invalid value: user …, …"), "{said}");
    // Its controller says something later.
    let condition = json!({"type": "Ready", "status": "False", "reason": "A", "message": format!("{user} may not log in")});
    let place = format!("vaults.{group}/status");
    status(&namespace, &place, &json!({"conditions": [condition]}))?;
    put(
        &namespace,
        "status",
        json!({"all.yaml": vault("status", json!({"user": user, "size": "a"})).to_string()}),
    )
    .await?;
    let is = |release: &ReleaseLifecycle| e2e::message(release).contains("… may not log in");
    namespace.wait("status", &controller, "not ready", is).await.context("its words")?;
    canaries.check(&namespace, &controller, &[])?;
    namespace.kubectl(&["delete", "crd", &format!("vaults.{group}"), "--wait=false"])?;
    Ok(())
}
