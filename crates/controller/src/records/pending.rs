//! The plan that waits for an approval, in a Secret of its own beside the records.

use api::names::OWNER_ANNOTATION;
use helm::{pending, pending::Pending, record::Release};
use lifecycle::{approval::PendingPlan, object::ObjectRef, plan::Plan, reason::Reason};
use manifests::json;
use serde_json::Value;
use sources::RenderedRelease;

use super::{Records, write::too_large};
use crate::cluster::error::Error;

/// The material of the record that an operation writes.
pub(crate) enum Draft {
    /// The release was rendered just now.
    Rendered(Box<RenderedRelease>),
    /// The record was made when the plan was.
    Pending(Box<Release>),
}

impl Draft {
    /// Returns that of a release that was rendered just now.
    pub(crate) fn rendered(made: RenderedRelease) -> Self {
        Self::Rendered(Box::new(made))
    }

    /// Returns that of a record that was made when the plan was.
    pub(crate) fn pending(record: Release) -> Self {
        Self::Pending(Box::new(record))
    }
}

impl Records<'_> {
    /// Stores a plan that is to be approved, with the record that it will have; it replaces the one
    /// before. Returns the digest of the record.
    pub(crate) async fn propose(
        self,
        plan: &Plan,
        rendered: Option<&RenderedRelease>,
    ) -> Result<Option<String>, Error> {
        let record = rendered.map(|made| self.created(plan, made)).transpose()?;
        let made = pending::to_secret(self.name, self.namespace, plan, record.as_ref());
        let (mut body, record_digest) = made.map_err(|error| too_large(&error))?;
        self.mark(&mut body);
        let object = self.pending();
        let Some(live) = self.tenant.get(&object).await? else {
            let permit = self.fence.guard().await?;
            self.tenant.create(permit, &object, &body).await?;
            return Ok(record_digest);
        };
        if !self.is_own(&live) {
            let message = format!(
                "Secret {} is somebody else's, and is needed for the plan that waits for an approval: \
                 rename or delete it",
                object.name
            );
            return Err(Error::blocked(Reason::NotOwned, message));
        }
        let version = live["metadata"]["resourceVersion"].clone();
        json::set(&mut body, &["metadata", "resourceVersion"], version);
        let permit = self.fence.guard().await?;
        self.tenant.replace(permit, &object, &body).await?;
        Ok(record_digest)
    }

    /// Returns the plan that status shows, if it is stored as it was made.
    pub(crate) async fn proposed(self, shown: &PendingPlan) -> Result<Option<Pending>, Error> {
        let found = self.tenant.get(&self.pending()).await?;
        let found = found.as_ref().and_then(pending::from_secret);
        Ok(found.filter(|found| {
            found.digest == shown.digest && found.record_digest == shown.record_digest
        }))
    }

    /// Returns whether the Secret is of this custom resource, by its own words.
    fn is_own(self, live: &Value) -> bool {
        live["type"] == pending::SECRET_TYPE
            && live["metadata"]["annotations"][OWNER_ANNOTATION] == self.owner().as_str()
    }

    /// Deletes the stored plan, if status names one: the record has it now, or it is no longer wanted.
    /// The write of status that forgets it comes after this, so that none is left behind.
    pub(crate) async fn withdraw(self) -> Result<(), Error> {
        if self.object.status.as_ref().is_none_or(|status| status.plan.is_none()) {
            return Ok(());
        }
        let object = self.pending();
        let Some(live) = self.tenant.get(&object).await? else { return Ok(()) };
        if !self.is_own(&live) {
            return Ok(());
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        let permit = self.fence.guard().await?;
        self.tenant.delete(permit, &object, uid).await?;
        Ok(())
    }

    fn pending(self) -> ObjectRef {
        ObjectRef { name: pending::secret_name(self.name), ..self.reference(0) }
    }
}
