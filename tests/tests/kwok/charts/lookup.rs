//! `lookup` does what it does in Helm, whatever name a chart asks for.

use std::fmt::Write as _;

use anyhow::Result;
use e2e::{Chart, Namespace, helm, kwok, message, reason};
use serde_json::json;

use super::{config_map, data};

/// A lookup of a `ConfigMap` of this name in the release's namespace.
fn named(name: &str) -> String {
    format!("(lookup \"v1\" \"ConfigMap\" .Release.Namespace {name:?})")
}

#[tokio::test]
async fn what_no_object_can_be_called_is_not_found() -> Result<()> {
    let namespace = Namespace::new(kwok(), "lookup-odd").await?;
    let controller = namespace.controller()?;
    namespace.kubectl(&["create", "configmap", "a"])?;
    let names = ["{{ no name }}", "no name", "A", "a?x=y", "a#b", "ä", "a&b", "...", "a\\b", "\n"];
    let mut text = format!("there: {{{{ {} | len | quote }}}}\n", named("a"));
    for (index, name) in names.iter().enumerate() {
        writeln!(text, "n{index}: {{{{ {} | len | quote }}}}", named(name))?;
    }
    // A kind of which there is no object, and a namespace that does not exist.
    text += "kind: {{ (lookup \"v1\" \"No Such/Kind\" \"x\" \"y\") | len | quote }}\n";
    text += "empty: {{ (lookup \"v1\" \"\" \"x\" \"y\") | len | quote }}\n";
    // What has no namespace is found whatever is said of one.
    text += "cluster: {{ (lookup \"v1\" \"Namespace\" \"../x y\" .Release.Namespace) | len | quote }}\n";
    text += "nowhere: {{ (lookup \"v1\" \"ConfigMap\" \"\" \"a\") | len | quote }}\n";
    let chart =
        Chart::new(&namespace, "odd")?.file("templates/found.yaml", &config_map("found", &text))?;
    let folder = chart.folder().to_string_lossy();
    let dry = ["install", "odd", &folder, "--dry-run=server"];
    let helms = helm::json(&namespace, "helm", &dry)?;
    namespace.kubectl(&[
        "create",
        "clusterrole",
        &namespace.name,
        "--verb=get",
        "--resource=namespaces",
    ])?;
    let account = format!("--serviceaccount={}:deployer", namespace.name);
    let role = format!("--clusterrole={}", namespace.name);
    namespace.kubectl(&["create", "clusterrolebinding", &namespace.name, &role, &account])?;
    chart.put(&namespace).await?;
    namespace.release("odd", &[], chart.source()).await?;
    namespace.wait_ready("odd", &controller).await?;
    let found = data(&namespace, "found").await?;
    assert_ne!(found["there"], "0");
    assert_ne!(found["cluster"], "0");
    for (index, name) in names.iter().enumerate() {
        assert_eq!(found[format!("n{index}")], "0", "{name:?}");
    }
    for name in ["kind", "empty", "nowhere"] {
        assert_eq!(found[name], "0", "{name}");
    }
    let manifest = helm::run(&namespace, "helm", &["get", "manifest", "odd"])?;
    assert_eq!(Some(manifest.trim_end()), helms["manifest"].as_str().map(str::trim_end));
    namespace.kubectl(&["delete", "clusterrole,clusterrolebinding", &namespace.name])?;
    Ok(())
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_an_error_as_in_helm() -> Result<()> {
    let namespace = Namespace::new(kwok(), "lookup-path").await?;
    let controller = namespace.controller()?;
    let elsewhere = "(lookup \"v1\" \"ConfigMap\" \"../../../x\" \"a\")".to_owned();
    let version = "(lookup \"v1/../../x\" \"ConfigMap\" \"x\" \"a\")".to_owned();
    for (name, call, why) in [
        ("slash", named("a/b"), "invalid resource name \"a/b\": may not contain '/'"),
        ("up", named(".."), "invalid resource name \"..\": may not be '..'"),
        ("here", named("."), "invalid resource name \".\": may not be '.'"),
        ("out", named("../secrets/s"), "may not contain '/'"),
        ("encoded", named("..%2Fsecrets%2Fs"), "may not contain '%'"),
        ("namespace", elsewhere, "invalid namespace \"../../../x\": may not contain '/'"),
        ("version", version, "the cluster does not know apiVersion"),
    ] {
        let text = config_map("found", &format!("a: {{{{ {call} | len | quote }}}}"));
        let chart = Chart::new(&namespace, name)?.file("templates/a.yaml", &text)?;
        let folder = chart.folder().to_string_lossy();
        let helms = helm::run(&namespace, "helm", &["install", name, &folder, "--dry-run=server"]);
        assert!(helms.is_err(), "{name}: Helm takes it");
        chart.put(&namespace).await?;
        namespace.release(name, &[], chart.source()).await?;
        let release = namespace.wait_stalled(name, &controller).await?;
        assert_eq!(reason(&release), "TemplateError", "{name}");
        assert!(message(&release).contains(why), "{name}: {}", message(&release));
    }
    let asked = namespace.audit()?.into_iter().map(|event| event.uri).collect::<Vec<_>>();
    assert!(!asked.iter().any(|uri| uri.contains("secrets/s?") || uri.contains("..")), "{asked:?}");
    assert_eq!(json!(null), data(&namespace, "found").await?);
    Ok(())
}
