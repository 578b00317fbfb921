//! `plan`: the steps that would run at each event, decided by the same core as the controller's.
//!
//! - this file: combines them
//! - `meant`: the meaning of the arguments
//! - `given`: the selected release
//! - `resolve`, `reads`: the origin of its objects
//! - `chart`: lets Helm's engine render them
//! - `health`: the expressions of health checks
//! - `made`: the resulting objects of the release
//! - `events`, `reasons`: pure, the steps and their reasons
//! - `render`: pure, for people
//! - `show`: pure, the rendered templates
//! - `check`: the findings about the same, for `lint`
//! - `preview`: the same for a release that is about to be written

mod chart;
mod check;
mod events;
mod given;
mod health;
mod made;
mod meant;
mod preview;
mod reads;
mod reasons;
mod render;
mod resolve;
mod show;

use api::ReleaseLifecycle;
use kube::ResourceExt as _;
use lifecycle::{event::Event, source::Desired};
use manifests::placed::Placed;
use sources::values::Values;

use self::{
    chart::{ChartOrigin, Engine},
    given::Wanted,
    made::{RenderedInput, next_revision},
    meant::{Meant, meant},
    reads::ClusterReads,
};
pub(crate) use self::{
    check::{Finding, Level, RULES, check},
    preview::{Content, Preview},
};
use crate::{
    Outcome,
    args::{Format, Input, Plan},
    cluster::Cluster,
    files, format, refuse, screen,
};

pub(crate) async fn plan(args: &Plan) -> anyhow::Result<Outcome> {
    let (input, namespace) = (&args.input, args.place.namespace.as_deref());
    let found = match meant(input)? {
        Meant::Release(name) => {
            from_cluster(input, &Cluster::find(&args.place).await?, name).await?
        }
        Meant::Files(name) => from_files(input, name, namespace).await?,
        Meant::Chart { name, chart } => from_chart(input, name, chart, namespace)?,
    };
    let mut material = match found {
        Ok(material) => material,
        Err(problems) => return refuse(&problems),
    };
    if !args.show_only.is_empty() {
        return show(args, material).await;
    }
    match health::check(&input.template, &material.object).await? {
        Ok(note) => material.notes.extend(note),
        Err(problems) => return refuse(&problems),
    }
    let events = events_of(args);
    let made = made::make(&input.template, &mut material, &events).await?;
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

/// The objects that a release is to have.
pub(crate) struct Intended {
    pub(crate) object: ReleaseLifecycle,
    pub(crate) desired: Desired,
    pub(crate) notes: Vec<String>,
}

/// Returns the objects that the release of `input` is to have: as installed, or upgraded if a revision is
/// deployed.
pub(crate) async fn intended(
    input: &Input,
    namespace: Option<&str>,
    cluster: &Cluster,
) -> anyhow::Result<Found<Intended>> {
    let found = match meant(input)? {
        Meant::Release(name) => from_cluster(input, cluster, name).await?,
        Meant::Files(name) => from_files(input, name, namespace).await?,
        Meant::Chart { name, chart } => from_chart(input, name, chart, Some(cluster.namespace()))?,
    };
    let mut material = match found {
        Ok(material) => material,
        Err(problems) => return Ok(Err(problems)),
    };
    let object = &mut material.object;
    if object.status.is_none() {
        let place = object.namespace().unwrap_or_else(|| cluster.namespace().to_owned());
        object.status = cluster.clone().in_namespace(&place).status(&object.name_any()).await?;
    }
    let deployed = object.status.as_ref().and_then(|status| status.revision);
    let event = if deployed.is_some() { Event::Upgrade } else { Event::Install };
    let made = made::make(&input.template, &mut material, &[event]).await?;
    Ok(made.and_then(|made| {
        let desired = made.at(event).map_err(<[String]>::to_vec)?.clone();
        Ok(Intended { object: material.object, desired, notes: material.notes })
    }))
}

/// The material that a plan is made from.
struct Material {
    object: ReleaseLifecycle,
    contents: Contents,
    /// The origin of the objects, in words.
    sources: Vec<String>,
    notes: Vec<String>,
    /// The place of its ReleaseLifecycle, if it is in a file.
    place: Option<String>,
}

enum Contents {
    Objects(Vec<Placed>),
    Chart { origin: Box<ChartOrigin>, values: Values },
}

impl Material {
    /// Returns the chart as `helm` takes it, if there is one that it takes.
    fn chart(&self) -> &str {
        match &self.contents {
            Contents::Chart { origin, .. } => origin.argument(),
            Contents::Objects(_) => None,
        }
        .unwrap_or("CHART")
    }
}

/// A result, or everything that is wrong.
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

async fn from_files(
    input: &Input,
    name: Option<&str>,
    namespace: Option<&str>,
) -> anyhow::Result<Found<Material>> {
    let other = other_chart(input)?;
    let files::Read { objects, problems } = files::read(&input.manifests())?;
    if !problems.is_empty() {
        return Ok(Err(problems));
    }
    Ok(given::choose(objects, Wanted { name, namespace, other, ..Wanted::default() }).await)
}

fn other_chart(input: &Input) -> anyhow::Result<Option<ChartOrigin>> {
    let other = input.template.other_chart.as_deref();
    other.map(|chart| ChartOrigin::named(chart, &input.template)).transpose()
}

fn from_chart(
    input: &Input,
    name: Option<&str>,
    chart: &str,
    namespace: Option<&str>,
) -> anyhow::Result<Found<Material>> {
    let origin = ChartOrigin::named(chart, &input.template)?;
    let values = chart::values(input)?;
    // As `helm template` has them.
    let name = name.unwrap_or("release-name");
    let namespace = namespace.unwrap_or("default");
    Ok(values.and_then(|values| {
        Ok(Material {
            object: given::bare(name, Some(namespace))?,
            sources: vec![format!("chart {}", origin.title())],
            contents: Contents::Chart { origin: Box::new(origin), values },
            notes: Vec::new(),
            place: None,
        })
    }))
}

async fn from_cluster(
    input: &Input,
    cluster: &Cluster,
    name: &str,
) -> anyhow::Result<Found<Material>> {
    let other = other_chart(input)?;
    let object = cluster.get(name).await?;
    resolve::resolve(object, true, other, &ClusterReads(cluster)).await
}

/// Prints the rendered templates, instead of a plan.
async fn show(args: &Plan, material: Material) -> anyhow::Result<Outcome> {
    let Material { object, contents, .. } = material;
    let Contents::Chart { origin, values } = contents else {
        return refuse(&["--show-only is for charts; these are objects already".to_owned()]);
    };
    let chart = match chart::fetch(&origin, &args.input.template).await? {
        Ok(chart) => chart,
        Err(problems) => return refuse(&problems),
    };
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let release = object.release_name();
    let chart = chart.with(values);
    let mut engine = Engine::start(&args.input.template, &chart, (&release, &namespace))?;
    let is_upgrade = events_of(args) == [Event::Upgrade];
    let revision = if is_upgrade { next_revision(&object) } else { 1 };
    let crds = object.crds(if is_upgrade { Event::Upgrade } else { Event::Install });
    let shown = engine.render(revision, is_upgrade, crds).await?.and_then(|rendered| {
        let text = show::only(&rendered, &args.show_only)?;
        Ok((text, rendered.warnings))
    });
    let (text, mut warnings) = match shown {
        Ok(shown) => shown,
        Err(problems) => return refuse(&problems),
    };
    if !object.spec.patches.is_empty() {
        warnings.push("this is the output of the templates; spec.patches change it".to_owned());
    }
    screen::complain(&warnings.iter().map(|it| format!("warning: {it}\n")).collect::<String>())?;
    screen::write(&text)?;
    Ok(Outcome::Good)
}
