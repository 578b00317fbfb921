//! Charts and values that are wrong: each is told, and nothing of the release is touched.

use anyhow::{Result, ensure};
use e2e::{Chart, Namespace, kwok, message, reason};
use serde_json::{Value, json};

use super::{config_map, merged};

/// A chart of one template, and what is said of it with these values.
async fn told(
    namespace: &Namespace,
    name: &str,
    files: &[(&str, &str)],
    more: Value,
) -> Result<(String, String)> {
    let controller = namespace.controller()?;
    let mut chart = Chart::new(namespace, name)?;
    for (path, text) in files {
        chart = chart.file(path, text)?;
    }
    chart.put(namespace).await?;
    namespace.release(name, &[], merged(chart.source(), more)).await?;
    let release = namespace.wait_stalled(name, &controller).await?;
    ensure!(release.status.as_ref().is_some_and(|status| status.operation.is_none()));
    Ok((reason(&release).to_owned(), message(&release).to_owned()))
}

#[tokio::test]
async fn what_is_wrong_with_a_chart_or_its_values_is_told_by_file_line_and_path() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad-charts").await?;
    let template = |data: &str| config_map("a", data);
    let syntax = template("a: b\nc: {{ .Values.x | nosuchfunction }}");
    let required = template("a: {{ required \"who is needed\" .Values.who }}");
    let fails = template("a: b\nb: {{ fail \"never on Fridays\" }}");
    let not_yaml = "apiVersion: v1\nkind: [ConfigMap\n";
    let schema = r#"{"type": "object", "properties": {"port": {"type": "integer"}}}"#;
    let remote = r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#;
    let forbidden =
        template("a: {{ (lookup \"v1\" \"NoSuchKind\" \"x\" \"y\") | toJson | quote }}");
    let cases: &[(&str, &[(&str, &str)], Value, &str, &[&str])] = &[
        (
            "syntax",
            &[("templates/a.yaml", &syntax)],
            json!({}),
            "TemplateError",
            &["syntax/templates/a.yaml:7", "nosuchfunction"],
        ),
        (
            "required",
            &[("templates/a.yaml", &required)],
            json!({}),
            "TemplateError",
            &["required/templates/a.yaml:6", "who is needed"],
        ),
        (
            "fails",
            &[("templates/a.yaml", &fails)],
            json!({}),
            "TemplateError",
            &["fails/templates/a.yaml:7", "never on Fridays"],
        ),
        (
            "not-yaml",
            &[("templates/a.yaml", not_yaml)],
            json!({}),
            "TemplateError",
            &["not-yaml/templates/a.yaml", "YAML"],
        ),
        (
            "schema",
            &[("values.schema.json", schema)],
            json!({"values": {"port": "many"}}),
            "InvalidValues",
            &["/port", "integer"],
        ),
        (
            "remote",
            &[("values.schema.json", remote)],
            json!({}),
            "InvalidValues",
            &["http://127.0.0.1:1/schema.json", "fetched"],
        ),
        (
            "lookup",
            &[("templates/a.yaml", &forbidden)],
            json!({}),
            "TemplateError",
            &["lookup/templates/a.yaml:6", "NoSuchKind"],
        ),
        (
            "subchart",
            &[(
                "Chart.yaml",
                "apiVersion: v2\nname: subchart\nversion: 1.0.0\n\
                         dependencies: [{name: db, version: 1.0.0, repository: 'https://x.example'}]\n",
            )],
            json!({}),
            "InvalidChart",
            &["db"],
        ),
        (
            "kube",
            &[(
                "Chart.yaml",
                "apiVersion: v2\nname: kube\nversion: 1.0.0\n\
                     kubeVersion: '>=1.99'\n",
            )],
            json!({}),
            "InvalidChart",
            &["1.99"],
        ),
        (
            "library",
            &[(
                "Chart.yaml",
                "apiVersion: v2\nname: library\nversion: 1.0.0\n\
                        type: library\n",
            )],
            json!({}),
            "InvalidChart",
            &["library"],
        ),
    ];
    for (name, files, more, why, words) in cases {
        let (reason, said) = told(&namespace, name, files, more.clone()).await?;
        ensure!(reason == *why, "{name}: {reason}: {said}");
        for word in *words {
            ensure!(said.contains(word), "{name}: {word:?} is not in {said:?}");
        }
    }
    Ok(())
}
