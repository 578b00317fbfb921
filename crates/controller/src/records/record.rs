//! A record, and what it means.

use helm::{
    record::{Release, Status},
    secret::{KEY_DELETE_PLAN, KEY_PLAN, KEY_TEST_PLAN, Plans},
};
use jiff::Timestamp;
use lifecycle::{
    event::Event,
    next::{Record, RecordState},
    plan::Plan,
};
use serde_json::Value;

use crate::records::frozen::thaw;

/// What Helm keeps records in, by its drivers `secret` and `configmap`. The operator writes Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Secret,
    ConfigMap,
}

/// A record as it is stored.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(super) holder: Holder,
    pub(super) metadata: Value,
    pub(crate) release: Release,
    /// Of the operation that made it, with its digest; `None` where Helm wrote the record, or
    /// rewrote it and dropped the plan.
    pub(crate) plan: Option<(Plan, String)>,
    pub(super) plans: Plans,
}

impl Stored {
    /// What the record means for the choice of the event. `is_wanted`: whether a digest of one of its
    /// plans is that of what is wanted.
    pub(crate) fn summary(&self, is_wanted: impl Fn(&str, &Plan) -> bool) -> Record {
        let plan = self.plan.as_ref().map(|(plan, _)| plan);
        let revision = self.release.version;
        let state = match self.release.info.status {
            Status::Deployed => RecordState::Deployed,
            Status::Superseded => RecordState::Superseded,
            Status::Failed | Status::Unknown => RecordState::Failed,
            Status::Uninstalled => RecordState::Uninstalled,
            Status::Uninstalling => RecordState::Uninstalling,
            Status::PendingInstall | Status::PendingUpgrade | Status::PendingRollback => {
                RecordState::Pending
            }
        };
        let (operation, remedial) = match (state, plan) {
            (RecordState::Uninstalling, _) => {
                let plan = self.plan_of(Event::Delete).map(|(plan, _)| plan);
                let remedial = plan.as_ref().is_some_and(|plan| plan.remedies.is_some());
                (plan.map(|plan| plan.operation), remedial)
            }
            // What was taken over had no operation that could be gone on with.
            (_, Some(plan)) if !plan.adopted => {
                let failed = plan.remedies.as_ref();
                let remedial = failed.is_some_and(|it| is_wanted(&it.config_digest, plan));
                (Some(plan.operation.clone()), remedial)
            }
            _ => (None, false),
        };
        Record {
            revision,
            origin: plan.and_then(|plan| plan.target).unwrap_or_else(|| self.origin()),
            state,
            owner: plan.map(|plan| plan.owner.name.clone()),
            matches: plan.is_some_and(|plan| is_wanted(&plan.config_digest, plan)),
            operation,
            remedial,
        }
    }

    /// The plan of an operation of this event, with its digest.
    pub(crate) fn plan_of(&self, event: Event) -> Option<(Plan, String)> {
        match key(event) {
            KEY_PLAN => self.plan.clone(),
            key => thaw(self.plans.get(key)?),
        }
    }

    /// When it was created, which is when its operation began.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.metadata.get("creationTimestamp")?.as_str()?.parse().ok()
    }

    /// Whether the custom resource `owner` made it, or has taken it over.
    pub(crate) fn is_of(&self, owner: &str) -> bool {
        self.owner() == Some(owner)
    }

    /// Whether it is, or was, in the cluster.
    pub(crate) fn was_deployed(&self) -> bool {
        matches!(self.release.info.status, Status::Deployed | Status::Superseded)
    }

    /// Whether it has to be copied before anything of ours can be written to it.
    pub(crate) fn is_in_config_map(&self) -> bool {
        self.holder == Holder::ConfigMap
    }

    /// Whether it was taken over as it was.
    pub(crate) fn is_adopted(&self) -> bool {
        self.plan.as_ref().is_some_and(|(plan, _)| plan.adopted)
    }

    /// The UID of its owner, who may be another object of that name.
    pub(crate) fn owner_uid(&self) -> Option<&str> {
        self.plan.as_ref().map(|(plan, _)| &*plan.owner.uid)
    }

    /// The custom resource that made it, or has taken it over; `None` where it is Helm's.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.plan.as_ref().map(|(plan, _)| &*plan.owner.name)
    }

    /// The revision that a rollback by Helm copied into it; its own for all others. Helm 3 says it in
    /// the description alone (`prepareRollback`).
    pub(crate) fn origin(&self) -> i32 {
        let info = &self.release.info;
        let described = info.description.strip_prefix("Rollback to ");
        match info.rollback_revision {
            0 => described.and_then(|it| it.parse().ok()).unwrap_or(self.release.version),
            target => target,
        }
    }
}

/// Where the plan of an operation stands: it is of the revision that it makes, or beside it.
pub(super) fn key(event: Event) -> &'static str {
    match event {
        Event::Install | Event::Upgrade | Event::Rollback => KEY_PLAN,
        Event::Delete => KEY_DELETE_PLAN,
        Event::Test => KEY_TEST_PLAN,
    }
}

/// The newest of `history`.
pub(crate) fn newest(history: &[Stored]) -> Option<&Stored> {
    history.iter().max_by_key(|stored| stored.release.version)
}
