//! Makes a plan from the desired objects: parse, look up the kinds, check rights and owners.
//! Nothing is changed here, so all errors are reported at once and can be corrected without hurry.

use std::mem;

use api::Preflight;
use lifecycle::{
    digest::config_digest,
    event::Event,
    plan::{Begin, Crds, Plan, Remediated},
    source::SourceError,
};

use sources::{RenderedRelease, planned, rules};

use super::{
    crds, history, kinds,
    material::{self, Material},
    owners, ran, rights,
};
use crate::{
    cluster::error::Error,
    desired::{digest, health, source},
    records::{Stored, newest},
    release::Release,
};

/// A plan, and what it was created from.
pub(crate) struct Planned {
    pub(crate) plan: Plan,
    /// The result of rendering, for the record; `None` if the plan comes from a record.
    pub(crate) rendered: Option<RenderedRelease>,
    /// The remarks on the objects.
    pub(crate) remarks: Vec<SourceError>,
    /// The warnings about the rules of hooks.
    pub(crate) warnings: Vec<String>,
}

/// Returns the plan of an operation that is about to begin (client required).
pub(crate) async fn plan(
    release: &mut Release<'_>,
    records: &[Stored],
    begin: &Begin,
) -> Result<Planned, Error> {
    if begin.event.needs_source() {
        source::resolve(release).await?;
    }
    let release = &*release;
    // A deletion and a rollback may be the way out, and tests wait for no objects.
    if begin.event.needs_source() {
        health::refuse_invalid(release).await?;
    }
    let mut material = material::of(release, records, begin).await?;
    let crds = release.object.crds(begin.event);
    kinds::find(release, &mut material, begin.event, crds).await?;
    let Material { mut selected, pruned_before, digest, chart, rendered, health_checks } = material;
    let desired = &mut selected.desired;
    if crds == Crds::Create {
        crds::leave_out_existing(release, &mut desired.crds).await?;
    }
    let claims = release.object.claims(begin.event);
    let mut hooks = planned::hooks(&release.object, begin.event, desired)?;
    let recorded = history::recorded_hooks(release, records);
    history::mark_recorded(&recorded, &mut hooks);
    let key = history::key(records).unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    let is_checked = release.object.preflight() != Preflight::Off;
    let mut warnings = rules::warnings(&release.object, begin.event, desired, &hooks);
    let before = ran::Before { objects: &desired.objects, records, key: &key };
    warnings.extend(ran::leave_out_unchanged(release, &mut hooks, &before).await?);
    // A deletion that keeps the objects needs no rights, and a rollback restores what was checked.
    let is_deleted_later = begin.event.needs_source() && !release.object.keeps_objects();
    let at_deletion = (is_checked && is_deleted_later)
        .then(|| planned::hooks(&release.object, Event::Delete, desired).unwrap_or_default());
    let (objects, prune) = (&desired.objects, &selected.prune);
    warnings.extend(rights::check(release, &hooks, objects, prune, at_deletion.as_deref()).await?);
    let mut taken = owners::check(release, begin.event, &desired.objects, claims).await?;
    taken.extend(records.iter().flat_map(history::taken).cloned());
    let latest = newest(records);
    let remarks = mem::take(&mut selected.desired.remarks);
    let made = planned::plan(&release.object, begin.event, hooks, selected);
    let plan = Plan {
        operation: begin.id.clone(),
        health_checks: health_checks.unwrap_or_else(|| made.health_checks.clone()),
        revision: begin.revision,
        target: begin.target,
        remedies: begin.remedies.map(|revision| remediated(records, revision)),
        first_deployed: latest.and_then(|stored| stored.release.info.first_deployed),
        chart,
        config_digest: digest
            .unwrap_or_else(|| config_digest(key.as_bytes(), &digest::input(release))),
        config_key: key,
        taken,
        hook_kinds: if begin.event.makes_revision() {
            history::hook_kinds(records, &recorded)
        } else {
            Vec::new()
        },
        pruned_before,
        ..made
    };
    Ok(Planned { plan, rendered, remarks, warnings })
}

/// Returns the failed revision that the operation remediates.
fn remediated(records: &[Stored], revision: i32) -> Remediated {
    let failed = records.iter().find(|stored| stored.release.version == revision);
    let plan = failed.and_then(|stored| stored.plan.as_ref());
    let config_digest = plan.map(|(plan, _)| plan.config_digest.clone()).unwrap_or_default();
    Remediated { revision, config_digest }
}
