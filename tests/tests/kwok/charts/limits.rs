//! Bounds of a chart: who breaks one is told, and the others notice nothing.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Chart, Controller, Namespace, kwok,
    manifests::{Manifest, job},
    message, reason,
};
use serde_json::json;

use super::{config_map, data, merged};

/// The processes that `controller` has started and that run.
fn engines(controller: &Controller) -> Result<Vec<u32>> {
    let pid = controller.pid();
    let children = format!("/proc/{pid}/task");
    let mut found = Vec::new();
    for task in fs::read_dir(children)? {
        let text = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(found)
}

/// A release of a chart with this template.
async fn release(namespace: &Namespace, name: &str, template: &str) -> Result<()> {
    let chart = Chart::new(namespace, name)?
        .file("templates/_defined.tpl", "{{ define \"again\" }}{{ include \"again\" . }}{{ end }}")?
        .file("templates/a.yaml", template)?;
    chart.put(namespace).await?;
    namespace.release(name, &[], chart.source()).await
}

#[tokio::test]
async fn a_chart_that_takes_too_much_is_stopped_and_told_and_no_other_suffers() -> Result<()> {
    let namespace = Namespace::new(kwok(), "limits").await?;
    let few =
        ["--engine-memory-mib", "256", "--engine-cpu-seconds", "2", "--engine-processes", "2"];
    let controller = namespace.controller_with(&few)?;
    let loops = "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}";
    let eats =
        "{{ $s := repeat 1048576 \"x\" }}{{ range until 10000 }}{{ $s = print $s $s }}{{ end }}";
    let recurs = "{{ include \"again\" . }}";
    let floods = "{{ range until 200 }}{{ repeat 1048576 \"x\" }}{{ end }}";
    let cases = [
        ("loops", loops, "RenderLimit", "2 s of processor time"),
        ("eats", eats, "RenderLimit", "256 MiB of memory"),
        ("recurs", recurs, "TemplateError", "recurs/templates/a.yaml"),
        ("floods", floods, "RenderLimit", "MiB"),
    ];
    for (name, template, ..) in cases {
        release(&namespace, name, template).await?;
    }
    // All of them at once, and one that does no harm.
    release(&namespace, "witness", &config_map("witness", "a: b")).await?;
    namespace.wait_ready("witness", &controller).await?;
    for (name, _, why, words) in cases {
        let stalled = namespace.wait_stalled(name, &controller).await?;
        let (reason, said) = (reason(&stalled), message(&stalled));
        ensure!(reason == why && said.contains(words), "{name}: {reason}: {said}");
    }
    assert_eq!(data(&namespace, "witness").await?, json!({"a": "b"}));
    Ok(())
}

/// More of them than there are releases worked on at once.
#[tokio::test]
async fn charts_that_loop_hold_up_no_release_without_a_chart() -> Result<()> {
    let namespace = Namespace::new(kwok(), "loops").await?;
    let controller =
        namespace.controller_with(&["--engine-cpu-seconds", "1", "--concurrency", "3"])?;
    let loops = "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}";
    let names: Vec<_> = (0..4).map(|number| format!("loop-{number}")).collect();
    for name in &names {
        release(&namespace, name, loops).await?;
    }
    let objects = [e2e::manifests::config_map("objects", "1"), job("hook").hook("pre-install")];
    namespace.release("objects", &objects, json!({})).await?;
    namespace.wait_ready("objects", &controller).await?;
    let waits = async |name: &String| {
        let found = namespace.releases().get(name).await?;
        anyhow::Ok(reason(&found) != "RenderLimit")
    };
    let mut waiting = 0;
    for name in &names {
        waiting += usize::from(waits(name).await?);
    }
    ensure!(waiting > 1, "all charts were rendered before the objects were applied");
    for name in &names {
        let stalled = namespace.wait_stalled(name, &controller).await?;
        ensure!(reason(&stalled) == "RenderLimit", "{}", message(&stalled));
    }
    Ok(())
}

#[tokio::test]
async fn an_engine_that_dies_is_followed_by_another() -> Result<()> {
    let namespace = Namespace::new(kwok(), "engine-dies").await?;
    let controller = namespace.controller()?;
    ensure!(engines(&controller)?.is_empty(), "nothing was rendered yet");
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/a.yaml", &config_map("a", "who: {{ .Values.who }}"))?;
    chart.put(&namespace).await?;
    for (revision, who) in [(1, "world"), (2, "moon"), (3, "sun")] {
        let more = merged(chart.source(), json!({"values": {"who": who}}));
        namespace.release("shop", &[], more).await?;
        let release = namespace.wait_ready("shop", &controller).await?;
        let status = release.status.context("it is Ready")?;
        assert_eq!(status.revision, Some(revision));
        assert_eq!(status.chart.map(|chart| chart.name).as_deref(), Some("shop"));
        assert_eq!(data(&namespace, "a").await?, json!({"who": who}));
        // The same process serves its tenant again, until somebody kills it.
        let [engine] = engines(&controller)?[..] else {
            anyhow::bail!("{:?}", engines(&controller)?);
        };
        let environment = fs::read_to_string(format!("/proc/{engine}/environ"))?;
        ensure!(!environment.contains("RELEASELIFECYCLE"), "{environment:?}");
        if revision == 2 {
            let killed = Command::new("kill").args(["-9", &engine.to_string()]).status()?;
            ensure!(killed.success(), "kill {engine}: {killed}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_an_engine_charts_wait_and_objects_do_not() -> Result<()> {
    let namespace = Namespace::new(kwok(), "no-engine").await?;
    let controller = namespace.controller_with(&["--engine", "/does/not/exist"])?;
    release(&namespace, "chart", &config_map("chart", "a: b")).await?;
    namespace.release("objects", &[e2e::manifests::config_map("objects", "1")], json!({})).await?;
    namespace.wait_ready("objects", &controller).await?;
    let is = |release: &_| message(release).contains("start /does/not/exist");
    let waits = namespace.wait("chart", &controller, "waiting for an engine", is).await?;
    ensure!(message(&waits).contains("--engine"), "{}", message(&waits));
    drop(controller);
    let controller = namespace.controller()?;
    namespace.wait_ready("chart", &controller).await?;
    Ok(())
}
