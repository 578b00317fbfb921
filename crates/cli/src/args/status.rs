use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Place, duration};

const AFTER: &str = "\
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
#[command(after_help = AFTER)]
pub(crate) struct Status {
    /// The ReleaseLifecycle; without it: the only one of the namespace, or a table of all
    pub(crate) name: Option<String>,

    /// Follow the release until its operation has ended
    #[arg(short, long)]
    pub(crate) watch: bool,

    /// Give up watching after this time, such as 90s or 10m; default: never
    #[arg(long, requires = "watch", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// What is written; with --watch, json writes an object a line and yaml a document for each
    /// change
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: Output,

    /// All namespaces
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
