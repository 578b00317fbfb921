//! An object that is deleted while its release is to stay (`spec.deletion.objects: Keep`).

use lifecycle::{
    event::Event,
    journal::{Failure, Journal, Phase},
    reason::Reason,
};

use crate::{
    cluster::error::Error,
    operation::outside::let_go_of_secrets,
    records::Records,
    release::{Release, finalizer},
};

/// Returns whether the object can be let go: nothing of the release is read, which the tenant may
/// no longer be allowed to read.
pub(crate) fn is_due(release: &Release<'_>, running: Option<&Journal>) -> bool {
    let is_deletion = |journal: &Journal| journal.operation.event == Event::Delete;
    release.is_kept() && running.is_none_or(is_deletion)
}

/// Lets the object go, and leaves the release to Helm. A deletion that has deleted nothing yet
/// restores the state of the record, if it may.
pub(crate) async fn keep(release: &mut Release<'_>, running: Option<Journal>) -> Result<(), Error> {
    if let Some(journal) = running.filter(|journal| journal.operation.phase < Phase::Deleting) {
        let revision = journal.operation.revision;
        let status = release.object.status.as_ref();
        let deployed = status.is_some_and(|status| status.revision == Some(revision));
        match Records::of(release).reinstate(revision, deployed).await {
            Err(Error::Blocked(Failure { message, .. })) => {
                let text = format!("the record still has the status uninstalling: {message}");
                release.warn(Reason::RecordNotReinstated, text);
            }
            other => other?,
        }
    }
    let_go_of_secrets(release).await;
    finalizer::remove(release).await
}
