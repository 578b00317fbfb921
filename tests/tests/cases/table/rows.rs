//! Differences from Helm that are meant: Helm's way, and the one here.

type Row = (&'static str, &'static str);

pub(super) const UNKNOWN_EVENT: Row =
    ("drops the manifest silently", "refused, naming object and value");
pub(super) const NOT_A_STRING: Row =
    ("fails at the hook, with an error of its decoder", "refused by the API server at once");
pub(super) const STOPPED: Row =
    ("a timed-out hook runs on", "evidence is taken, then it is stopped for good");
pub(super) const REUSED: Row =
    ("Helm 4 may report a leftover as success", "always a new object, checked by UID");
pub(super) const VANISHED: Row =
    ("success in Helm 3, timeout in Helm 4", "a failed attempt, reason Vanished");
pub(super) const CLEAN_UP: Row =
    ("a failing hook-succeeded deletion fails the action", "a warning");
pub(super) const TAKEN: Row =
    ("an object of any owner with the hook's name is deleted", "a clear error");
pub(super) const TWICE: Row =
    ("Helm 3 fails half-way, Helm 4 merges both", "refused, naming both places");
pub(super) const GENERATED: Row = ("generateName mostly fails", "the name is made from the run id");
pub(super) const RESUMED: Row = (
    "killed mid-way: pending for ever, or failed while the Job runs on",
    "resumed at the same hook",
);
pub(super) const INSTALL_AGAIN: Row =
    ("upgrade hooks after a failed first install", "install hooks");
pub(super) const ROLLBACK_FAILED: Row =
    ("a failing rollback hook leaves pending-rollback", "failed");
pub(super) const PRE_DELETE: Row = (
    "a failing delete hook wedges the release until --no-hooks",
    "retried until deletion.timeout, then as configured",
);
pub(super) const POST_DELETE: Row =
    ("a failing post-delete hook is lost", "the finalizer stays until it has ended");
pub(super) const REMOVED: Row =
    ("hook objects stay after uninstall", "removed, but for what is kept or holds data");
pub(super) const PRUNED: Row = (
    "what a failed upgrade made is orphaned",
    "pruned with what all revisions since the last deployed one had",
);
pub(super) const TURN: Row =
    ("a second upgrade is refused while one runs", "the newer spec waits for its turn");
pub(super) const FILTERS: Row =
    ("a killed test --filter loses the other hooks", "no hook of the record is ever lost");
pub(super) const KEEP: Row =
    ("an unknown resource-policy orphans silently", "deleted, with a warning");
pub(super) const NO_TIMEOUT: Row =
    ("timeout 0 is for ever in Helm 3, 30 s in Helm 4", "refused: every wait has a deadline");
pub(super) const LIST: Row = ("a List is one hook, its items run at once", "consecutive hooks");
pub(super) const BECOMES_HOOK: Row =
    ("deletes what the hook has just made", "it stays: it is the hook's by now");
pub(super) const BROUGHT_KIND: Row =
    ("a kind that a hook brings along is unknown: nothing runs", "it is taken from the hook");
pub(super) const MIGRATED: Row =
    ("the client continues to merge", "the server applies, and the fields are migrated");
pub(super) const TAKEN_DOWN: Row =
    ("what was uninstalled is superseded in the history", "it stays uninstalled");
