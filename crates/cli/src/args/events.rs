use clap::Args;

use super::{Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the Event objects were shown
  2  wrong usage, no such release, no answer from the cluster, no right to list Event objects

Event objects are those of the release, of the objects of its hooks, and of their Pods. The API server keeps
them for an hour, if it is not configured otherwise; `kubectl lifecycle status` shows what is kept for longer.

-o json and -o yaml write a list, oldest first, of
  {lastSeen, count, type, reason, object, message}
where object is Kind/name, and lastSeen may be null.";

/// Show the Event objects of a release, of its hooks and of their Pods, oldest first
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Events {
    /// Name of the ReleaseLifecycle
    pub(crate) name: String,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}
