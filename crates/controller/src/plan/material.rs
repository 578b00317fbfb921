//! The inputs of a plan: the source, or the records.

use helm::record::Status;
use lifecycle::{
    event::{Event, Work},
    health::HealthCheck,
    plan::{Begin, Chart, PrunedBefore},
    source::Desired,
};

use super::{
    history::{earlier_objects, leave_out_taken},
    kept,
};
use sources::{
    RenderedRelease,
    planned::{self, Selected},
};

use crate::{
    cluster::error::Error,
    desired::objects,
    records::{Records, Stored, newest, no_target},
    release::Release,
};

/// The inputs of a plan.
pub(super) struct Material {
    /// The work: hooks to choose from, objects to apply, objects to delete.
    pub(super) selected: Selected,
    /// The objects that were pruned with the revision before.
    pub(super) pruned_before: PrunedBefore,
    /// The digest of the configuration, if it is not that of the spec.
    pub(super) digest: Option<String>,
    /// The chart of the revision.
    pub(super) chart: Option<Chart>,
    /// The health checks of the revision that a rollback restores; otherwise those of the spec count.
    pub(super) health_checks: Option<Vec<HealthCheck>>,
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
    let (mut digest, mut chart, mut source, mut health_checks) = (None, None, None, None);
    let desired = match begin.event {
        Event::Install | Event::Upgrade => {
            let rendered = Box::pin(objects::of_source(release, begin)).await?;
            let desired = rendered.desired.clone();
            chart.clone_from(&rendered.chart);
            source = Some(rendered);
            desired
        }
        Event::Rollback => {
            let target = begin.target.unwrap_or_default();
            let stored = Records::of(release).get(target).await?;
            let stored = stored.ok_or_else(|| no_target(&release.name, target))?;
            let hooks_of_deployed = || {
                let deployed = |stored: &&Stored| stored.release.info.status == Status::Deployed;
                Ok::<_, Error>(match history.iter().find(deployed).or(latest) {
                    Some(stored) => objects::of_record(release, stored)?.hooks,
                    None => Vec::new(),
                })
            };
            let target = objects::of_record(release, &stored)?;
            let desired = planned::restored(&release.object, target, hooks_of_deployed)?;
            let plan = stored.plan.map(|(plan, _)| plan);
            chart = plan.as_ref().and_then(|plan| plan.chart.clone());
            // Those of the spec may not even compile.
            let checks = plan.as_ref().map(|plan| plan.health_checks.clone());
            health_checks = Some(checks.unwrap_or_default());
            digest = Some(plan.map(|plan| plan.config_digest).unwrap_or_default());
            desired
        }
        Event::Delete => {
            let mut desired = of_latest()?;
            if let Some(latest) = latest {
                leave_out_taken(&mut desired.objects, latest);
            }
            chart = of_latest_plan();
            desired
        }
        Event::Test => {
            chart = of_latest_plan();
            of_latest()?
        }
    };
    let earlier = match begin.event.facts().work {
        Work::Nothing => Vec::new(),
        Work::Apply | Work::Delete => earlier_objects(release, history)?,
    };
    let selected = planned::select(&release.object, begin.event, desired, earlier);
    kept::report(release, &selected);
    Ok(Material { selected, pruned_before, digest, chart, health_checks, rendered: source })
}
