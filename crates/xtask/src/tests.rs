//! Runs every test program of the workspace, a few at a time: most wait more than they work.

use std::{
    fs::{self, File},
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Deserialize;

/// Those that take long, the longest first, so that none of them is left for the end.
const LONG: [&str; 13] = [
    "crash",
    "kwok",
    "render",
    "containers",
    "counts",
    "deployed",
    "cases",
    "model",
    "interop",
    DOCUMENTATION,
    "cluster",
    "packaging",
    "kustomize",
];
/// The examples in the documentation of the code, which cargo builds and runs itself.
const DOCUMENTATION: &str = "documentation";
/// The tests of the engine, which Go builds and runs.
const ENGINE: &str = "engine";
/// Tests at a time in one program, where it leaves that to the harness.
const THREADS: &str = "4";

#[derive(Args)]
pub(crate) struct Tests {
    /// Maximum number of programs that run at once; default: the number of cores
    #[arg(long)]
    programs: Option<usize>,
    /// Programs to run, such as crash or kwok; default: all
    only: Vec<String>,
}

struct Program {
    name: String,
    command: Command,
}

struct Ended {
    name: String,
    passed: bool,
    took: Duration,
    log: PathBuf,
}

pub(crate) fn run(args: &Tests) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut programs = build()?;
    // Beside the others: cargo locks its folder only for as long as it looks whether all is built.
    programs.push(documentation());
    let is_wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|it| it == name);
    programs.retain(|it| is_wanted(&it.name));
    let place = |name: &str| LONG.iter().position(|long| *long == name);
    // What takes no time goes first; the last is taken first.
    programs.sort_by_key(|it| std::cmp::Reverse(place(&it.name).map_or(0, |place| place + 1)));
    let logs = testkit::programs::target().join("tmp/tests");
    fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;

    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let at_once = args.programs.unwrap_or_else(cores);
    let (built, waiting) = (begun.elapsed(), Mutex::new(programs));
    let (sender, ends) = mpsc::channel();
    // Its limits of time and memory are tried on a machine that does nothing else.
    let engine = is_wanted(ENGINE).then(|| run_one(engine(), &logs));
    let mut all: Vec<_> = engine.into_iter().inspect(tell).collect();
    all.extend(thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            let (sender, waiting, logs) = (sender.clone(), &waiting, &logs);
            scope.spawn(move || {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(program) = next else { return };
                    // It fails only where nobody listens any more.
                    let _ = sender.send(run_one(program, logs));
                }
            });
        }
        drop(sender);
        ends.into_iter().inspect(tell).collect::<Vec<_>>()
    }));
    summarize(&all, built, begun.elapsed());
    let failed: Vec<_> =
        all.iter().filter(|it| !it.passed).map(|ended| ended.name.as_str()).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Has cargo build all test programs.
fn build() -> anyhow::Result<Vec<Program>> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        manifest_path: PathBuf,
        #[serde(default)]
        executable: Option<PathBuf>,
        #[serde(default)]
        profile: Profile,
        #[serde(default)]
        target: Target,
    }
    #[derive(Default, Deserialize)]
    struct Profile {
        test: bool,
    }
    #[derive(Default, Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let output = cargo()
        .args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo test --no-run")?;
    if !output.status.success() {
        bail!("the tests were not built ({}), see above", output.status);
    }
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).context("read what cargo says")?;
        let Some(path) = message.executable.filter(|_| message.profile.test) else { continue };
        let folder = message.manifest_path.parent().context("a package has a folder")?.to_owned();
        let mut name = message.target.name;
        if !message.target.kind.iter().any(|kind| kind == "test") {
            name = format!("{name} (unit)");
        }
        let mut command = Command::new(path);
        // Each of them is asked by its path alone, as cargo does.
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder);
        programs.push(Program { name, command });
    }
    Ok(programs)
}

fn documentation() -> Program {
    let mut command = cargo();
    command.args(["test", "--workspace", "--quiet", "--doc"]);
    Program { name: DOCUMENTATION.to_owned(), command }
}

fn engine() -> Program {
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "engine-test"]);
    Program { name: ENGINE.to_owned(), command }
}

/// Runs the program. One that cannot be run has failed; the others are run all the same.
fn run_one(program: Program, logs: &Path) -> Ended {
    let Program { name, command } = program;
    let log = logs.join(format!("{}.log", name.replace(' ', "-")));
    let begun = Instant::now();
    let passed =
        passes(command, &log).with_context(|| format!("run {name}")).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            false
        });
    Ended { name, passed, took: begun.elapsed(), log }
}

fn passes(mut command: Command, log: &Path) -> anyhow::Result<bool> {
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", THREADS);
    }
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(command.status()?.success())
}

/// All that a program wrote that failed, and of the others how many tests they ran.
fn tell(ended: &Ended) {
    let Ended { name, passed, took, log } = ended;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if !passed {
        eprintln!("{text}");
    }
    let result = text.lines().rev().find_map(|line| line.strip_prefix("test result: "));
    let result = result.unwrap_or(if *passed { "ok" } else { "FAILED" });
    let counts: Vec<_> = result.split("; ").take(3).collect();
    eprintln!("{name}: {} in {} s, see {}", counts.join("; "), took.as_secs(), log.display());
}

fn summarize(all: &[Ended], built: Duration, took: Duration) {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by_key(|ended| std::cmp::Reverse(ended.took));
    eprintln!("\n{:>6} s  to build", built.as_secs());
    for Ended { name, passed, took, .. } in all {
        eprintln!("{:>6} s  {name}{}", took.as_secs(), if *passed { "" } else { "  FAILED" });
    }
    eprintln!("{:>6} s  in all", took.as_secs());
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
