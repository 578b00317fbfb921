//! The desired objects of a release: those that its source renders to, or those of one of its
//! records.

use helm::adopt;
use lifecycle::reason::Reason;
use lifecycle::{plan::Begin, source::Desired};
use sources::{RenderedRelease, ResolvedSource, rendered};

use crate::{
    cluster::error::Error, desired::render::render, records::Stored, release::Release,
    support::blocking,
};

/// Returns the objects that the source renders to for the operation that begins, patched and
/// parsed. The result may differ the next time (client required).
pub(crate) async fn of_source(
    release: &Release<'_>,
    begin: &Begin,
) -> Result<RenderedRelease, Error> {
    let patches = release.object.spec.patches.clone();
    let namespace = release.namespace.clone();
    Ok(match release.source.known()? {
        ResolvedSource::Objects(objects) => {
            let objects = objects.clone();
            let work = move || rendered::of_objects(objects, &patches, &namespace);
            blocking::run(&release.namespace, work).await
        }
        ResolvedSource::Chart(chart) => {
            let rendered = render(release, chart, begin).await?;
            let (digest, secrets) = (chart.digest.clone(), chart.secrets.clone());
            let made = move || rendered::of_chart(rendered, digest, &patches, &namespace, &secrets);
            blocking::run(&release.namespace, made).await
        }
    }?)
}

/// Returns the objects and the hooks of a record (no client required).
pub(crate) fn of_record(release: &Release<'_>, stored: &Stored) -> Result<Desired, Error> {
    adopt::desired(&stored.release, &release.namespace)
        .map_err(|error| Error::blocked(Reason::RecordUnreadable, error.to_string()))
}
