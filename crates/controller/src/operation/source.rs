//! The check that the desired state of the release is known.

use crate::{cluster::error::Error, release::Release};

/// Returns why the source is unknown: until it is changed, or for now; `None` if it is known.
pub(crate) async fn unknown(release: &Release<'_>) -> Result<Option<Error>, Error> {
    match release.source().await {
        Ok(Ok(_)) => Ok(None),
        Ok(Err(failure)) => Ok(Some(Error::Blocked(failure.clone()))),
        Err(later @ Error::Later(..)) => Ok(Some(later)),
        Err(error) => Err(error),
    }
}
