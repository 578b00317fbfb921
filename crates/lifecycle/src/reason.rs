//! Reasons: the one word that each condition, each failed hook and each Event object has.
//!
//! A reason stands in status as its word. What an older version wrote, or what Kubernetes says of a
//! Job or a Pod, may be a word that is not here; it stays as it is.

use std::fmt;

/// The kind of remedy where a reason is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Nothing has to be done: it is as it should be.
    Success,
    /// It goes on by itself, once something else is done.
    Progress,
    /// It is tried again by itself, with back-off.
    BackOff,
    /// It stays until a user changes something, or asks for another attempt.
    UserFixable,
    /// It says what happened; nothing depends on it.
    Notice,
    /// It is Kubernetes' own word for what holds a hook or an object up, or has ended it.
    Kubernetes,
}

impl Category {
    /// It in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Progress => "continues by itself",
            Self::BackOff => "tried again with back-off",
            Self::UserFixable => "needs a change or a request",
            Self::Notice => "notice",
            Self::Kubernetes => "of Kubernetes",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $word:ident: $category:ident,)+) => {
        /// One word of status and of Event objects. The words are part of the interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $word,)+
        }

        impl Reason {
            /// Every reason, in the order in which the documentation explains them.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => stringify!($word),)+
                }
            }

            /// Returns what helps where it is given.
            pub const fn category(self) -> Category {
                match self {
                    $(Self::$word => Category::$category,)+
                }
            }

            /// Its meaning, in one line.
            pub fn meaning(self) -> &'static str {
                let text = match self {
                    $(Self::$word => concat!($($meaning),+),)+
                };
                text.trim_start()
            }
        }
    };
}

reasons! {
    /// The deployed revision is what the spec asks for.
    InSync: Success,
    /// An install succeeded.
    InstallSucceeded: Success,
    /// An upgrade succeeded.
    UpgradeSucceeded: Success,
    /// A rollback succeeded.
    RollbackSucceeded: Success,
    /// A failed install was uninstalled.
    UninstallSucceeded: Success,
    /// `spec.pinRevision` holds the release at a revision.
    RevisionPinned: Success,
    /// An operation runs.
    Progressing: Progress,
    /// `spec.suspend` is true.
    Suspended: UserFixable,
    /// The plan of the next operation waits for an approval.
    ApprovalPending: UserFixable,
    /// The next operation begins when a window of `spec.windows` opens.
    WindowClosed: Progress,
    /// A schedule or a time zone of the spec is invalid.
    InvalidSchedule: UserFixable,
    /// A release that `spec.dependsOn` names is not Ready.
    DependencyNotReady: Progress,
    /// The API server did not answer.
    Retrying: BackOff,
    /// The last operation failed, and is attempted again.
    RetryPending: BackOff,
    /// The chart is being fetched.
    Fetching: Progress,
    /// The chart waits for its turn to be rendered.
    Rendering: Progress,
    /// A release of Helm was adopted.
    Adopted: Notice,
    /// An adopted chart renders to something else than Helm has recorded.
    RendersOtherwise: Notice,
    /// Helm is at work on the release.
    HelmAtWork: Progress,
    /// A record at which Helm had died was closed.
    HelmGaveUp: Notice,
    /// The release was uninstalled with Helm, and is installed again.
    UninstalledByHelm: Notice,
    /// The health checks wait for their turn to be evaluated.
    Evaluating: Progress,
    /// The server of the chart does not answer.
    SourceUnreachable: BackOff,
    /// The source of Flux has no artifact yet.
    SourceNotReady: Progress,
    /// All tests succeeded.
    TestSucceeded: Success,
    /// The revision has no tests.
    NoTests: Success,
    /// The release is deleted, or its `ReleaseLifecycle` is being deleted.
    Deleted: Success,

    /// Nothing was found in the operation that can only fail.
    PreflightPassed: Success,

    /// The objects are as they were deployed.
    NoDrift: Success,
    /// Objects were changed or removed.
    DriftDetected: UserFixable,
    /// Objects were reverted to the deployed state.
    DriftCorrected: Success,
    /// Objects could not be reverted.
    DriftNotCorrected: UserFixable,
    /// Objects could not be compared.
    DriftUnknown: UserFixable,
    /// A rule of `spec.driftDetection.ignore` cannot be read.
    InvalidIgnore: UserFixable,

    /// The spec names no ServiceAccount.
    ServiceAccountRequired: UserFixable,
    /// A right is missing.
    Forbidden: UserFixable,
    /// The API server refused a request for another reason than a missing right.
    Refused: UserFixable,
    /// The operator has a fault.
    InternalError: BackOff,
    /// The objects cannot be planned.
    InvalidSource: UserFixable,
    /// A patch cannot be applied.
    InvalidPatch: UserFixable,
    /// Something that the spec names is not there.
    SourceNotFound: UserFixable,
    /// The server has no such chart.
    ChartNotFound: UserFixable,
    /// The server wants another login.
    Unauthorized: UserFixable,
    /// The content that the server sent does not match the digest.
    DigestMismatch: UserFixable,
    /// The chart is not signed as its `verify` demands.
    VerificationFailed: UserFixable,
    /// The archive is too large.
    ChartTooLarge: UserFixable,
    /// The operator fetches nothing from that address.
    SourceRefused: UserFixable,
    /// It is no chart that can be installed.
    InvalidChart: UserFixable,
    /// The values cannot be read, or do not fit the chart.
    InvalidValues: UserFixable,
    /// A template of the chart fails.
    TemplateError: UserFixable,
    /// The chart takes too much to render.
    RenderLimit: UserFixable,
    /// The source holds too much.
    SourceTooLarge: UserFixable,
    /// The `ReleaseLifecycle` takes too much memory.
    TooLarge: UserFixable,
    /// The release does not fit into a Secret.
    RecordTooLarge: UserFixable,
    /// The cluster does not serve a kind.
    UnknownKind: UserFixable,
    /// More than 100 hooks at one event.
    TooManyHooks: UserFixable,
    /// A rule that a hook has by its annotations is invalid.
    InvalidRule: UserFixable,
    /// The operation does not begin: something of it can only fail.
    PreflightFailed: UserFixable,
    /// An expression of `spec.healthChecks` is invalid.
    InvalidHealthCheck: UserFixable,
    /// Objects of the release belong to others.
    NotOwned: UserFixable,
    /// Another `ReleaseLifecycle` has the release.
    ForeignRelease: UserFixable,
    /// `spec.pinRevision` names a revision without a record.
    RevisionNotFound: UserFixable,
    /// A record of the release cannot be read.
    RecordUnreadable: UserFixable,
    /// The configuration failed before.
    GivenUp: UserFixable,
    /// A retry is not possible.
    RetryImpossible: UserFixable,

    /// An install failed.
    InstallFailed: UserFixable,
    /// An upgrade failed.
    UpgradeFailed: UserFixable,
    /// A rollback failed.
    RollbackFailed: UserFixable,
    /// The uninstallation of a failed install failed.
    UninstallFailed: UserFixable,
    /// A hook failed.
    HookFailed: UserFixable,
    /// The objects were not ready in time.
    ReadyTimeout: UserFixable,
    /// An object has failed, by its health check or its status.
    ObjectFailed: UserFixable,
    /// Objects could not be applied.
    ApplyFailed: UserFixable,
    /// It was cancelled by annotation.
    Cancelled: UserFixable,
    /// The spec changed while the operation ran.
    Superseded: UserFixable,
    /// Another client made a newer revision.
    Overtaken: UserFixable,
    /// The record was removed or rewritten while the operation ran.
    RecordLost: UserFixable,
    /// The plan was removed or rewritten while the operation ran.
    PlanLost: UserFixable,
    /// The status was lost while an operation was at work.
    JournalLost: UserFixable,
    /// The CRD of the custom resource is of an earlier version.
    CrdOutdated: UserFixable,
    /// A test failed.
    TestFailed: UserFixable,

    /// The Job has no more retries.
    BackoffLimitExceeded: Kubernetes,
    /// The Job failed and does not say why.
    JobFailed: UserFixable,
    /// A container ended with an exit code other than 0.
    PodFailed: UserFixable,
    /// The Job took longer than its own `activeDeadlineSeconds`.
    DeadlineExceeded: Kubernetes,
    /// A container used more memory than its limit.
    OOMKilled: Kubernetes,
    /// The Pod was removed from its node.
    Evicted: Kubernetes,
    /// The hook did not end within `spec.timeout`.
    Timeout: UserFixable,
    /// Nothing of the hook has started in the time that its rule allows for that.
    NotStarted: UserFixable,
    /// The hook's object was deleted before it had ended.
    Vanished: UserFixable,
    /// An object of the hook's name is left from an earlier run.
    HookExists: UserFixable,
    /// An object of the hook's name is not of this release.
    HookNameTaken: UserFixable,
    /// An older object of the hook does not go.
    LeftoverNotGone: UserFixable,
    /// The API server refused the hook's object.
    CreateRefused: UserFixable,
    /// The hook's object could not be made.
    CreateFailed: UserFixable,
    /// The API server refused to start the hook.
    StartRefused: UserFixable,
    /// The API server refused to stop the hook.
    StopRefused: UserFixable,
    /// The API server refused to delete an object of the hook.
    DeleteRefused: UserFixable,
    /// The API server refused to apply the hook's object.
    ApplyRefused: UserFixable,
    /// An admission webhook removed the operator's annotations.
    AnnotationsRemoved: UserFixable,
    /// The hook was skipped by annotation.
    SkipRequested: Notice,
    /// The hook was skipped: its rule never runs it.
    RunNever: Notice,
    /// The hook was skipped: it is unchanged since its last run, which succeeded.
    Unchanged: Notice,
    /// The hook was skipped: its rule runs it once, and it has succeeded.
    AlreadyRun: Notice,
    /// The namespace is being deleted.
    NamespaceTerminating: Progress,

    /// The image cannot be pulled.
    ImagePullBackOff: Kubernetes,
    /// The image is not on the node, and may not be pulled.
    ErrImageNeverPull: Kubernetes,
    /// The image's name is no name.
    InvalidImageName: Kubernetes,
    /// Something that the container refers to is missing.
    CreateContainerConfigError: Kubernetes,
    /// The container cannot be made.
    CreateContainerError: Kubernetes,
    /// The container cannot be started.
    RunContainerError: Kubernetes,
    /// The container ends again and again.
    CrashLoopBackOff: Kubernetes,
    /// No node takes the Pod.
    Unschedulable: Kubernetes,
    /// A probe fails.
    Unhealthy: Kubernetes,
    /// The object cannot make a Pod.
    ReplicaFailure: Kubernetes,
    /// No volume can be made for a claim.
    ProvisioningFailed: Kubernetes,
    /// A claim finds no volume.
    FailedBinding: Kubernetes,
    /// The volume does not fit the claim.
    VolumeMismatch: Kubernetes,
    /// The claim lost its volume.
    ClaimMisbound: Kubernetes,
    /// The claim waits for a Pod.
    WaitForFirstConsumer: Kubernetes,
    /// The claim waits until its Pod has a node.
    WaitForPodScheduled: Kubernetes,
    /// The claim waits for an external provisioner.
    ExternalProvisioning: Kubernetes,
    /// A volume is being made.
    Provisioning: Kubernetes,

    /// The object is being deleted, and its ServiceAccount lacks the rights.
    IdentityGone: UserFixable,
    /// `spec.deletion.timeout` has passed.
    DeletionTimeout: UserFixable,

    /// An install began.
    InstallStarted: Notice,
    /// An upgrade began.
    UpgradeStarted: Notice,
    /// A rollback began.
    RollbackStarted: Notice,
    /// A deletion began.
    DeleteStarted: Notice,
    /// The tests began.
    TestStarted: Notice,
    /// A deletion succeeded.
    DeleteSucceeded: Notice,
    /// A deletion failed.
    DeleteFailed: Notice,
    /// A hook was started.
    HookStarted: Notice,
    /// A hook succeeded.
    HookSucceeded: Notice,
    /// A hook was skipped.
    HookSkipped: Notice,
    /// `Stalled` became true.
    Blocked: Notice,
    /// The status was lost, and rebuilt.
    JournalRebuilt: Notice,
    /// Helm warns of something in the chart.
    ChartWarning: Notice,
    /// An annotation of Helm's means nothing where it stands.
    MeaninglessAnnotation: Notice,
    /// Something of the operation can only fail.
    PreflightWarning: Notice,
    /// `spec.source.objects` is large.
    LargeSource: Notice,
    /// An object left the release and is not deleted.
    PruneSkipped: Notice,
    /// An object left the release and stays.
    ObjectKept: Notice,
    /// An object that was there is the release's now.
    OwnershipTaken: Notice,
    /// An annotation `helm.sh/resource-policy` has an unknown word.
    UnknownPolicy: Notice,
    /// An object of a hook could not be removed.
    CleanUpRefused: Notice,
    /// Something of the release stays.
    ReleaseLeft: Notice,
    /// The record still says `uninstalling`.
    RecordNotReinstated: Notice,
    /// Records in `ConfigMaps` were copied into Secrets.
    RecordsCopied: Notice,
    /// Old records could not be deleted.
    RecordsNotPruned: Notice,
}

impl Reason {
    /// The reason of this word; `None` where there is none.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }

    /// Returns whether it stands until something changes. Otherwise it is checked again by itself.
    pub const fn is_lasting(self) -> bool {
        match self.category() {
            Category::Success | Category::UserFixable | Category::Notice | Category::Kubernetes => {
                true
            }
            Category::Progress | Category::BackOff => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for Reason {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
    }
}

impl PartialEq<Reason> for str {
    fn eq(&self, reason: &Reason) -> bool {
        self == reason.as_str()
    }
}

impl PartialEq<Reason> for String {
    fn eq(&self, reason: &Reason) -> bool {
        self == reason.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_reason_and_another_one_none() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(Reason::OOMKilled.as_str(), "OOMKilled");
        for word in ["", "insync", "PodFailurePolicy"] {
            assert_eq!(Reason::parse(word), None, "{word}");
        }
    }

    #[test]
    fn what_goes_on_by_itself_does_not_last() {
        for (reason, lasts) in [
            (Reason::HookFailed, true),
            (Reason::Forbidden, true),
            (Reason::InSync, true),
            (Reason::InternalError, false),
            (Reason::DependencyNotReady, false),
        ] {
            assert_eq!(reason.is_lasting(), lasts, "{reason}");
        }
    }

    #[test]
    fn every_meaning_is_a_short_sentence() {
        for reason in Reason::ALL {
            let meaning = reason.meaning();
            assert!(meaning.ends_with('.') && meaning.len() <= 80, "{reason}: {meaning}");
        }
    }
}
