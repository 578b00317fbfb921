//! `status --watch`: follows one release until the controller is done with it.

use std::{pin::pin, time::Duration};

use anyhow::bail;
use api::ReleaseLifecycle;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::{WatchStreamExt as _, watcher};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    Outcome,
    args::Output,
    cluster::{Cluster, words},
    screen::{self, Screen},
    state::State,
    timeline, transitions,
};

/// Elapsed time is redrawn so often.
const TICK: Duration = Duration::from_secs(1);

/// Follows the release from `first` on, which was read just now.
pub(crate) async fn follow(
    cluster: &Cluster,
    first: ReleaseLifecycle,
    output: Output,
    limit: Option<Duration>,
) -> anyhow::Result<Outcome> {
    let title = State::new(&first).title();
    let mut view = View::new(output);
    let following = watch(cluster, first, &mut view);
    let Some(limit) = limit else { return following.await };
    match tokio::time::timeout(limit, following).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("{title} was not settled within {limit:?} (--timeout)"),
    }
}

async fn watch(
    cluster: &Cluster,
    first: ReleaseLifecycle,
    view: &mut View,
) -> anyhow::Result<Outcome> {
    let name = first.name_any();
    let mut watched = Watched { generation: first.metadata.generation.unwrap_or(0), object: first };
    view.show(None, &watched.object)?;
    let mut changes = pin!(watcher::watch_object(cluster.api(), &name).default_backoff());
    let mut ticks = ticks();
    while !State::new(&watched.object).is_settled(watched.generation) {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(object))) => {
                    view.trouble(None)?;
                    let before = watched.take(object);
                    view.show(before.as_ref(), &watched.object)?;
                }
                Some(Ok(None)) => bail!("{} was deleted", State::new(&watched.object).title()),
                Some(Err(error)) => view.trouble(Some(passing(cluster, error)?))?,
                None => bail!("the watch of {name} ended by itself; run the command again"),
            },
            _ = ticks.tick() => view.tick(&watched.object)?,
        }
    }
    view.finish(&watched.object)?;
    Ok(match State::new(&watched.object).ready_status() {
        "True" => Outcome::Good,
        _ => Outcome::Failed,
    })
}

struct Watched {
    object: ReleaseLifecycle,
    /// What the controller must be done with.
    generation: i64,
}

impl Watched {
    /// The object before, unless `object` is another of its name.
    fn take(&mut self, object: ReleaseLifecycle) -> Option<ReleaseLifecycle> {
        let before = std::mem::replace(&mut self.object, object);
        if before.metadata.uid == self.object.metadata.uid {
            return Some(before);
        }
        self.generation = self.object.metadata.generation.unwrap_or(0);
        None
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What will pass, in words; an error where waiting is no use.
fn passing(cluster: &Cluster, error: watcher::Error) -> anyhow::Result<String> {
    use watcher::Error::{
        InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
    };
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => match &error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404) => {
                Err(cluster.explain(error, "watching"))
            }
            kube::Error::SerdeError(_) => Err(cluster.explain(error, "watching")),
            _ => Ok(words(&error)),
        },
        WatchError(status) => Ok(status.message),
        NoResourceVersion => Ok(error.to_string()),
    }
}

/// Where the changes go to.
enum View {
    /// Redrawn in place.
    Screen { screen: Screen, trouble: Option<String> },
    /// A line for each change.
    Lines { trouble: bool },
    /// A JSON object for each change.
    Json { trouble: bool },
}

impl View {
    fn new(output: Output) -> Self {
        match output {
            Output::Json => Self::Json { trouble: false },
            Output::Text if screen::is_terminal() => {
                Self::Screen { screen: Screen::new(), trouble: None }
            }
            Output::Text => Self::Lines { trouble: false },
        }
    }

    fn show(
        &mut self,
        before: Option<&ReleaseLifecycle>,
        after: &ReleaseLifecycle,
    ) -> anyhow::Result<()> {
        match self {
            Self::Screen { .. } => self.draw(after),
            Self::Lines { .. } => {
                let lines = transitions::lines(before, after, Timestamp::now());
                screen::write(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
            }
            // The list that begins a watch repeats what was read before.
            Self::Json { .. } if before.is_some_and(|before| before == after) => Ok(()),
            Self::Json { .. } => screen::write(&format!("{}\n", crate::json::one(after))),
        }
    }

    fn tick(&mut self, object: &ReleaseLifecycle) -> anyhow::Result<()> {
        match self {
            Self::Screen { .. } => self.draw(object),
            Self::Lines { .. } | Self::Json { .. } => Ok(()),
        }
    }

    fn draw(&mut self, object: &ReleaseLifecycle) -> anyhow::Result<()> {
        let Self::Screen { screen, trouble } = self else { return Ok(()) };
        let mut text = timeline::render(object, Timestamp::now(), screen.look());
        if let Some(trouble) = trouble {
            text.push_str(trouble);
        }
        screen.draw(&text)
    }

    /// Says once when the API server stops answering, and once when it answers again.
    fn trouble(&mut self, words: Option<String>) -> anyhow::Result<()> {
        let now = || Timestamp::now().strftime("%H:%M:%SZ").to_string();
        let text = |words: String| {
            format!("{} the API server does not answer, trying again: {words}\n", now())
        };
        match self {
            Self::Screen { trouble, .. } => *trouble = words.map(text),
            Self::Lines { trouble } | Self::Json { trouble } => match words {
                Some(_) if *trouble => {}
                Some(words) => {
                    *trouble = true;
                    screen::complain(&text(words))?;
                }
                None if *trouble => {
                    *trouble = false;
                    screen::complain(&format!("{} the API server answers again\n", now()))?;
                }
                None => {}
            },
        }
        Ok(())
    }

    fn finish(&mut self, object: &ReleaseLifecycle) -> anyhow::Result<()> {
        let Self::Screen { screen, .. } = self else { return Ok(()) };
        let text = timeline::render(object, Timestamp::now(), screen.look());
        screen.finish(&text)
    }
}
