//! A preview of a release that is about to be written, and of its operation.

use api::ReleaseLifecycleStatus;
use engine::protocol::Values;
use helm::manifest;
use kube::ResourceExt as _;
use lifecycle::{event::Event, source::Desired};
use manifests::placed::Placed;
use serde_json::{Map, Value};

use super::{
    Contents, Found, Material,
    chart::{self, ChartOrigin, Engine},
    events,
    given::{self, Wanted},
    made, render,
};
use crate::{args::Template, words::Look};

/// A release in manifests that have not been applied yet.
pub(crate) struct Preview {
    material: Material,
    template: Template,
}

/// The content of a release.
pub(crate) enum Content {
    Objects(Desired),
    Chart { name: String, version: String, values: Map<String, Value> },
}

impl Preview {
    /// Returns the one release of `documents`, whose newest revision is `revision`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) async fn of(documents: &[Value], revision: i32, template: Template) -> Found<Self> {
        let placed = |(index, manifest): (usize, &Value)| Placed {
            place: format!("document {}", index + 1),
            manifest: manifest.clone(),
        };
        let documents = documents.iter().enumerate().map(placed).collect();
        let mut material =
            given::choose(documents, Wanted { fetches: true, ..Wanted::default() }).await?;
        let status = ReleaseLifecycleStatus { revision: Some(revision), ..Default::default() };
        material.object.status = Some(status);
        Ok(Self { material, template })
    }

    /// Returns its content. A chart is fetched once, and kept.
    ///
    /// # Errors
    /// If there is no engine to fetch it, or no answer.
    pub(crate) async fn content(&mut self) -> anyhow::Result<Found<Content>> {
        let Material { object, contents, .. } = &mut self.material;
        let (origin, values) = match contents {
            Contents::Objects(objects) => {
                let desired = made::of_objects(object, objects.clone());
                return Ok(desired.map(Content::Objects));
            }
            Contents::Chart { origin, values } => (origin, values),
        };
        let values = match merged(&values.merged) {
            Ok(values) => values,
            Err(problem) => return Ok(Err(vec![problem])),
        };
        let fetched = match chart::fetch(origin, &self.template).await? {
            Ok(fetched) => fetched,
            Err(problems) => return Ok(Err(problems)),
        };
        let (name, version) = fetched.named.unwrap_or_default();
        if let sources::Content::Archive(archive) = fetched.content {
            **origin = ChartOrigin::Archive { bytes: archive.to_vec(), title: origin.title() };
        }
        Ok(Ok(Content::Chart { name, version, values }))
    }

    /// Returns what its chart renders for an install or an upgrade of `revision`; `None` if it is
    /// not a chart, or cannot be rendered here.
    pub(crate) async fn rendered(&self, event: Event, revision: i32) -> Option<Desired> {
        let Material { object, contents, .. } = &self.material;
        let Contents::Chart { origin, values } = contents else { return None };
        let fetched = chart::fetch(origin, &self.template).await.ok()?.ok()?;
        let namespace = object.namespace().unwrap_or_default();
        let release = (&*object.release_name(), &*namespace);
        let chart = fetched.with(values.clone());
        let mut engine = Engine::start(&self.template, &chart, release).ok()?;
        let upgrade = event == Event::Upgrade;
        let rendered = engine.render(revision, upgrade, object.crds(event)).await.ok()?.ok()?;
        made::of_chart(object, &chart, rendered).ok()
    }

    /// Returns its plan at `event`, for people.
    ///
    /// # Errors
    /// If there is no engine to render it.
    pub(crate) async fn show(mut self, event: Event) -> anyhow::Result<Found<String>> {
        let made = made::make(&self.template, &mut self.material, &[event]).await?;
        let plan = made.and_then(|made| events::plan(&self.material, &made, &[event]));
        Ok(plan.map(|plan| render::render(&plan, Look::PLAIN)))
    }
}

/// Returns the values of the one text that `adopt` writes; there are no others here.
fn merged(values: &[Values]) -> Result<Map<String, Value>, String> {
    match values {
        [] => Ok(Map::new()),
        [Values::Yaml { place, yaml }] => {
            let unreadable = |why: &dyn std::fmt::Display| format!("{place}: {why}");
            let mut read = manifest::parse(yaml).map_err(|error| unreadable(&error))?;
            match (read.pop(), read.is_empty()) {
                (Some(Value::Object(values)), true) => Ok(values),
                _ => Err(unreadable(&"it is not one mapping")),
            }
        }
        _ => Err("values come from more than one text".to_owned()),
    }
}
