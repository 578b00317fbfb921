use clap::Args;

use super::{Format, Place};

const AFTER: &str = "\
Exit codes:
  0  nothing has failed
  1  a check has failed
  2  wrong usage, no such release, no answer from the cluster

Checks that you have no rights for are not made, and say which right they need. Nothing is changed.

-o json and -o yaml write a list of
  {result, subject, message}
where result is ok, warning, failed or unchecked.";

/// Check the operator, its rights and a release; each problem comes with its remedy
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Doctor {
    /// Name of a ReleaseLifecycle, to check that as well
    pub(crate) name: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}
