use clap::Args;

use super::Place;

const AFTER: &str = "\
Exit codes:
  0  the page was written
  2  wrong usage, no such release, no answer from the cluster

The page needs no network and no other file. It has what status shows, with the last lines of the logs, and
the revisions, if you may list Secrets. Logs may hold secrets: look before you send it to somebody.

Example:
  kubectl lifecycle report shop -n shop > report.html";

/// Write a page (HTML) about a release's last operation and its revisions
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Report {
    /// Name of the ReleaseLifecycle
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) place: Place,
}
