use clap::Args;

use super::{Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the versions were shown
  2  wrong usage, no answer from the cluster

The operator's version is the tag of its image, for each of its Deployments. The definition is compared
with that of this client.

-o json and -o yaml write a list of
  {component, version, message}
where component is client, operator or definition.";

/// Show the versions of this client, of the operator, and of the definition of ReleaseLifecycle
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Version {
    /// Show that of this client only, and do not connect to the cluster
    #[arg(long)]
    pub(crate) client: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}
