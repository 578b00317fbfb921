//! The story on the guide's chart: from a chart and values, with a crash, notes, tests, a rollback.

use super::{
    Demo, NAME, Play, chapter, close, install, open, report::Report, say, stage, stage::Stage,
    timed, upgrade,
};

pub(super) const PLAY: Play = Play {
    title: "demo-chart",
    namespace: "guide-chart",
    folder: "guide-chart",
    migration: "shop-db-migration",
    hooks: &[
        "shop-config-validation",
        "shop-initial-data",
        "shop-slack-notification",
        "shop-config-validation",
        "shop-backup-",
        "shop-db-migration",
        "shop-schema-check",
        "shop-slack-notification",
    ],
};

const IN: [&str; 2] = ["-n", PLAY.namespace];

pub(super) fn tell(args: &Demo, report: &mut Report) -> anyhow::Result<()> {
    say(
        "This is the ReleaseLifecycle operator with a chart: that of the guide to Helm's hooks. Helm's",
    );
    say("own engine renders it, once for each operation; what comes of it survives any crash.");
    let (stage, mut controller) = open(&PLAY, args, report)?;
    stage.apply_quietly("-f", &PLAY.file("secrets.yaml"))?;

    chapter("3. An install: the chart and its values");
    publish(&stage, "1.0.0", "1")?;
    report.seconds.install = timed(|| install(&stage, &mut controller))?;
    stage.run_shown("helm", &["get", "notes", NAME, IN[0], IN[1]])?;
    orders(&stage)?;

    chapter("4. An upgrade, and a crash in the middle of the database migration");
    publish(&stage, "2.0.0", "2")?;
    report.seconds.upgrade = timed(|| upgrade(&stage, &mut controller, report))?;
    say(&report.migration.proof());
    stage.run_shown("helm", &["get", "notes", NAME, IN[0], IN[1]])?;
    orders(&stage)?;

    chapter("5. The chart's test, as `helm test` would run it");
    stage.run_shown("kubectl-lifecycle", &["test", NAME, IN[0], IN[1], "--wait"])?;
    stage.run_shown("kubectl", &["logs", "shop-api-test", IN[0], IN[1]])?;

    chapter("6. A rollback, whose hook restores the backup");
    stage.run_shown("kubectl-lifecycle", &["rollback", NAME, "1", IN[0], IN[1], "--wait"])?;
    orders(&stage)?;

    chapter("7. What is left: an ordinary release of Helm");
    stage.run_shown("helm", &["list", IN[0], IN[1]])?;
    stage.run_shown("helm", &["history", NAME, IN[0], IN[1]])?;
    close(&stage, controller, args)
}

/// Packages the chart, and puts it where the release's spec looks for it.
fn publish(stage: &Stage, version: &str, app_version: &str) -> anyhow::Result<()> {
    let folder = stage::show(&stage::target().join(PLAY.title));
    let chart = PLAY.file("shop");
    let versions = ["--version", version, "--app-version", app_version];
    let package = [&["package", &*chart, "--destination", &*folder][..], &versions].concat();
    stage.run_shown("helm", &package)?;
    let secret = format!("shop-{version}");
    let file = format!("--from-file=chart.tgz={folder}/shop-{version}.tgz");
    let create = ["create", "secret", "generic", &*secret, &*file];
    stage.run_shown("kubectl", &[&create[..], &IN].concat())
}

fn orders(stage: &Stage) -> anyhow::Result<()> {
    if stage.is_simulated() {
        return Ok(());
    }
    let look = ["deploy/shop-database", "--", "cat", "/data/orders"];
    stage.run_shown("kubectl", &[&["exec"][..], &IN, &look].concat())
}
