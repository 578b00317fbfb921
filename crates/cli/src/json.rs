//! Output for programs: the parts of the object that `status` reports, as the API server has them.

use api::ReleaseLifecycle;
use serde_json::{Value, json};

pub(crate) fn one(object: &ReleaseLifecycle) -> Value {
    let metadata = &object.metadata;
    json!({
        "namespace": metadata.namespace,
        "name": metadata.name,
        "generation": metadata.generation,
        "status": object.status,
    })
}

pub(crate) fn all(objects: &[ReleaseLifecycle]) -> Value {
    objects.iter().map(one).collect()
}
