use clap::Args;

use super::{Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the history was shown
  2  wrong usage, no such release, no answer from the cluster, no right to read Secrets

The history is in the release's records, which are Helm's Secrets: `helm history` shows the same.

-o json and -o yaml write a list, oldest revision first, of
  {revision, updated, status, event, target, description}
where event is null for what Helm itself wrote, and target is the revision that a rollback went
back to, or null.";

/// Show the revisions of a release: when each was made, by which event, and what became of it
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct History {
    /// The ReleaseLifecycle
    pub(crate) name: String,

    /// What is written
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}
