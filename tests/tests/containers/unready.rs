//! Why objects are not ready, by what a real kubelet says of their Pods.

use anyhow::Result;
use e2e::{
    Controller, Namespace, containers,
    manifests::{Manifest, config_map, deployment, pod},
    message,
};
use serde_json::{Value, json};

async fn says(
    namespace: &Namespace,
    controller: &Controller,
    name: &str,
    parts: &[&str],
) -> Result<()> {
    let what = parts.join(" and ");
    namespace
        .wait(name, controller, &what, |release| {
            let text = message(release);
            parts.iter().all(|part| text.contains(part))
        })
        .await
        .map(drop)
}

fn crashing(name: &str) -> Value {
    // On a busy node it may be seen to run for a moment.
    deployment(name)
        .set("/spec/minReadySeconds", 60)
        .runs("echo starting; echo cannot bind; exit 3")
}

#[tokio::test]
async fn each_cause_is_named_while_it_lasts_and_kept_at_the_end() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "unready").await?;
    let controller = namespace.controller()?;
    let long = json!({"timeout": "1h"});

    let env = json!([{"configMapRef": {"name": "absent-settings"}}]);
    let volume = json!([{"name": "keys", "secret": {"secretName": "absent-keys"}}]);
    let mount = json!([{"name": "keys", "mountPath": "/keys"}]);
    let objects = [
        deployment("image").set_pod("/spec/containers/0/image", "registry.example/shop/web:nope"),
        crashing("crash"),
        deployment("config").set_pod("/spec/containers/0/envFrom", env),
        deployment("keys")
            .set_pod("/spec/volumes", volume)
            .set_pod("/spec/containers/0/volumeMounts", mount),
        deployment("account").set_pod("/spec/serviceAccountName", "absent-account"),
    ];
    namespace.release("shop", &objects, long.clone()).await?;

    let wait = json!([{"name": "wait-db", "image": "busybox:1",
                       "command": ["sh", "-c", "echo no database yet; sleep 3600"]}]);
    let probe =
        json!({"exec": {"command": ["sh", "-c", "echo not yet; false"]}, "periodSeconds": 1});
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "absent-class",
                 "resources": {"requests": {"storage": "1Gi"}}}});
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let mut set = deployment("set").set("/kind", "StatefulSet").set_pod("/spec/volumes", volumes);
    set["spec"]["serviceName"] = json!("set");
    let bare = pod("bare").set("/spec/restartPolicy", "Always").runs("echo bye; exit 0");
    let objects = [
        claim,
        bare,
        deployment("init").set_pod("/spec/initContainers", wait),
        deployment("probe").set_pod("/spec/containers/0/readinessProbe", probe),
        set,
    ];
    namespace.release("more", &objects, long.clone()).await?;
    namespace.release("alone", &[deployment("alone").unschedulable()], long).await?;
    namespace.release("late", &[crashing("late")], json!({"timeout": "1h"})).await?;

    for parts in [
        &["Deployment/image: 0 of 1 ", ": pod image-", " ImagePullBackOff: ", "shop/web:nope"][..],
        &[
            "Deployment/crash: ",
            ": pod crash-",
            " container main CrashLoopBackOff: ",
            " tries failed, last: exit code 3; last line: cannot bind",
        ],
        &[
            "Deployment/config: ",
            " CreateContainerConfigError: configmap \"absent-settings\" not found",
        ],
        &["Deployment/keys: ", " FailedMount: ", "secret \"absent-keys\" not found"],
        &[
            "Deployment/account: ",
            ": no Pod can be made: error looking up service account ",
            "serviceaccount \"absent-account\" not found",
        ],
    ] {
        says(&namespace, &controller, "shop", parts).await?;
    }
    for parts in [
        &[
            "PersistentVolumeClaim/data: the claim's phase is Pending, not Bound: ProvisioningFailed: ",
            "\"absent-class\" not found",
        ][..],
        &["Pod/bare: container main CrashLoopBackOff: ", " last: exit code 0; last line: bye"],
        &["Deployment/init: ", " waits for its init container wait-db; last line: no database yet"],
        &["Deployment/probe: ", " container main Unhealthy: Readiness probe failed: not yet"],
        &[
            "StatefulSet/set: ",
            "pod set-0 Unschedulable: ",
            "; PersistentVolumeClaim/data: ProvisioningFailed",
        ],
    ] {
        says(&namespace, &controller, "more", parts).await?;
    }
    says(&namespace, &controller, "alone", &["Deployment/alone: ", " Unschedulable: 0/"]).await?;

    // Its time is short only once its Pod has failed: how long that takes depends on the machine.
    let cause = "last: exit code 3; last line: cannot bind";
    says(&namespace, &controller, "late", &["Deployment/late: ", cause]).await?;
    namespace.annotate("late", "cancelAt", "1")?;
    namespace.wait_stalled("late", &controller).await?;
    let short = r#"{"spec":{"timeout":"5s"}}"#;
    namespace.kubectl(&["patch", "rl", "late", "--type=merge", "-p", short])?;
    let late = namespace
        .wait("late", &controller, "out of time", |release| message(release).contains("within 5 s"))
        .await?;
    let text = message(&late);
    assert!(text.contains("not ready within 5 s (spec.timeout): Deployment/late: "), "{text}");
    assert!(text.contains(", last: exit code 3; last line: cannot bind"), "{text}");

    namespace.kubectl(&["create", "configmap", "absent-settings"])?;
    namespace
        .wait("shop", &controller, "silent about what is mended", |release| {
            let text = message(release);
            text.contains("Deployment/image") && !text.contains("Deployment/config")
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_quota_is_named_by_the_deployment() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "unready-quota").await?;
    let controller = namespace.controller()?;
    namespace.kubectl(&["create", "quota", "none", "--hard=pods=0"])?;
    let objects = [config_map("settings", "1"), deployment("web")];
    namespace.release("shop", &objects, json!({"timeout": "1h"})).await?;
    let parts = ["Deployment/web: ", ": no Pod can be made: exceeded quota: none"];
    says(&namespace, &controller, "shop", &parts).await
}
