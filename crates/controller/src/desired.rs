//! What a release is to consist of: the objects of its source, or those of one of its records.

use helm::manifest;
use lifecycle::{
    hooks::HookAnnotations,
    memory::{MOST_PER_RELEASE, Memory},
    patches,
    source::{Desired, Placed},
    yaml,
};

use crate::{compute, error::Error, records::Stored, release::Release, source};

/// The objects of the source, patched and parsed (client required).
pub(crate) async fn of_source(release: &Release<'_>) -> Result<Desired, Error> {
    let objects = release.source().await?.map_err(|failure| Error::Blocked(failure.clone()))?;
    let objects = objects.to_vec();
    let patches = release.object.spec.patches.clone();
    let namespace = release.namespace.clone();
    compute::run(move || {
        let objects = patches::apply(&patches, objects)
            .map_err(|errors| Error::blocked("InvalidPatch", joined(&errors)))?;
        check_bounds(&objects)?;
        Desired::parse(&objects, &namespace)
            .map_err(|errors| Error::blocked("InvalidSource", joined(&errors)))
    })
    .await
}

/// Refuses what could be recorded, but not be read from the record.
fn check_bounds(objects: &[Placed]) -> Result<(), Error> {
    let mut memory = Memory::of_release();
    for Placed { place, manifest } in objects {
        if yaml::is_too_deep(manifest) {
            let message =
                format!("{place}: the object is nested deeper than {} levels", yaml::MAX_DEPTH);
            return Err(Error::blocked("InvalidSource", message));
        }
        // In the record the items of a `List` stand alone.
        let items = manifest["items"].as_array().map_or(1, Vec::len);
        if memory.take_value(manifest).is_err() || (0..items).any(|_| memory.take_object().is_err())
        {
            return Err(source::too_large(place));
        }
    }
    Ok(())
}

fn joined(errors: &[impl ToString]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The objects and the hooks of a record, read from its text as Helm does (no client required).
pub(crate) fn of_record(release: &Release<'_>, stored: &Stored) -> Result<Desired, Error> {
    let record = &stored.release;
    let place = format!("the record of revision {}", record.version);
    let unreadable = |what: &str, error: manifest::ManifestError| {
        Error::blocked("RecordUnreadable", format!("{place}: {what}: {error}"))
    };
    // More than a source, since what fits is never to be found too large when it is read again.
    let mut memory = Memory::new(2 * MOST_PER_RELEASE);
    let objects = manifest::parse_within(&record.manifest, &mut memory)
        .map_err(|error| unreadable("manifest", error))?;
    let objects: Vec<_> = objects.into_iter().map(|(_, object)| object).collect();
    let mut hooks = Vec::new();
    for hook in &record.hooks {
        let what = format!("hook {}/{}", hook.kind, hook.name);
        let manifests = manifest::parse_within(&hook.manifest, &mut memory)
            .map_err(|error| unreadable(&what, error))?;
        for (_, manifest) in manifests {
            let annotations = HookAnnotations::recorded(&manifest, &hook.events, hook.weight);
            hooks.push((manifest, annotations));
        }
    }
    Desired::recorded(&objects, hooks, &release.namespace, &place)
        .map_err(|errors| Error::blocked("RecordUnreadable", joined(&errors)))
}
