//! `status --watch` and `--wait`: follows one release until the controller is done with it.

use std::{pin::pin, time::Duration};

use anyhow::bail;
use api::ReleaseLifecycle;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::{WatchStreamExt as _, watcher};
use lifecycle::{
    conditions,
    journal::{Operation, Requests},
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    Outcome,
    args::Output,
    cluster::{Cluster, words},
    format, json,
    screen::{self, Screen},
    state::State,
    timeline, transitions,
};

/// Elapsed time is redrawn so often.
const TICK: Duration = Duration::from_secs(1);

/// When a watch is over, and how its end is judged.
pub(crate) struct Goal {
    /// What the controller must be done with.
    generation: i64,
    wants: Wants,
    /// Whether the object may go.
    may_go: bool,
}

enum Wants {
    /// `Ready` is True.
    Ready,
    /// A request is answered, and then `Ready` is True.
    Answer { request: Request, asked: ReleaseLifecycle },
    /// As above, but `TestSuccess` counts.
    Tests { request: Request, asked: ReleaseLifecycle },
    /// This operation is cancelled.
    Cancelled { operation: String },
}

/// One of the annotations by which something is asked for.
pub(crate) struct Request {
    /// Its value.
    pub(crate) value: String,
    /// Finds it among those that were answered.
    pub(crate) handled: fn(&Requests) -> &Option<String>,
}

impl Goal {
    /// As the object is, it becomes Ready.
    pub(crate) fn ready(object: &ReleaseLifecycle) -> Self {
        Self::new(object, Wants::Ready)
    }

    /// What `asked` asks for is done.
    pub(crate) fn answer(asked: &ReleaseLifecycle, request: Request) -> Self {
        let goal = Self::new(asked, Wants::Answer { request, asked: asked.clone() });
        Self { may_go: State::new(asked).is_being_deleted(), ..goal }
    }

    /// The tests that `asked` asks for succeed.
    pub(crate) fn tests(asked: &ReleaseLifecycle, request: Request) -> Self {
        Self::new(asked, Wants::Tests { request, asked: asked.clone() })
    }

    /// The operation is cancelled.
    pub(crate) fn cancelled(asked: &ReleaseLifecycle, running: &Operation) -> Self {
        Self::new(asked, Wants::Cancelled { operation: running.id.clone() })
    }

    fn new(object: &ReleaseLifecycle, wants: Wants) -> Self {
        Self { generation: object.metadata.generation.unwrap_or(0), wants, may_go: false }
    }

    pub(crate) fn is_reached(&self, object: &ReleaseLifecycle) -> bool {
        let state = State::new(object);
        match &self.wants {
            Wants::Ready => state.is_settled(self.generation),
            Wants::Answer { request, asked } | Wants::Tests { request, asked } => {
                let status = object.status.as_ref();
                let handled = status.map(|status| (request.handled)(&status.handled()).clone());
                let answered = handled.flatten().is_some_and(|value| value == request.value);
                // What cannot be begun is not answered; the conditions say why.
                let refused = object.status != asked.status && state.is_stalled();
                (answered || refused) && state.is_settled(self.generation)
            }
            Wants::Cancelled { operation } => {
                state.running().is_none_or(|running| running.id != *operation)
            }
        }
    }

    pub(crate) fn judge(&self, object: &ReleaseLifecycle) -> Outcome {
        let state = State::new(object);
        let good = match &self.wants {
            // Where it is being deleted, it is never Ready again.
            Wants::Answer { .. } if state.has_been_deleted() => true,
            Wants::Ready | Wants::Answer { .. } => state.ready_status() == "True",
            Wants::Tests { .. } => {
                let verdict = state.condition(conditions::TEST_SUCCESS);
                verdict.is_some_and(|verdict| verdict.status == "True")
            }
            Wants::Cancelled { operation } => {
                let last = state.operation().filter(|last| last.id == *operation);
                let failure = last.map(|last| last.failure.as_ref());
                // Where another operation runs already, this one has left no trace in status.
                failure.is_none_or(|failure| failure.is_some_and(|it| it.reason == "Cancelled"))
            }
        };
        if good { Outcome::Good } else { Outcome::Failed }
    }
}

/// Follows the release from `first` on, which was read just now.
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
    let following = Box::pin(watch(cluster, Watched { object: first, goal }, &mut view));
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
            _ = ticks.tick() => view.tick(&watched.object)?,
        }
    }
    view.finish(&watched.object)?;
    Ok(watched.goal.judge(&watched.object))
}

struct Watched {
    object: ReleaseLifecycle,
    goal: Goal,
}

impl Watched {
    /// The object before, unless `object` is another of its name.
    fn take(&mut self, object: ReleaseLifecycle) -> Option<ReleaseLifecycle> {
        let before = std::mem::replace(&mut self.object, object);
        if before.metadata.uid == self.object.metadata.uid {
            return Some(before);
        }
        self.goal = Goal::ready(&self.object);
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

    /// What no status can say.
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
        screen.finish(&text)
    }
}
