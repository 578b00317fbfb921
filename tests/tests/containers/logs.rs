//! Logs of hooks: of their Pods while these exist, and as they are kept afterwards.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{
    Namespace, containers,
    helm::{chart, command, run},
    manifests::{Manifest, config_map, job, pod},
};
use helm::hook_log;
use serde_json::{Value, json};
use testkit::programs;

/// The answer of `kubectl lifecycle logs`.
struct Shown {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }
}

/// Runs `kubectl lifecycle logs`.
fn logs(namespace: &Namespace, args: &[&str]) -> Result<Shown> {
    let output = Command::new(programs::build("dev")?.join("kubectl-lifecycle"))
        .args(["logs", "--namespace", &namespace.name])
        .args(args)
        .env("KUBECONFIG", namespace.cluster().kubeconfig())
        .output()
        .context("run kubectl-lifecycle")?;
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Shown { code: output.status.code(), out: output.stdout, err })
}

/// Runs Helm, and returns all that it prints.
fn printed(namespace: &Namespace, args: &[&str]) -> Result<String> {
    let output = command(namespace, "helm", args)?.output()?;
    ensure!(output.status.success(), "helm {args:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn kept(namespace: &Namespace, release: &str) -> Result<Vec<Value>> {
    let selector = hook_log::selector(release);
    let list = namespace.kubectl(&["get", "secrets", "-l", &selector, "-o", "json"])?;
    let list: Value = serde_json::from_str(&list)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

#[tokio::test]
async fn the_whole_log_of_a_failed_attempt_is_kept_until_the_release_goes() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "logs-kept").await?;
    let controller = namespace.controller()?;
    let script = "exec 2>&1; seq 1 3000; echo no such table >&2; exit 3";
    let objects = [job("migrate").hook("pre-install").policy("hook-failed").runs(script)];
    let rules = json!({"hooks": {"rules": [{"retries": 1}]}});
    namespace.release("shop", &objects, rules).await?;
    namespace.wait_stalled("shop", &controller).await?;
    namespace.wait_gone("Job", "migrate").await?;

    let numbers: String = (1..=3000).map(|number| format!("{number}\n")).collect();
    let whole = format!("{numbers}no such table\n");
    for (args, attempt) in
        [(&["shop"][..], 2), (&["shop", "Job/migrate", "--previous"], 1), (&["shop", "migrate"], 2)]
    {
        let shown = logs(&namespace, args)?;
        ensure!(shown.code == Some(0) && shown.text() == whole, "{args:?}: {}", shown.err);
        let said = format!("Kept log of Job/migrate, attempt {attempt} at revision 1:\n");
        assert_eq!(shown.err, said, "{args:?}");
    }
    assert_eq!(logs(&namespace, &["shop", "--tail", "1"])?.text(), "no such table\n");

    let secrets = kept(&namespace, "shop")?;
    assert_eq!(secrets.len(), 2, "one for each attempt");
    // It is none of Helm's.
    assert_eq!(run(&namespace, "helm", &["list", "-q"])?.trim(), "shop");
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    assert_eq!(kept(&namespace, "shop")?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn a_log_is_followed_until_its_hook_has_ended() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "logs-follow").await?;
    let controller = namespace.controller()?;
    let script = "for i in 1 2 3; do echo step $i; sleep 1; done";
    let objects = [config_map("main", "1"), job("migrate").hook("pre-install").runs(script)];
    let more = json!({"hooks": {"keepLogs": "None"}});
    namespace.release("shop", &objects, more).await?;
    let active = |job: Option<&Value>| job.is_some_and(|job| job["status"]["active"] == 1);
    namespace.wait_object("Job", "migrate", "active", active).await?;

    let shown = logs(&namespace, &["shop", "-f"])?;
    assert_eq!(shown.text(), "step 1\nstep 2\nstep 3\n", "{}", shown.err);
    assert_eq!(shown.code, Some(0));
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(kept(&namespace, "shop")?, Vec::<Value>::new());

    namespace.kubectl(&["delete", "job", "migrate", "--cascade=foreground"])?;
    let shown = logs(&namespace, &["shop"])?;
    assert_eq!((shown.code, &*shown.text()), (Some(1), ""));
    assert!(shown.err.contains("There is no log of Job/migrate (pre-install), attempt 1."));
    Ok(())
}

/// Cases 50 and 51: Helm prints the log while it runs; here it is kept, whatever `keepLogs` says.
#[tokio::test]
async fn logs_that_helm_prints_are_kept() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "logs-policy").await?;
    let policy = "helm.sh/hook-output-log-policy";
    let objects = [
        config_map("main", "1"),
        job("good")
            .hook("pre-install")
            .policy("hook-succeeded")
            .annotation(policy, "hook-succeeded")
            .runs("echo all is well"),
        job("other").hook("pre-install").policy("hook-succeeded").runs("echo not asked for"),
        pod("ping").hook("test").policy("hook-succeeded").runs("echo pong"),
    ];
    let templates: Vec<_> = objects.iter().map(Value::to_string).collect();
    let chart = chart(&namespace, "helms", &templates)?;
    let said = printed(&namespace, &["install", "helms", &chart.to_string_lossy()])?;
    ensure!(said.contains("all is well") && !said.contains("not asked for"), "{said}");
    let said = printed(&namespace, &["test", "helms", "--logs"])?;
    ensure!(said.contains("pong"), "{said}");
    run(&namespace, "helm", &["uninstall", "helms"])?;

    let controller = namespace.controller()?;
    namespace.release("shop", &objects, json!({"hooks": {"keepLogs": "None"}})).await?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(logs(&namespace, &["shop", "good"])?.text(), "all is well\n");
    assert_eq!(logs(&namespace, &["shop", "other"])?.code, Some(1));

    namespace.release("shop", &objects, json!({"hooks": {"keepLogs": "All"}})).await?;
    namespace.annotate("shop", "testAt", "1")?;
    namespace.wait_event("TestSucceeded").await?;
    assert_eq!(logs(&namespace, &["shop", "Pod/ping"])?.text(), "pong\n");
    Ok(())
}

#[tokio::test]
async fn of_a_hostile_log_the_end_is_kept() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    let namespace = Namespace::new(cluster, "logs-hostile").await?;
    let controller = namespace.controller()?;
    // A line of 8 MiB, and orders to a terminal.
    let script = r"head -c 8388608 /dev/zero | tr '\0' x; printf '\033[2J\033]0;owned\007\377the end'; exit 1";
    let objects = [job("hook").hook("pre-install").policy("hook-failed").runs(script)];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    namespace.wait_gone("Job", "hook").await?;
    let shown = logs(&namespace, &["shop"])?;
    assert_eq!(shown.out.len(), hook_log::MOST_BYTES, "{}", shown.err);
    assert!(shown.out.ends_with(b"xx\x1b[2J\x1b]0;owned\x07\xffthe end"));
    Ok(())
}
