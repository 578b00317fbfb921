//! `plan`: what would run at each event, decided by the same core as the controller's.
//!
//! - this file: brings them together
//! - `meant`: what the arguments mean
//! - `given`: which release is meant
//! - `sources`, `charts`: where its objects come from
//! - `chart`: has Helm's engine render them
//! - `made`: what the release consists of then
//! - `events`, `reasons`: pure, what happens and why
//! - `render`: pure, for people
//! - `show`: pure, what templates render to
//! - `preview`: the same of a release that is about to be written

mod chart;
mod charts;
mod events;
mod given;
mod made;
mod meant;
mod preview;
mod reasons;
mod render;
mod show;
mod sources;

use api::{ChartKind, ReleaseLifecycle, SourceKind};
use engine::protocol::Values;
use kube::ResourceExt as _;
use lifecycle::event::Event;
use manifests::placed::Placed;

pub(crate) use self::preview::{Content, Preview};
use self::{
    chart::{Engine, Whence},
    given::Wanted,
    made::{Made, next_revision},
    meant::{Meant, meant},
};
use crate::{
    Outcome,
    args::{Format, Plan},
    cluster::Cluster,
    files, format, refuse, screen,
};

pub(crate) async fn plan(args: &Plan) -> anyhow::Result<Outcome> {
    let found = match meant(args)? {
        Meant::Release(name) => from_cluster(args, name).await?,
        Meant::Files(name) => from_files(args, name)?,
        Meant::Chart { name, chart } => from_chart(args, name, chart)?,
    };
    let mut material = match found {
        Ok(material) => material,
        Err(problems) => return refuse(&problems),
    };
    if !args.template.show_only.is_empty() {
        return show(args, material).await;
    }
    let events = events_of(args);
    let made = made::make(&args.template, &mut material, &events).await?;
    let planned = made.and_then(|made| events::plan(&material, &made, &events));
    let plan = match planned {
        Ok(plan) => plan,
        Err(problems) => return refuse(&problems),
    };
    screen::write(&match args.output {
        Format::Json => format::json(&serde_json::to_value(&plan)?),
        Format::Yaml => format::yaml(&serde_json::to_value(&plan)?),
        Format::Table => render::render(&plan, screen::look()),
    })?;
    Ok(if plan.is_useful() { Outcome::Good } else { Outcome::Failed })
}

/// What a plan is made from.
struct Material {
    object: ReleaseLifecycle,
    contents: Contents,
    /// Where the objects come from, in words.
    sources: Vec<String>,
    notes: Vec<String>,
}

enum Contents {
    Objects(Vec<Placed>),
    Chart { whence: Whence, values: Vec<Values> },
}

impl Material {
    /// The chart as `helm` takes it, as far as there is one that it takes.
    fn chart(&self) -> &str {
        match &self.contents {
            Contents::Chart { whence, .. } => whence.argument(),
            Contents::Objects(_) => None,
        }
        .unwrap_or("CHART")
    }
}

/// Either that, or everything that is wrong.
pub(crate) type Found<T> = Result<T, Vec<String>>;

fn events_of(args: &Plan) -> Vec<Event> {
    match &*args.events {
        [] => Event::ALL.to_vec(),
        some => Event::ALL
            .into_iter()
            .filter(|event| some.iter().any(|it| Event::from(*it) == *event))
            .collect(),
    }
}

fn from_files(args: &Plan, name: Option<&str>) -> anyhow::Result<Found<Material>> {
    let other = other_chart(args)?;
    let files::Read { objects, problems } = files::read(&args.manifests())?;
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    let namespace = args.place.namespace.as_deref();
    Ok(given::choose(objects, Wanted { name, namespace, other, ..Wanted::default() }))
}

fn other_chart(args: &Plan) -> anyhow::Result<Option<Whence>> {
    let other = args.template.other_chart.as_deref();
    other.map(|chart| Whence::named(chart, &args.template)).transpose()
}

fn from_chart(args: &Plan, name: Option<&str>, chart: &str) -> anyhow::Result<Found<Material>> {
    let whence = Whence::named(chart, &args.template)?;
    let values = chart::values(args)?;
    // As `helm template` has them.
    let name = name.unwrap_or("release-name");
    let namespace = args.place.namespace.as_deref().unwrap_or("default");
    Ok(values.and_then(|values| {
        Ok(Material {
            object: given::bare(name, Some(namespace))?,
            sources: vec![format!("chart {}", whence.title())],
            contents: Contents::Chart { whence, values },
            notes: Vec::new(),
        })
    }))
}

async fn from_cluster(args: &Plan, name: &str) -> anyhow::Result<Found<Material>> {
    let other = other_chart(args)?;
    let cluster = Cluster::find(&args.place).await?;
    let object = cluster.get(name).await?;
    let source = &object.spec.source;
    let missing = format!("does not exist in {}; create it, or correct the name", cluster.scope());
    let archive = match source.kind() {
        // Another chart takes the place of all that.
        _ if other.is_some() => None,
        SourceKind::Objects(objects) => {
            let objects = Contents::Objects(Placed::inline(objects));
            let sources = vec!["spec.source.objects".to_owned()];
            return Ok(Ok(Material { object, contents: objects, sources, notes: Vec::new() }));
        }
        SourceKind::ObjectsFrom(references) => {
            let mut holders = Vec::new();
            for reference in references {
                holders.push(cluster.holder(reference.kind, &reference.name).await?);
            }
            let found = sources::resolve(references, &missing, |index, _| {
                holders.get(index).and_then(Option::as_ref)
            });
            return Ok(found.map(|(objects, sources)| {
                let contents = Contents::Objects(objects);
                Material { object, contents, sources, notes: Vec::new() }
            }));
        }
        SourceKind::Chart(chart) => match chart.kind() {
            Some(ChartKind::Archive(it)) => Some((it.kind, &it.name)),
            Some(ChartKind::Oci(_) | ChartKind::Repository(_)) | None => None,
        },
        SourceKind::SourceRef(_) => None,
    };
    let mut held = Vec::new();
    let values = object.spec.values_from.iter().map(|it| (it.kind, &it.name));
    for (kind, name) in archive.into_iter().chain(values) {
        if let Some(holder) = cluster.holder(kind, name).await? {
            held.push((kind, name, holder));
        }
    }
    let find = |kind, name: &str| {
        let found = held.iter().find(|(of, it, _)| (*of, it.as_str()) == (kind, name));
        found.map(|(_, _, holder)| holder)
    };
    let given = charts::resolve(&object.spec, &missing, true, other, find);
    Ok(given.map(|given| of_chart(object, given)))
}

fn of_chart(object: ReleaseLifecycle, given: charts::Given) -> Material {
    let charts::Given { whence, values, sources, notes } = given;
    Material { object, contents: Contents::Chart { whence, values }, sources, notes }
}

/// What templates render to, instead of a plan.
async fn show(args: &Plan, material: Material) -> anyhow::Result<Outcome> {
    let Material { object, contents, .. } = material;
    let Contents::Chart { whence, values } = contents else {
        return refuse(&["--show-only is for charts; these are objects already".to_owned()]);
    };
    let chart = match chart::fetch(&whence, &args.template).await? {
        Ok(chart) => chart,
        Err(problems) => return refuse(&problems),
    };
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let release = object.release_name();
    let mut engine = Engine::start(&args.template, &chart, &values, (&release, &namespace))?;
    let is_upgrade = events_of(args) == [Event::Upgrade];
    let revision = if is_upgrade { next_revision(&object) } else { 1 };
    let crds = object.crds(if is_upgrade { Event::Upgrade } else { Event::Install });
    let shown = engine.render(revision, is_upgrade, crds).await?.and_then(|rendered| {
        let text = show::only(&rendered, &args.template.show_only)?;
        Ok((text, rendered.warnings))
    });
    let (text, mut warnings) = match shown {
        Ok(shown) => shown,
        Err(problems) => return refuse(&problems),
    };
    if !object.spec.patches.is_empty() {
        warnings.push("this is what the templates say; spec.patches change it".to_owned());
    }
    screen::complain(&warnings.iter().map(|it| format!("warning: {it}\n")).collect::<String>())?;
    screen::write(&text)?;
    Ok(Outcome::Good)
}
