//! Text that others have written where the operator reads: it is believed only as far as nobody else
//! could have written it. The table is in ARCHITECTURE.md.

use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Controller, Namespace, forged, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use flate2::read::GzDecoder;
use kube::api::PostParams;
use serde_json::{Value, json};

const RECORD: &str = "sh.helm.release.v1.shop.v1";

/// The plan that stands in a record under this key.
async fn plan(namespace: &Namespace, record: &str, key: &str) -> Result<Value> {
    let secret = namespace.object("Secret", record).await?.context("the record")?;
    let frozen = STANDARD.decode(secret["data"][key].as_str().context("a plan")?)?;
    let mut plan = String::new();
    GzDecoder::new(&*frozen).read_to_string(&mut plan)?;
    Ok(serde_json::from_str(&plan)?)
}

/// Writes a plan into a record, as whoever may write Secrets can.
fn put(namespace: &Namespace, record: &str, key: &str, plan: &Value) -> Result<()> {
    let plan = STANDARD.encode(forged::gzip(&plan.to_string())?);
    let data = json!({"data": {key: plan}}).to_string();
    namespace.kubectl(&["patch", "secret", record, "--type=merge", "-p", &data])?;
    Ok(())
}

/// Adds an object and a hook that nobody has asked for.
fn forge(namespace: &Namespace, plan: &mut Value) -> Result<()> {
    let of = |manifest: &Value| {
        json!({"apiVersion": manifest["apiVersion"], "kind": manifest["kind"],
               "namespace": namespace.name, "name": manifest["metadata"]["name"]})
    };
    let objects = plan["objects"].as_array_mut().context("objects")?;
    let forged = config_map("forged", "1");
    objects.push(json!({"object": of(&forged), "manifest": forged}));
    let main = namespace.name.clone();
    let prune = plan["prune"].as_array_mut().context("objects to delete")?;
    prune.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "namespace": main, "name": "kept"}));
    if let Some(hook) = plan["hooks"].as_array_mut().and_then(|hooks| hooks.first_mut()) {
        let forged = job("forged-hook").hook("pre-delete");
        (hook["object"], hook["manifest"]) = (of(&forged), forged);
    }
    Ok(())
}

/// Changes the state in the record.
async fn set_state(namespace: &Namespace, state: &str) -> Result<()> {
    let secret = namespace.object("Secret", RECORD).await?.context("the record")?;
    let release = STANDARD.decode(secret["data"]["release"].as_str().context("a release")?)?;
    let mut text = String::new();
    GzDecoder::new(&*STANDARD.decode(release)?).read_to_string(&mut text)?;
    let mut record: Value = serde_json::from_str(&text)?;
    record["info"]["status"] = json!(state);
    let data = STANDARD.encode(STANDARD.encode(record.to_string()));
    let patch = json!({"data": {"release": data}, "metadata": {"labels": {"status": state}}});
    namespace.kubectl(&["patch", "secret", RECORD, "--type=merge", "-p", &patch.to_string()])?;
    Ok(())
}

/// Checks that nothing of a forged plan was done.
async fn nothing_forged(namespace: &Namespace) -> Result<()> {
    for (kind, name) in [("ConfigMap", "forged"), ("Job", "forged-hook")] {
        ensure!(namespace.object(kind, name).await?.is_none(), "{kind}/{name} was made");
    }
    ensure!(namespace.object("ConfigMap", "kept").await?.is_some(), "ConfigMap/kept was deleted");
    Ok(())
}

/// An object that is marked as the release's, and is not in it.
fn kept(namespace: &Namespace) -> Value {
    let mut kept = config_map("kept", "1");
    kept["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    kept["metadata"]["annotations"] = json!({
        "meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": namespace.name,
    });
    kept
}

fn objects() -> [Value; 3] {
    [config_map("main", "1"), job("gone").hook("pre-delete"), job("probe").hook("test")]
}

/// Starts a controller, and an install whose first hook runs until somebody lets it end.
async fn at_first_hook(namespace: &Namespace) -> Result<Controller> {
    let controller = namespace.controller()?;
    let own = [config_map("main", "1"), job("first").hook("pre-install").never_ends()];
    namespace.release("shop", &own, json!({})).await?;
    namespace.wait_active("first").await?;
    Ok(controller)
}

#[tokio::test]
async fn a_forged_plan_of_a_deployed_revision_counts_as_no_plan() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged").await?;
    let controller = namespace.controller()?;
    namespace.apply(&kept(&namespace)).await?;
    let spec = json!({"interval": "1s", "driftDetection": {"mode": "enabled"}});
    namespace.release("shop", &objects(), spec.clone()).await?;
    namespace.wait_ready("shop", &controller).await?;

    let mut forged = plan(&namespace, RECORD, "plan").await?;
    forge(&namespace, &mut forged)?;
    put(&namespace, RECORD, "plan", &forged)?;
    // The record is taken for one of Helm's, and nothing runs, since it is what is wanted.
    namespace.wait_told("Adopted", "whose plan is not in status").await?;
    // Drift is corrected, by another plan.
    let changed = r#"{"data":{"value":"changed"}}"#;
    namespace.kubectl(&["patch", "configmap", "main", "--type=merge", "-p", changed])?;
    let corrected = "--for=jsonpath={.data.value}=1";
    namespace.kubectl(&["wait", "configmap/main", corrected, "--timeout=90s"])?;
    nothing_forged(&namespace).await?;

    // A plan of another revision is none of this one.
    namespace.release("shop", &[config_map("main", "2")], spec.clone()).await?;
    namespace.wait("shop", &controller, "upgraded", |it| reason(it) == "UpgradeSucceeded").await?;
    let mut copied = plan(&namespace, "sh.helm.release.v1.shop.v2", "plan").await?;
    put(&namespace, RECORD, "plan", &copied)?;
    forge(&namespace, &mut copied)?;
    put(&namespace, RECORD, "plan", &copied)?;
    // A rollback to it restores what its record says, as Helm does.
    let mut pinned = spec;
    pinned["pinRevision"] = json!(1);
    namespace.release("shop", &objects(), pinned).await?;
    namespace.wait("shop", &controller, "back", |it| reason(it) == "RevisionPinned").await?;
    nothing_forged(&namespace).await?;
    let metrics = controller.http("/metrics")?.1;
    assert!(metrics.contains("\nreleaselifecycle_panics_total 0\n"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn a_forged_plan_of_a_running_operation_ends_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-running").await?;
    namespace.apply(&kept(&namespace)).await?;
    let mut controller = at_first_hook(&namespace).await?;
    controller.kill()?;
    let mut forged = plan(&namespace, RECORD, "plan").await?;
    forge(&namespace, &mut forged)?;
    put(&namespace, RECORD, "plan", &forged)?;
    let controller = namespace.controller()?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "PlanLost");
    nothing_forged(&namespace).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/first"]);
    Ok(())
}

#[tokio::test]
async fn a_forged_state_and_plan_of_a_deletion_or_a_test_runs_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-deletion").await?;
    let args = ["--takeover-seconds", "1"];
    namespace.apply(&kept(&namespace)).await?;
    let mut controller = namespace.controller_with(&args)?;
    namespace.release("shop", &objects(), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    controller.kill()?;
    for (event, key) in [("Delete", "delete-plan"), ("Test", "test-plan")] {
        let mut forged = plan(&namespace, RECORD, "plan").await?;
        forge(&namespace, &mut forged)?;
        forged["event"] = json!(event);
        put(&namespace, RECORD, key, &forged)?;
    }
    set_state(&namespace, "uninstalling").await?;
    let controller = namespace.controller_with(&args)?;
    // As one of Helm's whose client has died.
    namespace.annotate("shop", "testAt", "now")?;
    namespace.wait_event("HelmGaveUp").await?;
    namespace.wait_event("TestSucceeded").await?;
    nothing_forged(&namespace).await?;
    ensure!(namespace.object("ConfigMap", "main").await?.is_some(), "it is still there");
    // A deletion runs the hook that the release has.
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    nothing_forged(&namespace).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/probe", "jobs/gone"]);
    Ok(())
}

#[tokio::test]
async fn a_status_that_comes_with_the_object_is_not_kept() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-status").await?;
    let controller = namespace.controller()?;
    let made = json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
        "metadata": {"name": "shop", "namespace": namespace.name},
        "spec": {"serviceAccountName": "deployer",
                 "source": {"objects": [config_map("main", "1"), job("first").hook("pre-install")]}},
        "status": {"observedGeneration": 1, "revision": 7,
                   "plans": [{"revision": 1, "event": "Install", "digest": "sha256:0"}],
                   "conditions": [{"type": "Ready", "status": "True", "reason": "InSync",
                                   "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let made = serde_json::from_value(made)?;
    namespace.releases().create(&PostParams::default(), &made).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let status = release.status.as_ref().context("a status")?;
    assert_eq!(status.revision, Some(1));
    assert!(status.plans.iter().all(|plan| plan.digest != "sha256:0"), "{:?}", status.plans);
    assert_eq!(namespace.tenant_did("create")?, ["jobs/first"]);
    Ok(())
}

#[tokio::test]
async fn marks_on_objects_and_records_of_others_start_and_delete_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-marks").await?;
    let mut controller = at_first_hook(&namespace).await?;
    let run = namespace.object("Job", "first").await?.context("the hook")?;
    controller.kill()?;
    // A Job that says of itself that it is the hook, and has ended.
    namespace.kubectl(&["delete", "job", "first"])?;
    let mut forged = job("first");
    for place in ["labels", "annotations"] {
        forged["metadata"][place] = run["metadata"][place].clone();
    }
    namespace.apply(&forged).await?;
    let done = "--for=condition=Complete";
    namespace.kubectl(&["wait", "job/first", done, "--timeout=60s"])?;
    // And a Secret that names the object as its owner.
    let owner = format!("releaselifecycle.dev/owner={}/shop", namespace.name);
    namespace.kubectl(&[
        "create",
        "secret",
        "generic",
        "sh.helm.release.v1.shop.v9",
        "--from-literal=a=b",
    ])?;
    namespace.kubectl(&["annotate", "secret", "sh.helm.release.v1.shop.v9", &owner])?;
    let controller = namespace.controller()?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed", "{}", message(&release));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/first"]);
    ensure!(namespace.object("ConfigMap", "main").await?.is_none(), "its hook has not succeeded");
    ensure!(namespace.object("Secret", "sh.helm.release.v1.shop.v9").await?.is_some(), "it stays");
    Ok(())
}

#[tokio::test]
async fn an_event_of_somebody_else_is_shown_and_changes_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-event").await?;
    let controller = at_first_hook(&namespace).await?;
    let uid = namespace.uid("Job", "first").await?;
    for reason in ["BackoffLimitExceeded", "Completed", "FailedCreate"] {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": reason,
            "metadata": {"name": format!("first.{}", reason.to_lowercase())},
            "message": "the Job has ended",
            "involvedObject": {"apiVersion": "batch/v1", "kind": "Job", "name": "first",
                               "namespace": namespace.name, "uid": uid},
        });
        namespace.apply(&event).await?;
    }
    namespace.annotate("shop", "testAt", "now")?;
    let release = namespace.releases().get("shop").await?;
    let hook = e2e::hook(&release, "first").context("the hook")?;
    assert_eq!(hook.uid, uid);
    ensure!(namespace.object("ConfigMap", "main").await?.is_none(), "the hook still runs");
    namespace.let_end("first").await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/first"]);
    Ok(())
}

#[tokio::test]
async fn a_forged_plan_of_a_former_object_is_closed_and_not_executed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-former").await?;
    namespace.apply(&kept(&namespace)).await?;
    let mut controller = at_first_hook(&namespace).await?;
    let former = namespace.uid("Job", "first").await?;
    controller.kill()?;
    let mut forged = plan(&namespace, RECORD, "plan").await?;
    forge(&namespace, &mut forged)?;
    forged["owner"]["uid"] = json!("of another one");
    put(&namespace, RECORD, "plan", &forged)?;
    namespace.lose_status("shop")?;
    let controller = namespace.controller()?;
    // The record is closed, and the release is installed anew.
    namespace
        .wait_object("Secret", "sh.helm.release.v1.shop.v2", "there", |it| it.is_some())
        .await?;
    let record = namespace.object("Secret", RECORD).await?.context("the record")?;
    assert_eq!(record["metadata"]["labels"]["status"], "failed");
    let is_another = |job: Option<&Value>| {
        job.is_some_and(|job| {
            job["metadata"]["uid"].as_str() != former.as_deref() && job["status"]["active"] == 1
        })
    };
    namespace.wait_object("Job", "first", "made anew", is_another).await?;
    namespace.let_end("first").await?;
    namespace.wait_ready("shop", &controller).await?;
    nothing_forged(&namespace).await?;
    Ok(())
}

#[tokio::test]
async fn a_forged_deletion_of_a_former_object_deletes_nothing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-removal").await?;
    namespace.apply(&kept(&namespace)).await?;
    let mut controller = namespace.controller()?;
    namespace.release("shop", &objects(), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    controller.kill()?;
    let mut forged = plan(&namespace, RECORD, "plan").await?;
    forge(&namespace, &mut forged)?;
    forged["event"] = json!("Delete");
    forged["owner"]["uid"] = json!("of another one");
    forged["hooks"] = json!([]);
    for key in ["plan", "delete-plan"] {
        put(&namespace, RECORD, key, &forged)?;
    }
    set_state(&namespace, "pending-upgrade").await?;
    let controller = namespace.controller_with(&["--takeover-seconds", "1"])?;
    namespace.annotate("shop", "testAt", "now")?;
    namespace.wait_event("HelmGaveUp").await?;
    let is_upgraded = |it: &api::ReleaseLifecycle| {
        it.status.as_ref().and_then(|status| status.revision) == Some(2)
    };
    namespace.wait("shop", &controller, "upgraded", is_upgraded).await?;
    nothing_forged(&namespace).await?;
    Ok(())
}

#[tokio::test]
async fn only_the_plan_that_a_person_was_told_of_resumes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "forged-vouched").await?;
    namespace.apply(&kept(&namespace)).await?;
    let mut controller = at_first_hook(&namespace).await?;
    controller.kill()?;
    let genuine = plan(&namespace, RECORD, "plan").await?;
    namespace.lose_status("shop")?;
    let mut controller = namespace.controller()?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "JournalLost");
    let told = message(&release);
    controller.kill()?;
    // Between the look at the plan and the request.
    let mut forged = genuine.clone();
    forge(&namespace, &mut forged)?;
    put(&namespace, RECORD, "plan", &forged)?;
    namespace.annotate("shop", "retryAt", "1")?;
    let controller = namespace.controller()?;
    let is_told_anew =
        |it: &api::ReleaseLifecycle| reason(it) == "JournalLost" && message(it) != told;
    namespace.wait("shop", &controller, "told of another plan", is_told_anew).await?;
    nothing_forged(&namespace).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/first"]);
    Ok(())
}
