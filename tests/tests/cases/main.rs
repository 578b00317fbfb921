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
//! Each is a test: `cargo test --workspace --test cases -- "case 13"`. `CASES_WRITE=1` writes their transcripts anew; read them, for
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

use std::{fmt::Write, process::ExitCode, sync::LazyLock, time::Instant};

use anyhow::{Result, bail, ensure};
use e2e::{AuditLog, internals, kwok, trials};
use testkit::{cluster, programs};

use case::{Case, Verdict};
use program::Program;
use side::Ran;

/// So many cases run at once; each is two or three programs, which wait most of their time.
const WORKERS: usize = 8;

static LOG: LazyLock<AuditLog> =
    LazyLock::new(|| AuditLog::new(kwok().audit_log().to_owned(), log::is_of_a_side));

fn main() -> ExitCode {
    let mut cases: Vec<_> = table::all();
    let table = trials::trial("the table stands in docs/src/internals", || async {
        let cases = table::all();
        let numbers: Vec<_> = cases.iter().map(|case| usize::from(case.number)).collect();
        ensure!(numbers == (1..=58).collect::<Vec<_>>(), "the table has {numbers:?}");
        internals::compare("cases", &markdown(&cases))
    });
    cases.sort_by_key(|case| !case.script.is_some_and(|script| script().takes_long()));
    let cases = cases.into_iter().map(|case| {
        let name = format!("case {:02}: {}", case.number, case.title);
        let trial = trials::trial(name, move || check(case));
        trial.with_ignored_flag(case.script.is_none())
    });
    trials::exit_code(&trials::run_all(std::iter::once(table).chain(cases).collect(), WORKERS))
}

/// Runs the case on all sides at once.
async fn check(case: Case) -> Result<()> {
    let Some(script) = case.script else { return Ok(()) };
    // Before anybody's time runs.
    programs::build("dev")?;
    cluster::ensure(&e2e::helm::HELMS)?;
    let begun = Instant::now();
    let helms = script().helms;
    let prefix = format!("case{}", case.number);
    let sides = helms.iter().copied().chain([Program::Operator]).map(|program| {
        let prefix = &prefix;
        async move { side::run(program, script(), prefix, &LOG).await }
    });
    let found = futures::future::try_join_all(sides).await?;
    eprintln!("case {} took {:.1?}", case.number, begun.elapsed());
    judge(&case, helms, &found)
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
fn sum(cases: &[Case]) -> String {
    let count = |is: fn(&Verdict) -> bool| cases.iter().filter(|case| is(&case.verdict)).count();
    let passed = count(|it| matches!(it, Verdict::Pass | Verdict::AsHelm3 | Verdict::AsHelm4));
    format!(
        "cases: {passed} pass, {} differ, {} run in containers, 0 wrong",
        count(|it| matches!(it, Verdict::Differs { .. })),
        count(|it| matches!(it, Verdict::InContainers { .. })),
    )
}

/// The table as it stands in docs/src/internals/cases.md.
fn markdown(cases: &[Case]) -> String {
    let mut text = String::from("| | case | here |\n|--:|---|---|\n");
    for case in cases {
        let _ = writeln!(text, "| {} | {} | {} |", case.number, case.title, case.verdict.text());
    }
    let _ = write!(text, "\n{}", sum(cases));
    text
}
