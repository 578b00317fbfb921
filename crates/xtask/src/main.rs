//! The project's own tasks: `cargo xtask <command>`.

mod cluster;
mod crds;
mod demo;
mod deploy;
mod docs;
mod krew;
mod release;
mod tests;

use std::process::ExitCode;

use clap::Parser;

/// The project's own tasks
#[derive(Parser)]
enum Xtask {
    /// Start the local cluster and print the line that a shell needs to use it
    Cluster(cluster::Up),
    /// Stop the local cluster
    ClusterDown(cluster::Down),
    /// Show an install and an upgrade on a real cluster, during which the controller is killed
    Demo(demo::Demo),
    /// Show the same with the guide's chart, and then its tests and a rollback
    DemoChart(demo::Demo),
    /// Run every test program, a few at a time, and print the time of each
    Test(tests::Tests),
    /// Write the generated files: crds/, and parts of deploy/ and docs/
    Generate {
        /// Write nothing, and fail if a file is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Print the manifest of kubectl-lifecycle for krew
    Krew(krew::Krew),
    /// Write the notes, the checksums and the provenance of a release beside its files
    Release(release::Release),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that `Result` from main would show.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Cluster(args) => print(&cluster::up(&args)?),
        Xtask::ClusterDown(args) => cluster::down(&args)?,
        Xtask::Demo(args) => demo::run(&args)?,
        Xtask::DemoChart(args) => demo::run_chart(&args)?,
        Xtask::Test(args) => tests::run(&args)?,
        Xtask::Release(args) => release::write(&args)?,
        Xtask::Krew(args) => print(krew::manifest(&args)?.trim_end()),
        Xtask::Generate { check: true } => {
            crds::check()?;
            deploy::check(&crds::text()?)?;
            docs::check()?;
        }
        Xtask::Generate { check: false } => {
            crds::write()?;
            deploy::write(&crds::text()?)?;
            docs::write()?;
        }
    }
    Ok(())
}

/// Standard output is for what other programs read, and for the demo's story; everything else goes
/// to standard error.
#[expect(clippy::print_stdout, reason = "the only place that does")]
fn print(line: &str) {
    println!("{line}");
}
