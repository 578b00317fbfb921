//! `diff`: the changes of a release's objects by an install or an upgrade, from a dry run on the API server.
//!
//! - this file: combines them
//! - `compare`: asks the API server
//! - `show`: pure, for people and programs

mod compare;
mod show;

use anyhow::bail;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use helm::adopt;
use kube::ResourceExt as _;
use lifecycle::{approval::Action, plan::prune_set};

use self::{
    compare::{Compared, Comparer},
    show::{Change, Changes},
};
use crate::{
    Outcome,
    args::{Diff, Format},
    cluster::Cluster,
    format,
    plan::{self, Intended},
    records, screen,
};

/// The number of objects that are compared at once.
const AT_ONCE: usize = 8;

pub(crate) async fn diff(args: &Diff) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let place = args.place.namespace.as_deref();
    let intended = match Box::pin(plan::intended(&args.input, place, &cluster)).await? {
        Ok(intended) => intended,
        Err(problems) => bail!("{}", problems.join("\n")),
    };
    let (changes, problems) = Box::pin(changes(&cluster, intended)).await?;
    screen::write(&match args.output {
        Format::Json => format::json(&show::value(&changes)),
        Format::Yaml => format::yaml(&show::value(&changes)),
        Format::Table => show::render(&changes, screen::look()),
    })?;
    if !problems.is_empty() {
        bail!("could not be compared:\n{}", problems.join("\n"));
    }
    Ok(if changes.all.is_empty() { Outcome::Good } else { Outcome::Failed })
}

/// Returns what would change, and the objects of which that is unknown.
async fn changes(cluster: &Cluster, intended: Intended) -> anyhow::Result<(Changes, Vec<String>)> {
    let Intended { object, desired, mut notes } = intended;
    let namespace = object.namespace().unwrap_or_else(|| cluster.namespace().to_owned());
    let release = object.release_name();
    let cluster = cluster.clone().in_namespace(&namespace);
    let there = Comparer::new(&cluster, &release, &namespace);
    let compared = stream::iter(&desired.objects).map(|planned| there.compare(planned));
    let compared: Vec<_> = compared.buffered(AT_ONCE).try_collect().await?;
    let (mut all, mut unchanged, mut problems) = (Vec::new(), 0, Vec::new());
    for compared in compared {
        match compared {
            Compared::Same => unchanged += 1,
            Compared::Changed(change) => all.push(change),
            Compared::Unknown(why) => problems.push(why),
        }
    }
    let Some(newest) = records::newest(&cluster, &release).await? else {
        notes.push(format!(
            "objects that would be deleted are not listed: you may not list Secrets in {}, where the \
             revisions are recorded",
            cluster.scope()
        ));
        return Ok((Changes { all, unchanged, notes }, problems));
    };
    if let Some(newest) = newest {
        let before = adopt::desired(&newest.release, &namespace)?.objects;
        let before = before.into_iter().map(|planned| planned.object);
        for gone in prune_set(before, &desired.objects) {
            if there.exists(&gone).await? {
                all.push(Change { action: Action::Delete, object: gone, fields: Vec::new() });
            }
        }
    }
    Ok((Changes { all, unchanged, notes }, problems))
}
