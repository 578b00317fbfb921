//! Copies records that Helm keeps in `ConfigMaps` (`HELM_DRIVER=configmap`) into Secrets, where the
//! operator's plans can be stored beside them.

use api::names::IMPORTED_THROUGH_ANNOTATION;
use helm::{
    secret::{self, Plans, Written},
    stored::Holder,
};
use manifests::json;

use lifecycle::reason::Reason;

use super::{Records, Stored, write::too_large};
use crate::cluster::{
    call::{ApiError, Cause},
    error::Error,
};
use crate::support::clock::now;

impl Records<'_> {
    /// Copies `history`, the records since the last deployed one, into Secrets; the `ConfigMaps`
    /// stay as they are. The oldest comes first, and each copy names the newest revision: until
    /// that exists, [`Self::history`] reads the `ConfigMaps`, so that an interrupted copy is
    /// completed.
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
            // It must not be written late, after the records of the release were purged.
            let permit = self.fence.lead()?;
            match self.tenant.create(permit, &self.reference(release.version), &body).await {
                // From an interrupted copy.
                Ok(_) | Err(ApiError { cause: Cause::AlreadyExists, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Otherwise it would be copied for ever.
        if self.newest_first().await?.0 == Holder::ConfigMap {
            let message = format!(
                "the records of release {} are in ConfigMaps and cannot be copied: there are Secrets of \
                 their names ({}) that are no records; remove those",
                self.name,
                self.reference(history.iter().map(|it| it.release.version).max().unwrap_or(0)).name
            );
            return Err(Error::blocked(Reason::ForeignRelease, message));
        }
        Ok(())
    }
}
