//! The objects of a release: as the controller makes them from objects, or from a chart.

use api::ReleaseLifecycle;
use engine::protocol::Rendered;
use helm::manifest;
use kube::ResourceExt as _;
use lifecycle::{event::Event, source::Desired};
use manifests::{
    memory::Memory,
    placed::{Placed, describe},
};
use sources::{ResolvedChart, rendered};

use super::{
    Contents, Found, Material,
    chart::{self, Engine},
};
use crate::args::Template;

/// The objects of the release, or the reason why they are unknown.
pub(super) struct RenderedInput {
    pub(super) desired: Found<Desired>,
    /// Those of an upgrade, if they are different.
    pub(super) upgrade: Option<Found<Desired>>,
    /// The objects that a chart renders, as `Kind/name`, with the paths of their templates.
    pub(super) templates: Vec<(String, String)>,
}

impl RenderedInput {
    pub(super) fn at(&self, event: Event) -> Result<&Desired, &[String]> {
        let found = match event {
            Event::Upgrade => self.upgrade.as_ref().unwrap_or(&self.desired),
            _ => &self.desired,
        };
        found.as_ref().map_err(Vec::as_slice)
    }

    /// Returns itself, unless nothing of it is known: then the reasons, each once.
    fn if_any(self) -> Found<Self> {
        match self {
            Self { desired: Err(problems), upgrade: None, .. } => Err(problems),
            Self { desired: Err(mut problems), upgrade: Some(Err(more)), .. } => {
                let more: Vec<_> = more.into_iter().filter(|it| !problems.contains(it)).collect();
                problems.extend(more);
                Err(problems)
            }
            made => Ok(made),
        }
    }

    /// Returns the parts of the objects that have no effect, each once.
    pub(super) fn remarks(&self) -> Vec<String> {
        let both = [Some(&self.desired), self.upgrade.as_ref()];
        let mut remarks: Vec<String> = Vec::new();
        for remark in both.into_iter().flatten().flatten().flat_map(|desired| &desired.remarks) {
            let text = remark.to_string();
            if !remarks.contains(&text) {
                remarks.push(text);
            }
        }
        remarks
    }
}

/// Goes from the source to the objects, as the controller does.
pub(super) async fn make(
    template: &Template,
    material: &mut Material,
    events: &[Event],
) -> anyhow::Result<Found<RenderedInput>> {
    let Material { object, contents, notes, .. } = material;
    let (origin, values) = match contents {
        Contents::Objects(objects) => {
            let desired = of_objects(object, std::mem::take(objects));
            return Ok(desired.map(|desired| RenderedInput {
                desired: Ok(desired),
                upgrade: None,
                templates: Vec::new(),
            }));
        }
        Contents::Chart { origin, values } => (origin, values),
    };
    let chart = match chart::fetch(origin, template).await? {
        Ok(chart) => chart,
        Err(problems) => return Ok(Err(problems)),
    };
    notes.extend(chart.note.clone());
    let release = (object.release_name(), object.namespace().unwrap_or_else(|| "default".into()));
    let release = (&*release.0, &*release.1);
    let chart = chart.with(values.clone());
    let mut engine = Engine::start(template, &chart, release)?;
    let next = next_revision(object);
    let [mut install, mut upgrade] = [None, None];
    if events.iter().any(|event| *event != Event::Upgrade) {
        install = Some(engine.render(1, false, object.crds(Event::Install)).await?);
    }
    if events.contains(&Event::Upgrade) {
        upgrade = Some(engine.render(next, true, object.crds(Event::Upgrade)).await?);
    }
    notes.push(format!(
        "the chart is rendered as `helm template` does it: lookup finds nothing, .Capabilities are \
         Helm's defaults; an upgrade is rendered as revision {next}, all else as an install, \
         revision 1"
    ));
    for rendered in install.iter().chain(&upgrade).flatten() {
        for warning in &rendered.warnings {
            let warning = format!("warning: {}", chart.secrets.hide(warning));
            if !notes.contains(&warning) {
                notes.push(warning);
            }
        }
    }
    let templates = install.iter().chain(&upgrade).flatten().flat_map(templates).collect();
    let objects_of =
        |rendered: Found<Rendered>| rendered.and_then(|it| of_chart(object, &chart, it));
    let made = match (install.map(objects_of), upgrade.map(objects_of)) {
        (Some(desired), upgrade) => RenderedInput { desired, upgrade, templates },
        (None, upgrade) => {
            let desired = upgrade.unwrap_or_else(|| Ok(Desired::default()));
            RenderedInput { desired, upgrade: None, templates }
        }
    };
    Ok(made.if_any())
}

/// Returns the objects that were rendered, with the paths of their templates. What takes too much
/// memory is left out; the reader of the objects reports it.
fn templates(rendered: &Rendered) -> Vec<(String, String)> {
    let mut memory = Memory::of_release();
    let hooks = rendered.hooks.iter().map(|hook| &hook.document);
    let documents = rendered.objects.iter().chain(hooks).chain(&rendered.crds);
    let named = documents.flat_map(|document| {
        let read = manifest::parse_within(&document.manifest, &mut memory).unwrap_or_default();
        read.into_iter().map(|(_, object)| (describe(&object), document.path.clone()))
    });
    named.collect()
}

/// Returns the revision of an upgrade, as far as it is known here.
pub(super) fn next_revision(object: &ReleaseLifecycle) -> i32 {
    let deployed = object.status.as_ref().and_then(|status| status.revision);
    deployed.unwrap_or(1).saturating_add(1)
}

/// Returns the release that a chart renders, as in the operator.
pub(super) fn of_chart(
    object: &ReleaseLifecycle,
    chart: &ResolvedChart,
    rendered: Rendered,
) -> Found<Desired> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let (digest, patches) = (chart.digest.clone(), &object.spec.patches);
    rendered::of_chart(rendered, digest, patches, namespace, &chart.secrets)
        .map(|release| release.desired)
        .map_err(|blocked| blocked.problems)
}

/// Returns the release of objects that a user wrote, as in the operator.
pub(super) fn of_objects(object: &ReleaseLifecycle, objects: Vec<Placed>) -> Found<Desired> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    rendered::of_objects(objects, &object.spec.patches, namespace)
        .map(|release| release.desired)
        .map_err(|blocked| blocked.problems)
}
