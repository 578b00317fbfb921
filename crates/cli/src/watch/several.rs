//! Several releases at once: a line for each, with a bar for the hook that runs.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use anyhow::bail;
use api::ReleaseLifecycle;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use tokio::time::Instant;

use super::{Goal, View, Watched, passing, ticks};
use crate::{Outcome, args::Output, cluster::Cluster, screen, state::State, table, words::Look};

/// Follows all releases of the cluster's scope, of which `first` were just read, until the controller is
/// done with each.
pub(crate) async fn follow_all(
    cluster: &Cluster,
    first: Vec<ReleaseLifecycle>,
    output: Output,
    limit: Option<Duration>,
) -> anyhow::Result<Outcome> {
    let mut board = Board { all: BTreeMap::new(), view: View::new(output), cluster };
    for object in first {
        board.take(object)?;
    }
    let following = Box::pin(watch(&mut board));
    let Some(limit) = limit else { return following.await };
    match tokio::time::timeout(limit, following).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("not all releases were settled within {limit:?} (--timeout)"),
    }
}

async fn watch(board: &mut Board<'_>) -> anyhow::Result<Outcome> {
    let cluster = board.cluster;
    let mut changes = pin!(watcher(cluster.api(), watcher::Config::default()).default_backoff());
    let mut ticks = ticks();
    board.draw()?;
    while !board.is_settled() {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(event)) => {
                    board.view.trouble(None)?;
                    match event {
                        Event::Apply(object) | Event::InitApply(object) => board.take(object)?,
                        Event::Delete(object) => {
                            board.all.remove(&State::new(&object).title());
                        }
                        Event::Init | Event::InitDone => {}
                    }
                }
                Some(Err(error)) => board.view.trouble(Some(passing(cluster, error)?))?,
                None => bail!("the watch ended by itself; run the command again"),
            },
            _ = ticks.tick() => board.draw()?,
        }
    }
    let text = board.text(screen::look());
    board.view.leave(&text)?;
    Ok(board.outcome())
}

/// The releases, by namespace and name.
struct Board<'a> {
    all: BTreeMap<String, Watched>,
    view: View,
    cluster: &'a Cluster,
}

impl Board<'_> {
    fn take(&mut self, object: ReleaseLifecycle) -> anyhow::Result<()> {
        let title = State::new(&object).title();
        let before = if let Some(watched) = self.all.get_mut(&title) {
            watched.take(object)
        } else {
            let goal = Goal::ready(&object);
            let new = Watched { object, goal, unchanged_since: Instant::now() };
            self.all.insert(title.clone(), new);
            None
        };
        let Some(watched) = self.all.get(&title) else { return Ok(()) };
        if matches!(self.view, View::Screen { .. }) {
            return Ok(());
        }
        self.view.show(before.as_ref(), &watched.object)
    }

    /// Returns whether nothing more happens by itself.
    fn is_settled(&self) -> bool {
        self.all.values().all(|it| it.goal.is_reached(&it.object) || it.is_in_vain())
    }

    fn outcome(&self) -> Outcome {
        let is_good = |it: &Watched| it.goal.judge(&it.object) == Outcome::Good;
        if self.all.values().all(is_good) { Outcome::Good } else { Outcome::Failed }
    }

    fn text(&self, look: Look) -> String {
        let objects: Vec<_> = self.all.values().map(|watched| &watched.object).collect();
        table::render_live(&objects, self.cluster.has_all_namespaces(), Timestamp::now(), look)
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let text = self.text(screen::look());
        self.view.picture(&text)
    }
}
