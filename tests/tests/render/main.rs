//! Renderings of a chart by the operator, beside those of the real Helm: `helm install` and
//! `helm upgrade --dry-run=server` on a real cluster; the engine, which is given what the operator
//! gives it; and the record that the operator writes of a release with the chart, read by Helm.
//! Objects, hooks, notes, CRDs, metadata and values are compared, texts byte for byte.
//!
//! - `charts`: the charts of `tests/charts` and their cases; `real`: those of other projects
//! - `functions`: which template functions there are, and that a chart calls each
//! - `helm_side`, `engine`, `operator_side`: who renders; `cluster`: what the engine is told of the
//!   cluster; `package`: in which forms it is given a chart
//! - `rendered`: what is compared
//! - `preflight`: what `lint` finds in them
//! - `refused`: charts that Helm refuses; `warnings`: what it says in passing
//! - `bench`: how long it takes, `make bench-render`
//!
//! `RENDER_ONLY=hooks,kueue` renders only these; `refused` stands for all that are refused.

mod bench;
mod charts;
mod cluster;
mod engine;
mod functions;
mod helm_side;
mod operator_side;
mod package;
mod preflight;
mod real;
mod refused;
mod rendered;
mod warnings;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok};
use serde_json::{Value, json};
use testkit::{cluster::bin, programs};

use charts::Case;
use engine::{Access, Engine};
use operator_side::Operator;
use package::Form;
use rendered::Rendered;

const RELEASE: &str = "shop";

/// The result of the comparisons.
#[derive(Default)]
struct Tally {
    /// Lines that have not been printed yet.
    lines: Vec<String>,
    equal: usize,
    different: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chart_is_rendered_as_by_helm() -> Result<()> {
    let excluded = functions::check()?;
    // Before anybody's time runs.
    bin("helm")?;
    programs::build("dev")?;
    let mut cases = charts::ours()?;
    cases.extend(real::all()?);
    let only = std::env::var("RENDER_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|it| it == name);
    cases.retain(|case| wanted(case.chart()));
    let mut tally = Tally::default();
    for case in &cases {
        // A chart that cannot be rendered spoils no other's comparison.
        if let Err(error) = run(case, &mut tally).await {
            tally.note(&case.name, "all", vec![format!("{error:#}")]);
        }
        // As they come: all of them take minutes.
        for line in tally.lines.drain(..) {
            println!("{line}");
        }
    }
    if wanted("refused") {
        refused::check(&mut tally).await?;
    }
    let Tally { lines, equal, different } = tally;
    ensure!(equal + different.len() > 0, "no chart is called {only}");
    for line in lines {
        println!("{line}");
    }
    println!(
        "render: equal {equal}, different {} (excluded by name: {})",
        different.len(),
        excluded.join(", "),
    );
    ensure!(different.is_empty(), "rendered otherwise than by Helm: {}", different.join(", "));
    Ok(())
}

impl Tally {
    fn exclude(&mut self, name: &str, what: &str) {
        self.lines.push(format!("excluded   {name}: {what}"));
    }

    /// Makes the line of a comparison, and what differs, if anything does.
    fn note(&mut self, name: &str, what: &str, differences: Vec<String>) {
        if differences.is_empty() {
            self.equal += 1;
            self.lines.push(format!("equal      {name}: {what}"));
        } else {
            let all = differences.join("\n  ");
            self.lines.push(format!("DIFFERENT  {name}: {what}\n  {all}"));
            self.different.push(format!("{name} ({})", what.split(':').next().unwrap_or_default()));
        }
    }
}

/// The life of one release: what an install would be, what Helm and the operator record of one, and
/// what an upgrade would be and what the operator records of that.
async fn run(case: &Case, tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    let namespace = Namespace::new(kwok(), "render").await?;
    cluster::prepare(&namespace, case)?;
    let forms = package::forms(case)?;
    let mut install = if case.random {
        tally.exclude(&case.name, "install, which is random; its upgrade is not");
        None
    } else {
        Some(compare(case, &namespace, "install", &forms, tally).await?)
    };
    if let Some(why) = &case.dry_run_only {
        tally.exclude(&case.name, &format!("upgrade: {why}"));
        return Ok(());
    }
    if install.as_ref().is_some_and(Rendered::has_crds) {
        install = Some(installed(case, &namespace, &forms, tally).await?);
    }
    if case.is_for_operator() {
        operated(case, &namespace, &forms, install, tally).await?;
    } else {
        helm_side::install(&namespace, case)?;
        compare(case, &namespace, "upgrade", &forms, tally).await?;
    }
    helm_side::uninstall(&namespace)?;
    eprintln!("{} took {:.1?}", case.name, begun.elapsed());
    Ok(())
}

/// Unlike in a dry run Helm installs the chart's CRDs before it renders; the engine counts them as
/// served where it is told to.
async fn installed(
    case: &Case,
    namespace: &Namespace,
    forms: &[Form],
    tally: &mut Tally,
) -> Result<Rendered> {
    let before = cluster::capabilities(&namespace.client).await?;
    let found = render(case, namespace, "install", forms, true, before).await?;
    helm_side::install(namespace, case)?;
    let expected = helm_side::record(namespace)?;
    let differences = found.iter().flat_map(|(form, found)| {
        expected.differences(found).into_iter().map(|it| format!("{}: {it}", form.name()))
    });
    tally.note(&case.name, &format!("installed: {}", expected.size()), differences.collect());
    helm_side::uninstall(namespace)?;
    Ok(expected)
}

/// Returns what the operator writes into the records of a release.
async fn operated(
    case: &Case,
    namespace: &Namespace,
    forms: &[Form],
    install: Option<Rendered>,
    tally: &mut Tally,
) -> Result<()> {
    let archive = forms.iter().find_map(Form::package).context("the chart was packaged")?;
    let operator = Operator::start(namespace, case).await?;
    let record = operator.install(archive).await?;
    if let Some(expected) = install {
        let what = format!("operator, install: {}", expected.size());
        tally.note(&case.name, &what, expected.once_run().differences(&record.once_run()));
    }
    let expected = compare(case, namespace, "upgrade", forms, tally).await?;
    helm_side::remove_webhooks(namespace)?;
    let record = operator.upgrade(archive).await?;
    let what = format!("operator, upgrade: {}", expected.size());
    tally.note(&case.name, &what, expected.once_run().differences(&record.once_run()));
    operator.leave()
}

/// Holds a dry run of Helm's against the engine, which is given the chart in each form.
async fn compare(
    case: &Case,
    namespace: &Namespace,
    event: &'static str,
    forms: &[Form],
    tally: &mut Tally,
) -> Result<Rendered> {
    let capabilities = cluster::capabilities(&namespace.client).await?;
    let mut expected = helm_side::dry_run(namespace, event, &case.folder, case)?;
    expected.crds = Some(helm_side::crds(namespace, case)?);
    let mut differences = Vec::new();
    for (form, found) in render(case, namespace, event, forms, false, capabilities).await? {
        let mut differ = expected.differences(&found);
        if let Form::Packaged(archive) = form
            && !differ.is_empty()
        {
            // Packing itself loses something of charts of the old format.
            differ = helm_side::dry_run(namespace, event, archive, case)?.differences(&found);
            differ.extend(expected.crds_differ(&found));
        }
        differences.extend(differ.into_iter().map(|it| format!("{}: {it}", form.name())));
    }
    tally.note(&case.name, &format!("{event}: {}", expected.size()), differences);
    Ok(expected)
}

/// Returns what the engine makes of the chart in each of its forms.
async fn render<'a>(
    case: &Case,
    namespace: &Namespace,
    event: &str,
    forms: &'a [Form],
    add_crds: bool,
    capabilities: Value,
) -> Result<Vec<(&'a Form, Rendered)>> {
    let mut all = Vec::new();
    for form in forms {
        let access = if form.is_folder() { Access::Files } else { Access::Nothing };
        let mut request = form.request(case)?;
        request["release"] = json!({
            "name": RELEASE, "namespace": namespace.name,
            "revision": if event == "upgrade" { 2 } else { 1 }, "upgrade": event == "upgrade",
        });
        request["capabilities"] = capabilities.clone();
        request["cluster"] = true.into();
        request["addCRDs"] = add_crds.into();
        let answer = Engine::start(access)?.render(request, Some(&namespace.client)).await;
        let answer = answer.with_context(|| format!("{} as {}", case.name, form.name()))?;
        all.push((form, Rendered::from_engine(&answer)?));
    }
    Ok(all)
}
