//! The owners of objects that exist already, checked before any hook runs.

use helm::ownership;
use lifecycle::{
    event::Event,
    object::{ObjectRef, PlannedObject},
    plan::Claims,
    reason::Reason,
};

use crate::{
    cluster::error::Error,
    release::{
        Release,
        conflicts::{self, Refusal},
    },
};

/// Returns the objects that another release owns, or that are unowned. They are an error, unless
/// they are adopted. Hooks carry no owner in Helm, but they do here.
pub(super) async fn check(
    release: &Release<'_>,
    event: Event,
    objects: &[PlannedObject],
    claims: Claims,
) -> Result<Vec<ObjectRef>, Error> {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for object in objects {
        let live = match release.tenant.get_and_keep(&object.object).await {
            Ok(live) => live,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(live) = live else { continue };
        if let Err(error) = ownership::check(&live, &release.name, &release.namespace) {
            taken.push(object.object.clone());
            refused.push(Refusal::NotOwned(error));
        }
    }
    if taken.is_empty() || claims.take_ownership {
        return Ok(taken);
    }
    let message = conflicts::message(&refused, event, &release.name, &release.namespace);
    Err(Error::blocked(Reason::NotOwned, message))
}
