//! The project's own chores: `cargo xtask <command>`.

mod cluster;
mod crds;

use clap::Parser;

/// The project's own chores
#[derive(Parser)]
enum Xtask {
    /// Start the local cluster and print the line that a shell needs to use it
    Cluster(cluster::Up),
    /// Stop the local cluster
    ClusterDown(cluster::Down),
    /// Write what is generated from the code: crds/
    Generate,
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Cluster(args) => print(&cluster::up(&args)?),
        Xtask::ClusterDown(args) => cluster::down(&args)?,
        Xtask::Generate => crds::write()?,
    }
    Ok(())
}

/// Standard output is for what other programs read; everything else goes to standard error.
#[expect(clippy::print_stdout, reason = "the only place that does")]
fn print(line: &str) {
    println!("{line}");
}
