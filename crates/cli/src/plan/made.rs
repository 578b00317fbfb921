//! What a release consists of: as the controller makes it of objects, or of a chart.

use api::ReleaseLifecycle;
use engine::protocol::{Document, Rendered};
use kube::ResourceExt as _;
use lifecycle::{
    event::Event,
    patches,
    source::{Desired, Placed},
};

use super::{
    Contents, Found, Material,
    chart::{self, Engine},
};
use crate::{args::Template, files};

/// What the release consists of.
pub(super) struct Made {
    pub(super) desired: Desired,
    /// Where it is another one for an upgrade.
    pub(super) upgrade: Option<Desired>,
}

impl Made {
    pub(super) fn at(&self, event: Event) -> &Desired {
        match event {
            Event::Upgrade => self.upgrade.as_ref().unwrap_or(&self.desired),
            _ => &self.desired,
        }
    }
}

/// As the controller does it: from the source to the objects.
pub(super) async fn make(
    template: &Template,
    material: &mut Material,
    events: &[Event],
) -> anyhow::Result<Found<Made>> {
    let Material { object, contents, notes, .. } = material;
    let (whence, values) = match contents {
        Contents::Objects(objects) => {
            let desired = parse(object, std::mem::take(objects), &[]);
            return Ok(desired.map(|desired| Made { desired, upgrade: None }));
        }
        Contents::Chart { whence, values } => (whence, values),
    };
    let chart = match chart::fetch(whence, template).await? {
        Ok(chart) => chart,
        Err(problems) => return Ok(Err(problems)),
    };
    notes.extend(chart.note.clone());
    let release = (object.release_name(), object.namespace().unwrap_or_else(|| "default".into()));
    let release = (&*release.0, &*release.1);
    let mut engine = Engine::start(template, &chart, values, release)?;
    let next = next_revision(object);
    let [mut install, mut upgrade] = [None, None];
    if events.iter().any(|event| *event != Event::Upgrade) {
        match engine.render(1, false, object.crds(Event::Install)).await? {
            Ok(rendered) => install = Some(rendered),
            Err(problems) => return Ok(Err(problems)),
        }
    }
    if events.contains(&Event::Upgrade) {
        match engine.render(next, true, object.crds(Event::Upgrade)).await? {
            Ok(rendered) => upgrade = Some(rendered),
            Err(problems) => return Ok(Err(problems)),
        }
    }
    notes.push(format!(
        "the chart is rendered as `helm template` does it: lookup finds nothing, .Capabilities are \
         what Helm takes for granted; an upgrade is that of revision {next}, all else that of an \
         install, revision 1"
    ));
    for rendered in install.iter().chain(&upgrade) {
        for warning in &rendered.warnings {
            let warning = format!("warning: {warning}");
            if !notes.contains(&warning) {
                notes.push(warning);
            }
        }
    }
    let objects_of = |rendered: Option<Rendered>| {
        rendered.map(|rendered| objects_of(object, &rendered)).transpose()
    };
    Ok(objects_of(install).and_then(|install| {
        let upgrade = objects_of(upgrade)?;
        Ok(match (install, upgrade) {
            (Some(desired), upgrade) => Made { desired, upgrade },
            (None, upgrade) => Made { desired: upgrade.unwrap_or_default(), upgrade: None },
        })
    }))
}

/// That of an upgrade, as far as is known here.
pub(super) fn next_revision(object: &ReleaseLifecycle) -> i32 {
    let deployed = object.status.as_ref().and_then(|status| status.revision);
    deployed.unwrap_or(1).saturating_add(1)
}

/// What a chart makes of the release.
pub(super) fn objects_of(object: &ReleaseLifecycle, rendered: &Rendered) -> Found<Desired> {
    let hooks = rendered.hooks.iter().map(|hook| &hook.document);
    let read = |document: &Document| {
        let objects = files::parse(&document.path, &document.manifest).map_err(|it| vec![it])?;
        // One document, whose line within it says nothing.
        let placed = |it: Placed| Placed { place: document.path.clone(), ..it };
        Ok::<_, Vec<String>>(objects.into_iter().map(placed).collect::<Vec<_>>())
    };
    let (mut objects, mut crds) = (Vec::new(), Vec::new());
    for document in hooks.chain(&rendered.objects) {
        objects.extend(read(document)?);
    }
    for document in &rendered.crds {
        crds.extend(read(document)?);
    }
    parse(object, objects, &crds)
}

/// As the controller does it: patches, then the objects, and what stands in `crds/`.
pub(super) fn parse(
    object: &ReleaseLifecycle,
    objects: Vec<Placed>,
    crds: &[Placed],
) -> Found<Desired> {
    fn texts(errors: Vec<impl ToString>) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }
    let objects = patches::apply(&object.spec.patches, objects).map_err(texts)?;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let mut desired = Desired::parse(&objects, namespace).map_err(texts)?;
    desired.add_crds(crds, namespace).map_err(texts)?;
    Ok(desired)
}
