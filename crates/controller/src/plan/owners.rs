//! The owners of objects that exist already, checked before any hook runs.

use futures::future::try_join_all;
use helm::ownership;
use lifecycle::{
    event::Event,
    object::{ObjectRef, PlannedObject},
    plan::Claims,
    reason::Reason,
};
use serde_json::Value;

use crate::{
    cluster::{error::Error, tenant::AT_ONCE},
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
    for some in objects.chunks(AT_ONCE) {
        let looks: Vec<_> = some.iter().map(|it| look(release, &it.object)).collect();
        for (object, live) in some.iter().zip(try_join_all(looks).await?) {
            let Some(live) = live else { continue };
            if let Err(error) = ownership::check(&live, &release.name, &release.namespace) {
                taken.push(object.object.clone());
                refused.push(Refusal::NotOwned(error));
            }
        }
    }
    if taken.is_empty() || claims.take_ownership {
        return Ok(taken);
    }
    let message = conflicts::message(&refused, event, &release.name, &release.namespace);
    Err(Error::blocked(Reason::NotOwned, message))
}

/// Returns the live object; `None` if it, or its kind, does not exist.
async fn look(release: &Release<'_>, object: &ObjectRef) -> Result<Option<Value>, Error> {
    match release.tenant.get_and_keep(object).await {
        Ok(live) => Ok(live),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
