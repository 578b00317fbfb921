//! Values of a chart that stand in a Secret, and Secrets that a chart looks up.

use anyhow::Result;
use e2e::{Chart, Namespace, kwok};
use serde_json::{Value, json};

use super::{Canaries, printed, put, refused};

/// A `ConfigMap` with a value of this template.
fn data(value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{{{ .Release.Name }}}}\ndata:\n  a: {value}\n"
    )
}

/// A hook with these annotations and this spec.
fn hook(annotations: &str, spec: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{{{ .Release.Name }}}}\n  annotations: {{{annotations}}}\n\
         spec:\n  {spec}\n  template:\n    spec:\n      restartPolicy: Never\n      containers:\n      \
         - name: main\n        image: x\n        env: [{{name: PASSWORD, value: {{{{ .Values.p }}}}}}]\n"
    )
}

/// The values of a case: a marker of each form.
fn values(canaries: &mut Canaries, case: &str) -> String {
    let of = |form: &str| format!("{form} in {case}");
    let lines = canaries.lines(&of("lines"));
    let number: Value = serde_json::from_str(&canaries.number(&of("number"))).unwrap_or_default();
    json!({"p": canaries.plain(&of("plain")), "o": canaries.odd(&of("odd")), "l": lines,
           "n": number, "s": canaries.short(&of("short")), "m": canaries.plain(&of("map"))})
    .to_string()
}

/// A template that stops with what this expression prints.
fn fail(expression: &str) -> String {
    data(&format!("{{{{ fail ({expression}) }}}}"))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn of_a_charts_values() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-chart").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let pre = "helm.sh/hook: pre-install";
    let index = "{{ index (dict \"a\" 1) .Values.p \"x\" }}";
    let templates: Vec<(&str, String)> = vec![
        (
            "label",
            data("b").replace("  name: {{ .Release.Name }}", "  name: {{ .Release.Name }}\n  labels: {a: {{ .Values.o | quote }}}"),
        ),
        (
            "key",
            data("b").replace("  name: {{ .Release.Name }}", "  name: {{ .Release.Name }}\n  labels: { {{ .Values.o | quote }}: b}"),
        ),
        ("type", data("{{ dict \"a\" .Values.o | toJson }}")),
        ("number", hook(pre, "backoffLimit: {{ .Values.n | int64 }}")),
        ("number-2", hook(pre, "backoffLimit: {{ .Values.p }}")),
        ("field", hook(pre, "backofLimit: {{ .Values.p }}")),
        (
            "quantity",
            hook(pre, "a: b").replace(
                "image: x",
                "image: x\n        resources: {requests: {cpu: {{ .Values.o | quote }}}}",
            ),
        ),
        (
            "selector",
            "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}}\nspec:\n  selector: \
                      {a: {{ .Values.o | quote }}}\n  ports: [{port: 80}]\n"
                .to_owned(),
        ),
        ("event", hook("helm.sh/hook: {{ .Values.p }}", "backoffLimit: 0")),
        (
            "event-2",
            hook("helm.sh/hook: \"pre-install,{{ .Values.p | lower }}\"", "backoffLimit: 0"),
        ),
        (
            "weight",
            hook(
                &format!("{pre}, helm.sh/hook-weight: {{{{ .Values.p | trunc 9 }}}}"),
                "backoffLimit: 0",
            ),
        ),
        (
            "policy",
            hook(
                &format!("{pre}, helm.sh/hook-delete-policy: {{{{ .Values.p | upper }}}}"),
                "backoffLimit: 0",
            ),
        ),
        ("annotation", hook(&format!("{pre}, a: {{{{ .Values.n }}}}"), "backoffLimit: 0")),
        ("deployed", data("{{ .Values.o | quote }}")),
        ("fail", fail(".Values.o")),
        ("fail-print", fail("printf \"a-%s-b %v\" .Values.p .Values.n")),
        ("fail-lines", fail(".Values.l")),
        ("fail-number", fail("printf \"%d %s\" (int64 .Values.n) (toString .Values.n)")),
        ("fail-short", fail(".Values.s")),
        ("fail-upper", fail("printf \"%s %s\" (upper .Values.p) (title (lower .Values.o))")),
        (
            "fail-base64",
            fail("printf \"%s %s\" (b64enc .Values.p) (b64enc (printf \"me:%s:you\" .Values.o))"),
        ),
        ("fail-quote", fail("printf \"%s %s %q\" (quote .Values.o) (squote .Values.o) .Values.l")),
        ("fail-json", fail("toJson .Values")),
        ("fail-yaml", fail("toYaml .Values")),
        ("fail-go", fail("printf \"%v %#v\" .Values .Values.o")),
        ("required", data("{{ required (printf \"need %s\" .Values.p) nil }}")),
        ("index", data(index)),
        ("field-of", data("{{ .Values.p.x }}")),
        ("regex", data("{{ mustRegexMatch (printf \"%s[\" .Values.p) \"a\" }}")),
        ("date", data("{{ mustToDate \"2006-01-02\" .Values.p }}")),
        ("semver", data("{{ semver .Values.p }}")),
        ("tpl", data("{{ tpl (printf \"{{ %s }}\" .Values.p) . }}")),
        ("tpl-2", data("{{ tpl (printf \"{{ .Values.a | %s \" .Values.o) . }}")),
        ("include", data("{{ include .Values.p . }}")),
        ("url", data("{{ urlParse (printf \"http://%s:x\" .Values.p) }}")),
        ("atoi", data("{{ add1 (index (list 1) (int64 .Values.n)) }}")),
        ("lookup-version", data("{{ lookup (printf \"%s/v1\" .Values.p) \"A\" \"b\" \"c\" }}")),
        (
            "lookup-name",
            data("{{ lookup \"v1\" \"ConfigMap\" \"a\" (printf \"%s/x\" .Values.p) }}"),
        ),
        ("file", data("{{ .Files.Get .Values.p | required .Values.p }}")),
        ("yaml", data("b").replace("a: b", "{{ .Values.o }}: [")),
        ("yaml-2", data("{{ .Values.p }}: x: y")),
        ("yaml-3", data("*{{ .Values.p }}")),
        ("yaml-4", data("!!int {{ .Values.p }}")),
        ("yaml-5", "{{ .Values.p }}".to_owned()),
        ("yaml-6", "- {{ .Values.p }}".to_owned()),
        ("metadata", data("b").replace("metadata:\n  name: {{ .Release.Name }}", "metadata: {{ .Values.p }}")),
        ("table", data("b")),
        ("schema", data("b")),
        ("subchart", data("b")),
        ("target", data("{{ .Values.p }}")),
    ];
    let schema = json!({"properties": {
        "p": {"pattern": "^a$"}, "o": {"enum": ["a"]}, "n": {"maximum": 5}, "s": {"maxLength": 2},
        "l": {"const": "a"}, "m": {"type": "object"}}});
    for (name, template) in &templates {
        let mut chart = Chart::new(&namespace, name)?
            .file("templates/a.yaml", template)?
            .file("templates/NOTES.txt", "{{ .Values }}")?;
        match *name {
            "table" => chart = chart.file("values.yaml", "m: {a: 1}\n")?,
            "schema" => chart = chart.file("values.schema.json", &schema.to_string())?,
            "subchart" => {
                chart = chart
                    .file("charts/m/Chart.yaml", "apiVersion: v2\nname: m\nversion: 1.0.0\n")?;
            }
            _ => {}
        }
        chart.put(&namespace).await?;
        let values = values(&mut canaries, name);
        put(&namespace, &format!("v-{name}"), json!({"values.yaml": values})).await?;
        let mut spec = chart.source();
        spec["valuesFrom"] = json!([{"kind": "Secret", "name": format!("v-{name}")}]);
        if *name == "target" {
            spec["valuesFrom"] = json!([
                {"kind": "Secret", "name": "v-target"},
                {"kind": "Secret", "name": "v-target", "targetPath": "p[1].x"},
                {"kind": "Secret", "name": "v-target", "targetPath": "p[", "optional": true}]);
        }
        namespace.release(name, &[], spec).await?;
    }
    // What is read is no YAML.
    for (name, text) in
        [("bad", "a: [@\nb: c"), ("bad-2", "- @"), ("bad-3", "@"), ("bad-4", "a: *@")]
    {
        let text = text.replace('@', &canaries.odd(name));
        put(&namespace, &format!("v-{name}"), json!({"values.yaml": text})).await?;
        let mut spec = e2e::chart_source("deployed");
        spec["valuesFrom"] = json!([{"kind": "Secret", "name": format!("v-{name}")}]);
        namespace.release(name, &[], spec).await?;
    }
    // What the chart finds in the cluster.
    let text = canaries.odd("looked up");
    put(&namespace, "looked-up", json!({"k": text, "s": canaries.short("looked up")})).await?;
    let data_of = "(lookup \"v1\" \"Secret\" .Release.Namespace \"looked-up\").data";
    let lookups = [
        ("found", fail(&format!("toJson {data_of}"))),
        ("found-2", fail(&format!("upper ({data_of}.k | b64dec)"))),
        (
            "found-3",
            data("b").replace(
                "  name: {{ .Release.Name }}",
                &format!("  name: {{{{ .Release.Name }}}}\n  labels: {{a: {{{{ {data_of}.k | b64dec | quote }}}}}}"),
            ),
        ),
        ("found-4", fail("toJson (lookup \"v1\" \"Secret\" .Release.Namespace \"\")")),
    ];
    for (name, template) in &lookups {
        let chart = Chart::new(&namespace, name)?.file("templates/a.yaml", template)?;
        chart.put(&namespace).await?;
        namespace.release(name, &[], chart.source()).await?;
    }
    let names = templates.iter().chain(&lookups).map(|case| case.0);
    let names: Vec<_> = names.chain(["bad", "bad-2", "bad-3", "bad-4"]).collect();
    let said = refused(&namespace, &controller, names.iter().copied()).await?;
    for part in ["a.yaml:6:8): …", "need …", "a-…-b", "does not match pattern '^a$'"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let printed = printed(&namespace, names.iter().copied())?;
    canaries.check(&namespace, &controller, &printed)
}

#[tokio::test]
async fn a_charts_text_begins_no_line_of_the_log() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-log").await?;
    let controller = namespace.controller()?;
    let text = data("{{ fail \"x\\n2026-01-01T00:00:00Z ERROR forged\\r\\u001b[2K\" }}");
    let chart = Chart::new(&namespace, "shop")?.file("templates/a.yaml", &text)?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    namespace.wait_stalled("shop", &controller).await?;
    let log = controller.log()?;
    assert!(log.contains("ERROR forged"), "{log}");
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.starts_with("2026-01-01T00"), "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    Ok(())
}
