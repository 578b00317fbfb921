//! The custom resource `ReleaseLifecycle`, and every label and annotation that the operator uses.

#[expect(unreachable_pub, reason = "KubeSchema makes a private copy of each struct")]
mod chart;
mod crd;
pub mod names;
#[expect(unreachable_pub, reason = "as above")]
mod resource;
#[expect(unreachable_pub, reason = "as above")]
mod status;

pub use chart::{
    Chart, ChartArchive, OciChart, RepositoryChart, SecretReference, SourceRef, SourceRefKind,
    Values, ValuesFrom,
};
pub use crd::crd;
pub use resource::{
    Deletion, Dependency, Hooks, HooksFrom, Install, Objects, ObjectsFrom, ObjectsFromKind,
    OnDeletionTimeout, OnInstallFailure, OnNewSpec, OnTestFailure, OnUpgradeFailure,
    ReleaseLifecycle, ReleaseLifecycleSpec, Rollback, Source, Test, TestFilter, Upgrade,
};
pub use status::{ReleaseLifecycleStatus, set_conditions};
