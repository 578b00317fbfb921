//! The plan that waits for an approval, in a Secret of its own beside the records.

use helm::{pending, pending::Pending, record::Release};
use lifecycle::{object::ObjectRef, plan::Plan, reason::Reason};
use manifests::json;
use sources::RenderedRelease;

use super::{Records, body, write::too_large};
use crate::cluster::error::Error;

/// The material of the record that an operation writes.
pub(crate) enum Draft {
    /// The release was rendered just now.
    Rendered(Box<RenderedRelease>),
    /// The record was made when the plan was.
    Pending(Box<Release>),
}

impl Records<'_> {
    /// Stores a plan that is to be approved, with the record that it will have; it replaces the one
    /// before.
    pub(crate) async fn propose(
        self,
        plan: &Plan,
        rendered: Option<&RenderedRelease>,
    ) -> Result<(), Error> {
        let record = rendered.map(|made| body::pending(plan, made, self.name, self.namespace));
        let mut body = pending::to_secret(self.name, self.namespace, plan, record.as_ref())
            .map_err(|error| too_large(&error))?;
        self.mark(&mut body);
        let object = self.pending();
        let Some(live) = self.tenant.get(&object).await? else {
            let permit = self.fence.guard().await?;
            self.tenant.create(permit, &object, &body).await?;
            return Ok(());
        };
        if live["type"] != pending::SECRET_TYPE {
            let message = format!(
                "Secret {} is somebody else's, and is needed for the plan that waits for an approval: \
                 rename or delete it",
                object.name
            );
            return Err(Error::blocked(Reason::NotOwned, message));
        }
        json::set(
            &mut body,
            &["metadata", "resourceVersion"],
            live["metadata"]["resourceVersion"].clone(),
        );
        let permit = self.fence.guard().await?;
        self.tenant.replace(permit, &object, &body).await?;
        Ok(())
    }

    /// Returns the plan of this digest, if it is stored as it was made.
    pub(crate) async fn proposed(self, digest: &str) -> Result<Option<Pending>, Error> {
        let found = self.tenant.get(&self.pending()).await?;
        let found = found.as_ref().and_then(pending::from_secret);
        Ok(found.filter(|found| found.digest == digest))
    }

    /// Deletes the stored plan, if status names one: the record has it now, or it is no longer wanted.
    /// The write of status that forgets it comes after this, so that none is left behind.
    pub(crate) async fn withdraw(self) -> Result<(), Error> {
        if self.object.status.as_ref().is_none_or(|status| status.plan.is_none()) {
            return Ok(());
        }
        let object = self.pending();
        let Some(live) = self.tenant.get(&object).await? else { return Ok(()) };
        if live["type"] != pending::SECRET_TYPE {
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
