//! Helm's behaviour, case by case: the same objects are run by the real Helm and by the operator,
//! side by side on one cluster, and what the API server's audit log says that they did is compared,
//! with how it ended. Each case is a script and a transcript; a line that is not everybody's is
//! marked. So what Helm does is written down too, and a new version of it that does otherwise is
//! noticed.
//!
//! - `case`: a case and its verdict
//! - `script`: what is done; `transcript`: what comes of it, kept in `transcripts`
//! - `chart`: what Helm is given, and the operator where that cannot be said by objects
//! - `side`, `helm_side`, `operator_side`: who does it
//! - `log`, `end`: what is seen
//! - `table`: all cases, by subject
//!
//! `CASES_ONLY=13,14` runs only these. `CASES_WRITE=1` writes their transcripts anew; read them, for
//! they are what is right from then on.

#![expect(clippy::expect_used, reason = "a test may end where it stands")]

mod case;
mod chart;
mod end;
mod helm_side;
mod log;
mod operator_side;
mod program;
mod script;
mod side;
mod table;
mod transcript;

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, bail, ensure};
use e2e::{AuditLog, internals, kwok};
use testkit::{cluster, programs};
use tokio::task::JoinSet;

use case::{Case, Verdict};
use program::Program;
use side::Ran;

/// So many cases run at once; each is two or three programs, which wait most of their time.
const WORKERS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn every_case_is_as_in_helm_or_differs_on_purpose() -> Result<()> {
    let mut cases = table::all();
    let numbers: Vec<_> = cases.iter().map(|case| usize::from(case.number)).collect();
    ensure!(numbers == (1..=58).collect::<Vec<_>>(), "the table has {numbers:?}");
    let table = markdown(&cases);
    let only = std::env::var("CASES_ONLY").unwrap_or_default();
    if !only.is_empty() {
        cases.retain(|case| only.split(',').any(|number| number == case.number.to_string()));
    }
    let cases = Arc::new(cases);
    let wrong = run(&cases).await?;
    for text in wrong.values() {
        println!("{text}");
    }
    for (index, case) in cases.iter().enumerate() {
        let verdict =
            if wrong.contains_key(&index) { "wrong".to_owned() } else { case.verdict.text() };
        println!("case {} {verdict}", case.number);
    }
    let right = (0..).zip(cases.iter()).filter(|(index, _)| !wrong.contains_key(index));
    println!("{}", sum(right.map(|(_, case)| case), wrong.len()));
    ensure!(wrong.is_empty(), "{} cases are wrong, each is shown above", wrong.len());
    if only.is_empty() { internals::compare("cases", &table) } else { Ok(()) }
}

/// Runs all cases; what is wrong, by their index.
async fn run(cases: &Arc<Vec<Case>>) -> Result<BTreeMap<usize, String>> {
    // Before anybody's time runs.
    programs::build("dev")?;
    cluster::ensure(&e2e::helm::HELMS)?;
    let log = Arc::new(AuditLog::new(kwok().audit_log().to_owned(), log::is_of_a_side));
    let mut waiting: Vec<_> = (0..cases.len()).collect();
    // The last is taken first.
    waiting.reverse();
    waiting.sort_by_key(|index| {
        let script = cases.get(*index).and_then(|case| case.script);
        script.is_some_and(|script| script().takes_long())
    });
    let waiting = Arc::new(Mutex::new(waiting));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (cases, log, waiting) = (Arc::clone(cases), Arc::clone(&log), Arc::clone(&waiting));
        workers.spawn(async move {
            let mut wrong = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(index) = next else { return wrong };
                let Some(case) = cases.get(index) else { return wrong };
                wrong.extend(check(case, &log).await.map(|text| (index, text)));
            }
        });
    }
    let mut wrong = BTreeMap::new();
    while let Some(worker) = workers.join_next().await {
        wrong.extend(worker?);
    }
    Ok(wrong)
}

/// Runs the case on all sides at once; what is wrong, if anything.
async fn check(case: &Case, log: &AuditLog) -> Option<String> {
    let script = case.script?;
    let begun = Instant::now();
    let helms = script().helms;
    let prefix = format!("case{}", case.number);
    let sides = helms.iter().copied().chain([Program::Operator]).map(|program| {
        let prefix = &prefix;
        async move { side::run(program, script(), prefix, log).await }
    });
    let found = futures::future::try_join_all(sides).await;
    eprintln!("case {} took {:.1?}", case.number, begun.elapsed());
    let wrong = found.and_then(|found| judge(case, helms, &found));
    wrong.err().map(|error| format!("\ncase {}: {}\n{error:#}", case.number, case.title))
}

/// Holds what was found against the case's transcript.
fn judge(case: &Case, helms: &[Program], found: &[Ran]) -> Result<()> {
    if std::env::var_os("CASES_WRITE").is_some() {
        transcript::write(case.number, &transcript::merge(found))?;
    }
    let text = transcript::read(case.number)?;
    let as_written = |ran: &Ran| transcript::of(ran.program, &text) == ran.lines;
    let agrees = case.verdict.agrees(helms, &text);
    if agrees && found.iter().all(as_written) {
        return Ok(());
    }
    let what = if agrees { "" } else { "the transcript does not show what the table says\n" };
    let mut found_text = transcript::merge(found);
    for ran in found {
        for said in &ran.said {
            let _ = writeln!(found_text, "{:?} said of {said}", ran.program);
        }
    }
    bail!("{what}expected, {:?}:\n{text}\nfound:\n{found_text}", case.verdict)
}

/// How many there are of each.
fn sum<'a>(cases: impl Iterator<Item = &'a Case> + Clone, wrong: usize) -> String {
    let count = |is: fn(&Verdict) -> bool| cases.clone().filter(|case| is(&case.verdict)).count();
    let passed = count(|it| matches!(it, Verdict::Pass | Verdict::AsHelm3 | Verdict::AsHelm4));
    format!(
        "cases: {passed} pass, {} differ, {} not yet, {wrong} wrong",
        count(|it| matches!(it, Verdict::Differs { .. })),
        count(|it| matches!(it, Verdict::Later(_))),
    )
}

/// The table as it stands in docs/src/internals/cases.md.
fn markdown(cases: &[Case]) -> String {
    let mut text = String::from("| | case | here |\n|--:|---|---|\n");
    for case in cases {
        let _ = writeln!(text, "| {} | {} | {} |", case.number, case.title, case.verdict.text());
    }
    let _ = write!(text, "\n{}", sum(cases.iter(), 0));
    text
}
