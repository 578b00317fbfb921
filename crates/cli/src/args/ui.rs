use clap::Args;

use super::Place;

const AFTER: &str = "\
Exit codes:
  0  it was ended by Ctrl-C or SIGTERM
  2  wrong usage, a port that cannot be used, no answer from the cluster

The page is served on 127.0.0.1 only, to whoever has the address with its token, which is another one at
each start. It reads and changes what your own credentials allow. Nothing is installed in the cluster, and
nothing is stored. Each action of the page is a command of kubectl lifecycle, which it shows before.

Without -n the page shows the releases of all namespaces; if you may not list those, the ones of the
context's namespace.";

/// Serve a page on this machine: all releases, their timelines and logs, and the requests to them
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Ui {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,

    #[command(flatten)]
    pub(crate) place: Place,
}
