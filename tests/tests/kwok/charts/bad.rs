//! Charts and values that are wrong: each is told, and nothing of the release is touched.

use anyhow::{Result, ensure};
use e2e::{Chart, Namespace, kwok, message, reason};
use serde_json::{Value, json};

use super::{config_map, merged};

/// A chart with one file of its own, and what is said of it.
struct Case {
    name: &'static str,
    file: &'static str,
    text: String,
    reason: &'static str,
    words: [&'static str; 2],
}

/// The text of a case that stands in a template.
fn template(name: &'static str, data: &str, words: [&'static str; 2]) -> Case {
    let text = config_map("a", data);
    Case { name, file: "templates/a.yaml", text, reason: "TemplateError", words }
}

fn file(
    name: &'static str,
    file: &'static str,
    text: &str,
    reason: &'static str,
    words: [&'static str; 2],
) -> Case {
    Case { name, file, text: text.to_owned(), reason, words }
}

async fn check(prefix: &str, cases: Vec<Case>, more: Value) -> Result<()> {
    let namespace = Namespace::new(kwok(), prefix).await?;
    let controller = namespace.controller()?;
    for Case { name, file, text, reason: why, words } in cases {
        let chart = Chart::new(&namespace, name)?.file(file, &text)?;
        chart.put(&namespace).await?;
        namespace.release(name, &[], merged(chart.source(), more.clone())).await?;
        let release = namespace.wait_stalled(name, &controller).await?;
        ensure!(release.status.as_ref().is_some_and(|status| status.operation.is_none()));
        let (reason, said) = (reason(&release), message(&release));
        ensure!(reason == why, "{name}: {reason}: {said}");
        for word in words {
            ensure!(said.contains(word), "{name}: {word:?} is not in {said:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_template_is_told_by_file_and_line_in_helms_words() -> Result<()> {
    let lookup = "a: {{ (lookup \"nope.example/v1\" \"Thing\" \"x\" \"y\") | toJson | quote }}";
    let secrets = "a: {{ (lookup \"v1\" \"Secret\" \"kube-system\" \"\") | toJson | quote }}";
    let cases = vec![
        template(
            "syntax",
            "a: b\nc: {{ .Values.x | nosuchfunction }}",
            ["syntax/templates/a.yaml:7", "nosuchfunction"],
        ),
        template(
            "required",
            "a: {{ required \"who is needed\" .Values.who }}",
            ["required/templates/a.yaml:6", "who is needed"],
        ),
        template(
            "fails",
            "a: b\nb: {{ fail \"never on Fridays\" }}",
            ["fails/templates/a.yaml:7", "never on Fridays"],
        ),
        template("lookup", lookup, ["lookup/templates/a.yaml:6", "nope.example/v1"]),
        // The tenant may not, whatever the operator may.
        template("secrets", secrets, ["secrets/templates/a.yaml:6", "forbidden"]),
        file(
            "not-yaml",
            "templates/a.yaml",
            "apiVersion: v1\nkind: [ConfigMap\n",
            "TemplateError",
            ["not-yaml/templates/a.yaml", "YAML"],
        ),
    ];
    check("bad-templates", cases, json!({})).await
}

#[tokio::test]
async fn what_is_wrong_with_values_and_with_a_chart_itself_is_told() -> Result<()> {
    let port = r#"{"type": "object", "properties": {"port": {"type": "integer"}}}"#;
    let remote = r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#;
    let about =
        |name: &str, more: &str| format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n{more}\n");
    let needs = "dependencies: [{name: db, version: 1.0.0, repository: 'https://x.example'}]";
    let chart =
        |name, more, words| file(name, "Chart.yaml", &about(name, more), "InvalidChart", words);
    let schema = "values.schema.json";
    let cases = vec![
        file("schema", schema, port, "InvalidValues", ["/port", "integer"]),
        file("remote", schema, remote, "InvalidValues", ["127.0.0.1:1/schema.json", "fetched"]),
        chart("subchart", needs, ["db", "charts/"]),
        chart("kube", "kubeVersion: '>=1.99'", ["1.99", "v1."]),
        chart("library", "type: library", ["library", "install"]),
    ];
    check("bad-charts", cases, json!({"values": {"port": "many"}})).await
}
