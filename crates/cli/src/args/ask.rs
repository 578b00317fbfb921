//! The commands that change something: each is one patch of the ReleaseLifecycle.

use std::time::Duration;

use clap::Args;

use super::{Place, duration};

/// What all of them take.
#[derive(Args)]
pub(crate) struct How {
    /// The ReleaseLifecycle
    pub(crate) name: String,

    /// Have the API server check it without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// For those whose end can be waited for.
#[derive(Args)]
pub(crate) struct Wait {
    /// Follow the release, as `status --watch` does, until the controller is done with it; one
    /// that stood still before is given up, exit code 1, when nothing has changed for 15 s
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,

    /// Give up waiting after this time, such as 90s or 10m; default: never
    #[arg(long, requires = "wait", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

const RETRY: &str = "\
Exit codes:
  0  it was asked for; with --wait: the release is Ready, or a deletion has ended
  1  nothing has failed; with --wait: it failed again, or nothing goes on
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out";

/// Go on where an operation failed: the same revision, one more attempt at its hook
#[derive(Args)]
#[command(after_help = RETRY)]
pub(crate) struct Retry {
    /// Begin again instead: a new revision, every hook; also of a release that has not failed
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const CANCEL: &str = "\
Exit codes:
  0  it was asked for; with --wait: the operation was cancelled
  1  nothing is running that can be cancelled; it ended in another way first; with --wait: also
     where nothing goes on
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

A running hook is stopped for good. What it has done is not undone, and what was applied stays.
A deletion cannot be cancelled.";

/// Stop the running operation, and its hook with it
#[derive(Args)]
#[command(after_help = CANCEL)]
pub(crate) struct Cancel {
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const TEST: &str = "\
Exit codes:
  0  they were asked for; with --wait: they succeeded, or there are none (condition TestSuccess)
  1  with --wait: they failed, or cannot be run, or nothing goes on
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out";

/// Run the tests of the latest revision, those that spec.test.filters lets through
#[derive(Args)]
#[command(after_help = TEST)]
pub(crate) struct Test {
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const ROLLBACK: &str = "\
Exit codes:
  0  it was asked for; with --wait: the release is Ready
  1  there is no such revision; with --wait: the rollback failed, or nothing goes on
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

A rollback sets spec.pinRevision. As long as that stands, the release is held at that revision and
changes of spec.source have no effect; --undo removes it, and the release goes back to its spec.
Where a tool such as Argo CD or Flux applies the spec, set the field in what it applies.

Without REVISION, or with 0, it goes back to the revision that was deployed before the present one;
after a failed operation, to the one that is deployed. That is looked up in the release's records,
which are Secrets; with a REVISION, nobody needs the right to read them.

Examples:
  kubectl lifecycle rollback shop --wait
  kubectl lifecycle rollback shop 3
  kubectl lifecycle rollback shop --undo";

/// Go back to an earlier revision, with its rollback hooks, and stay there
#[derive(Args)]
#[command(after_help = ROLLBACK)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) how: How,
    /// The revision, see `kubectl lifecycle history`; 0: the previous one
    #[arg(default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) revision: i32,
    /// Go back to what the spec says, by an upgrade
    #[arg(long, conflicts_with = "revision")]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const SUSPEND: &str = "\
Exit codes:
  0  spec.suspend is true
  2  wrong usage, no such release, no answer from the cluster

A hook that runs is watched to its end. Where a tool such as Argo CD or Flux applies the spec, set
spec.suspend in what it applies.";

/// Have nothing new started for a release until it is resumed
#[derive(Args)]
#[command(after_help = SUSPEND)]
pub(crate) struct Suspend {
    #[command(flatten)]
    pub(crate) how: How,
}

const RESUME: &str = "\
Exit codes:
  0  spec.suspend is not set; with --wait: the release is Ready
  1  with --wait: the operation failed, or nothing goes on
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out";

/// Go on with a release that was suspended
#[derive(Args)]
#[command(after_help = RESUME)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const SKIP: &str = "\
Exit codes:
  0  it was asked for; with --wait: the release is gone, or Ready
  1  there is nothing to skip; with --wait: the operation failed, or nothing goes on
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

In a deletion all hooks that remain are done without, the one that runs is stopped. Look first at
what they do: a pre-delete hook may be the last backup. Where the release's objects are not gone when
spec.deletion.timeout has passed, they are left behind as they are, and with them whatever holds
them: Event objects (HookSkipped, ReleaseLeft) list what was skipped and what is left.";

/// Do without the hooks that hold up a deletion, or without the hook of which nobody can tell
/// whether it ran
#[derive(Args)]
#[command(after_help = SKIP)]
pub(crate) struct Skip {
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
