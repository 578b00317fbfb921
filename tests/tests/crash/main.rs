//! The kill sweep: an install and an upgrade with hooks, struck at each of their requests in turn,
//! or by other faults. Whatever strikes, every hook is started once and in order, and the release
//! ends as if nothing had happened.
//!
//! - `scenario`: the release, and how it has to end
//! - `point`: one run of it with one fault
//! - `state`, `prepared`: what an operation begins with, made up in its namespace
//! - `sweep`: which runs there are, several at a time
//! - `recorded`: what earlier versions left in the middle of an operation is gone on with
//! - `verdict`: what is wrong with a run, by the audit log and the end state
//!
//! Each sweep is a test: `cargo test --workspace --test crash -- "upgrade, killed before"`. `STATES` runs
//! only the recorded states of which the moment contains it, all of them.

#![expect(clippy::print_stdout, reason = "a test program says what it found")]

mod point;
mod prepared;
mod recorded;
mod scenario;
mod state;
mod sweep;
mod verdict;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Result, ensure};
use e2e::{fixture::Fixture, internals, trials};
use sweep::Sweep;

static KILLS: AtomicUsize = AtomicUsize::new(0);
static VIOLATIONS: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    let mut all = vec![trials::trial("the table stands in docs/src/internals", || async {
        internals::compare("crash", &sweep::table())
    })];
    all.extend(
        sweep::all()
            .into_iter()
            .map(|sweep| trials::trial(sweep.to_string(), move || sweep_is_clean(sweep))),
    );
    let fixtures = Fixture::all().unwrap_or_default();
    let newest = fixtures.keys().filter_map(|path| Some(path.parent()?.to_owned())).max();
    for (path, fixture) in fixtures {
        let name = format!("recorded {}", path.display());
        // The sweeps go through the states that this version stores.
        let every = if path.parent() == newest.as_deref() { 3 } else { 1 };
        all.push(trials::trial(name, move || is_gone_on_with(path, fixture, every)));
    }
    let record = trials::trial("record states into tests/fixtures/$FIXTURES", record);
    all.push(record.with_ignored_flag(true));
    // All of them at once; how many runs there are at a time is for `sweep::turn`.
    let threads = all.len();
    let conclusion = trials::run_all(all, threads);
    let (kills, violations) = (KILLS.load(Ordering::Relaxed), VIOLATIONS.load(Ordering::Relaxed));
    println!("kill points {kills}, violations {violations}");
    trials::exit_code(&conclusion)
}

async fn sweep_is_clean(sweep: Sweep) -> Result<()> {
    let outcome = sweep.run().await?;
    let (struck, violations) = (outcome.struck, outcome.violations);
    println!("{sweep}: {struck} points, {} violations", violations.len());
    if sweep.kills() {
        KILLS.fetch_add(struck, Ordering::Relaxed);
    }
    VIOLATIONS.fetch_add(violations.len(), Ordering::Relaxed);
    ensure!(violations.is_empty(), "{}", violations.join("\n\n"));
    Ok(())
}

async fn is_gone_on_with(path: PathBuf, fixture: Fixture, every: usize) -> Result<()> {
    let (states, wrong) = recorded::go_on(&path, &fixture, every).await?;
    println!("recorded {}: {states} states, {} violations", path.display(), wrong.len());
    ensure!(states > 0, "there are recorded states");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

async fn record() -> Result<()> {
    for (scenario, states) in recorded::record().await? {
        println!("{scenario}: {states} states");
    }
    Ok(())
}
