//! Opens and closes the record of an operation, and removes a release's records.

use std::time::Instant;

use api::names;
use helm::{
    record::{self, Release, Status},
    secret::{self, Plans, StorageError, Written},
    stored::{Holder, frozen, key},
};
use lifecycle::{
    event::Event,
    journal::{Failure, Journal},
    plan::Plan,
    reason::Reason,
};
use manifests::json;
use serde_json::Value;
use sources::RenderedRelease;

use super::{Draft, Records, Stored, body};
use crate::cluster::error::Error;
use crate::support::clock::now;

/// The reserve for the times, phases and messages that a record gets later.
const ROOM: usize = 16 * 1024;
/// The name of the reserve in the message about a record that is too large.
const ROOM_KEY: &str = "room for later";

impl Records<'_> {
    /// POSTs the record of an install or an upgrade, with its plan. If it already exists, the
    /// caller must check it.
    pub(crate) async fn create(self, plan: &Plan, draft: &Draft) -> Result<(), Error> {
        let body = match draft {
            Draft::Rendered(made) => self.created(plan, made)?,
            // It was checked when it was stored.
            Draft::Pending(record) => self.body(plan, record, &Plans::new())?,
        };
        self.post(plan.revision, body).await
    }

    /// Like [`Self::create`], for the record of a rollback to `target`.
    pub(crate) async fn copy(self, plan: &Plan, target: i32) -> Result<(), Error> {
        let found = self.get(target).await?;
        let found = found.ok_or_else(|| no_target(self.name, target))?;
        let body = self.body(plan, &body::copied(plan, &found.release), &Plans::new())?;
        self.post(plan.revision, body).await
    }

    /// Returns the Secret of the record of an install or an upgrade. The plans that a deletion and a
    /// test add later must fit, too, or neither could begin.
    pub(super) fn created(self, plan: &Plan, made: &RenderedRelease) -> Result<Value, Error> {
        let record = body::pending(plan, made, self.name, self.namespace);
        let later = [Event::Delete, Event::Test]
            .map(|event| (key(event), frozen(&body::later(plan, &made.desired, event))));
        let room = Plans::from(later).into_iter().chain([(ROOM_KEY, vec![0; ROOM])]).collect();
        self.body(plan, &record, &room)
    }

    /// Returns the Secret of the record, if `room` would fit into it besides.
    fn body(self, plan: &Plan, record: &Release, room: &Plans) -> Result<Value, Error> {
        let mut plans = room.clone();
        plans.insert(key(plan.event), frozen(plan));
        let mut body = secret::to_secret(record, Written::Created(now()), &plans)
            .map_err(|error| too_large(&error))?;
        if let Some(data) = body.get_mut("data").and_then(Value::as_object_mut) {
            data.retain(|key, _| !room.contains_key(key.as_str()));
        }
        self.mark(&mut body);
        Ok(body)
    }

    async fn post(self, revision: i32, body: Value) -> Result<(), Error> {
        let permit = self.fence.guard().await?;
        let object = self.reference(revision);
        let sent_at = Instant::now();
        let record = self.tenant.create(permit, &object, &body).await?;
        self.tenant.keep(&object, sent_at, Some(&record));
        // Whoever makes a revision makes the one after the newest that it has seen, and nobody goes on
        // from one that is pending: so far there is none after this one.
        self.tenant.keep(&self.reference(revision.saturating_add(1)), sent_at, None);
        Ok(())
    }

    /// Writes the plan of a deletion or a test beside the plan of the revision that it works on; a
    /// deletion also replaces the state of the revision. Returns `false` if there is no such record
    /// of `owner`.
    pub(crate) async fn add_plan(self, plan: &Plan) -> Result<bool, Error> {
        let stored = self.get(plan.revision).await?;
        let Some(mut stored) = stored.filter(|stored| stored.is_of(&plan.owner.name)) else {
            return Ok(false);
        };
        stored.plans.insert(key(plan.event), frozen(plan));
        if plan.event == Event::Delete {
            let info = &mut stored.release.info;
            (info.status, info.description) = body::at_work(plan);
            info.deleted = Some(now());
        }
        self.replace(&stored).await?;
        Ok(true)
    }

    /// Restores the state of a release that is not deleted after all.
    pub(crate) async fn reinstate(self, revision: i32, deployed: bool) -> Result<(), Error> {
        let Some(mut stored) = self.get(revision).await? else { return Ok(()) };
        if stored.release.info.status != Status::Uninstalling {
            return Ok(());
        }
        stored.plans.remove(key(Event::Delete));
        let info = &mut stored.release.info;
        info.status = if deployed { Status::Deployed } else { Status::Failed };
        "Deletion called off".clone_into(&mut info.description);
        info.deleted = None;
        self.replace(&stored).await
    }

    /// Marks the record of a failed operation as running again; returns `false` if there is none.
    pub(crate) async fn reopen(self, plan: &Plan) -> Result<bool, Error> {
        let stored = self.get(plan.revision).await?;
        let ours = stored.filter(|stored| {
            stored.release.info.status == Status::Failed && is_made_by(stored, &plan.operation)
        });
        let Some(mut stored) = ours else { return Ok(false) };
        let info = &mut stored.release.info;
        (info.status, info.description) = body::at_work(plan);
        self.replace(&stored).await?;
        Ok(true)
    }

    /// Closes the record of the operation and, if it is deployed, supersedes older ones: the new
    /// one first, since Helm takes the highest that is deployed. Fails if the record is no longer
    /// the operation's, or no longer the newest.
    pub(crate) async fn close(self, journal: &Journal) -> Result<Result<(), Failure>, Error> {
        let operation = &journal.operation;
        let release = self.name;
        let stored = self.get_once(operation.revision).await?;
        let ours = stored.filter(|stored| is_made_by(stored, &operation.id));
        let Some(mut stored) = ours else {
            let message = format!(
                "the record {} was removed or rewritten by another client while the operation ran; \
                 check it with `helm history {release}`",
                record::secret_name(release, operation.revision)
            );
            return Ok(Err(Failure::new(Reason::RecordLost, message)));
        };
        let overtaken = self.newer(operation.revision).await?;
        let deployed = operation.failure.is_none() && overtaken.is_none();
        // A superseded record is not changed: a process that is late would reset it. If such a
        // process has closed it as failed, although the operation continued, it is deployed all the
        // same.
        let status = stored.release.info.status;
        if status.is_pending() || (deployed && status == Status::Failed) {
            let info = &mut stored.release.info;
            info.status = if deployed { Status::Deployed } else { Status::Failed };
            info.last_deployed = Some(now());
            info.description = match &overtaken {
                Some(message) => message.clone(),
                None => body::description(release, journal),
            };
            body::note_runs(&mut stored.release.hooks, journal);
            self.replace(&stored).await?;
        }
        if let Some(message) = overtaken {
            return Ok(Err(Failure::new(Reason::Overtaken, message)));
        }
        let is_first = operation.revision == 1;
        if deployed && stored.release.info.status == Status::Deployed && !is_first {
            self.supersede(operation.revision).await?;
        }
        Ok(Ok(()))
    }

    async fn supersede(self, deployed: i32) -> Result<(), Error> {
        for listed in self.listed(Holder::Secret, ",status=deployed").await? {
            if listed.revision >= deployed {
                continue;
            }
            let older = match self.get(listed.revision).await {
                // Helm skips it, too.
                Err(Error::Blocked(failure)) if failure.reason == Reason::RecordUnreadable => None,
                other => other?,
            };
            let still = |older: &Stored| older.release.info.status == Status::Deployed;
            if let Some(mut older) = older.filter(still) {
                older.release.info.status = Status::Superseded;
                self.replace(&older).await?;
            }
        }
        Ok(())
    }

    /// Records the last runs of the test hooks and drops the plan; the record's state stays.
    pub(crate) async fn close_test(self, journal: &Journal) -> Result<(), Error> {
        let operation = &journal.operation;
        let Some(mut stored) = self.get(operation.revision).await? else { return Ok(()) };
        let ours =
            stored.plan_of(Event::Test).is_some_and(|(plan, _)| plan.operation == operation.id);
        if !ours {
            return Ok(());
        }
        stored.plans.remove(key(Event::Test));
        body::note_runs(&mut stored.release.hooks, journal);
        self.replace(&stored).await
    }

    /// Removes every record up to that of `revision`, which has the plan of this deletion.
    pub(crate) async fn purge(self, revision: i32) -> Result<(), Error> {
        let mut oldest_first = self.listed(Holder::Secret, "").await?;
        oldest_first.reverse();
        // A record that another client has created since is its own.
        oldest_first.retain(|listed| listed.revision <= revision);
        // A process that was delayed would remove the records of a release that was created again.
        let permit = self.fence.guard().await?;
        for listed in oldest_first {
            self.tenant.delete(permit, &self.reference(listed.revision), &listed.uid).await?;
        }
        Ok(())
    }

    /// Replaces the record only while the journal is the one that this write is based on: by the
    /// version alone, a process that was delayed before it read the record would close one that was
    /// opened again since.
    pub(super) async fn replace(self, stored: &Stored) -> Result<(), Error> {
        let permit = self.fence.guard().await?;
        let mut body = secret::to_secret(&stored.release, Written::Modified(now()), &stored.plans)
            .map_err(|error| too_large(&error))?;
        // A PUT removes every field that it does not name.
        for kept in ["resourceVersion", "annotations", "finalizers", "ownerReferences"] {
            if let Some(value) = stored.metadata.get(kept) {
                json::set(&mut body, &["metadata", kept], value.clone());
            }
        }
        self.mark(&mut body);
        self.tenant.replace(permit, &self.reference(stored.release.version), &body).await?;
        Ok(())
    }

    /// Marks the record: by this the watch of records recognizes what this operator has written, since Helm
    /// keeps no annotation.
    pub(super) fn mark(self, record: &mut Value) {
        json::set(record, &["metadata", "annotations", names::OWNER_ANNOTATION], self.owner());
    }

    /// Returns the value of that mark.
    pub(super) fn owner(self) -> String {
        format!("{}/{}", self.namespace, self.fence.object_name())
    }
}

/// Returns why a record cannot be written.
pub(super) fn too_large(error: &StorageError) -> Error {
    Error::blocked(Reason::RecordTooLarge, error.to_string())
}

/// Returns why a rollback has no target.
pub(crate) fn no_target(release: &str, revision: i32) -> Error {
    Error::blocked(
        Reason::RevisionNotFound,
        format!(
            "spec.pinRevision is {revision}, of which there is no record; see `helm history \
             {release}`, and name one of those or remove the field"
        ),
    )
}

fn is_made_by(stored: &Stored, operation: &str) -> bool {
    stored.plan.as_ref().is_some_and(|(plan, _)| plan.operation == operation)
}
