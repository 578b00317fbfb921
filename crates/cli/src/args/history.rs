use clap::Args;

use super::{Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the history was shown
  2  wrong usage, no such release, no answer from the cluster, no right to read Secrets

The history is read from the release's records, which are Helm's Secrets: `helm history` shows the
same.

-o json and -o yaml write a list, oldest revision first, of
  {revision, updated, status, event, target, description}
where event is null if Helm itself wrote the record, and target is the revision to which a rollback
went back, or null.";

/// Show the revisions of a release: time, status and event of each
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct History {
    /// Name of the ReleaseLifecycle
    pub(crate) name: String,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}
