//! `status`: one release's timeline, or a table of several.

use anyhow::bail;
use api::ReleaseLifecycle;
use jiff::Timestamp;

use crate::{
    Outcome,
    args::{Output, Status},
    cluster::Cluster,
    format, json, screen, table, timeline,
    watch::{self, Goal},
};

pub(crate) async fn status(args: &Status) -> anyhow::Result<Outcome> {
    let mut cluster = Cluster::find(&args.place).await?;
    if args.all_namespaces {
        cluster = cluster.in_all_namespaces();
    }
    let mut objects = match &args.name {
        Some(name) => vec![cluster.get(name).await?],
        None => cluster.list().await?,
    };
    if args.watch {
        if args.name.is_none() && (objects.len() != 1 || args.all_namespaces) {
            return watch::follow_all(&cluster, objects, args.output, args.timeout).await;
        }
        let Some(object) = objects.pop() else { bail!("there is nothing to watch") };
        let goal = Goal::ready(&object);
        return watch::follow(&cluster, object, goal, args.output, args.timeout).await;
    }
    let value = || match (&args.name, &*objects) {
        (Some(_), [object]) => json::one(object),
        _ => json::all(&objects),
    };
    let text = match args.output {
        Output::Json => format::json(&value()),
        Output::Yaml => format::yaml(&value()),
        Output::Text => text(&cluster, &objects)?,
    };
    screen::write(&text)?;
    Ok(Outcome::Good)
}

fn text(cluster: &Cluster, objects: &[ReleaseLifecycle]) -> anyhow::Result<String> {
    let (now, look) = (Timestamp::now(), screen::look());
    Ok(match objects {
        [] => {
            // As in kubectl: an empty answer is not an error, and no output either.
            screen::complain(&format!("There is no ReleaseLifecycle in {}.\n", cluster.scope()))?;
            String::new()
        }
        [object] if !cluster.has_all_namespaces() => timeline::render(object, now, look),
        _ => table::render(
            &objects.iter().collect::<Vec<_>>(),
            cluster.has_all_namespaces(),
            now,
            look,
        ),
    })
}
