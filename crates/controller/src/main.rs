//! The ReleaseLifecycle operator. `reconcile.rs` is where to begin reading.

mod apply;
mod args;
mod backoff;
mod client;
mod context;
mod error;
mod execute;
mod gather;
mod health;
mod hook_object;
mod identity;
mod kinds;
mod metrics;
mod observe;
mod prepare;
mod reconcile;
mod records;
mod release;
mod report;
mod run;
mod sweep;
mod tenant;

use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run::run(args::Args::parse()).await
}
