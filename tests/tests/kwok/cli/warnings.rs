//! Warnings of `plan` and `create` about mistakes before anything is applied. No cluster is asked.

use anyhow::Result;
use e2e::{
    Chart, Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

use super::Cli;

/// A file with this release.
fn release(cli: &Cli<'_>, name: &str, spec: Value) -> Result<String> {
    let object = json!({"apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
                        "metadata": {"name": name}, "spec": spec});
    let file = cli.write(&format!("{name}.json"), &object.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

fn objects(objects: &[Value]) -> Value {
    json!({"source": {"objects": objects}})
}

#[tokio::test]
async fn meaningless_words_are_refused_or_warned_of() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-words").await?;
    let cli = Cli::new(&namespace)?;
    let wrong = [
        job("a").hook("pre-install").weight("high"),
        job("b").hook("pre-install").policy("hook-success"),
    ];
    let refused = [
        "(Job/a): annotation helm.sh/hook-weight: \"high\" is no whole number",
        "(Job/b): annotation helm.sh/hook-delete-policy: unknown policy \"hook-success\" in \
         \"hook-success\"; use one of before-hook-creation, hook-succeeded, hook-failed",
    ];
    let file = release(&cli, "wrong", objects(&wrong))?;
    let manifests = cli.manifests("wrong", &wrong)?;
    for args in [&["plan", "-f", &file][..], &["create", "shop", "-f", &manifests]] {
        let said = cli.bad(1, args)?;
        for part in refused {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }

    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {
            "metadata": {"annotations": {"helm.sh/hook": "pre-install"}}, "spec": {}}}}}});
    let near = [job("n").annotation("helm.sh/hooks", "pre-install"), cron];
    let warned = [
        "(Job/n): annotation helm.sh/hooks: there is no such key; did you mean helm.sh/hook?",
        "(CronJob/c): helm.sh/hook in spec.jobTemplate.spec.template.metadata.annotations: on a Pod \
         template it does nothing",
    ];
    let file = release(&cli, "near", objects(&near))?;
    let plan = cli.json(&["plan", "-f", &file])?;
    let notes: Vec<_> = plan["notes"].as_array().into_iter().flatten().collect();
    for (note, part) in notes.iter().zip(warned) {
        let note = note.as_str().unwrap_or_default();
        assert!(note.starts_with("warning: ") && note.contains(part), "{note}");
    }
    assert_eq!(notes.len(), warned.len());
    let end = cli.run(&["create", "shop", "-f", &cli.manifests("near", &near)?])?;
    assert_eq!(end.code, Some(0));
    for part in warned {
        assert!(end.err.contains(part), "{part:?} is not in {}", end.err);
    }

    let chart = Chart::new(&namespace, "shop")?;
    let chart = chart.file("templates/a.yaml", &wrong[0].to_string())?;
    let said = cli.good(&["plan", "shop", &chart.folder().to_string_lossy()])?;
    assert!(said.contains(&format!("warning: shop/templates/a.yaml {}", refused[0])), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_can_only_fail_is_warned_of_where_it_would() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-preflight").await?;
    let cli = Cli::new(&namespace)?;
    let core = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    let source = [
        job("a").hook("pre-install,pre-upgrade").set_pod("/spec/serviceAccountName", "z"),
        core("ServiceAccount", "z").hook("pre-install"),
        job("b").hook("pre-upgrade").set_pod("/spec/serviceAccountName", "own"),
        job("c").hook("post-delete").set_pod("/spec/serviceAccountName", "own"),
        job("d").hook("test").set("/spec/activeDeadlineSeconds", 600),
        core("ServiceAccount", "own"),
        core("Namespace", &namespace.name),
    ];
    let plan = cli.json(&["plan", "-f", &release(&cli, "shop", objects(&source))?])?;
    let warnings = |event: &str| -> Vec<String> {
        let events = plan["events"].as_array().into_iter().flatten();
        let notes =
            events.filter(|it| it["event"] == event).filter_map(|it| it["notes"].as_array());
        let texts = notes.flatten().filter_map(Value::as_str);
        texts.filter_map(|note| Some(note.strip_prefix("warning: ")?.to_owned())).collect()
    };
    let own = format!("Namespace/{}", namespace.name);
    assert_eq!(
        warnings("install").iter().map(|it| it.replace(&own, "Namespace/shop")).collect::<Vec<_>>(),
        [
            "Namespace/shop is the namespace that this ReleaseLifecycle is in: a deletion of the release \
             deletes it last, with everything that is left in it; leave it out of the release",
            "hook Job/a (pre-install) cannot run: ServiceAccount/z is hook 2 of this release and comes \
             after this one: give it a lower weight",
        ]
    );
    // What the install has made is there.
    assert_eq!(warnings("upgrade"), [""; 0]);
    assert_eq!(
        warnings("delete"),
        [
            "hook Job/c (post-delete) cannot run: ServiceAccount/own is an object of this release and is \
          deleted before the hook: make the hook a pre-delete hook, or ServiceAccount/own a post-delete \
          hook of a lower weight"
        ]
    );
    assert_eq!(
        warnings("test"),
        [
            "hook Job/d (test) has activeDeadlineSeconds: 600, and spec.timeout stops it after 300 s: \
          raise spec.timeout"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn wrong_durations_and_empty_sources_are_told_what_to_write() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-durations").await?;
    let cli = Cli::new(&namespace)?;
    let with = |field: &str, value: Value| {
        let mut spec = objects(&[config_map("a", "1")]);
        match field.split_once('.') {
            Some((outer, inner)) => spec[outer][inner] = value,
            None => spec[field] = value,
        }
        spec
    };
    for (field, value) in [
        ("timeout", json!(30)),
        ("timeout", json!("2 minutes")),
        ("interval", json!("soon")),
        ("deletion.timeout", json!("-5m")),
    ] {
        let said = cli.bad(1, &["plan", "-f", &release(&cli, "shop", with(field, value))?])?;
        let expected = format!("spec.{field} must be a duration such as 90s or 1h30m");
        assert!(said.contains(&expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let said = cli.bad(1, &["plan", "-f", &release(&cli, "shop", objects(&[]))?])?;
    assert!(said.contains("spec.source.objects: there is no object in it"), "{said}");
    Ok(())
}

/// As two of three published charts that keep a generated password.
#[tokio::test]
async fn an_upgrade_that_only_a_cluster_can_render_leaves_the_other_events() -> Result<()> {
    const TEMPLATE: &str = "\
{{- $old := lookup \"v1\" \"Secret\" .Release.Namespace \"m2\" }}
{{- if and .Release.IsUpgrade (not $old) }}{{ fail \"give the current password\" }}{{ end }}
apiVersion: v1
kind: Secret
metadata: {name: m2}
stringData: {password: {{ dig \"data\" \"password\" \"bmV3\" $old | b64dec | quote }}}
";
    let namespace = Namespace::new(kwok(), "cli-lookup").await?;
    let cli = Cli::new(&namespace)?;
    let chart = Chart::new(&namespace, "m2")?.file("templates/a.yaml", TEMPLATE)?;
    let folder = chart.folder().to_string_lossy().into_owned();
    let plan = cli.json(&["plan", "m2", &folder])?;
    let events = plan["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(events.len(), 5);
    for event in events {
        let problem = event["problem"].as_str().unwrap_or_default();
        assert_eq!(event["event"] == "upgrade", !problem.is_empty(), "{event}");
    }
    let problem = events[1]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("give the current password"), "{problem}");
    let command = format!("`helm upgrade m2 {folder} -n {} --dry-run=server`", namespace.name);
    assert!(problem.ends_with(&command), "{problem}");
    assert_eq!(events[0]["steps"][0]["objects"][0]["name"], "m2");
    let text = cli.good(&["plan", "m2", &folder])?;
    for part in ["install: when", "Secret/m2", "it cannot be planned here: ", "give the current"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let said = cli.bad(1, &["plan", "m2", &folder, "--event", "upgrade"])?;
    assert!(said.contains("give the current password"), "{said}");

    // The other way round, and neither.
    let only =
        |condition: &str| format!("{{{{ if {condition} }}}}{{{{ fail \"no\" }}}}{{{{ end }}}}\n");
    let chart = chart.file("templates/a.yaml", &only(".Release.IsInstall"))?;
    let end = cli.run(&["plan", "m2", &folder])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("upgrade: when"), "{end:?}");
    let _ = chart.file("templates/a.yaml", &only("true"))?;
    let said = cli.bad(1, &["plan", "m2", &folder])?;
    assert!(said.contains("no"), "{said}");
    Ok(())
}
