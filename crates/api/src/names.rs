//! Labels, annotations and other names that are stored in the cluster. They are never renamed.

/// The beginning of every name of our own.
pub const PREFIX: &str = "releaselifecycle.dev/";
/// Label: the UID of the custom resource, on every hook object. Nothing carries ownerReferences:
/// a foreground deletion would have the garbage collector kill a running hook.
pub const UID_LABEL: &str = "releaselifecycle.dev/uid";
/// Label: the name of the custom resource, on every hook object.
pub const NAME_LABEL: &str = "releaselifecycle.dev/name";
/// Label: the revision whose operation created the hook object.
pub const REVISION_LABEL: &str = "releaselifecycle.dev/revision";
/// Label: the hook event of the hook object. Helm uses this name for an annotation only.
pub const HOOK_LABEL: &str = "helm.sh/hook";
/// Label: the name of the custom resource, on the `ConfigMaps` and Secrets that `kubectl lifecycle
/// create` writes for its `spec.source.objectsFrom`.
pub const SOURCE_OF_LABEL: &str = "releaselifecycle.dev/source-of";
/// Annotation: the run id `<operation>/<index in the plan>/<attempt>`.
pub const RUN_ANNOTATION: &str = "releaselifecycle.dev/run";
/// Annotation: the custom resource as `<namespace>/<name>`, on hook objects and on their Pods.
pub const OWNER_ANNOTATION: &str = "releaselifecycle.dev/owner";
/// Annotation: the ServiceAccount, of the custom resource's namespace, as which a hook object was
/// created.
pub const ACCOUNT_ANNOTATION: &str = "releaselifecycle.dev/service-account";
/// Annotation: whether a hook object may start, [`HELD`] or [`OPEN`].
pub const GATE_ANNOTATION: &str = "releaselifecycle.dev/gate";
/// Value of [`GATE_ANNOTATION`]: the hook object was created, and its UID is not in the journal
/// yet.
pub const HELD: &str = "held";
/// Value of [`GATE_ANNOTATION`]: the hook object was started.
pub const OPEN: &str = "open";
/// The beginning of the annotations by which a hook has a rule of its own, such as
/// `releaselifecycle.dev/hook-timeout`.
pub const RULE_PREFIX: &str = "releaselifecycle.dev/hook-";
/// The scheduling gate that holds a hook Pod back.
pub const SCHEDULING_GATE: &str = "releaselifecycle.dev/held";

/// Annotation of a record that was copied from a `ConfigMap`: the newest revision to copy. The copy
/// is complete when that revision exists.
pub const IMPORTED_THROUGH_ANNOTATION: &str = "releaselifecycle.dev/imported-through";

/// Field manager of a release's objects. It is Helm's own, so that a later `helm upgrade` has no
/// conflicts.
pub const FIELD_MANAGER: &str = "helm";
/// Field manager of the custom resource's status.
pub const STATUS_MANAGER: &str = "releaselifecycle-controller";

/// The finalizer that keeps the custom resource until its release is deleted.
pub const FINALIZER: &str = "releaselifecycle.dev/finalizer";

/// Annotation of the custom resource: resume where the last operation failed, with one more attempt
/// at its hook. As with all of these, any new value is a request, and a time is customary.
pub const RETRY_AT: &str = "releaselifecycle.dev/retryAt";
/// Annotation of the custom resource: run the operation again from the start, as a new revision.
pub const RESTART_AT: &str = "releaselifecycle.dev/restartAt";
/// Annotation of the custom resource: run the tests.
pub const TEST_AT: &str = "releaselifecycle.dev/testAt";
/// Annotation of the custom resource: the digest of the plan that somebody has approved.
pub const APPROVED_PLAN: &str = "releaselifecycle.dev/approvedPlan";
/// Annotation of the custom resource: who has approved the plan. The admission policy of deploy/
/// accepts only the user of the request that approves it.
pub const APPROVED_BY: &str = "releaselifecycle.dev/approvedBy";
/// Annotation of the custom resource: stop the running operation.
pub const CANCEL_AT: &str = "releaselifecycle.dev/cancelAt";
/// Annotation of the custom resource: skip the hook at which the operation is blocked; in a
/// deletion, all hooks that remain.
pub const SKIP_AT: &str = "releaselifecycle.dev/skipAt";
