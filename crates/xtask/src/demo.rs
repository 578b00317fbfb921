//! `demo`: the promise of the project, shown. A release is installed and upgraded, the controller is
//! killed in the middle of the migration, and the migration runs once all the same.
//!
//! - this file: the story on plain objects, from top to bottom, and what both have in common
//! - `chart`: the story on the guide's chart
//! - `stage`: the cluster and the programs
//! - `actors`: the controller and `kubectl lifecycle status --watch`, as child processes
//! - `migration`: the Job that must run once, and the proof that it did
//! - `report`: what was measured and proved, for programs

mod actors;
mod chart;
mod migration;
mod report;
mod stage;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;

use self::{
    actors::{Controller, Watch},
    migration::Migration,
    report::Report,
    stage::Stage,
};
use crate::{cluster, print};

/// An install, and an upgrade during which the controller is killed
#[derive(Args)]
#[command(mut_arg("name", |name| name.default_value("demo")))]
pub(crate) struct Demo {
    #[command(flatten)]
    cluster: cluster::Up,
}

/// The story that a demo shows.
struct Play {
    /// Names the report and the folder of the log.
    title: &'static str,
    /// Where the release is.
    namespace: &'static str,
    /// Under examples/; also what marks what the demo may remove.
    folder: &'static str,
    /// The Job in whose middle the controller is killed.
    migration: &'static str,
    /// Every hook of the install and the upgrade, in the order in which they must have run. A name
    /// that ends with a dash goes on.
    hooks: &'static [&'static str],
}

const OBJECTS: Play = Play {
    title: "demo",
    namespace: "shop",
    folder: "demo",
    migration: "shop-migration",
    hooks: &["shop-schema", "shop-verify", "shop-backup", "shop-migration", "shop-verify"],
};

/// The release.
const NAME: &str = "shop";
/// For an install or an upgrade. The first one on a cluster may have to pull an image.
const DEADLINE: Duration = Duration::from_mins(3);
/// How long nobody is in charge: long enough to see that the Job goes on by itself.
const DEAD: Duration = Duration::from_secs(2);

impl Play {
    /// One of its files, as somebody in the workspace's folder names it.
    fn file(&self, name: &str) -> String {
        format!("examples/{}/{name}", self.folder)
    }
}

/// The story on plain objects.
pub(crate) fn run(args: &Demo) -> anyhow::Result<()> {
    show(&OBJECTS, |report| tell(args, report))
}

/// The story on the guide's chart.
pub(crate) fn run_chart(args: &Demo) -> anyhow::Result<()> {
    show(&chart::PLAY, |report| chart::tell(args, report))
}

fn show(play: &Play, tell: impl FnOnce(&mut Report) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut report = Report::default();
    let result = tell(&mut report);
    report.finish(start.elapsed(), result.as_ref().err());
    report.write(play.title)?;
    result?;
    print(&report.summary(play.title));
    Ok(())
}

fn tell(args: &Demo, report: &mut Report) -> anyhow::Result<()> {
    say(
        "This is the ReleaseLifecycle operator. It takes a release through its life, with Helm's hooks",
    );
    say(
        "at each event, and a crash of the operator in the middle of one changes nothing about that.",
    );
    let (stage, mut controller) = open(&OBJECTS, args, report)?;

    chapter("3. An install: a hook, the objects, a hook");
    report.seconds.install = timed(|| install(&stage, &mut controller))?;

    chapter("4. An upgrade, and a crash in the middle of the database migration");
    report.seconds.upgrade = timed(|| upgrade(&stage, &mut controller, report))?;

    chapter("5. What is left");
    look_back(&stage, report)?;
    close(&stage, controller, args)
}

/// A cluster, and the operator beside it.
fn open(
    play: &'static Play,
    args: &Demo,
    report: &mut Report,
) -> anyhow::Result<(Stage, Controller)> {
    chapter("1. A cluster");
    let mut stage = Stage::set(play, &args.cluster, report)?;
    say(&format!("Kubernetes {}, {}.", report.versions.kubernetes, stage.describe_node()));

    chapter("2. The operator");
    stage.build(report)?;
    stage.dress()?;
    say(&format!(
        "Applied: the definition of the custom resource, a role, and a tenant: namespace {}.",
        play.namespace
    ));
    let controller = Controller::start(&stage)?;
    say(&format!(
        "The controller runs beside the cluster as process {}; its log: {}",
        controller.pid(),
        stage::show(&stage.log()),
    ));
    Ok((stage, controller))
}

fn close(stage: &Stage, controller: Controller, args: &Demo) -> anyhow::Result<()> {
    controller.stop()?;
    say("The controller was stopped. The cluster still runs.");
    for (what, command) in stage.hints(args.cluster.name()) {
        say(&format!("  {what:<16}{command}"));
    }
    say("");
    Ok(())
}

fn install(stage: &Stage, controller: &mut Controller) -> anyhow::Result<()> {
    stage.apply("install.yaml")?;
    let mut watch = Watch::start(stage)?;
    watch.finish(controller, DEADLINE).context("the install")
}

fn upgrade(stage: &Stage, controller: &mut Controller, report: &mut Report) -> anyhow::Result<()> {
    stage.apply("upgrade.yaml")?;
    let mut watch = Watch::start(stage)?;
    let migration = stage::wait_for("the migration to be under way", DEADLINE, || {
        controller.check()?;
        Migration::under_way(stage)
    })?;
    report.migration.uid_before.clone_from(&migration.uid);
    let pid = controller.pid();
    controller.kill()?;
    say(&format!(
        "{}. The controller was killed (SIGKILL, process {pid}).",
        migration.describe(stage)
    ));

    thread::sleep(DEAD);
    let meanwhile = migration.still_runs(stage)?;
    say(&format!("{} s without a controller: {}.", DEAD.as_secs(), meanwhile.describe(stage)));

    *controller = Controller::start_again(stage)?;
    say(&format!("Another controller was started, as process {}.", controller.pid()));
    watch.finish(controller, DEADLINE).context("the upgrade")?;
    migration.ran_once(stage, report)
}

fn look_back(stage: &Stage, report: &Report) -> anyhow::Result<()> {
    say(&report.migration.proof());
    let namespace = stage.play.namespace;
    stage.run_shown("kubectl-lifecycle", &["status", NAME, "-n", namespace])?;
    for command in ["list", "status", "history"] {
        let name = (command != "list").then_some(NAME);
        let args: Vec<&str> = [command].into_iter().chain(name).chain(["-n", namespace]).collect();
        stage.run_shown("helm", &args)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(report::seconds(start.elapsed()))
}

fn chapter(title: &str) {
    print(&format!("\n{title}"));
}

fn say(text: &str) {
    print(format!("   {text}").trim_end());
}
