//! `plan` on charts: as `helm template` shows them, and as the controller then runs them.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::{Chart, Namespace, helm, kwok, root};
use serde_json::{Value, json};
use testkit::servers::{PASSWORD, Registry, USERNAME};

use super::Cli;

/// A hook for installs and one for upgrades, each with the revision in its name.
const HOOKS: &str = "\
{{- range list \"install\" \"upgrade\" }}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ . }}-{{ $.Release.Revision }}-{{ $.Release.IsUpgrade }}
  annotations: {helm.sh/hook: pre-{{ . }}, helm.sh/hook-weight: \"{{ $.Values.weight }}\"}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: \"busybox:1\", command: [\"true\"]}]
{{- end }}
";

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata:\n  \
                   who: {{ .Values.who | quote }}\n  port: {{ .Values.port | quote }}\n  \
                   seen: {{ lookup \"v1\" \"Secret\" .Release.Namespace \"values\" | len | quote }}\n";

fn chart(namespace: &Namespace) -> Result<Chart> {
    Chart::new(namespace, "shop")?
        .file("values.yaml", "who: world\nport: 80\nweight: 0\n")?
        .file("templates/hooks.yaml", HOOKS)?
        .file("templates/map.yaml", MAP)?
        .file(
            "crds/widgets.yaml",
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata: {name: widgets.example.com}\n",
        )
}

/// The names of the hooks of an event, in their order.
fn hooks(plan: &Value, event: &str) -> Vec<String> {
    let events = plan["events"].as_array().into_iter().flatten();
    let steps = events.filter(|it| it["event"] == event).filter_map(|it| it["steps"].as_array());
    let hooks = steps.flatten().filter(|step| step["step"] == "hook");
    hooks.map(|hook| hook["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Without the empty lines that Helm leaves between documents.
fn dense(text: &str) -> String {
    text.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn a_template_is_shown_as_helm_shows_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-show").await?;
    let cli = Cli::new(&namespace)?;
    let guide = root().join("examples/guide-chart/shop");
    let guide = guide.to_string_lossy();
    let file = cli.write("values.yaml", "database: {host: db, password: x}\n")?;
    let file = file.to_string_lossy();
    let values =
        ["-f", &*file, "--set", "service.port=90,status=ill", "--set-string", "slack.webhook=1"];
    for shown in [
        &["templates/hooks/db-migration.yaml"][..],
        &["templates/*"],
        &["templates/tests/api-test.yaml", "templates/web.yaml"],
    ] {
        let mut args = vec!["shop", &guide];
        args.extend(values);
        args.extend(shown.iter().flat_map(|it| ["--show-only", it]));
        let ours = cli.good(&[&["plan"], &*args].concat())?;
        let helms = helm::run(&namespace, "helm", &[&["template"], &*args].concat())?;
        assert_eq!(dense(&ours), dense(&helms), "{shown:?}");
    }
    // What the guide writes, and Helm does not take.
    let text = cli.good(&["plan", "shop", &guide, "--show-only", "templates/hooks/"])?;
    assert!(text.contains("# Source: shop/templates/hooks/backup.yaml"), "{text}");
    assert!(!text.contains("# Source: shop/templates/web.yaml"), "{text}");
    let said = cli.bad(1, &["plan", "shop", &guide, "--show-only", "web.yaml"])?;
    assert!(said.contains("--show-only web.yaml: no template of that name"), "{said}");
    assert!(said.contains("templates/web.yaml"), "{said}");
    Ok(())
}

/// From a folder, from an archive, from a release in files, and from the cluster.
#[tokio::test]
async fn a_chart_is_planned_wherever_it_is_and_runs_as_planned() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-chart").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let chart = chart(&namespace)?;
    let (folder, archive) = (chart.folder().to_owned(), chart.archive()?);
    let of =
        |path: &Path| cli.json(&["plan", "shop", &path.to_string_lossy(), "--set", "weight=3"]);
    let plan = of(&folder)?;
    assert_eq!(hooks(&plan, "install"), ["widgets.example.com", "install-1-false"]);
    assert_eq!(hooks(&plan, "upgrade"), ["upgrade-2-true"]);
    let steps = &plan["events"][0]["steps"];
    assert!(steps[0]["reason"].as_str().is_some_and(|it| it.contains("crds/")), "{steps}");
    assert_eq!(steps[1]["weight"], 3);
    let mut packed = of(&archive)?;
    packed["sources"] = plan["sources"].clone();
    assert_eq!(packed, plan);

    // Without the definition, which a tenant may not make.
    std::fs::remove_dir_all(folder.join("crds"))?;
    chart.put(&namespace).await?;
    let mut spec = chart.source();
    spec["serviceAccountName"] = json!("deployer");
    spec["valuesFrom"] = json!([{"kind": "Secret", "name": "values", "targetPath": "who",
                                 "valuesKey": "who"}]);
    let release = json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
                         "metadata": {"name": "shop", "namespace": namespace.name}, "spec": spec});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "values"},
                        "stringData": {"who": "hunter2"}});
    let file = cli.write("release.json", &release.to_string())?.to_string_lossy().into_owned();
    let values = cli.write("values.json", &secret.to_string())?.to_string_lossy().into_owned();
    let said = cli.bad(1, &["plan", "-f", &file])?;
    assert!(said.contains("spec.source.chart.archive (Secret/shop key chart.tgz): Secret/shop is"));
    assert!(
        said.contains("spec.valuesFrom[0] (Secret/values key who): Secret/values is"),
        "{said}"
    );
    let folder = folder.to_string_lossy();
    let offline = cli.json(&["plan", "-f", &file, "-f", &values, "--chart", &folder])?;
    assert_eq!(hooks(&offline, "install"), ["install-1-false"]);
    let map = ["plan", "-f", &file, "-f", &values, "--chart", &folder, "-s", "templates/map.yaml"];
    assert!(cli.good(&map)?.contains("who: \"hunter2\""));

    namespace.apply(&secret).await?;
    namespace.kubectl(&["apply", "-f", &file])?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/install-1-false"]);
    let online = cli.json(&["plan", "shop"])?;
    assert_eq!(hooks(&online, "upgrade"), ["upgrade-2-true"]);
    assert!(!online.to_string().contains("hunter2"), "{online}");
    namespace.kubectl(&[
        "patch",
        "rl",
        "shop",
        "--type=merge",
        "-p",
        r#"{"spec": {"values": {"port": 1}}}"#,
    ])?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/install-1-false", "jobs/upgrade-2-true"]);
    Ok(())
}

#[tokio::test]
async fn a_chart_is_fetched_from_a_registry_as_helm_fetches_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-oci").await?;
    let cli = Cli::new(&namespace)?;
    let registry = Registry::start(None)?;
    let chart = chart(&namespace)?;
    let folder = chart.folder().to_string_lossy();
    let packages = cli.folder.path().to_string_lossy().into_owned();
    let login = ["--username", USERNAME, "--password", PASSWORD, "--plain-http"];
    for version in ["1.0.0", "1.1.0", "2.0.0-rc.1"] {
        let package = ["package", &folder, "--version", version, "--destination", &packages];
        helm::run(&namespace, "helm", &package)?;
        let package = format!("{packages}/shop-{version}.tgz");
        let to = format!("oci://{}/charts", registry.address());
        helm::run(&namespace, "helm", &[&["push", &*package, &*to], &login[..]].concat())?;
    }
    let url = format!("oci://{}/charts/shop", registry.address());
    let show = |command: &str, range: &[&str]| -> Vec<String> {
        let args = [command, "shop", &*url, "--show-only", "templates/map.yaml"];
        [&args, &login[..], range].concat().into_iter().map(str::to_owned).collect()
    };
    for (range, version) in [(&[][..], "1.1.0"), (&["--version", "~1.0"], "1.0.0")] {
        let plan = [&["plan", "shop", &*url], &login[..], range].concat();
        let plan = cli.json(&plan)?;
        let notes = plan["notes"].to_string();
        assert!(notes.contains(&format!("fetched shop {version}, sha256:")), "{notes}");
        let [ours, helms] = ["plan", "template"].map(|command| show(command, range));
        let ours: Vec<_> = ours.iter().map(String::as_str).collect();
        let helms: Vec<_> = helms.iter().map(String::as_str).collect();
        let helms = helm::run(&namespace, "helm", &helms)?;
        assert_eq!(dense(&cli.good(&ours)?), dense(&helms));
    }
    let said = cli.bad(1, &["plan", "shop", &url, "--plain-http"])?;
    assert!(said.contains(&format!("chart {url}: ")) && !said.contains(PASSWORD), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_chart_is_told_with_the_right_exit_code() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-bad-chart").await?;
    let cli = Cli::new(&namespace)?;
    let chart = chart(&namespace)?
        .file("templates/bad.yaml", "{{ if .Values.bad }}{{ fail \"no\" }}{{ end }}")?;
    let folder = chart.folder().to_string_lossy().into_owned();
    let release = cli.write("release.yaml", "kind: ReleaseLifecycle\n")?;
    let release = release.to_string_lossy();
    for (code, args, part) in [
        (1, &[&*folder, "--set", "bad=true"][..], "shop/templates/bad.yaml:1:23"),
        (1, &[&*folder, "--set", "a"], "--set a: key \"a\" has no value"),
        (1, &[&*folder, "-f", &*release], "this is a ReleaseLifecycle, and after a CHART -f"),
        (1, &["-f", &*release, "--show-only", "x"], "--show-only is for charts"),
        (2, &["./no/such/chart"], "chart ./no/such/chart: a folder, an archive (.tgz) or oci://"),
        (2, &["https://charts.example/shop.tgz"], "fetch it with `helm pull`"),
        (
            2,
            &[&*folder, "--version", "1"],
            "--version, --plain-http, --username and --ca-file are for a chart at",
        ),
        (2, &[&*folder, "-f", "/no/such/file"], "reading values /no/such/file: No such file"),
        (2, &[&*folder, "--engine", "/no/such/engine"], "start /no/such/engine: No such file"),
        (2, &["shop", "--set", "a=1"], "--set is for a chart on the command line"),
        // Nobody listens there.
        (2, &["oci://127.0.0.1:1/shop", "--plain-http"], "127.0.0.1:1"),
    ] {
        let said = cli.bad(code, &[&["plan"], args].concat()).context(part)?;
        assert!(said.contains(part), "{args:?}: {said}");
    }
    Ok(())
}
