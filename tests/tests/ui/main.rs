//! `make ui`: the page of `kubectl lifecycle ui` in headless Chromium, with hooks in real containers.
//! `tests/ui/page.mjs` has what a person does with it.

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, containers, internals,
    manifests::{Manifest, config_map, job},
    root, target,
};
use serde_json::{Value, json};
use testkit::programs;

/// A log that tries to be markup and to give orders to a terminal.
const HOSTILE: &str = "printf '<img src=x onerror=alert(1)>\\n\
                       </pre><script>alert(2)</script>\\n\\033[2J\\033[31mred\\n'; exit 3";
/// A log as of a migration.
const LOCKED: &str = "exec 2>&1; for n in 1 2 3; do echo migrating table $n of 8; done; \
                      echo 'ERROR: table orders is locked by another session' >&2; exit 3";
/// The names of Chromium.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The program, which ends with this process.
struct Ui(Child);

impl Ui {
    /// Starts it, and returns the address that it prints.
    fn start(namespace: &Namespace) -> Result<(Self, String)> {
        let mut child = cli(namespace)?
            .args(["ui", "--namespace", &namespace.name])
            .stdout(Stdio::piped())
            .spawn()
            .context("start kubectl-lifecycle ui")?;
        let out = child.stdout.take().context("its output")?;
        let ui = Self(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let url = line.split_whitespace().last().context("an address")?.to_owned();
        Ok((ui, url))
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cli(namespace: &Namespace) -> Result<Command> {
    let mut command = Command::new(programs::build("dev")?.join("kubectl-lifecycle"));
    command.env("KUBECONFIG", namespace.cluster().kubeconfig());
    Ok(command)
}

fn browser() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CHROMIUM") {
        return Ok(path.into());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders)
        .flat_map(|folder| BROWSERS.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    found.context("Chromium is missing: install it, or set CHROMIUM to its path")
}

/// Writes what a person sees of the failed release into `docs/src/night.md`.
fn transcript(namespace: &Namespace, controller: &Controller) -> Result<()> {
    const PAGE: &str = "docs/src/night.md";
    let shown = |command: &str, output: &str| {
        let output = output.replace(&namespace.name, "prod");
        format!("```sh,ignore=yours\n{command}\n```\n\n```text\n{}\n```\n", output.trim_end())
    };
    let ran = |args: &[&str]| -> Result<String> {
        let output = cli(namespace)?.args(args).args(["-n", &namespace.name]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let list = namespace.kubectl(&["get", "rl"])?;
    internals::write_in(PAGE, "night-list", &shown("kubectl get rl -n prod", &list))?;
    let status = ran(&["status", "shop"])?;
    internals::write_in(
        PAGE,
        "night-status",
        &shown("kubectl lifecycle status shop -n prod", &status),
    )?;
    let log = ran(&["logs", "shop"])?;
    let log: String =
        log.chars().filter(|symbol| *symbol == '\n' || !symbol.is_control()).collect();
    internals::write_in(PAGE, "night-logs", &shown("kubectl lifecycle logs shop -n prod", &log))?;
    let (_, metrics) = controller.http("/metrics")?;
    let is_about = |line: &&str| {
        ["_hooks_ended_total{", "_operations_ended_total{", "_errors_total{", "_releases{"]
            .iter()
            .any(|part| line.contains(part))
            && !line.ends_with(" 0")
    };
    let metrics: String =
        metrics.lines().filter(is_about).map(|line| format!("{line}\n")).collect();
    internals::write_in(PAGE, "night-metrics", &format!("```text\n{metrics}```\n"))
}

#[tokio::test]
#[ignore = "needs Chromium and npm: make ui"]
async fn a_person_uses_the_page() -> Result<()> {
    let browser = browser()?;
    let cluster = containers().context("this machine runs no containers, so there are no logs")?;
    let namespace = Namespace::new(cluster, "ui").await?;
    let controller = namespace.controller()?;
    let of = |value: &str| vec![config_map("main", value)];
    namespace.release("billing", &of("1"), json!({})).await?;
    namespace.wait_ready("billing", &controller).await?;
    namespace.release("billing", &of("2"), json!({})).await?;
    namespace.wait_ready("billing", &controller).await?;
    let seed = job("seed").hook("pre-install").weight("-5").runs("sleep 2");
    let migrate = job("migrate").hook("pre-install").runs(LOCKED);
    namespace.release("shop", &[seed, migrate, config_map("shop", "1")], json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    let endless = "n=0; while true; do n=$((n+1)); echo line $n; sleep 1; done";
    let running = [job("reindex").hook("pre-install").runs(endless), config_map("search", "1")];
    namespace.release("search", &running, json!({})).await?;
    let active = |job: Option<&Value>| job.is_some_and(|job| job["status"]["active"] == 1);
    namespace.wait_object("Job", "reindex", "active", active).await?;

    transcript(&namespace, &controller)?;
    let hostile = job("hostile").hook("pre-install").runs(HOSTILE);
    namespace.release("hostile", &[hostile, config_map("hostile", "1")], json!({})).await?;
    namespace.wait_stalled("hostile", &controller).await?;
    let pictures = root().join("docs/src/ui");
    let report = target().join("tmp/ui-report.html");
    fs::create_dir_all(&pictures)?;
    let written = cli(&namespace)?
        .args(["report", "hostile", "--namespace", &namespace.name])
        .stdout(File::create(&report)?)
        .status()?;
    ensure!(written.success(), "kubectl-lifecycle report: {written}");
    let (_ui, url) = Ui::start(&namespace)?;
    let tested = Command::new("node")
        .args(["--test", "page.mjs"])
        .current_dir(root().join("tests/ui"))
        .env("UI_URL", url)
        .env("UI_NAMESPACE", &namespace.name)
        .env("UI_REPORT", &report)
        .env("UI_PICTURES", &pictures)
        .env("CHROMIUM", browser)
        .status()
        .context("run node")?;
    ensure!(tested.success(), "the page: {tested}, see above");
    Ok(())
}
