//! A record as it is stored, with the operator's plans beside it, and its meaning. Read here by
//! whoever reads records: the operator, and `kubectl lifecycle`.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use lifecycle::{
    event::Event,
    known::KnownPlans,
    next::{Record, RecordState},
    plan::Plan,
};
use manifests::memory::{Exhausted, Memory};
use serde_json::Value;

use crate::{
    record::{Release, Status},
    secret::{self, KEY_DELETE_PLAN, KEY_PLAN, KEY_TEST_PLAN, Plans, StorageError},
};

/// The maximum size of a plan after decompression; the object that it is created from is at most
/// 1.5 MiB. A tenant can write its own records.
const MAX_PLAN_BYTES: u64 = 16 * 1024 * 1024;

/// The kind of object in which Helm keeps records, by its drivers `secret` and `configmap`. The
/// operator writes Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A Secret.
    Secret,
    /// A `ConfigMap`, which has no plans.
    ConfigMap,
}

/// A record as it is stored.
#[derive(Clone)]
pub struct Stored {
    /// The kind of its holder.
    pub holder: Holder,
    /// The metadata of its holder.
    pub metadata: Value,
    /// The record itself.
    pub release: Release,
    /// The plan of the operation that created the record, with its digest; `None` if Helm wrote the
    /// record, or rewrote it and dropped the plan, or if the plan is not a known one.
    pub plan: Option<(Plan, String)>,
    /// A plan in its place that is not known: anybody may have written it. It is not executed.
    claim: Option<(Plan, String)>,
    /// The plans beside it, as they are stored.
    pub plans: Plans,
    known: KnownPlans,
}

impl Stored {
    /// Returns the record that an object of the API server holds, with its plans as far as they are
    /// `known`.
    ///
    /// # Errors
    /// An object without a record, and a record that is not of the object's name. A plan that
    /// cannot be read counts as none.
    pub fn read(holder: Holder, found: &Value, known: &KnownPlans) -> Result<Self, StorageError> {
        let (release, plans) = match holder {
            Holder::Secret => secret::from_secret(found)?,
            Holder::ConfigMap => (secret::from_config_map(found)?, Plans::new()),
        };
        let found_plan = plans.get(KEY_PLAN).and_then(|bytes| thaw(bytes));
        let metadata = found["metadata"].clone();
        let known = known.clone();
        let mut stored = Self { holder, metadata, release, plan: None, claim: None, plans, known };
        // Otherwise it was copied from elsewhere.
        let is_in_place = |(plan, _): &(Plan, String)| {
            key(plan.event) == KEY_PLAN && plan.revision == stored.release.version
        };
        match found_plan.filter(is_in_place) {
            Some((plan, digest)) if stored.knows(&plan, &digest) => {
                stored.plan = Some((plan, digest));
            }
            found => stored.claim = found,
        }
        Ok(stored)
    }

    /// Takes what the record and its plan hold.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_from(&self, memory: &mut Memory) -> Result<(), Exhausted> {
        self.release.take_from(memory)?;
        self.plan.iter().chain(&self.claim).try_for_each(|(plan, _)| plan.take_from(memory))
    }

    fn knows(&self, plan: &Plan, digest: &str) -> bool {
        self.known.has(self.release.version, plan, digest)
    }

    /// Returns the plan of the operation that created the record, with its digest, by its own words:
    /// known or not. Nothing of it may be executed.
    pub fn claimed(&self) -> Option<&(Plan, String)> {
        self.plan.as_ref().or(self.claim.as_ref())
    }

    /// Returns the plan of the operation that is at work by the state of the record, with its
    /// digest, known or not: what a person may be asked to vouch for.
    pub fn at_work(&self) -> Option<(Plan, String)> {
        match self.release.info.status {
            Status::Uninstalling => {
                let found = thaw(self.plans.get(KEY_DELETE_PLAN)?);
                found.filter(|(plan, _)| plan.event == Event::Delete)
            }
            _ => self.claimed().cloned(),
        }
    }

    /// Returns the facts of the record that decide the next event. `is_wanted`: returns true if a
    /// digest of one of its plans is that of the desired state.
    pub fn summary(&self, is_wanted: impl Fn(&str, &Plan) -> bool) -> Record {
        let claimed = self.claimed().map(|(plan, _)| plan);
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
        let (operation, remedial, is_known) = match (state, claimed) {
            (RecordState::Uninstalling, _) => {
                let plan = self.plan_of(Event::Delete).map(|(plan, _)| plan);
                let remedial = plan.as_ref().is_some_and(|plan| plan.remedies.is_some());
                let is_known = plan.is_some() || !self.plans.contains_key(KEY_DELETE_PLAN);
                (plan.map(|plan| plan.operation), remedial, is_known)
            }
            // An adopted record had no operation that could be resumed.
            (_, Some(plan)) if !plan.adopted => {
                let failed = plan.remedies.as_ref();
                let remedial = failed.is_some_and(|it| is_wanted(&it.config_digest, plan));
                let known = self.plan.as_ref().map(|(plan, _)| plan.operation.clone());
                (known, remedial, self.claim.is_none())
            }
            _ => (None, false, self.claim.is_none()),
        };
        Record {
            revision,
            origin: self.target().unwrap_or(revision),
            state,
            owner: claimed.map(|plan| plan.owner.name.clone()),
            is_known,
            matches: claimed.is_some_and(|plan| is_wanted(&plan.config_digest, plan)),
            operation,
            remedial,
        }
    }

    /// Returns the plan of an operation of this event, with its digest, if it is known.
    pub fn plan_of(&self, event: Event) -> Option<(Plan, String)> {
        match key(event) {
            KEY_PLAN => self.plan.clone(),
            key => {
                let found = thaw(self.plans.get(key)?);
                found.filter(|(plan, digest)| plan.event == event && self.knows(plan, digest))
            }
        }
    }

    /// Returns when it was created, which is when its operation began.
    pub fn created(&self) -> Option<Timestamp> {
        self.metadata.get("creationTimestamp")?.as_str()?.parse().ok()
    }

    /// Returns true if the custom resource `owner` created or adopted it, by its own words.
    pub fn is_of(&self, owner: &str) -> bool {
        self.owner() == Some(owner)
    }

    /// Returns true if the revision is, or was, deployed.
    pub fn was_deployed(&self) -> bool {
        self.release.info.status.was_deployed()
    }

    /// Returns true if it must be copied before anything of ours can be written to it.
    pub fn is_in_config_map(&self) -> bool {
        self.holder == Holder::ConfigMap
    }

    /// Returns true if it was adopted as it was.
    pub fn is_adopted(&self) -> bool {
        self.plan.as_ref().is_some_and(|(plan, _)| plan.adopted)
    }

    /// Returns the UID of its owner, who may be another object of that name.
    pub fn owner_uid(&self) -> Option<&str> {
        self.claimed().map(|(plan, _)| &*plan.owner.uid)
    }

    /// Returns the custom resource that created or adopted it, by its own words; `None` if it is
    /// Helm's.
    pub fn owner(&self) -> Option<&str> {
        self.claimed().map(|(plan, _)| &*plan.owner.name)
    }

    /// Returns the revision that a rollback copied into it.
    pub fn target(&self) -> Option<i32> {
        let of_plan = self.plan.as_ref().and_then(|(plan, _)| plan.target);
        of_plan.or_else(|| self.target_of_helm())
    }

    /// Returns the revision that a rollback by Helm copied into it; its own for all others.
    pub fn origin(&self) -> i32 {
        self.target_of_helm().unwrap_or(self.release.version)
    }

    /// Helm 3 records that in the description alone (`prepareRollback`).
    fn target_of_helm(&self) -> Option<i32> {
        let info = &self.release.info;
        match info.rollback_revision {
            0 => info.description.strip_prefix("Rollback to ")?.parse().ok(),
            target => Some(target),
        }
    }

    /// Returns when its holder was last written, by the API server's clock.
    pub fn written_at(&self) -> Option<Timestamp> {
        let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        let fields = self.metadata["managedFields"].as_array().into_iter().flatten();
        let writes = fields.filter_map(|entry| time(&entry["time"]));
        writes.chain(time(&self.metadata["creationTimestamp"])).max()
    }

    /// Returns the record as closed, after its client was given up.
    #[must_use]
    pub fn closed(&self, status: Status, description: String) -> Self {
        let mut closed = self.clone();
        let info = &mut closed.release.info;
        info.status = status;
        info.description = description;
        if status == Status::Deployed {
            info.deleted = None;
        }
        closed
    }
}

/// Returns where the plan of an operation is stored: with the revision that it creates, or beside
/// it.
pub fn key(event: Event) -> &'static str {
    match event {
        Event::Install | Event::Upgrade | Event::Rollback => KEY_PLAN,
        Event::Delete => KEY_DELETE_PLAN,
        Event::Test => KEY_TEST_PLAN,
    }
}

/// Returns the plan with its digest; `None` if the bytes are no plan, or inflate to too much.
pub fn thaw(bytes: &[u8]) -> Option<(Plan, String)> {
    let mut inflated = Vec::new();
    GzDecoder::new(bytes).take(MAX_PLAN_BYTES).read_to_end(&mut inflated).ok()?;
    Plan::thaw(&inflated).ok()
}

/// Returns the bytes of the plan, compressed.
///
/// # Panics
/// Never: a `Vec` takes all that is written.
#[expect(clippy::expect_used, reason = "a Vec takes all that is written")]
pub fn frozen(plan: &Plan) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&plan.freeze().0)
        .and_then(|()| encoder.finish())
        .expect("a Vec takes all that is written")
}

/// Returns the newest of `history`.
pub fn newest(history: &[Stored]) -> Option<&Stored> {
    history.iter().max_by_key(|stored| stored.release.version)
}
