use anyhow::Result;
use e2e::{Chart, Namespace, kwok, message};
use serde_json::{Value, json};

use super::{config_map, data, merged};

async fn put(namespace: &Namespace, kind: &str, name: &str, key: &str, text: &str) -> Result<()> {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name},
                        field: {key: text}});
    namespace.apply(&object).await
}

fn echo(namespace: &Namespace) -> Result<Chart> {
    Chart::new(namespace, "shop")?
        .file("values.yaml", "a: chart\nb: chart\nc: chart\nd: chart\nlist: [1, 2]\ngone: here\n")?
        .file("templates/echo.yaml", &config_map("echo", "values: {{ .Values | toJson | quote }}"))
}

async fn values(namespace: &Namespace) -> Result<Value> {
    let found = data(namespace, "echo").await?;
    Ok(serde_json::from_str(found["values"].as_str().unwrap_or("null"))?)
}

#[tokio::test]
async fn values_are_merged_in_their_order_and_those_of_the_spec_win() -> Result<()> {
    let namespace = Namespace::new(kwok(), "values").await?;
    let controller = namespace.controller()?;
    let chart = echo(&namespace)?;
    chart.put(&namespace).await?;
    put(&namespace, "ConfigMap", "first", "values.yaml", "b: first\nc: first\nd: first\n").await?;
    put(&namespace, "Secret", "second", "prod.yaml", "c: second\nd: second\nlist: [3]\n").await?;
    put(&namespace, "Secret", "password", "password", "correct, horse=1").await?;
    let more = json!({
        "valuesFrom": [
            {"kind": "ConfigMap", "name": "first"},
            {"kind": "Secret", "name": "second", "valuesKey": "prod.yaml"},
            {"kind": "Secret", "name": "missing", "optional": true},
            {"kind": "Secret", "name": "password", "valuesKey": "password",
             "targetPath": "database.password"},
        ],
        "values": {"d": "spec", "gone": null},
    });
    namespace.release("shop", &[], merged(chart.source(), more)).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let expected = json!({"a": "chart", "b": "first", "c": "second", "d": "spec", "list": [3],
                          "database": {"password": "correct, horse=1"}});
    assert_eq!(values(&namespace).await?, expected);
    assert!(!serde_json::to_string(&release.status)?.contains("correct"), "{release:#?}");

    // Nobody touches the ReleaseLifecycle.
    put(&namespace, "ConfigMap", "first", "values.yaml", "b: changed\n").await?;
    let is = |release: &_| message(release).starts_with("upgrade of revision 2 succeeded");
    namespace.wait("shop", &controller, "upgraded", is).await?;
    assert_eq!(values(&namespace).await?["b"], "changed");
    // Another way to write the same is no change.
    let same = "# a comment\n\"b\":  'changed'\n";
    put(&namespace, "ConfigMap", "first", "values.yaml", same).await?;
    put(&namespace, "Secret", "missing", "values.yaml", "a: appeared\n").await?;
    let is = |release: &_| message(release).starts_with("upgrade of revision 3 succeeded");
    namespace.wait("shop", &controller, "upgraded", is).await?;
    assert_eq!(values(&namespace).await?["a"], "appeared");
    Ok(())
}

#[tokio::test]
async fn what_a_secret_holds_stands_in_no_message_that_a_chart_makes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "values-hidden").await?;
    let controller = namespace.controller()?;
    let says = "{{ $found := lookup \"v1\" \"Secret\" .Release.Namespace \"found\" }}\
                {{ fail (printf \"they are %s and %s\" .Values.password \
                (b64dec $found.data.password)) }}";
    let chart = Chart::new(&namespace, "shop")?.file("templates/a.yaml", says)?;
    chart.put(&namespace).await?;
    put(&namespace, "Secret", "found", "password", "hunter3-secret").await?;
    put(&namespace, "Secret", "all", "values.yaml", "password: hunter2-secret\n").await?;
    let from = json!([{"kind": "Secret", "name": "all"}]);
    let more = merged(chart.source(), json!({"valuesFrom": from}));
    namespace.release("shop", &[], more).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert!(message(&release).ends_with("they are … and …"), "{}", message(&release));
    // It is said of a hook that Helm drops at what it was to run.
    let hook = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    \
                helm.sh/hook: {{ .Values.password }}\n";
    chart.file("templates/a.yaml", hook)?.put(&namespace).await?;
    namespace.wait_ready("shop", &controller).await?;
    let events = namespace.kubectl(&["get", "events", "-o", "yaml"])?;
    let log = controller.log()?;
    assert!(log.contains("ChartWarning"), "{log}");
    for text in [&events, &log, &serde_json::to_string(&release)?] {
        assert!(!text.contains("hunter"), "{text}");
    }
    Ok(())
}
