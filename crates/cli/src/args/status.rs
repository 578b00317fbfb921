use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Place, duration};

const AFTER: &str = "\
Exit codes:
  0  the status was shown; with --watch: the release, or each of several, is Ready
  1  with --watch: an operation failed, or is blocked until you change something
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

--watch ends when the operator has finished the work that was due when the watch began: the running
operation, or the following one if the operator has not observed the newest spec yet. If nothing is
left to do, it ends at once. On a terminal the timeline is redrawn in place; elsewhere each change is
a line of its own. Times are UTC. Several releases are a line each, with a bar for the time of the hook
that runs.

Examples:
  kubectl apply -f shop.yaml && kubectl lifecycle status shop --watch
  kubectl lifecycle status -A
  kubectl lifecycle status -A --watch";

/// Show the progress of a release's operation: each hook with its outcome, the current wait, and
/// the last lines of a failed hook
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Status {
    /// Name of the ReleaseLifecycle; default: the only one of the namespace, or a table of all
    pub(crate) name: Option<String>,

    /// Follow the release until its operation has ended; without NAME, follow all
    #[arg(short, long)]
    pub(crate) watch: bool,

    /// Maximum time to watch, such as 90s or 10m; default: no limit
    #[arg(long, requires = "watch", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Output format; with --watch, each change is one line of json, or one document of yaml
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,

    /// Show the ReleaseLifecycles of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    pub(crate) all_namespaces: bool,

    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
    Yaml,
}
