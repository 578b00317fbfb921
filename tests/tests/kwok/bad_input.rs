//! Mistakes in a release are reported by the API server or in its condition: object, field, value
//! and remedy. Other releases go on, and mending the spec mends the release.

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, condition, kwok,
    manifests::{Manifest, config_map, deployment, job},
    message,
};
use futures::future::try_join_all;
use serde_json::{Value, json};

/// A release that nobody can make.
struct Case {
    name: &'static str,
    objects: Vec<Value>,
    /// Merged into the spec.
    more: Value,
    /// Of the API server's refusal or of the condition's message.
    says: &'static [&'static str],
}

fn case(name: &'static str, object: Value, says: &'static [&'static str]) -> Case {
    // What is right beside it does not help.
    Case {
        name,
        objects: vec![config_map(&format!("{name}-right"), ""), object],
        more: json!({}),
        says,
    }
}

fn without(mut object: Value, key: &str) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove(key);
    }
    object
}

fn unreadable() -> Vec<Case> {
    vec![
        case(
            "no-kind",
            without(config_map("a", ""), "kind"),
            &["spec.source.objects[1].kind: Required value"],
        ),
        case(
            "no-version",
            without(config_map("a", ""), "apiVersion"),
            &["spec.source.objects[1].apiVersion: Required value"],
        ),
        case(
            "no-metadata",
            without(config_map("a", ""), "metadata"),
            &["spec.source.objects[1] (ConfigMap/no name): metadata.name is missing"],
        ),
        case(
            "no-object",
            json!("kind: ConfigMap"),
            &[".spec.source.objects[1]: expected map, got &{kind: ConfigMap}"],
        ),
        case(
            "no-name",
            config_map("a", "").set("/metadata", json!({"labels": {"app": "a"}})),
            &[
                "spec.source.objects[1] (ConfigMap/no name): metadata.name is missing",
                "every object needs it",
            ],
        ),
        case(
            "generate",
            config_map("a", "").set("/metadata", json!({"generateName": "a-"})),
            &[
                "spec.source.objects[1] (ConfigMap/no name): metadata.generateName is \"a-\"",
                "give metadata.name",
            ],
        ),
        case(
            "twins",
            config_map("twins-right", "other"),
            &[
                "spec.source.objects[1] (ConfigMap/twins-right): ",
                "is already at spec.source.objects[0]; remove one or rename it",
            ],
        ),
        case(
            "number",
            config_map("a", "").annotation("example.com/size", 5),
            &[
                ".spec.source.objects[1].metadata.annotations.example.com/size: expected string",
                "Value:5",
            ],
        ),
        case(
            "weight",
            job("a").hook("pre-install").annotation("helm.sh/hook-weight", 5),
            &[
                ".spec.source.objects[1].metadata.annotations.helm.sh/hook-weight: expected string",
                "Value:5",
            ],
        ),
        case(
            "event",
            job("a").hook("pre-install,pre-instal"),
            &[
                "spec.source.objects[1] (Job/a): annotation helm.sh/hook: ",
                "unknown hook event \"pre-instal\" in \"pre-install,pre-instal\"; use one of pre-install",
            ],
        ),
        case(
            "policy",
            job("a").hook("pre-install").policy("hook-failed,hook-success"),
            &[
                "spec.source.objects[1] (Job/a): annotation helm.sh/hook-delete-policy: unknown policy \
                 \"hook-success\" in \"hook-failed,hook-success\"; use one of before-hook-creation, \
                 hook-succeeded, hook-failed",
            ],
        ),
        case(
            "no-number",
            job("a").hook("pre-install").weight("high"),
            &[
                "spec.source.objects[1] (Job/a): annotation helm.sh/hook-weight: \"high\" is no whole \
                 number, and Helm takes it for 0",
            ],
        ),
        case(
            "no-event",
            job("a").hook(""),
            &[
                "spec.source.objects[1] (Job/a): annotation helm.sh/hook: unknown hook event \"\"",
                "or remove the annotation",
            ],
        ),
    ]
}

/// Kinds, rights and owners.
fn out_of_reach() -> Vec<Case> {
    let of = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}});
    vec![
        case(
            "kind",
            of("example.com/v1", "Widget"),
            &[
                "Widget/a: the cluster does not know kind \"Widget\" of apiVersion \"example.com/v1\"",
                "install the CustomResourceDefinition first",
            ],
        ),
        case(
            "version",
            of("apps/v1beta1", "Deployment").hook("post-install"),
            &[
                "Deployment/a: the cluster does not know kind \"Deployment\" of apiVersion \"apps/v1beta1\"",
                "correct them",
            ],
        ),
        case(
            "lease",
            of("coordination.k8s.io/v1", "Lease"),
            &[
                "ServiceAccount/deployer may not get, create, patch leases in namespace bad-",
                "which Lease/a needs; allow it: `kubectl create role deployer-more -n bad-",
                "--verb=get,create,patch --resource=leases.coordination.k8s.io",
            ],
        ),
        case(
            "cluster-wide",
            of("v1", "Namespace"),
            &[
                "ServiceAccount/deployer may not get, create, patch namespaces, which Namespace/a needs",
                "`kubectl create clusterrole bad-",
                "--resource=namespaces` and `kubectl create clusterrolebinding",
            ],
        ),
        case(
            "elsewhere",
            config_map("a", "").set("/metadata/namespace", "default"),
            &[
                "ServiceAccount/deployer may not get, create, patch configmaps in namespace default",
                "which ConfigMap/a needs",
            ],
        ),
        case(
            "taken",
            config_map("witness", ""),
            &[
                "ConfigMap bad-",
                "/witness belongs to release witness in namespace bad-",
                "Remove or rename what is not of release taken",
            ],
        ),
        case(
            "unowned",
            config_map("nobodys", ""),
            &[
                "/nobodys belongs to no release. Remove or rename what is not of release unowned",
                "or hand it over: by spec.install.takeOwnership: true, or by label",
            ],
        ),
        Case {
            more: json!({"serviceAccountName": null}),
            ..case(
                "nobody",
                config_map("a", ""),
                &["spec.serviceAccountName is missing: name a ServiceAccount of this namespace"],
            )
        },
        Case {
            more: json!({"serviceAccountName": "ghost"}),
            ..case(
                "ghost",
                config_map("a", ""),
                &[
                    "ServiceAccount bad-",
                    "/ghost does not exist",
                    "`kubectl create serviceaccount ghost -n bad-",
                ],
            )
        },
    ]
}

/// Returns what only the API server can see.
fn refused() -> Vec<Case> {
    vec![
        case(
            "field",
            config_map("a", "").set("/datta", json!({"b": "c"})),
            &["apply ConfigMap/a in namespace bad-", ".datta: field not declared in schema"],
        ),
        case(
            "hook-field",
            job("b").hook("pre-install").set("/spec/backofLimit", 3),
            &[
                "pre-install hook Job/b failed: CreateRefused: create Job/b in namespace bad-",
                "unknown field \"spec.backofLimit\"",
            ],
        ),
        case(
            "type",
            deployment("a").set("/spec/replicas", "three"),
            &[
                "apply Deployment/a in namespace bad-",
                ".spec.replicas: expected numeric (int or float), got string",
            ],
        ),
        case(
            "value",
            deployment("b").set("/spec/replicas", -1),
            &[
                "apply Deployment/b in namespace bad-",
                "spec.replicas: Invalid value: must be greater than or equal to 0",
            ],
        ),
        case(
            "word",
            config_map("Not_A_Name", ""),
            &[
                "apply ConfigMap/Not_A_Name in namespace bad-",
                "metadata.name: Invalid value: a lowercase",
            ],
        ),
        case(
            "path",
            config_map("a/b", ""),
            &["spec.source.objects[1].metadata.name: Invalid value: \"a/b\": may not contain '/'"],
        ),
        case(
            "query",
            config_map("a?b=c", ""),
            &[
                "spec.source.objects[1] (ConfigMap/a?b=c): metadata.name is \"a?b=c\"",
                "use letters, digits, '-' and '.'",
            ],
        ),
    ]
}

/// Returns what the API server or the condition says.
async fn complaint(namespace: &Namespace, controller: &Controller, case: &Case) -> Result<String> {
    if let Err(refusal) = namespace.release(case.name, &case.objects, case.more.clone()).await {
        return Ok(format!("{refusal:#}"));
    }
    let settled = namespace
        .wait(case.name, controller, "settled", |release| {
            condition(release, "Ready").is_some_and(|ready| ready.status != "Unknown")
        })
        .await?;
    Ok(message(&settled))
}

async fn all_are_named_and_mended(cases: Vec<Case>) -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad").await?;
    let controller = namespace.controller()?;
    namespace.release("witness", &[config_map("witness", "1")], json!({})).await?;
    namespace.wait_ready("witness", &controller).await?;
    namespace.cluster().apply(
        &config_map("nobodys", "").set("/metadata/namespace", namespace.name.as_str()).to_string(),
    )?;

    let ask = |case| complaint(&namespace, &controller, case);
    let texts = try_join_all(cases.iter().map(ask)).await?;
    let mut wrong = Vec::new();
    for (case, text) in cases.iter().zip(&texts) {
        for part in case.says.iter().filter(|part| !text.contains(**part)) {
            wrong.push(format!("{}: {part:?} is not in {text:?}", case.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    namespace.release("witness", &[config_map("witness", "2")], json!({})).await?;
    namespace.wait_ready("witness", &controller).await?;

    try_join_all(cases.iter().map(async |case| {
        namespace.release(case.name, &case.objects[..1], json!({})).await?;
        namespace.wait_ready(case.name, &controller).await.context(case.name)
    }))
    .await?;
    Ok(())
}

#[tokio::test]
async fn objects_that_cannot_be_read_are_named() -> Result<()> {
    all_are_named_and_mended(unreadable()).await
}

#[tokio::test]
async fn objects_that_are_out_of_reach_are_named() -> Result<()> {
    all_are_named_and_mended(out_of_reach()).await
}

#[tokio::test]
async fn objects_that_the_api_server_refuses_are_named() -> Result<()> {
    all_are_named_and_mended(refused()).await
}

/// Returns what is wrong outside of the object is looked at again without anybody touching it.
#[tokio::test]
async fn a_right_that_is_granted_later_mends_the_release() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rights").await?;
    let controller = namespace.controller()?;
    namespace.kubectl(&["create", "serviceaccount", "late"])?;
    let objects = [config_map("main", "")];
    namespace.release("shop", &objects, json!({"serviceAccountName": "late"})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    namespace.kubectl(&[
        "create",
        "rolebinding",
        "late",
        "--clusterrole=releaselifecycle-deployer",
        &format!("--serviceaccount={}:late", namespace.name),
    ])?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}
