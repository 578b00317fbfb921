use clap::Args;

use super::Place;

const AFTER: &str = "\
Exit codes:
  0  a log was shown
  1  there is none
  2  wrong usage, no such release or hook, no answer from the cluster, no right to read it

The log is that of the hook's Pods as long as they exist. Then it is the one that the operator has kept, in
a Secret beside the release's records (spec.hooks.keepLogs); then the last lines in the release's status.
Standard error says which, unless it is that of the Pods.";

/// Show the log of a hook: of its Pods, or what is kept of it
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Logs {
    /// Name of the ReleaseLifecycle
    pub(crate) name: String,

    /// Hook: the name of its object, or Kind/name; default: the one that runs, or that failed last, or
    /// that ran last
    pub(crate) hook: Option<String>,

    /// Follow the log until the hook has ended
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Attempt of the hook, from 1; default: the last one
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) attempt: Option<i32>,

    /// Show the attempt before the last one
    #[arg(short, long, conflicts_with_all = ["attempt", "follow"])]
    pub(crate) previous: bool,

    /// Container; default: all, and with --follow the first one of each Pod and its init containers
    #[arg(short, long)]
    pub(crate) container: Option<String>,

    /// Number of lines to show, counted from the end of each container's log; default: all
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) tail: Option<i64>,

    #[command(flatten)]
    pub(crate) place: Place,
}
