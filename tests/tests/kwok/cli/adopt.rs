//! `adopt`: what the real Helm has installed is taken over by what is written for it.

mod flux;

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{
    Chart, Controller, Namespace, condition,
    helm::{self, HELMS},
    kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::{Value, json};
use testkit::servers::{Answer, PASSWORD, Registry, Site, USERNAME};

use super::{Cli, End};

/// `helm install|upgrade` with a chart of these objects.
fn by_helm(namespace: &Namespace, program: &str, action: &str, objects: &[Value]) -> Result<()> {
    let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    let folder = helm::chart(namespace, "shop", &texts)?;
    helm::run(namespace, program, &[action, "shop", &folder.to_string_lossy()])?;
    Ok(())
}

fn adopt(cli: &Cli<'_>, more: &[&str]) -> Result<End> {
    let end = cli.run(&[&["adopt", "shop", "--service-account", "deployer"], more].concat())?;
    ensure!(end.code == Some(0), "{more:?}: {end:?}");
    Ok(end)
}

/// `… | kubectl apply -f -`.
fn apply(cli: &Cli<'_>, written: &str) -> Result<String> {
    let file = cli.write("adopted.yaml", written)?;
    cli.namespace.kubectl(&["apply", "-f", &file.to_string_lossy()])
}

/// An operator that may fetch charts from servers of this machine.
fn fetcher(namespace: &Namespace, cli: &Cli<'_>) -> Result<Controller> {
    let cache = cli.folder.path().join("cache");
    let args = ["--source-allow=127.0.0.0/8", "--chart-cache", &cache.to_string_lossy()];
    namespace.controller_with(&args)
}

/// Waits until the newest revision is this one, and nothing runs.
async fn wait_in_sync(
    namespace: &Namespace,
    controller: &Controller,
    revision: i32,
) -> Result<ReleaseLifecycle> {
    let is = |release: &ReleaseLifecycle| {
        release.status.as_ref().is_some_and(|status| status.revision == Some(revision))
            && condition(release, "Ready").is_some_and(|ready| ready.status == "True")
    };
    namespace.wait("shop", controller, "deployed", is).await
}

/// Returns what the operator has done as the tenant to anything but the records.
fn done(namespace: &Namespace) -> Result<Vec<String>> {
    let mut writes = namespace.tenant_writes()?;
    writes.retain(|write| !write.contains("sh.helm.release.v1."));
    Ok(writes)
}

/// Objects of every kind that is written in a way of its own.
fn objects(value: &str) -> Vec<Value> {
    let tidied = config_map("tidied", value)
        .set("/metadata/creationTimestamp", Value::Null)
        .set("/metadata/labels", json!({}));
    let kept = config_map("kept", "").annotation("helm.sh/resource-policy", "keep");
    vec![
        tidied,
        kept,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
               "data": {"password": "aHVudGVyMg=="}}),
        job("migrate").hook("pre-install,pre-upgrade").weight("-5"),
        job("tell").hook("post-upgrade").annotation("helm.sh/hook-delete-policy", "hook-failed"),
        job("smoke").hook("test-success"),
    ]
}

#[tokio::test]
async fn the_objects_of_a_release_are_taken_over_and_nothing_runs() -> Result<()> {
    for program in HELMS {
        let namespace = Namespace::new(kwok(), &format!("adopt-{program}")).await?;
        by_helm(&namespace, program, "install", &objects("1"))?;
        by_helm(&namespace, program, "upgrade", &objects("2"))?;
        let cli = Cli::new(&namespace)?;
        let End { out, err, .. } = adopt(&cli, &[])?;
        let says = "nothing would run: revision 2 of shop is the same\n";
        assert!(err.ends_with(says), "{err}");
        assert!(err.contains("ConfigMap/kept stays when the release is deleted"), "{err}");
        assert!(!err.contains("hunter2") && !err.contains("aHVudGVyMg"), "{err}");
        let documents = ::helm::manifest::parse(&out)?;
        let holds = |it: &&Value| it.to_string().contains("aHVudGVyMg");
        let holders: Vec<_> = documents.iter().filter(holds).map(|it| &it["kind"]).collect();
        assert_eq!(holders, ["Secret"], "{out}");

        apply(&cli, &out)?;
        let controller = namespace.controller()?;
        let release = wait_in_sync(&namespace, &controller, 2).await?;
        assert_eq!(reason(&release), "InSync", "{}", message(&release));
        assert_eq!(done(&namespace)?, Vec::<String>::new(), "{program}");

        // Asked again, it says whose the release is by now.
        let again = adopt(&cli, &[])?;
        assert_eq!(again.out, out);
        let says = "revision 2 of shop is that of ReleaseLifecycle shop already";
        assert!(again.err.contains(says), "{}", again.err);
        assert!(again.err.contains("applying this changes it"), "{}", again.err);
    }
    Ok(())
}

/// A repository with these versions of the chart, and an index as Helm makes it.
async fn repository(namespace: &Namespace, chart: &Path, versions: &[&str]) -> Result<Site> {
    let site = Site::plain().await?;
    let folder = tempfile::tempdir()?;
    let to = folder.path().to_string_lossy();
    let chart = chart.to_string_lossy();
    for version in versions {
        let package = ["package", &chart, "--version", version, "--destination", &to];
        helm::run(namespace, "helm", &package)?;
        let name = format!("shop-{version}.tgz");
        site.put(&format!("/{name}"), Answer::file(fs::read(folder.path().join(&name))?));
    }
    helm::run(namespace, "helm", &["repo", "index", &to])?;
    site.put("/index.yaml", Answer::file(fs::read(folder.path().join("index.yaml"))?));
    Ok(site)
}

// The site answers while the program is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_is_taken_over_with_its_values_apart() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-chart").await?;
    let main = config_map("main", "{{ .Values.a }} {{ randAlpha 9 }}").to_string();
    let hook = job("{{ .Chart.Version }}").hook("pre-upgrade").to_string();
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/main.yaml", &main)?
        .file("templates/hook.yaml", &hook)?;
    let site = repository(&namespace, chart.folder(), &["1.0.0", "1.1.0"]).await?;
    let url = site.url();
    let values = cli_values();
    let cli = Cli::new(&namespace)?;
    let file = cli.write("values.yaml", &values.to_string())?;
    let folder = chart.folder().to_string_lossy();
    let install = ["install", "shop", &folder, "--values", &file.to_string_lossy()];
    helm::run(&namespace, "helm", &install)?;
    let before = namespace.object("ConfigMap", "main").await?.context("Helm has made it")?;

    let End { out, err, .. } = adopt(&cli, &["--repo", &url])?;
    assert_eq!(err, "nothing would run: revision 1 of shop is the same\n");
    assert_eq!(out.matches("hunter2").count(), 1, "{out}");
    // What would run otherwise, and why.
    let newer = adopt(&cli, &["--repo", &url, "--version", "^1.0.0"])?.err;
    let says = "an upgrade to revision 2 would run, because revision 1 is of chart shop 1.0.0, and \
                this is chart shop 1.1.0\n";
    assert!(newer.starts_with(says), "{newer}");
    assert!(newer.contains("pre-upgrade  Job/1.1.0"), "{newer}");
    assert!(!newer.contains("hunter2"), "{newer}");
    // Where nobody can look at the chart, what it hangs on is said.
    for more in [
        &["--repo", "http://127.0.0.1:1"][..],
        &["--chart", "oci://127.0.0.1:1/shop", "--plain-http"],
        &["--repo", &url, "--secret-ref", "login"],
        &["--source-ref", "HelmChart/shop"],
    ] {
        let said = adopt(&cli, more)?.err;
        let says = "nothing would run if this is chart shop 1.0.0, which is unknown here:";
        assert!(said.starts_with(says), "{more:?}: {said}");
    }

    apply(&cli, &out)?;
    let controller = fetcher(&namespace, &cli)?;
    let release = wait_in_sync(&namespace, &controller, 1).await?;
    assert_eq!(reason(&release), "InSync", "{}", message(&release));
    assert_eq!(done(&namespace)?, Vec::<String>::new());
    assert_eq!(namespace.object("ConfigMap", "main").await?, Some(before));
    Ok(())
}

// As above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_helm_3_has_rendered_otherwise_is_listed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-nulls").await?;
    let parent = "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n\
                  - {name: sub, version: 0.1.0}\n";
    let object = config_map("sub", "{{ .Values.login | toJson | b64enc }}").to_string();
    let chart = Chart::new(&namespace, "shop")?
        .file("Chart.yaml", parent)?
        .file("values.yaml", "sub: {login: null}\n")?
        .file("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 0.1.0\n")?
        .file("charts/sub/values.yaml", "login: {password: hunter2}\n")?
        .file("charts/sub/templates/main.yaml", &object)?;
    let site = repository(&namespace, chart.folder(), &["1.0.0"]).await?;
    helm::run(&namespace, "helm3", &["install", "shop", &chart.folder().to_string_lossy()])?;
    let said = adopt(&Cli::new(&namespace)?, &["--repo", &site.url()])?.err;
    let what = "warning: the chart renders to something else than what Helm has recorded, which the \
                next upgrade would apply (here lookup finds nothing; the operator asks the cluster): \
                ConfigMap/sub (data.value). See `helm get manifest shop -n ";
    assert!(said.starts_with(what), "{said}");
    assert!(said.ends_with("nothing would run: revision 1 of shop is the same\n"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("aHVudGVyMg"), "{said}");
    Ok(())
}

/// Returns what only the operator can fetch is taken over all the same.
#[tokio::test]
async fn a_chart_in_a_registry_with_a_login_is_taken_over() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-oci").await?;
    let hook = job("hook").hook("pre-upgrade").to_string();
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/main.yaml", &config_map("main", "{{ .Values.a }}").to_string())?
        .file("templates/hook.yaml", &hook)?;
    let cli = Cli::new(&namespace)?;
    let registry = Registry::start(None)?;
    let (folder, to) = (chart.folder().to_string_lossy(), cli.folder.path().to_string_lossy());
    helm::run(&namespace, "helm", &["package", &folder, "--destination", &to])?;
    let (package, url) = (format!("{to}/shop-1.0.0.tgz"), format!("oci://{}", registry.address()));
    let login = ["--username", USERNAME, "--password", PASSWORD, "--plain-http"];
    helm::run(&namespace, "helm", &[&["push", &*package, &*url], &login[..]].concat())?;
    helm::run(&namespace, "helm3", &["install", "shop", &folder, "--set", "a=hunter2"])?;

    let chart = format!("{url}/shop");
    let from = ["--chart", &*chart, "--plain-http", "--secret-ref", "login"];
    let End { out, err, .. } = adopt(&cli, &from)?;
    let says = "nothing would run if this is chart shop 1.0.0, which is unknown here: it is \
                fetched with a Secret";
    assert!(err.starts_with(says) && !err.contains("hunter2"), "{err}");
    apply(&cli, &out)?;
    namespace
        .apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
                       "stringData": {"username": USERNAME, "password": PASSWORD}}))
        .await?;
    let controller = fetcher(&namespace, &cli)?;
    wait_in_sync(&namespace, &controller, 1).await?;
    assert_eq!(done(&namespace)?, Vec::<String>::new());
    Ok(())
}

/// Values that YAML might change on their way.
fn cli_values() -> Value {
    json!({"a": "0777", "yes": "no", "list": [{"b": null}, 1.5, true], "big": 12_345_678_901_u64,
           "password": "hunter2", "text": "two\nlines\n"})
}

#[tokio::test]
async fn what_is_in_the_way_is_told() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-pending").await?;
    let cli = Cli::new(&namespace)?;
    let hook = job("hook").hook("pre-upgrade");
    by_helm(&namespace, "helm", "install", &[config_map("main", "1"), hook.clone()])?;
    let failing = [config_map("main", "2"), hook.clone().fails()];
    ensure!(by_helm(&namespace, "helm", "upgrade", &failing).is_err(), "its hook fails");
    let said = adopt(&cli, &[])?.err;
    let says = "an upgrade to revision 3 would run, because revision 2, the newest, is failed, and \
                this is the same as revision 1\n";
    assert!(said.starts_with(says), "{said}");
    assert!(said.contains("1  pre-upgrade  Job/hook"), "{said}");

    let slow = [config_map("main", "2"), hook.never_ends()];
    let texts: Vec<_> = slow.iter().map(Value::to_string).collect();
    let folder = helm::chart(&namespace, "shop", &texts)?;
    let upgrade = ["upgrade", "shop", &folder.to_string_lossy()];
    let mut upgrade = helm::command(&namespace, "helm", &upgrade)?.spawn()?;
    let active = namespace.wait_active("hook").await;
    upgrade.kill()?;
    upgrade.wait()?;
    active?;
    let said = adopt(&cli, &[])?.err;
    for part in [
        "warning: revision 3 is pending-upgrade: Helm, which has last written to it at 20",
        "once no client is at work on it any more, an upgrade to revision 4 would run",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_taken_over_so_is_told_with_the_right_exit_code() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-bad").await?;
    let cli = Cli::new(&namespace)?;
    let said = cli.bad(2, &["adopt", "shop"])?;
    assert!(said.contains("Helm has recorded no release shop in namespace"), "{said}");
    by_helm(&namespace, "helm3", "install", &[config_map("main", "1")])?;
    let said = cli.bad(2, &["adopt", "store"])?;
    assert!(said.contains("no release store") && said.contains("there: shop"), "{said}");
    assert_eq!(cli.good(&["__complete", "adopt", "-n", &namespace.name, "s"])?, "shop\n:4\n");

    let reader = Cli::of_user(&namespace, "adopts", "get,list,watch")?;
    let said = reader.bad(2, &["adopt", "shop"])?;
    assert!(said.contains("a role with the verb list of secrets"), "{said}");

    let folder = helm::chart(&namespace, "shop", &[config_map("main", "1").to_string()])?;
    let upgrade = ["upgrade", "shop", &folder.to_string_lossy(), "--set", "a=1"];
    helm::run(&namespace, "helm3", &upgrade)?;
    namespace.kubectl(&["create", "secret", "generic", "shop-values", "--from-literal=a=b"])?;
    let chart = ["adopt", "shop", "--source-ref", "HelmChart/shop"];
    let said = cli.bad(1, &chart)?;
    assert!(
        said.contains("Secret shop-values is in namespace") && said.contains("--values-secret")
    );
    cli.good(&[&chart[..], &["--values-secret", "other"]].concat())?;

    helm::run(&namespace, "helm3", &["uninstall", "shop", "--keep-history"])?;
    let said = cli.bad(1, &["adopt", "shop"])?;
    assert!(said.contains("no revision of release shop is deployed"), "{said}");
    assert!(said.contains("(1 superseded, 2 uninstalled)"), "{said}");
    Ok(())
}

#[tokio::test]
async fn records_in_config_maps_are_read_too() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-maps").await?;
    let cli = Cli::new(&namespace)?;
    let folder = helm::chart(&namespace, "shop", &[config_map("main", "1").to_string()])?;
    let install = ["install", "shop", &folder.to_string_lossy()];
    let mut install = helm::command(&namespace, "helm", &install)?;
    ensure!(install.env("HELM_DRIVER", "configmap").output()?.status.success(), "helm install");
    let End { out, err, .. } = adopt(&cli, &[])?;
    assert!(err.contains("Helm keeps the records of this release in ConfigMaps"), "{err}");
    assert!(err.ends_with("revision 1 of shop is the same\n"), "{err}");
    let file = cli.write("adopted.yaml", &out)?;
    let file = file.to_string_lossy();
    namespace.kubectl(&["apply", "--dry-run=server", "-f", &file])?;
    Ok(())
}
