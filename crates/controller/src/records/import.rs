//! Records that Helm keeps in `ConfigMaps` (`HELM_DRIVER=configmap`) become Secrets, where the
//! operator's plans can stand beside them.

use api::names::IMPORTED_THROUGH_ANNOTATION;
use helm::secret::{self, Plans, Written};
use manifests::json;

use super::{Records, Stored, record::Holder, write::too_large};
use crate::cluster::{
    call::{ApiError, Cause},
    error::Error,
};
use crate::support::clock::now;

impl Records<'_> {
    /// Copies `history`, those since the last deployed one, into Secrets; the `ConfigMaps` stay as
    /// they are. The oldest comes first, and each says which the newest is: until that is there,
    /// [`Self::history`] reads the `ConfigMaps`, so that a copy that was broken off is completed.
    pub(crate) async fn import(self, history: &[Stored]) -> Result<(), Error> {
        let mut oldest_first: Vec<_> = history.iter().map(|stored| &stored.release).collect();
        oldest_first.sort_by_key(|release| release.version);
        let Some(through) = oldest_first.last().map(|release| release.version.to_string()) else {
            return Ok(());
        };
        for release in oldest_first {
            let mut body = secret::to_secret(release, Written::Created(now()), &Plans::new())
                .map_err(|error| too_large(&error))?;
            let place = ["metadata", "annotations", IMPORTED_THROUGH_ANNOTATION];
            json::set(&mut body, &place, &*through);
            self.mark(&mut body);
            self.fence.guard().await?;
            // It must not come late, after the records of the release were purged.
            let permit = self.fence.lead()?;
            match self.tenant.create(permit, &self.reference(release.version), &body).await {
                // By a copy that was broken off.
                Ok(_) | Err(ApiError { cause: Cause::AlreadyExists, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Else it would be copied for ever.
        if self.newest_first().await?.0 == Holder::ConfigMap {
            let message = format!(
                "the records of release {} are in ConfigMaps and cannot be copied: there are Secrets of \
                 their names ({}) that are no records; remove those",
                self.name,
                self.reference(history.iter().map(|it| it.release.version).max().unwrap_or(0)).name
            );
            return Err(Error::blocked("ForeignRelease", message));
        }
        Ok(())
    }
}
