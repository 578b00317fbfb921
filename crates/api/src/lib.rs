//! The custom resource `ReleaseLifecycle`, and every label and annotation that the operator uses.

#[expect(unreachable_pub, reason = "KubeSchema makes a private copy of each struct")]
mod apply;
#[expect(unreachable_pub, reason = "as above")]
mod approval;
#[expect(unreachable_pub, reason = "as above")]
mod chart;
mod crd;
#[expect(unreachable_pub, reason = "as above")]
mod drift;
mod durations;
#[expect(unreachable_pub, reason = "as above")]
mod hooks;
pub mod names;
mod preflight;
#[expect(unreachable_pub, reason = "as above")]
mod resource;
#[expect(unreachable_pub, reason = "as above")]
mod status;
#[expect(unreachable_pub, reason = "as above")]
mod test_hooks;
#[expect(unreachable_pub, reason = "as above")]
mod windows;

pub use apply::{Install, OnInstallFailure, OnUpgradeFailure, Upgrade};
pub use approval::Approval;
pub use chart::{
    Chart, ChartArchive, ChartKind, OciChart, RepositoryChart, SecretReference, SourceRef,
    SourceRefKind, Values, ValuesFrom, Verification, VerificationProvider,
};
pub use crd::crd;
pub use drift::{DriftDetection, DriftMode};
pub use durations::{DURATIONS, DurationField};
pub use hooks::{HookMatch, HookRule, Hooks, KeepLogs};
pub use preflight::Preflight;
pub use resource::{
    Deletion, Dependency, HooksFrom, Objects, ObjectsFrom, ObjectsFromKind, OnDeletionTimeout,
    OnNewSpec, ReleaseLifecycle, ReleaseLifecycleSpec, Rollback, Source, SourceKind,
};
pub use status::{MOST_OUTSIDE, ReleaseLifecycleStatus, set_conditions};
pub use test_hooks::{OnTestFailure, Test, TestFilter};
pub use windows::{InvalidSchedule, Window};
