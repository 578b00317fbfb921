//! The commands that change something: each is one patch of the ReleaseLifecycle.

use std::time::Duration;

use clap::Args;

use super::{Place, duration};

/// The arguments of all of them.
#[derive(Args)]
pub(crate) struct How {
    /// Name of the ReleaseLifecycle
    pub(crate) name: String,

    /// Only check the request: the API server validates it, and nothing is changed
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// The flags of the commands that can wait for the end of an operation.
#[derive(Args)]
pub(crate) struct Wait {
    /// Follow the release, as `status --watch` does, until the operation has ended; if the release
    /// was blocked before and nothing changes for 15 s, exit with code 1
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,

    /// Maximum time to wait, such as 90s or 10m; default: no limit
    #[arg(long, requires = "wait", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

const RETRY: &str = "\
Exit codes:
  0  the retry was requested; with --wait: the release is Ready, or a deletion has ended
  1  nothing has failed; with --wait: it failed again, or is blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out";

/// Resume an operation where it failed: the same revision, with one more attempt at its hook
#[derive(Args)]
#[command(after_help = RETRY)]
pub(crate) struct Retry {
    /// Start again instead: a new revision with every hook; also possible if nothing has failed
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const CANCEL: &str = "\
Exit codes:
  0  the cancellation was requested; with --wait: the operation was cancelled
  1  there is no operation to cancel; with --wait: it ended in another way first, or is blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

A running hook is stopped for good. Its effects are not undone, and applied objects stay.
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

const APPROVE: &str = "\
Exit codes:
  0  the plan is approved; with --wait: the release is Ready
  1  no plan waits, or another one than DIGEST; with --wait: the operation failed, or is blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

Exactly the plan that is shown runs, and none that is made later. `kubectl lifecycle status NAME`
shows it, with its digest. Only the right to change the ReleaseLifecycle is needed.";

/// Approve the plan that waits (spec.approval), and show it
#[derive(Args)]
#[command(after_help = APPROVE)]
pub(crate) struct Approve {
    #[command(flatten)]
    pub(crate) how: How,
    /// Digest of the plan, or the beginning of it; default: the plan that waits now
    pub(crate) digest: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const TEST: &str = "\
Exit codes:
  0  the tests were requested; with --wait: they succeeded, or there are none (condition TestSuccess)
  1  with --wait: they failed, or cannot be run, or are blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out";

/// Run the tests of the latest revision that spec.test.filters selects
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
  0  the rollback was requested; with --wait: the release is Ready
  1  there is no such revision; with --wait: the rollback failed, or is blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

A rollback sets spec.pinRevision. As long as that field is set, the release stays at that revision
and changes of spec.source have no effect; --undo removes it, and the release is upgraded to its
spec. If a tool such as Argo CD or Flux applies the spec, set the field in its manifests.

Without REVISION, or with 0, the release is rolled back to the revision that was deployed before the
present one; after a failed operation, to the one that is deployed. This needs the right to read the
release's records, which are Secrets; with a REVISION, it does not.

Examples:
  kubectl lifecycle rollback shop --wait
  kubectl lifecycle rollback shop 3
  kubectl lifecycle rollback shop --undo";

/// Roll back to an earlier revision, with its rollback hooks, and stay there
#[derive(Args)]
#[command(after_help = ROLLBACK)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) how: How,
    /// Revision, see `kubectl lifecycle history`; 0: the previous one
    #[arg(default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) revision: i32,
    /// Upgrade to the spec again
    #[arg(long, conflicts_with = "revision")]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

const SUSPEND: &str = "\
Exit codes:
  0  spec.suspend is true
  2  wrong usage, no such release, no answer from the cluster

A running hook is watched to its end. If a tool such as Argo CD or Flux applies the spec, set
spec.suspend in its manifests.";

/// Suspend a release: start nothing new until it is resumed
#[derive(Args)]
#[command(after_help = SUSPEND)]
pub(crate) struct Suspend {
    #[command(flatten)]
    pub(crate) how: How,
}

const RESUME: &str = "\
Exit codes:
  0  spec.suspend is not set; with --wait: the release is Ready
  1  with --wait: the operation failed, or is blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out";

/// Resume a suspended release
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
  0  the skip was requested; with --wait: the release is deleted, or Ready
  1  there is nothing to skip; with --wait: the operation failed, or is blocked
  2  wrong usage, no such release, no answer from the cluster, --timeout ran out

In a deletion all hooks that remain are skipped, and the running one is stopped. Check first what
they do: a pre-delete hook may be the last backup. If the release's objects still exist when
spec.deletion.timeout has passed, they are left behind as they are. Event objects (HookSkipped,
ReleaseLeft) list the skipped hooks and the objects that are left.";

/// Skip the hooks that block a deletion, or a hook of which it is unknown whether it ran
#[derive(Args)]
#[command(after_help = SKIP)]
pub(crate) struct Skip {
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
