//! `plan`: what would run at each event, decided by the same core as the controller's.
//!
//! - this file: brings them together
//! - `given`: which release is meant
//! - `sources`: where its objects come from
//! - `events`, `reasons`: pure, what happens and why
//! - `render`: pure, for people

mod events;
mod given;
mod reasons;
mod render;
mod sources;

use api::ReleaseLifecycle;
use lifecycle::{
    event::Event,
    patches,
    source::{Desired, Placed},
};

use crate::{
    Outcome,
    args::{Format, Plan},
    cluster::Cluster,
    files, format, refuse, screen,
};

pub(crate) async fn plan(args: &Plan) -> anyhow::Result<Outcome> {
    let found = match &args.name {
        Some(name) if args.files.files.is_empty() => from_cluster(args, name).await?,
        _ => from_files(args)?,
    };
    let planned = found.and_then(|material| {
        let desired = parse(&material)?;
        events::plan(&material, &desired, &events_of(args))
    });
    let plan = match planned {
        Ok(plan) => plan,
        Err(problems) => return refuse(&problems),
    };
    screen::write(&match args.output {
        Format::Json => format::json(&serde_json::to_value(&plan)?),
        Format::Yaml => format::yaml(&serde_json::to_value(&plan)?),
        Format::Table => render::render(&plan, screen::look()),
    })?;
    Ok(Outcome::Good)
}

/// What a plan is made from.
struct Material {
    object: ReleaseLifecycle,
    objects: Vec<Placed>,
    /// Where the objects come from, in words.
    sources: Vec<String>,
    notes: Vec<String>,
}

/// Either that, or everything that is wrong.
type Found<T> = Result<T, Vec<String>>;

fn events_of(args: &Plan) -> Vec<Event> {
    let all = [Event::Install, Event::Upgrade, Event::Rollback, Event::Delete, Event::Test];
    match &*args.events {
        [] => all.to_vec(),
        some => all
            .into_iter()
            .filter(|event| some.iter().any(|it| Event::from(*it) == *event))
            .collect(),
    }
}

fn from_files(args: &Plan) -> anyhow::Result<Found<Material>> {
    let files::Read { objects, problems } = files::read(&args.files)?;
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    Ok(given::choose(objects, args.name.as_deref(), args.place.namespace.as_deref()))
}

async fn from_cluster(args: &Plan, name: &str) -> anyhow::Result<Found<Material>> {
    let cluster = Cluster::find(&args.place).await?;
    let object = cluster.get(name).await?;
    let source = &object.spec.source;
    if let Some(objects) = &source.objects {
        let objects = Placed::inline(objects);
        let sources = vec!["spec.source.objects".to_owned()];
        return Ok(Ok(Material { object, objects, sources, notes: Vec::new() }));
    }
    let mut holders = Vec::new();
    for reference in &source.objects_from {
        holders.push(cluster.holder(reference.kind, &reference.name).await?);
    }
    let missing = format!("does not exist in {}; create it, or correct the name", cluster.scope());
    Ok(sources::resolve(&source.objects_from, &missing, |index, _| {
        holders.get(index).and_then(Option::as_ref)
    })
    .map(|(objects, sources)| Material { object, objects, sources, notes: Vec::new() }))
}

/// As the controller does it: patches, then the objects.
fn parse(material: &Material) -> Found<Desired> {
    let object = &material.object;
    let objects = patches::apply(&object.spec.patches, material.objects.clone())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Desired::parse(&objects, namespace)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}
