//! The ReleaseLifecycle operator. `reconcile.rs` is where to begin reading.

mod args;
mod cluster;
mod desired;
mod health;
mod operation;
mod plan;
mod reconcile;
mod records;
mod release;
mod rendering;
mod run;
mod support;
mod watches;

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;
use tokio::runtime::Builder;

/// The allocator: memory that a chart needs for a moment must go back to the system, see
/// `make counts`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> anyhow::Result<ExitCode> {
    let args = args::Args::parse();
    run::init_log(&args)?;
    support::panics::install();
    let vital =
        Builder::new_multi_thread().worker_threads(1).thread_name("vital").enable_all().build()?;
    let work = Builder::new_multi_thread().enable_all().build()?;
    Ok(match work.block_on(run::run(args, vital.handle())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the log, where people look for the last message of a process.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    })
}
