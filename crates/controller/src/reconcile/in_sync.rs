//! A release whose deployed revision is the desired one.

use crate::{
    cluster::error::Error,
    operation::remarks,
    plan::history,
    reconcile::drift,
    records::{Records, Stored},
    release::{Release, finalizer},
};

/// Reports that the deployed revision is the desired one, corrects drift, and reports the remarks.
pub(crate) async fn in_sync(
    release: &mut Release<'_>,
    history: &[Stored],
    revision: i32,
) -> Result<(), Error> {
    finalizer::hold(release).await?;
    let stored = history.iter().find(|stored| stored.release.version == revision);
    let plan = stored.and_then(|stored| stored.plan.as_ref());
    let chart = plan.and_then(|(plan, _)| plan.chart.clone());
    let drift = match stored.filter(|_| release.object.looks_for_drift()) {
        Some(stored) => Some(Box::pin(drift::check(release, stored)).await?),
        None => None,
    };
    note_outside(release, stored).await?;
    release.remark = match stored {
        Some(stored) => Box::pin(remarks::of_revision(release, stored)).await,
        None => None,
    };
    // The spec may be again as it was.
    Records::of(release).withdraw().await?;
    release.write_in_sync(revision, chart, drift).await?;
    Ok(())
}

/// Finds the objects of the deployed revision outside of the namespace, if no operation of this
/// operator has reported them.
async fn note_outside(release: &mut Release<'_>, stored: Option<&Stored>) -> Result<(), Error> {
    let is_known = release.object.status.as_ref().is_some_and(|it| it.outside.is_some());
    if let Some(stored) = stored.filter(|_| !is_known) {
        release.outside = Some(history::outside(release, stored).await?);
    }
    Ok(())
}
