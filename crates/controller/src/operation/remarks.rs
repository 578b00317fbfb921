//! Remarks about a release that is ready: its spec asks for something else than the revision at
//! which it is pinned, or its chart renders to something else than the objects that were adopted.
//! Remarks decide nothing.

use lifecycle::{
    event::Event,
    plan::{Begin, Plan},
};
use sources::ResolvedSource;

use crate::{
    desired::{digest, objects, source},
    records::Stored,
    release::Release,
};

/// Returns the rest of the sentence that reports that the revision of `stored` is deployed.
pub(crate) async fn of_revision(release: &mut Release<'_>, stored: &Stored) -> Option<String> {
    let (plan, _) = stored.plan.as_ref()?;
    if release.object.spec.pin_revision.is_some() {
        let is_wanted = match &*plan.config_digest {
            // The record is Helm's own: its configuration is unknown.
            "" => is_same(release, stored).await?,
            _ => has_digest(release, plan).await?,
        };
        return (!is_wanted).then(|| asks_for_more(release));
    }
    let what = plan.renders_otherwise.as_ref().filter(|_| plan.adopted)?;
    Some(format!(". {}", renders_otherwise(what)))
}

/// Like [`of_revision`], for the revision that a rollback creates.
pub(crate) async fn of_rollback(release: &mut Release<'_>, plan: &Plan) -> Option<String> {
    let is_held = release.object.spec.pin_revision.is_some() && plan.event == Event::Rollback;
    if !is_held || plan.config_digest.is_empty() || has_digest(release, plan).await? {
        return None;
    }
    Some(asks_for_more(release))
}

/// Returns the remark that a chart renders to other objects than Helm deployed.
pub(crate) fn renders_otherwise(what: &str) -> String {
    format!(
        "The chart renders to something else than what Helm has recorded, which the next upgrade \
         applies: {what}"
    )
}

fn asks_for_more(release: &Release<'_>) -> String {
    format!(
        ", and the spec asks for something else: `kubectl lifecycle rollback {} -n {} --undo`",
        release.object_name(),
        release.namespace
    )
}

/// Returns whether the plan is of the configuration in the spec; `None` if that is unknown: a
/// release that is pinned needs no source.
async fn has_digest(release: &mut Release<'_>, plan: &Plan) -> Option<bool> {
    source::resolve(release).await.ok()?;
    release.known_source()?;
    Some(digest::input(release).have(&plan.config_digest, &plan.config_key))
}

/// Like [`has_digest`], where only the objects can be compared.
async fn is_same(release: &mut Release<'_>, stored: &Stored) -> Option<bool> {
    source::resolve(release).await.ok()?;
    let ResolvedSource::Objects(_) = release.known_source()? else { return None };
    let begin = Begin {
        id: String::new(),
        event: Event::Upgrade,
        revision: stored.release.version,
        target: None,
        remedies: None,
        generation: release.generation(),
    };
    let made = objects::of_source(release, &begin).await.ok()?;
    let recorded = objects::of_record(release, stored).ok()?;
    Some(helm::adopt::is_same(&recorded, &made.desired))
}
