//! The inputs of a plan: the source, or the records.

use api::HooksFrom;
use helm::record::Status;
use lifecycle::{
    event::Event,
    object::ObjectRef,
    plan::{Begin, Chart, PrunedBefore, prune_set},
    source::Desired,
};

use super::{
    history::{earlier_objects, leave_out_taken, newest_objects},
    kept,
};
use sources::{RenderedRelease, planned};

use crate::{
    cluster::error::Error,
    desired::objects,
    records::{Records, Stored, newest, no_target},
    release::Release,
};

/// The inputs of a plan.
pub(super) struct Material {
    /// The objects to apply, and the hooks to choose from.
    pub(super) desired: Desired,
    /// The objects to prune.
    pub(super) prune: Vec<ObjectRef>,
    /// The objects that were pruned with the revision before.
    pub(super) pruned_before: PrunedBefore,
    /// The digest of the configuration, if it is not that of the spec.
    pub(super) digest: Option<String>,
    /// The chart of the revision.
    pub(super) chart: Option<Chart>,
    /// The result of rendering, for the record, if the source was rendered.
    pub(super) rendered: Option<RenderedRelease>,
}

/// Returns the inputs of the operation's plan.
pub(super) async fn of(
    release: &Release<'_>,
    history: &[Stored],
    begin: &Begin,
) -> Result<Material, Error> {
    let latest = newest(history);
    let of_latest = || match latest {
        Some(stored) => objects::of_record(release, stored),
        // The record was removed since.
        None => Ok(Desired::default()),
    };
    let of_latest_plan = || latest?.plan.as_ref()?.0.chart.clone();
    let of_before = latest.filter(|_| begin.event.makes_revision());
    let pruned_before = of_before.map_or_else(PrunedBefore::default, |stored| PrunedBefore {
        since: stored.created(),
        objects: stored.plan.as_ref().map(|(plan, _)| plan.prune.clone()).unwrap_or_default(),
    });
    Ok(match begin.event {
        Event::Install | Event::Upgrade => {
            let rendered = Box::pin(objects::of_source(release, begin)).await?;
            let (desired, chart) = (rendered.desired.clone(), rendered.chart.clone());
            let prune = prune_set(earlier_objects(release, history)?, &desired.objects);
            Material {
                desired,
                prune,
                pruned_before,
                digest: None,
                chart,
                rendered: Some(rendered),
            }
        }
        Event::Rollback => {
            let target = begin.target.unwrap_or_default();
            let stored = Records::of(release).get(target).await?;
            let stored = stored.ok_or_else(|| no_target(&release.name, target))?;
            let mut desired = objects::of_record(release, &stored)?;
            if release.object.rollback_hooks_from() == HooksFrom::Current {
                let deployed = |stored: &&Stored| stored.release.info.status == Status::Deployed;
                let current = history.iter().find(deployed).or(latest);
                desired.hooks = match current {
                    Some(stored) => objects::of_record(release, stored)?.hooks,
                    None => Vec::new(),
                };
            }
            let prune = prune_set(earlier_objects(release, history)?, &desired.objects);
            let (digest, chart) = match stored.plan {
                Some((plan, _)) => (plan.config_digest, plan.chart),
                None => (String::new(), None),
            };
            Material { desired, prune, pruned_before, digest: Some(digest), chart, rendered: None }
        }
        Event::Delete => {
            let mut desired = of_latest()?;
            if let Some(latest) = latest {
                leave_out_taken(&mut desired.objects, latest);
            }
            let newest = newest_objects(release, std::mem::take(&mut desired.objects), history)?;
            let removal = planned::removal(newest);
            kept::report(release, &removal);
            let prune = removal.going;
            Material {
                desired,
                prune,
                pruned_before,
                digest: None,
                chart: of_latest_plan(),
                rendered: None,
            }
        }
        Event::Test => {
            let mut desired = of_latest()?;
            desired.objects.clear();
            planned::select_tests(&release.object, &mut desired);
            let chart = of_latest_plan();
            Material {
                desired,
                prune: Vec::new(),
                pruned_before,
                digest: None,
                chart,
                rendered: None,
            }
        }
    })
}
