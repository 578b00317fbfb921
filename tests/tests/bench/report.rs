//! The page: tables and plots of one run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use anyhow::{Context as _, Result};
use e2e::{internals, root};

use crate::{
    compare::Comparison,
    knobs::Knobs,
    numbers::{number, percentile, ratio, shown},
    ours::Restart,
    plot::Plot,
    requests::{Counts, Tool},
    scale::{InSync, Live},
    stage::Figures,
};

const PAGE: &str = "docs/src/benchmarks.md";

/// All that was measured.
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) versions: String,
    pub(crate) knobs: Knobs,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) resync: Restart,
    /// Few and many.
    pub(crate) in_sync: [InSync; 2],
    pub(crate) live: [Live; 2],
}

/// Writes the page and its plots.
pub(crate) fn write(report: &Report) -> Result<()> {
    let folder = root().join("docs/src/benchmarks");
    fs::create_dir_all(&folder)?;
    for (name, svg) in plots(report) {
        let path = folder.join(format!("{name}.svg"));
        fs::write(&path, svg).with_context(|| format!("write {}", path.display()))?;
    }
    internals::write_in(PAGE, "bench", &text(report))
}

/// Returns the generated part of the page.
pub(crate) fn text(report: &Report) -> String {
    let Report { date, machine, versions, knobs, .. } = report;
    let Knobs { releases, scale, idle_seconds, helm_with_hooks, helm_without } = knobs;
    let with_hooks = helm_with_hooks.min(releases);
    let mut text = format!(
        "**Measured** on {date}, in one run on one control plane: {machine}. {versions}. \
         `RELEASES={releases} SCALE={scale} IDLE_SECONDS={idle_seconds}`. Helm ran in at most \
         {with_hooks} processes at once with hooks, and in {helm_without} without.\n\n\
         ## Ours, helm and the floor\n\n"
    );
    for (name, alt) in [
        ("wall", "Wall time of each scenario"),
        ("requests", "Requests for each release"),
        ("memory", "Peak memory of each scenario"),
        ("cpu-over-n", "CPU time for each release over the number of releases"),
    ] {
        let _ = writeln!(text, "![{alt}](benchmarks/{name}.svg)\n");
    }
    for comparison in &report.comparisons {
        text += &compared(comparison);
    }
    text += "### Requests for each release, by verb\n\n";
    for comparison in report.comparisons.iter().filter(|it| it.hooks) {
        text += &by_verb(comparison);
    }
    text += "### Our requests for each release, by verb and resource\n\n";
    text += &by_resource(&report.comparisons, Some(&report.resync.figures));
    text += "## Ours, with many releases\n\n";
    text += "![Memory over the number of releases and of live hooks](benchmarks/scale.svg)\n\n";
    text += &resync(&report.resync);
    text += &scaled(&report.in_sync, &report.live);
    text
}

fn title(comparison: &Comparison) -> String {
    let hooks = if comparison.hooks { "with hooks" } else { "without hooks" };
    format!("{} releases {hooks}: {}", comparison.releases, comparison.event)
}

/// A value of a client, and how it is shown.
type Metric = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

const METRICS: [Metric; 8] = [
    ("wall time", "s", |it| Some(it.wall)),
    ("CPU time for each release", "ms", |it| Some(it.cpu / number(it.releases) * 1000.0)),
    ("peak memory", "MiB", |it| Some(it.peak_mib)),
    ("requests for each release", "", |it| Some(number(it.total()) / number(it.releases))),
    ("hook complete to next write, p50", "ms", |it| delay(&it.delays.write, 50)),
    ("hook complete to next write, p99", "ms", |it| delay(&it.delays.write, 99)),
    ("hook complete to next hook's start, p50", "ms", |it| delay(&it.delays.hook, 50)),
    ("hook complete to next hook's start, p99", "ms", |it| delay(&it.delays.hook, 99)),
];

fn delay(delays: &[f64], percent: usize) -> Option<f64> {
    percentile(delays, percent).map(|seconds| seconds * 1000.0)
}

fn compared(comparison: &Comparison) -> String {
    let mut table = format!(
        "### {}\n\n| | helm ÷ ours | ours ÷ floor | ours | helm | floor |\n|---|--:|--:|--:|--:|--:|\n",
        title(comparison)
    );
    for (name, unit, value) in METRICS {
        let of = |tool: Tool| comparison.figures.iter().find(|it| it.tool == tool).and_then(value);
        let [ours, helm, floor] = Tool::ALL.map(of);
        if ours.is_none() && helm.is_none() && floor.is_none() {
            continue;
        }
        let cell = |value: Option<f64>| with_unit(value, unit);
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {} | {} | {} |",
            ratio(helm, ours),
            ratio(ours, floor),
            cell(ours),
            cell(helm),
            cell(floor)
        );
    }
    table + "\n"
}

fn with_unit(value: Option<f64>, unit: &str) -> String {
    let shown = value.map(|value| format!("{} {unit}", shown(value)));
    shown.map_or_else(|| "–".to_owned(), |text| text.trim().to_owned())
}

fn per_verb(figures: &Figures) -> BTreeMap<&str, f64> {
    let mut verbs = BTreeMap::new();
    for ((verb, _), requests) in &figures.requests {
        *verbs.entry(verb.as_str()).or_default() += number(*requests) / number(figures.releases);
    }
    verbs
}

fn by_verb(comparison: &Comparison) -> String {
    let verbs: Vec<_> = comparison.figures.iter().map(per_verb).collect();
    let names: BTreeSet<_> = verbs.iter().flat_map(|it| it.keys()).collect();
    let mut table = format!("| {} | ours | helm | floor |\n|---|--:|--:|--:|\n", comparison.event);
    for name in names {
        let cells = verbs.iter().map(|it| shown(it.get(*name).copied().unwrap_or_default()));
        let _ = writeln!(table, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    table + "\n"
}

/// Returns a table of our requests, a column for each event and one for the restart.
fn by_resource(comparisons: &[Comparison], resync: Option<&Figures>) -> String {
    let mut columns = Vec::new();
    for comparison in comparisons {
        let hooks = if comparison.hooks { "with hooks" } else { "without" };
        let name = format!("{} {}, {hooks}", comparison.releases, comparison.event);
        columns.extend(comparison.figures.first().map(|ours| (name, ours)));
    }
    columns.extend(resync.map(|it| (format!("{} restart, with hooks", it.releases), it)));
    let mut table = String::from("| |");
    for (name, _) in &columns {
        let _ = write!(table, " {name} |");
    }
    let _ = writeln!(table, "\n|---|{}", "--:|".repeat(columns.len()));
    let kinds: BTreeSet<_> = columns.iter().flat_map(|(_, it)| it.requests.keys()).collect();
    for kind in kinds {
        let (verb, resource) = kind;
        let cells = columns.iter().map(|(_, it)| {
            let requests = it.requests.get(kind).copied().unwrap_or_default();
            shown(number(requests) / number(it.releases))
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let _ = writeln!(table, "| {verb} {resource} | {cells} |");
    }
    table + "\n"
}

fn total(requests: &Counts) -> f64 {
    number(requests.values().sum())
}

fn resync(restart: &Restart) -> String {
    let figures = &restart.figures;
    format!(
        "### {} releases with hooks: started again in sync\n\n\
         | ready after | last request after | CPU time | peak memory | requests |\n\
         |--:|--:|--:|--:|--:|\n| {} s | {} s | {} s | {} MiB | {} |\n\n",
        figures.releases,
        shown(restart.ready),
        shown(figures.wall),
        shown(figures.cpu),
        shown(figures.peak_mib),
        shown(total(&figures.requests)),
    )
}

fn scaled(in_sync: &[InSync; 2], live: &[Live; 2]) -> String {
    let mut text = scaled_table(
        "Releases of one object, and what each costs",
        in_sync.each_ref().map(|it| it.install.releases),
        &[
            (
                "install: until the last request",
                "ms",
                in_sync.each_ref().map(|it| it.install.rest * 1000.0),
            ),
            ("install: wall time", "ms", in_sync.each_ref().map(|it| it.install.wall * 1000.0)),
            ("install: CPU time", "ms", in_sync.each_ref().map(|it| it.install.cpu * 1000.0)),
            ("install: requests", "", in_sync.each_ref().map(|it| total(&it.install.requests))),
            (
                "restart: until the last request",
                "ms",
                in_sync.each_ref().map(|it| it.restart.figures.wall * 1000.0),
            ),
            (
                "restart: CPU time",
                "ms",
                in_sync.each_ref().map(|it| it.restart.figures.cpu * 1000.0),
            ),
            (
                "restart: requests",
                "",
                in_sync.each_ref().map(|it| total(&it.restart.figures.requests)),
            ),
        ],
    );
    text += &totals_table(
        "releases",
        in_sync.each_ref().map(|it| it.install.releases),
        &[
            ("install: wall time", "s", in_sync.each_ref().map(|it| it.install.wall)),
            ("install: peak memory", "MiB", in_sync.each_ref().map(|it| it.install.peak_mib)),
            ("restart: ready after", "s", in_sync.each_ref().map(|it| it.restart.ready)),
            (
                "restart: last request after",
                "s",
                in_sync.each_ref().map(|it| it.restart.figures.wall),
            ),
            (
                "restart: peak memory",
                "MiB",
                in_sync.each_ref().map(|it| it.restart.figures.peak_mib),
            ),
            ("idle for a minute: CPU time", "s", in_sync.each_ref().map(|it| it.idle.cpu)),
            ("idle for a minute: requests", "", in_sync.each_ref().map(|it| it.idle.requests)),
            ("idle: memory", "MiB", in_sync.each_ref().map(|it| it.idle.memory_mib)),
        ],
    );
    text += &one_more(
        "release in sync",
        in_sync.each_ref().map(|it| (it.install.releases, it.idle.memory_mib)),
    );
    text += &scaled_table(
        "Live hooks, and what each costs",
        live.each_ref().map(|it| it.start.releases),
        &[
            (
                "start: until the last request",
                "ms",
                live.each_ref().map(|it| it.start.rest * 1000.0),
            ),
            ("start: until all run", "ms", live.each_ref().map(|it| it.start.wall * 1000.0)),
            ("start: CPU time", "ms", live.each_ref().map(|it| it.start.cpu * 1000.0)),
            ("start: requests", "", live.each_ref().map(|it| total(&it.start.requests))),
        ],
    );
    text += &totals_table(
        "live hooks",
        live.each_ref().map(|it| it.start.releases),
        &[
            ("peak memory", "MiB", live.each_ref().map(|it| it.start.peak_mib)),
            ("memory while they run", "MiB", live.each_ref().map(|it| it.idle.memory_mib)),
            ("a minute while they run: CPU time", "s", live.each_ref().map(|it| it.idle.cpu)),
            ("a minute while they run: requests", "", live.each_ref().map(|it| it.idle.requests)),
        ],
    );
    text +=
        &one_more("live hook", live.each_ref().map(|it| (it.start.releases, it.idle.memory_mib)));
    text
}

/// Returns the memory that one more of them takes, by two totals in MiB.
fn one_more(of: &str, [(few, small), (many, large)]: [(usize, f64); 2]) -> String {
    let kib = (large - small) * 1024.0 / number(many.saturating_sub(few).max(1));
    format!("One more {of} takes {} KiB.\n\n", shown(kib))
}

/// A row: its name, its unit, and the totals of few and of many.
type Row = (&'static str, &'static str, [f64; 2]);

/// Returns a table of the cost of one of them, and by how much it grows.
fn scaled_table(title: &str, [few, many]: [usize; 2], rows: &[Row]) -> String {
    let mut table = format!(
        "### {title}\n\n| for each | {many} ÷ {few} | {few} | {many} |\n|---|--:|--:|--:|\n"
    );
    for (name, unit, [small, large]) in rows {
        let (small, large) = (small / number(few), large / number(many));
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {} |",
            ratio(Some(large), Some(small)),
            with_unit(Some(small), unit),
            with_unit(Some(large), unit)
        );
    }
    table + "\n"
}

/// Returns a table of the totals.
fn totals_table(of: &str, [few, many]: [usize; 2], rows: &[Row]) -> String {
    let mut table =
        format!("| in total | {many} ÷ {few} | {few} {of} | {many} {of} |\n|---|--:|--:|--:|\n");
    for (name, unit, [small, large]) in rows {
        let _ = writeln!(
            table,
            "| {name} | {} | {} | {} |",
            ratio(Some(*large), Some(*small)),
            with_unit(Some(*small), unit),
            with_unit(Some(*large), unit)
        );
    }
    table + "\n"
}

fn plots(report: &Report) -> Vec<(&'static str, String)> {
    let series = Tool::ALL.map(Tool::name);
    let bars = |title, unit, value: fn(&Figures) -> f64| {
        let group = |it: &Comparison| {
            let hooks = if it.hooks { "hooks" } else { "plain" };
            let name = format!("{} {}, {hooks}", it.releases, it.event);
            (name, it.figures.iter().map(value).collect())
        };
        let groups: Vec<_> = report.comparisons.iter().map(group).collect();
        Plot { title, unit, series: &series }.bars(&groups)
    };
    let plain = report.comparisons.iter().filter(|it| !it.hooks);
    let per_release = |it: &Figures| Some(it.cpu / number(it.releases) * 1000.0);
    let cpu: Vec<_> = plain
        .map(|it| (number(it.releases), it.figures.iter().map(per_release).collect()))
        .collect();
    let mut scale: Vec<_> = report
        .in_sync
        .iter()
        .zip(&report.live)
        .map(|(it, live)| {
            let values = [it.idle.memory_mib, it.install.peak_mib, live.start.peak_mib];
            (number(it.install.releases), values.map(Some).to_vec())
        })
        .collect();
    scale.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let scale_series = ["in sync", "installing", "live hooks"];
    vec![
        ("wall", bars("Wall time", "s", |it| it.wall)),
        (
            "requests",
            bars("Requests for each release", "", |it| number(it.total()) / number(it.releases)),
        ),
        ("memory", bars("Peak memory", "MiB", |it| it.peak_mib)),
        (
            "cpu-over-n",
            Plot {
                title: "CPU time for each release: install without hooks",
                unit: "ms",
                series: &series,
            }
            .lines("releases", &cpu),
        ),
        (
            "scale",
            Plot { title: "Memory of ours", unit: "MiB", series: &scale_series }
                .lines("releases, or live hooks", &scale),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use crate::requests::Delays;

    use super::*;

    fn figures(tool: Tool, wall: f64, patches: usize) -> Figures {
        let requests = [(("patch".to_owned(), "jobs".to_owned()), patches)].into();
        let delays = Delays { write: Vec::new(), hook: vec![wall / 100.0] };
        Figures { tool, releases: 10, wall, rest: wall, cpu: 1.0, peak_mib: 20.0, requests, delays }
    }

    fn comparison() -> Comparison {
        let figures = vec![
            figures(Tool::Ours, 2.0, 40),
            figures(Tool::Helm, 8.0, 60),
            figures(Tool::Floor, 1.0, 20),
        ];
        Comparison { event: "install", hooks: true, releases: 10, figures }
    }

    #[test]
    fn ratios_come_first_and_what_nobody_measured_is_left_out() {
        let table = compared(&comparison());
        assert!(table.contains("| wall time | 4.00 × | 2.00 × | 2.00 s | 8.00 s | 1.00 s |\n"));
        assert!(table.contains("next hook's start, p99 | 4.00 × | 2.00 × | 20.0 ms |"), "{table}");
        assert!(!table.contains("next write"), "{table}");
    }

    #[test]
    fn requests_are_for_each_release() {
        assert!(by_verb(&comparison()).contains("| patch | 4.00 | 6.00 | 2.00 |\n"));
        let restart = figures(Tool::Ours, 1.0, 5);
        let table = by_resource(&[comparison()], Some(&restart));
        assert!(table.contains("| patch jobs | 4.00 | 0.500 |\n"), "{table}");
    }

    #[test]
    fn the_cost_of_one_is_compared_and_not_the_total() {
        let table = scaled_table("x", [10, 100], &[("wall", "ms", [20.0, 400.0])]);
        assert!(table.contains("| wall | 2.00 × | 2.00 ms | 4.00 ms |\n"), "{table}");
        let table = totals_table("x", [10, 100], &[("wall", "ms", [20.0, 400.0])]);
        assert!(table.contains("| wall | 20.0 × | 20.0 ms | 400 ms |\n"), "{table}");
    }

    #[test]
    fn one_more_takes_the_difference() {
        assert_eq!(one_more("hook", [(100, 2.0), (612, 3.0)]), "One more hook takes 2.00 KiB.\n\n");
    }
}
