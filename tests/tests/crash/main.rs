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
//! `CRASH_ONLY=late` runs only the sweeps with that word in their title.

mod point;
mod prepared;
mod recorded;
mod scenario;
mod state;
mod sweep;
mod verdict;

use anyhow::Result;
use e2e::internals;

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn no_fault_repeats_or_skips_a_hook() -> Result<()> {
    let only = std::env::var("CRASH_ONLY").unwrap_or_default();
    let results = sweep::run_all(&only).await?;
    for result in &results {
        println!("{result}");
    }
    for violation in results.iter().flat_map(|result| &result.violations) {
        println!("\n{violation}");
    }
    let kills: usize = results.iter().map(sweep::Outcome::kills).sum();
    let violations: usize = results.iter().map(|result| result.violations.len()).sum();
    println!("\n{}", sweep::table(&results));
    println!("kill points {kills}, violations {violations}");
    assert_eq!(violations, 0, "each is listed above");
    if only.is_empty() {
        internals::compare("crash", &sweep::table(&results))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_recorded_state_is_gone_on_with() -> Result<()> {
    let only = std::env::var("CRASH_ONLY").unwrap_or_default();
    let (points, wrong) = recorded::go_on(&only).await?;
    for wrong in &wrong {
        println!("\n{wrong}");
    }
    println!("recorded states {points}, violations {}", wrong.len());
    assert!(points > 0 || !only.is_empty(), "there are recorded states");
    assert_eq!(wrong.len(), 0, "each is listed above");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "records tests/fixtures/$FIXTURES anew"]
async fn record_states() -> Result<()> {
    for (scenario, states) in recorded::record().await? {
        println!("{scenario}: {states} states");
    }
    Ok(())
}
