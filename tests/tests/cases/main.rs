//! Helm's behaviour, case by case: the same objects are run by the real Helm and by the operator,
//! side by side on one cluster, and what the API server's audit log says that they did is compared,
//! with how it ended. Each case is a script and a transcript; a line that is not everybody's is
//! marked. So what Helm does is written down too, and a new version of it that does otherwise is
//! noticed.
//!
//! - `case`: a case and its verdict
//! - `script`: what is done; `transcript`: what comes of it
//! - `side`, `helm_side`, `operator_side`: who does it
//! - `log`, `end`: what is seen
//! - `table`: all cases, by subject
//!
//! `CASES_ONLY=13,14` runs only these.

mod case;
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
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};
use e2e::{architecture, kwok};
use tokio::task::JoinSet;

use case::{Case, Verdict};
use log::Log;
use program::Program;

/// So many cases run at once; each is two or three programs, which wait most of their time.
const WORKERS: usize = 5;

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
    for text in &wrong {
        println!("{text}");
    }
    for case in cases.iter() {
        println!("{}", case.line());
    }
    println!("{}", sum(&cases, wrong.len()));
    ensure!(wrong.is_empty(), "{} cases are wrong, each is shown above", wrong.len());
    if only.is_empty() { architecture::compare("cases", &table) } else { Ok(()) }
}

/// Runs all cases; what is wrong, in their order.
async fn run(cases: &Arc<Vec<Case>>) -> Result<Vec<String>> {
    // Before the workers, which would build it all at once.
    let log = Arc::new(Log::new(kwok().audit_log().to_owned()));
    let next = Arc::new(Mutex::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (cases, log, next) = (Arc::clone(cases), Arc::clone(&log), Arc::clone(&next));
        workers.spawn(async move {
            let mut wrong = Vec::new();
            loop {
                let index = {
                    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
                    *next += 1;
                    *next - 1
                };
                let Some(case) = cases.get(index) else { return wrong };
                wrong.extend(check(case, &log).await.map(|text| (index, text)));
            }
        });
    }
    let mut wrong = Vec::new();
    while let Some(worker) = workers.join_next().await {
        wrong.extend(worker?);
    }
    wrong.sort();
    Ok(wrong.into_iter().map(|(_, text)| text).collect())
}

/// Runs the case on all sides at once; what is wrong, if anything.
async fn check(case: &Case, log: &Log) -> Option<String> {
    let shown = case.shown?;
    let head = format!("\ncase {}: {}\n", case.number, case.title);
    let begun = Instant::now();
    let helms = (shown.script)().helms;
    let programs = helms.iter().copied().filter(|_| std::env::var_os("OURS").is_none()).chain([Program::Operator]);
    let prefix = format!("case{}", case.number);
    let sides = programs.map(|program| {
        let prefix = &prefix;
        async move {
            let lines = side::run(program, (shown.script)(), prefix, log).await?;
            anyhow::Ok((program, lines))
        }
    });
    let found = match futures::future::try_join_all(sides).await {
        Ok(found) => found,
        Err(error) => return Some(format!("{head}{error:#}")),
    };
    eprintln!("case {} took {:.1?}", case.number, begun.elapsed());
    let expected = |program| transcript::of(program, shown.transcript);
    if found.iter().any(|(program, lines)| expected(*program) != *lines) {
        return Some(format!(
            "{head}expected:\n{}\nfound:\n{}",
            shown.transcript.trim_matches('\n').trim_end(),
            transcript::merge(&found)
        ));
    }
    (!shown.agrees(case.verdict))
        .then(|| format!("{head}the transcript does not say {:?}", case.verdict))
}

/// How many there are of each.
fn sum(cases: &[Case], wrong: usize) -> String {
    let count = |is: fn(&Verdict) -> bool| cases.iter().filter(|case| is(&case.verdict)).count();
    let passed = count(|it| matches!(it, Verdict::Pass | Verdict::AsHelm3 | Verdict::AsHelm4));
    format!(
        "cases: {passed} pass, {} differ, {} need a chart, {} not yet, {wrong} wrong",
        count(|it| matches!(it, Verdict::Differs { .. })),
        count(|it| matches!(it, Verdict::NeedsChart(_))),
        count(|it| matches!(it, Verdict::Later(_))),
    )
}

/// The table as it stands in ARCHITECTURE.md.
fn markdown(cases: &[Case]) -> String {
    let mut text = String::from("| | case | here |\n|--:|---|---|\n");
    for case in cases {
        let _ = writeln!(text, "| {} | {} | {} |", case.number, case.title, case.verdict.text());
    }
    let _ = write!(text, "\n{}", sum(cases, 0));
    text
}
