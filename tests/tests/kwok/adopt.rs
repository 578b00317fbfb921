//! Releases that Helm made, or has changed behind our back, are adopted without running a hook that need not
//! run.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{
    Chart, Controller, Namespace,
    helm::{self, HELMS},
    kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};

/// A client that has died is waited for no longer than this.
const SOON: [&str; 2] = ["--takeover-seconds", "1"];

fn folder(namespace: &Namespace, objects: &[Value]) -> Result<PathBuf> {
    helm::chart(namespace, "shop", &objects.iter().map(Value::to_string).collect::<Vec<_>>())
}

/// Returns what Helm does with a chart of `objects`.
fn by_helm(
    namespace: &Namespace,
    program: &str,
    action: &[&str],
    objects: &[Value],
) -> Result<String> {
    let folder = folder(namespace, objects)?;
    helm::run(namespace, program, &[action, &["shop", &folder.to_string_lossy()]].concat())
}

/// Waits until the controller has said `reason` in an Event object, and answers with what it said.
fn wait_told(namespace: &Namespace, reason: &str) -> Result<String> {
    let selector = format!("reason={reason}");
    namespace.kubectl(&[
        "wait",
        "events",
        "--field-selector",
        &selector,
        "--for=create",
        "--timeout=20s",
    ])?;
    namespace.kubectl(&[
        "get",
        "events",
        "--field-selector",
        &selector,
        "-o",
        "jsonpath={.items[*].message}",
    ])
}

/// The states of the release's revisions, as Helm tells of them.
fn states(namespace: &Namespace) -> Result<Vec<String>> {
    let history = helm::json(namespace, "helm", &["history", "shop"])?;
    let states = history.as_array().into_iter().flatten();
    Ok(states.map(|it| it["status"].as_str().unwrap_or_default().to_owned()).collect())
}

/// Returns what the operator has done to anything but the records.
fn done(namespace: &Namespace) -> Result<Vec<String>> {
    let mut writes = namespace.tenant_writes()?;
    writes.retain(|write| !write.contains("sh.helm.release.v1."));
    Ok(writes)
}

/// Waits until nothing runs and this revision is deployed.
async fn wait_deployed(
    namespace: &Namespace,
    controller: &Controller,
    revision: i32,
) -> Result<ReleaseLifecycle> {
    namespace
        .wait("shop", controller, "deployed", |release| {
            let status = release.status.as_ref();
            status.is_some_and(|status| status.revision == Some(revision))
                && e2e::condition(release, "Ready").is_some_and(|it| it.status == "True")
        })
        .await
}

#[tokio::test]
async fn nothing_runs_where_nothing_has_changed() -> Result<()> {
    for program in HELMS {
        let namespace = Namespace::new(kwok(), &format!("by-{program}")).await?;
        let objects = |value: &str| {
            [
                config_map("main", value),
                job("migrate").hook("pre-install,pre-upgrade"),
                job("bye").hook("pre-delete"),
            ]
        };
        by_helm(&namespace, program, &["install"], &objects("1"))?;
        by_helm(&namespace, program, &["upgrade"], &objects("2"))?;
        let left = namespace.uid("Job", "migrate").await?.context("Helm leaves its hooks")?;
        let controller = namespace.controller()?;
        namespace.release("shop", &objects("2"), json!({})).await?;
        let release = wait_deployed(&namespace, &controller, 2).await?;
        assert_eq!(reason(&release), "InSync", "{}", message(&release));
        assert_eq!(done(&namespace)?, Vec::<String>::new(), "{program}");
        let told = wait_told(&namespace, "Adopted")?;
        assert!(told.contains("revision 2 of release shop, made by another client"), "{told}");
        assert!(told.contains("nothing runs"), "{told}");
        assert_eq!(states(&namespace)?, ["superseded", "deployed"], "{program} can read it");

        // What Helm's hook left behind is the release's own.
        namespace.release("shop", &objects("3"), json!({})).await?;
        wait_deployed(&namespace, &controller, 3).await?;
        assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"], "{program}");
        assert_ne!(namespace.uid("Job", "migrate").await?, Some(left));
        assert_eq!(states(&namespace)?, ["superseded", "superseded", "deployed"]);
        namespace.kubectl(&["delete", "rl", "shop"])?;
        assert_eq!(namespace.object("ConfigMap", "main").await?, None);
        let secrets = namespace.kubectl(&["get", "secrets", "-l", "owner=helm", "-o", "name"])?;
        assert_eq!(secrets, "", "{program}");
    }
    Ok(())
}

#[tokio::test]
async fn a_chart_is_known_by_its_version_and_its_values() -> Result<()> {
    let namespace = Namespace::new(kwok(), "by-chart").await?;
    let chart = Chart::new(&namespace, "shop")?
        .file(
            "templates/main.yaml",
            &config_map("main", "{{ .Values.a }}-{{ randAlpha 9 }}").to_string(),
        )?
        .file("templates/hook.yaml", &job("hook").hook("pre-upgrade").to_string())?;
    let folder = chart.folder().to_string_lossy().into_owned();
    helm::run(&namespace, "helm", &["install", "shop", &folder, "--set", "a=1,b.c=x"])?;
    let before = namespace.object("ConfigMap", "main").await?.context("Helm has made it")?;
    chart.put(&namespace).await?;
    let controller = namespace.controller()?;
    let spec = |values: Value| {
        let mut spec = chart.source();
        spec["values"] = values;
        spec
    };
    namespace.release("shop", &[], spec(json!({"a": 1, "b": {"c": "x"}}))).await?;
    wait_deployed(&namespace, &controller, 1).await?;
    assert_eq!(namespace.object("ConfigMap", "main").await?, Some(before));
    assert_eq!(done(&namespace)?, Vec::<String>::new());
    // From now on it is one of ours.
    namespace.release("shop", &[], spec(json!({"a": 2, "b": {"c": "x"}}))).await?;
    wait_deployed(&namespace, &controller, 2).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"]);
    Ok(())
}

#[tokio::test]
async fn what_differs_is_upgraded_once_and_what_is_no_longer_wanted_goes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "by-helm-differs").await?;
    let hook = job("migrate").hook("pre-install,pre-upgrade");
    let before = [config_map("main", "1"), config_map("old", ""), hook.clone()];
    by_helm(&namespace, "helm3", &["install"], &before)?;
    // One that failed, with an object of its own.
    let failing =
        [config_map("main", "1"), config_map("older", ""), job("no").hook("post-upgrade").fails()];
    assert!(by_helm(&namespace, "helm3", &["upgrade"], &failing).is_err());
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "2"), hook], json!({})).await?;
    wait_deployed(&namespace, &controller, 3).await?;
    for old in ["old", "older"] {
        assert_eq!(namespace.object("ConfigMap", old).await?, None, "{old}");
    }
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"]);
    assert_eq!(states(&namespace)?, ["superseded", "failed", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn a_dead_client_is_given_up_once_its_hook_has_ended() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-pending").await?;
    let hook = job("hook").hook("pre-install");
    let folder = folder(&namespace, &[config_map("main", ""), hook.clone().never_ends()])?;
    let mut install =
        helm::command(&namespace, "helm", &["install", "shop", &folder.to_string_lossy()])?
            .spawn()
            .context("start helm")?;
    let running = namespace.wait_active("hook").await;
    install.kill()?;
    install.wait()?;
    running?;
    let patient = namespace.controller()?;
    namespace.release("shop", &[config_map("main", ""), hook], json!({})).await?;
    let waits = |release: &ReleaseLifecycle| reason(release) == "HelmAtWork";
    let release = namespace.wait("shop", &patient, "waiting for Helm", waits).await?;
    let text = message(&release);
    assert!(text.contains("revision 1 of release shop (pending-install)"), "{text}");
    assert!(text.contains("--takeover-seconds"), "{text}");
    drop(patient);
    let controller = namespace.controller_with(&SOON)?;
    let waits =
        |release: &ReleaseLifecycle| message(release).contains("hook Job/hook of revision 1");
    namespace.wait("shop", &controller, "waiting for its hook", waits).await?;
    assert_eq!(namespace.tenant_writes()?, Vec::<String>::new(), "a live client is respected");
    namespace.kubectl(&["delete", "job", "hook", "--cascade=foreground"])?;
    // Before its minute is over.
    namespace.kubectl(&["annotate", "rl", "shop", "test/look=now"])?;
    wait_deployed(&namespace, &controller, 2).await?;
    assert_eq!(states(&namespace)?, ["failed", "deployed"]);
    let told = wait_told(&namespace, "HelmGaveUp")?;
    assert!(told.contains("revision 1 of release shop was pending-install"), "{told}");
    Ok(())
}

#[tokio::test]
async fn an_uninstallation_that_died_before_it_deleted_anything_is_called_off() -> Result<()> {
    for whole in [true, false] {
        let namespace = Namespace::new(kwok(), "helm-uninstalling").await?;
        let objects = [config_map("main", ""), job("bye").hook("pre-delete").fails()];
        by_helm(&namespace, "helm", &["install"], &objects)?;
        ensure!(helm::run(&namespace, "helm", &["uninstall", "shop"]).is_err(), "its hook fails");
        assert_eq!(states(&namespace)?, ["uninstalling"]);
        if !whole {
            namespace.kubectl(&["delete", "configmap", "main"])?;
        }
        let controller = namespace.controller_with(&SOON)?;
        namespace.release("shop", &objects, json!({})).await?;
        let revision = if whole { 1 } else { 2 };
        wait_deployed(&namespace, &controller, revision).await?;
        assert_eq!(done(&namespace)?.is_empty(), whole);
        namespace.object("ConfigMap", "main").await?.context("it is there")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_uninstallation_is_waited_for_until_a_retry_says_that_it_is_over() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-retried").await?;
    let objects = [config_map("main", ""), job("bye").hook("pre-delete").fails()];
    by_helm(&namespace, "helm", &["install"], &objects)?;
    // With a request of long ago, which asks for nothing.
    let old = json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
                     "metadata": {"name": "shop", "namespace": namespace.name,
                                  "annotations": {"releaselifecycle.dev/retryAt": "old"}},
                     "spec": {"serviceAccountName": "deployer", "source": {"objects": objects}}});
    ensure!(helm::run(&namespace, "helm", &["uninstall", "shop"]).is_err(), "its hook fails");
    let controller = namespace.controller()?;
    namespace.cluster().apply(&old.to_string())?;
    let release =
        namespace.wait("shop", &controller, "waiting", |it| reason(it) == "HelmAtWork").await?;
    let command = format!("`kubectl lifecycle retry shop -n {}`", namespace.name);
    assert!(message(&release).ends_with(&command), "{}", message(&release));
    // It is looked at again, and goes on waiting.
    let looks = || -> Result<usize> {
        Ok(namespace.audit()?.iter().filter(|it| it.impersonated.is_some()).count())
    };
    let before = looks()?;
    namespace.kubectl(&["annotate", "rl", "shop", "example.com/look=again"])?;
    let start = std::time::Instant::now();
    while looks()? == before {
        ensure!(start.elapsed().as_secs() < 60, "it is not looked at again");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(states(&namespace)?, ["uninstalling"]);
    namespace.annotate("shop", "retryAt", "now")?;
    wait_deployed(&namespace, &controller, 1).await?;
    assert!(wait_told(&namespace, "HelmGaveUp")?.contains("uninstalling"));
    Ok(())
}

#[tokio::test]
async fn another_releaselifecycle_keeps_its_release_while_it_is_there() -> Result<()> {
    let namespace = Namespace::new(kwok(), "two-owners").await?;
    let controller = namespace.controller()?;
    let objects = [config_map("main", ""), job("hook").hook("pre-install,pre-upgrade")];
    let keep = json!({"releaseName": "store", "deletion": {"objects": "Keep"}});
    namespace.release("first", &objects, keep.clone()).await?;
    namespace.wait_ready("first", &controller).await?;
    namespace.release("second", &objects, keep).await?;
    let release = namespace.wait_stalled("second", &controller).await?;
    assert_eq!(reason(&release), "ForeignRelease", "{}", message(&release));
    // As the message says.
    let before = done(&namespace)?;
    namespace.kubectl(&["delete", "rl", "first"])?;
    namespace.kubectl(&["annotate", "rl", "second", "test/look=now"])?;
    namespace.wait_ready("second", &controller).await?;
    assert_eq!(done(&namespace)?, before);
    // Made anew, it says the same in other words.
    namespace.kubectl(&["delete", "rl", "second"])?;
    let [main, hook] = objects;
    namespace.release("second", &[hook, main], json!({"releaseName": "store"})).await?;
    namespace.wait_ready("second", &controller).await?;
    assert_eq!(done(&namespace)?, before);
    Ok(())
}

#[tokio::test]
async fn what_helm_does_behind_our_back_is_noticed_and_answered_once() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-behind").await?;
    let objects = |value: &str| {
        [config_map("main", value), job("hook").hook("pre-install,pre-upgrade,pre-rollback")]
    };
    let controller = namespace.controller()?;
    for (value, revision) in [("1", 1), ("2", 2)] {
        namespace.release("shop", &objects(value), json!({})).await?;
        wait_deployed(&namespace, &controller, revision).await?;
    }
    // Nobody touches the object from now on.
    helm::run(&namespace, "helm", &["rollback", "shop", "1"])?;
    wait_deployed(&namespace, &controller, 4).await?;
    let main = namespace.object("ConfigMap", "main").await?.context("it is there")?;
    assert_eq!(main["data"]["value"], "2");
    let told = wait_told(&namespace, "Adopted")?;
    assert!(told.contains("revision 3 of release shop"), "{told}");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"; 3], "1, 2, 4");
    assert_eq!(states(&namespace)?, ["superseded", "superseded", "superseded", "deployed"]);

    // What equals the spec is taken over as it is.
    helm::run(&namespace, "helm", &["rollback", "shop", "2", "--no-hooks"])?;
    wait_deployed(&namespace, &controller, 5).await?;
    assert_eq!(namespace.tenant_did("create")?.len(), 3);

    helm::run(&namespace, "helm", &["uninstall", "shop"])?;
    wait_deployed(&namespace, &controller, 1).await?;
    assert_eq!(namespace.tenant_did("create")?.len(), 4);
    wait_told(&namespace, "UninstalledByHelm")?;

    helm::run(&namespace, "helm", &["uninstall", "shop", "--keep-history"])?;
    wait_deployed(&namespace, &controller, 2).await?;
    assert_eq!(states(&namespace)?, ["uninstalled", "deployed"]);
    Ok(())
}

#[tokio::test]
async fn what_helm_did_while_the_operator_was_away_is_noticed_too() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-away").await?;
    let mut first = namespace.controller()?;
    for name in ["other", "shop"] {
        for value in ["1", "2"] {
            namespace.release(name, &[config_map(name, value)], json!({})).await?;
            namespace.wait_ready(name, &first).await?;
        }
    }
    first.kill()?;
    helm::run(&namespace, "helm", &["rollback", "shop", "1"])?;
    let before = namespace.tenant_writes()?.len();
    let second = namespace.controller()?;
    wait_deployed(&namespace, &second, 4).await?;
    let main = namespace.object("ConfigMap", "shop").await?.context("it is there")?;
    assert_eq!(main["data"]["value"], "2");
    let writes = namespace.tenant_writes()?.split_off(before);
    assert!(!writes.iter().any(|write| write.contains("other")), "{writes:?}");
    Ok(())
}

#[tokio::test]
async fn records_in_config_maps_bring_nothing_back_that_is_gone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "helm-maps").await?;
    let objects = [config_map("main", "1"), job("hook").hook("pre-install")];
    let folder = folder(&namespace, &objects)?;
    let install = ["install", "shop", &folder.to_string_lossy()];
    let helm =
        helm::command(&namespace, "helm", &install)?.env("HELM_DRIVER", "configmap").status()?;
    ensure!(helm.success(), "helm install with HELM_DRIVER=configmap");
    let controller = namespace.controller()?;
    namespace.release("shop", &objects, json!({})).await?;
    wait_deployed(&namespace, &controller, 1).await?;
    assert_eq!(done(&namespace)?, Vec::<String>::new());
    namespace.kubectl(&["delete", "rl", "shop"])?;
    assert_eq!(namespace.object("ConfigMap", "main").await?, None);
    // The ConfigMaps still say that it is deployed.
    namespace.release("shop", &objects, json!({})).await?;
    wait_deployed(&namespace, &controller, 2).await?;
    namespace.object("ConfigMap", "main").await?.context("it is installed again")?;
    Ok(())
}

#[tokio::test]
async fn what_a_failed_install_had_taken_stays() -> Result<()> {
    let namespace = Namespace::new(kwok(), "taken").await?;
    namespace.apply(&config_map("precious", "theirs")).await?;
    let uid = namespace.uid("ConfigMap", "precious").await?;
    let controller = namespace.controller()?;
    let objects = [
        config_map("precious", "ours"),
        config_map("own", ""),
        job("no").hook("post-install").fails(),
    ];
    let install = json!({"takeOwnership": true, "onFailure": "Uninstall"});
    let spec = json!({"install": install, "forceConflicts": true});
    namespace.release("shop", &objects, spec).await?;
    let is_remedied = |release: &ReleaseLifecycle| {
        e2e::condition(release, "Remediated").is_some_and(|it| it.status == "True")
    };
    namespace.wait("shop", &controller, "uninstalled", is_remedied).await?;
    assert_eq!(namespace.object("ConfigMap", "own").await?, None);
    assert_eq!(namespace.uid("ConfigMap", "precious").await?, uid);
    Ok(())
}

/// A chart whose parent sets values of its subchart to null: Helm 3 leaves them out, Helm 4 goes by the
/// subchart's own.
fn chart_with_nulls(namespace: &Namespace) -> Result<Chart> {
    let parent = "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n\
                  - {name: sub, version: 0.1.0}\n";
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: sub}\nstringData:\n  \
                values: {{ omit .Values \"global\" | toJson | quote }}\n  \
                revision: \"{{ .Release.Revision }}\"\n  random: {{ randAlphaNum 8 }}\n";
    Chart::new(namespace, "shop")?
        .file("Chart.yaml", parent)?
        .file("values.yaml", "sub: {strategy: null, replicas: null}\n")?
        .file("templates/main.yaml", &config_map("main", "1").to_string())?
        .file("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 0.1.0\n")?
        .file("charts/sub/values.yaml", "replicas: 3\nstrategy: {type: hunter2}\n")?
        .file("charts/sub/templates/secret.yaml", text)
}

#[tokio::test]
async fn what_helm_3_has_rendered_otherwise_is_listed_when_it_is_taken_over() -> Result<()> {
    for (program, differs) in [("helm3", true), ("helm", false)] {
        let namespace = Namespace::new(kwok(), &format!("nulls-{program}")).await?;
        let chart = chart_with_nulls(&namespace)?;
        let folder = chart.folder().to_string_lossy();
        helm::run(&namespace, program, &["install", "shop", &folder])?;
        let controller = namespace.controller()?;
        chart.put(&namespace).await?;
        namespace.release("shop", &[], chart.source()).await?;
        let release = wait_deployed(&namespace, &controller, 1).await?;
        assert_eq!(done(&namespace)?, Vec::<String>::new(), "nothing runs");
        if !differs {
            assert_eq!(message(&release), "revision 1 is deployed", "{program}");
            continue;
        }
        // What differs each time, by chance or by the revision, is not what Helm 4 does otherwise.
        let what = "The chart renders to something else than what Helm has recorded, which the next \
                    upgrade applies: Secret/sub (stringData.values)";
        assert_eq!(message(&release), format!("revision 1 is deployed. {what}"));
        assert_eq!(wait_told(&namespace, "RendersOtherwise")?, what);
        // It is no more once something was rendered here.
        let more = json!({"values": {"a": "b"}, "source": chart.source()["source"]});
        namespace.release("shop", &[], more).await?;
        let release = wait_deployed(&namespace, &controller, 2).await?;
        assert!(!message(&release).contains("something else"), "{}", message(&release));
    }
    Ok(())
}
