//! What there is to say of a release that is ready as it should be: that its spec asks for something
//! else than the revision at which it is held, or that its chart renders to something else than what
//! was taken over. It decides nothing.

use lifecycle::{
    event::Event,
    plan::{Begin, Plan},
};
use sources::ResolvedSource;

use crate::{
    desired::{digest, objects},
    records::Stored,
    release::Release,
};

/// The rest of the sentence that says that the revision of `stored` is deployed.
pub(crate) async fn of_revision(release: &Release<'_>, stored: &Stored) -> Option<String> {
    let (plan, _) = stored.plan.as_ref()?;
    if release.object.spec.pin_revision.is_some() {
        let is_wanted = match &*plan.config_digest {
            // As Helm has made it: nobody knows of what.
            "" => is_same(release, stored).await?,
            _ => has_digest(release, plan).await?,
        };
        return (!is_wanted).then(|| asks_for_more(release));
    }
    let what = plan.renders_otherwise.as_ref().filter(|_| plan.adopted)?;
    Some(format!(". {}", renders_otherwise(what)))
}

/// The same of the revision that a rollback makes.
pub(crate) async fn of_rollback(release: &Release<'_>, plan: &Plan) -> Option<String> {
    let is_held = release.object.spec.pin_revision.is_some() && plan.event == Event::Rollback;
    if !is_held || plan.config_digest.is_empty() || has_digest(release, plan).await? {
        return None;
    }
    Some(asks_for_more(release))
}

/// That a chart makes something else of a release than what Helm did.
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

/// Whether the plan is of what the spec asks for; `None` where that is unknown: a release that is held
/// needs no source.
async fn has_digest(release: &Release<'_>, plan: &Plan) -> Option<bool> {
    release.source().await.ok()?.ok()?;
    Some(digest::input(release).have(&plan.config_digest, &plan.config_key))
}

/// The same where only the objects tell.
async fn is_same(release: &Release<'_>, stored: &Stored) -> Option<bool> {
    let ResolvedSource::Objects(_) = release.source().await.ok()?.ok()? else { return None };
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
    Some(helm::takeover::is_same(&recorded, &made.desired))
}
