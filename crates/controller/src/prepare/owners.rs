//! Whose the objects are that exist already, asked before any hook runs.

use helm::ownership;
use lifecycle::{event::Event, plan::PlannedObject};

use crate::{
    apply::{self, Refusal},
    error::Error,
    release::Release,
};

/// No object may be another release's, or nobody's. Hooks carry no owner in Helm, but they do here.
pub(super) async fn check(
    release: &Release<'_>,
    event: Event,
    objects: &[PlannedObject],
) -> Result<(), Error> {
    let mut taken = Vec::new();
    for object in objects {
        let live = match release.tenant.get(&object.object).await {
            Ok(live) => live,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(live) = live else { continue };
        if let Err(error) = ownership::check(&live, &release.name, &release.namespace) {
            taken.push(Refusal::NotOwned(error));
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let message = apply::message(&taken, event, &release.name, &release.namespace);
    Err(Error::blocked("NotOwned", message))
}
