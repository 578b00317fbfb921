//! The ReleaseLifecycle operator. `reconcile.rs` is where to begin reading.

mod advance;
mod apply;
mod args;
mod backoff;
mod besides;
mod chart;
mod client;
mod compute;
mod context;
mod deletion;
mod dependencies;
mod desired;
mod drift;
mod engines;
mod error;
mod execute;
mod explain;
mod gather;
mod guarded;
mod health;
mod helm_watch;
mod identity;
mod kinds;
mod lease;
mod lost;
mod metrics;
mod outside;
mod panics;
mod preflight;
mod prepare;
mod reconcile;
mod records;
mod references;
mod release;
mod render;
mod report;
mod rights;
mod run;
mod source;
mod sweep;
mod takeover;
mod tenant;
mod triggers;
mod turns;
mod uninstall;
mod wishes;

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

/// What a chart takes for a moment is to go back to the system, see `make counts`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = args::Args::parse();
    run::init_log(&args)?;
    panics::install();
    Ok(match Box::pin(run::run(args)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // In the log, where the last words of a process are looked for.
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    })
}
