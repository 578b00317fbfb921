//! The custom resource `ReleaseLifecycle`, and every label and annotation that the operator uses.

mod crd;
pub mod names;
#[expect(unreachable_pub, reason = "KubeSchema makes a private copy of each struct")]
mod resource;
#[expect(unreachable_pub, reason = "as above")]
mod status;

pub use crd::crd;
pub use resource::{
    Deletion, Dependency, Hooks, HooksFrom, Objects, ObjectsFrom, ObjectsFromKind,
    OnDeletionTimeout, OnNewSpec, OnTestFailure, ReleaseLifecycle, ReleaseLifecycleSpec, Rollback,
    Source, Test, TestFilter,
};
pub use status::{ReleaseLifecycleStatus, set_conditions};
