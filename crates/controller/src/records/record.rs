//! A record, and its meaning.

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

/// The kind of object in which Helm keeps records, by its drivers `secret` and `configmap`. The
/// operator writes Secrets.
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
    /// The plan of the operation that created the record, with its digest; `None` if Helm wrote the
    /// record, or rewrote it and dropped the plan.
    pub(crate) plan: Option<(Plan, String)>,
    pub(super) plans: Plans,
}

impl Stored {
    /// Returns the facts of the record that decide the next event. `is_wanted`: returns true if a
    /// digest of one of its plans is that of the desired state.
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
            // An adopted record had no operation that could be resumed.
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

    /// Returns the plan of an operation of this event, with its digest.
    pub(crate) fn plan_of(&self, event: Event) -> Option<(Plan, String)> {
        match key(event) {
            KEY_PLAN => self.plan.clone(),
            key => thaw(self.plans.get(key)?),
        }
    }

    /// Returns when it was created, which is when its operation began.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.metadata.get("creationTimestamp")?.as_str()?.parse().ok()
    }

    /// Returns true if the custom resource `owner` created or adopted it.
    pub(crate) fn is_of(&self, owner: &str) -> bool {
        self.owner() == Some(owner)
    }

    /// Returns true if the revision is, or was, deployed.
    pub(crate) fn was_deployed(&self) -> bool {
        matches!(self.release.info.status, Status::Deployed | Status::Superseded)
    }

    /// Returns true if it must be copied before anything of ours can be written to it.
    pub(crate) fn is_in_config_map(&self) -> bool {
        self.holder == Holder::ConfigMap
    }

    /// Returns true if it was adopted as it was.
    pub(crate) fn is_adopted(&self) -> bool {
        self.plan.as_ref().is_some_and(|(plan, _)| plan.adopted)
    }

    /// Returns the UID of its owner, who may be another object of that name.
    pub(crate) fn owner_uid(&self) -> Option<&str> {
        self.plan.as_ref().map(|(plan, _)| &*plan.owner.uid)
    }

    /// Returns the custom resource that created or adopted it; `None` if it is Helm's.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.plan.as_ref().map(|(plan, _)| &*plan.owner.name)
    }

    /// Returns the revision that a rollback by Helm copied into it; its own for all others. Helm 3
    /// records that in the description alone (`prepareRollback`).
    pub(crate) fn origin(&self) -> i32 {
        let info = &self.release.info;
        let described = info.description.strip_prefix("Rollback to ");
        match info.rollback_revision {
            0 => described.and_then(|it| it.parse().ok()).unwrap_or(self.release.version),
            target => target,
        }
    }
}

/// Returns where the plan of an operation is stored: with the revision that it creates, or beside
/// it.
pub(super) fn key(event: Event) -> &'static str {
    match event {
        Event::Install | Event::Upgrade | Event::Rollback => KEY_PLAN,
        Event::Delete => KEY_DELETE_PLAN,
        Event::Test => KEY_TEST_PLAN,
    }
}

/// Returns the newest of `history`.
pub(crate) fn newest(history: &[Stored]) -> Option<&Stored> {
    history.iter().max_by_key(|stored| stored.release.version)
}
