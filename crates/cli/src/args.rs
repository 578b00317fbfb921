use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Shows what the ReleaseLifecycle operator does to your releases
#[derive(Parser)]
#[command(name = "kubectl-lifecycle", bin_name = "kubectl lifecycle", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show how far a release's operation got
    Status(Status),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  the status was shown; with --watch: the release is Ready
  1  with --watch: the operation failed, or nothing goes on until somebody changes something
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

--watch ends when the controller is done with the release as it was when the watch began: with the
operation that runs, or, where the spec is newer than what the controller has looked at, with the
operation that follows. If there is nothing left to do it ends at once. On a terminal the timeline
is redrawn in place; elsewhere each change is a line of its own. Times are UTC.

Examples:
  kubectl apply -f shop.yaml && kubectl lifecycle status shop --watch
  kubectl lifecycle status -A";

/// Show how far a release's operation got: each hook with its outcome, what is being waited for,
/// and the last lines of a hook that failed
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Status {
    /// The ReleaseLifecycle; without it: the only one of the namespace, or a table of all
    pub(crate) name: Option<String>,

    /// Follow the release until its operation has ended
    #[arg(short, long)]
    pub(crate) watch: bool,

    /// Give up watching after this time, such as 90s or 10m; default: never
    #[arg(long, requires = "watch", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// What is written; with --watch, json writes an object a line, one for each change
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Which cluster and namespace, by the names that kubectl gives these flags.
#[derive(Args)]
pub(crate) struct Place {
    /// The namespace; default: that of the kube context
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,

    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub(crate) all_namespaces: bool,

    /// Path of a kubeconfig; default: $KUBECONFIG or ~/.kube/config
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; default: its current one
    #[arg(long)]
    pub(crate) context: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration: kube::core::Duration =
        text.parse().context("give a number and a unit, such as 90s or 10m")?;
    Ok(duration.into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert!(duration("soon").is_err());
    }
}
