//! What a release is to consist of: the objects of its source, or those of one of its records.

use helm::manifest;
use lifecycle::{hooks::HookAnnotations, patches, source::Desired};

use crate::{error::Error, records::Stored, release::Release};

/// The objects of the source, patched and parsed (client required).
pub(crate) async fn of_source(release: &Release<'_>) -> Result<Desired, Error> {
    let objects = release.source().await?.map_err(|failure| Error::Blocked(failure.clone()))?;
    let objects = patches::apply(&release.object.spec.patches, objects.to_vec())
        .map_err(|errors| Error::blocked("InvalidPatch", joined(&errors)))?;
    Desired::parse(&objects, &release.namespace)
        .map_err(|errors| Error::blocked("InvalidSource", joined(&errors)))
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
    let objects =
        manifest::parse(&record.manifest).map_err(|error| unreadable("manifest", error))?;
    let mut hooks = Vec::new();
    for hook in &record.hooks {
        let what = format!("hook {}/{}", hook.kind, hook.name);
        let manifests =
            manifest::parse(&hook.manifest).map_err(|error| unreadable(&what, error))?;
        for manifest in manifests {
            let annotations = HookAnnotations::recorded(&manifest, &hook.events, hook.weight);
            hooks.push((manifest, annotations));
        }
    }
    Desired::recorded(&objects, hooks, &release.namespace, &place)
        .map_err(|errors| Error::blocked("RecordUnreadable", joined(&errors)))
}
