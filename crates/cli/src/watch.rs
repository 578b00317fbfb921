//! `status --watch` and `--wait`: follows one release, or several, until the controller is done with them.
//!
//! - `several`: many at once
//! - `goal`: the end of a watch, and how it is judged

mod goal;
mod several;

use std::{pin::pin, time::Duration};

use anyhow::bail;
use api::ReleaseLifecycle;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::{WatchStreamExt as _, watcher};
use lifecycle::conditions;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

pub(crate) use goal::{Goal, Request, too_late};
pub(crate) use several::follow_all;

use crate::{
    Outcome,
    args::Output,
    cluster::{Cluster, words},
    format, json,
    screen::{self, Screen},
    state::State,
    timeline, transitions,
    words::printable,
};

/// The interval at which elapsed time is redrawn.
const TICK: Duration = Duration::from_secs(1);
/// The time without a change after which a release that was blocked before is given up. The
/// controller reconciles at once when something is requested, but writes nothing if the result is
/// the same: the check itself cannot be seen, only that it changed nothing.
const ANSWER: Duration = Duration::from_secs(15);

/// Follows the release from `first` on, which was just read.
pub(crate) async fn follow(
    cluster: &Cluster,
    first: ReleaseLifecycle,
    goal: Goal,
    output: Output,
    limit: Option<Duration>,
) -> anyhow::Result<Outcome> {
    let title = State::new(&first).title();
    let mut view = View::new(output);
    // Boxed: a watch keeps a lot at hand.
    let watched = Watched { object: first, goal, unchanged_since: Instant::now() };
    let following = Box::pin(watch(cluster, watched, &mut view));
    let Some(limit) = limit else { return following.await };
    match tokio::time::timeout(limit, following).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("{title} was not settled within {limit:?} (--timeout)"),
    }
}

async fn watch(
    cluster: &Cluster,
    mut watched: Watched,
    view: &mut View,
) -> anyhow::Result<Outcome> {
    let name = watched.object.name_any();
    view.show(None, &watched.object)?;
    let mut changes = pin!(watcher::watch_object(cluster.api(), &name).default_backoff());
    let mut ticks = ticks();
    while !watched.goal.is_reached(&watched.object) {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Some(object))) => {
                    view.trouble(None)?;
                    let before = watched.take(object);
                    view.show(before.as_ref(), &watched.object)?;
                }
                Some(Ok(None)) => {
                    let title = State::new(&watched.object).title();
                    if !watched.goal.may_go {
                        bail!("{title} was deleted");
                    }
                    view.say(&format!("{title} is deleted"))?;
                    return Ok(Outcome::Good);
                }
                Some(Err(error)) => view.trouble(Some(passing(cluster, error)?))?,
                None => bail!("the watch of {name} ended by itself; run the command again"),
            },
            _ = ticks.tick() => {
                view.tick(&watched.object)?;
                if watched.is_in_vain() {
                    view.finish(&watched.object)?;
                    screen::complain(&in_vain(&watched.object))?;
                    return Ok(Outcome::Failed);
                }
            }
        }
    }
    view.finish(&watched.object)?;
    if let Some(why) = watched.goal.missed(&watched.object) {
        let title = State::new(&watched.object).title();
        screen::complain(&format!("{title}: {why}\n"))?;
    }
    Ok(watched.goal.judge(&watched.object))
}

/// The reason why the wait for a release ends.
fn in_vain(object: &ReleaseLifecycle) -> String {
    let state = State::new(object);
    let message = state.ready().map(|ready| printable(&conditions::flat(&ready.message)));
    let message = message.unwrap_or_default();
    format!(
        "{}: nothing has changed for {} s, and the release is blocked until you change something: \
         {}: {message}\n",
        state.title(),
        ANSWER.as_secs(),
        state.ready_words(),
    )
}

struct Watched {
    object: ReleaseLifecycle,
    goal: Goal,
    /// The time since which the status is unchanged, or the watch began.
    unchanged_since: Instant,
}

impl Watched {
    /// Stores the new object. Returns the one before, unless `object` is another of its name.
    fn take(&mut self, object: ReleaseLifecycle) -> Option<ReleaseLifecycle> {
        let before = std::mem::replace(&mut self.object, object);
        if before.status != self.object.status {
            self.unchanged_since = Instant::now();
        }
        if before.metadata.uid == self.object.metadata.uid {
            return Some(before);
        }
        self.goal = Goal::ready(&self.object);
        None
    }

    fn is_in_vain(&self) -> bool {
        self.unchanged_since.elapsed() >= ANSWER && self.goal.is_blocked(&self.object)
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns a temporary problem, in words; an error if waiting is useless.
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

/// The output for the changes.
enum View {
    /// Redrawn in place.
    Screen { screen: Screen, trouble: Option<String> },
    /// A line for each change.
    Lines { trouble: bool },
    /// A JSON object for each change.
    Json { trouble: bool },
    /// A YAML document for each change.
    Yaml { trouble: bool },
}

impl View {
    fn new(output: Output) -> Self {
        match output {
            Output::Json => Self::Json { trouble: false },
            Output::Yaml => Self::Yaml { trouble: false },
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
            _ if before.is_some_and(|before| before == after) => Ok(()),
            Self::Json { .. } => screen::write(&format!("{}\n", json::one(after))),
            Self::Yaml { .. } => {
                screen::write(&format!("---\n{}", format::yaml(&json::one(after))))
            }
        }
    }

    fn tick(&mut self, object: &ReleaseLifecycle) -> anyhow::Result<()> {
        match self {
            Self::Screen { .. } => self.draw(object),
            Self::Lines { .. } | Self::Json { .. } | Self::Yaml { .. } => Ok(()),
        }
    }

    /// Prints a text that no status contains.
    fn say(&mut self, what: &str) -> anyhow::Result<()> {
        match self {
            Self::Screen { .. } | Self::Lines { .. } => {
                let now = Timestamp::now().strftime("%H:%M:%SZ");
                screen::write(&format!("{now} {what}\n"))
            }
            Self::Json { .. } | Self::Yaml { .. } => Ok(()),
        }
    }

    fn draw(&mut self, object: &ReleaseLifecycle) -> anyhow::Result<()> {
        let Self::Screen { screen, .. } = self else { return Ok(()) };
        let text = timeline::render(object, Timestamp::now(), screen.look());
        self.picture(&text)
    }

    /// Draws a text in the place of the one before.
    fn picture(&mut self, text: &str) -> anyhow::Result<()> {
        let Self::Screen { screen, trouble } = self else { return Ok(()) };
        screen.draw(&format!("{text}{}", trouble.as_deref().unwrap_or_default()))
    }

    /// Draws a text that stays.
    fn leave(&mut self, text: &str) -> anyhow::Result<()> {
        let Self::Screen { screen, .. } = self else { return Ok(()) };
        screen.finish(text)
    }

    /// Prints once when the API server stops answering, and once when it answers again.
    fn trouble(&mut self, words: Option<String>) -> anyhow::Result<()> {
        let now = || Timestamp::now().strftime("%H:%M:%SZ").to_string();
        let text = |words: String| {
            format!("{} the API server does not answer, trying again: {words}\n", now())
        };
        match self {
            Self::Screen { trouble, .. } => *trouble = words.map(text),
            Self::Lines { trouble } | Self::Json { trouble } | Self::Yaml { trouble } => {
                match words {
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
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, object: &ReleaseLifecycle) -> anyhow::Result<()> {
        let Self::Screen { screen, .. } = self else { return Ok(()) };
        let text = timeline::render(object, Timestamp::now(), screen.look());
        self.leave(&text)
    }
}
