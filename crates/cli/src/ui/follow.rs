//! The releases as they change, as lines of JSON.

use std::{convert::Infallible, time::Duration};

use api::ReleaseLifecycle;
use futures::{Stream, StreamExt as _, stream};
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Error, Event, watcher},
};
use serde_json::{Value, json};
use tokio::time::interval;

use super::view;
use crate::{
    cluster::{Cluster, words},
    state::State,
};

/// The interval at which a line is sent in any case, so that the page knows that it is connected.
const BEAT: Duration = Duration::from_secs(10);

/// Returns each release, and each that changes or goes.
pub(super) fn releases(cluster: &Cluster) -> impl Stream<Item = Value> + Send + use<> {
    let config = watcher::Config::default();
    watcher(cluster.api(), config).default_backoff().map(|event| match event {
        Ok(Event::Init) => json!({"type": "init"}),
        Ok(Event::InitApply(object) | Event::Apply(object)) => {
            json!({"type": "release", "release": view::summary(&object)})
        }
        Ok(Event::InitDone) => json!({"type": "listed"}),
        Ok(Event::Delete(object)) => {
            json!({"type": "gone", "key": State::new(&object).title()})
        }
        Err(error) => trouble(&error),
    })
}

/// Returns one release, each time that it changes.
pub(super) fn release(cluster: &Cluster, name: &str) -> impl Stream<Item = Value> + Send + use<> {
    let changes = watcher::watch_object(cluster.api(), name).default_backoff();
    changes.map(|change: Result<Option<ReleaseLifecycle>, Error>| match change {
        Ok(Some(object)) => json!({"type": "detail", "detail": view::detail(&object)}),
        Ok(None) => json!({"type": "gone"}),
        Err(error) => trouble(&error),
    })
}

fn trouble(error: &Error) -> Value {
    let message = match error {
        Error::InitialListFailed(error)
        | Error::WatchStartFailed(error)
        | Error::WatchFailed(error) => words(error),
        Error::WatchError(status) => status.message.clone(),
        Error::NoResourceVersion => error.to_string(),
    };
    json!({"type": "trouble", "message": message})
}

/// Returns `values` as lines, with a line now and then even if nothing changes.
pub(super) fn lines(
    values: impl Stream<Item = Value> + Send,
) -> impl Stream<Item = Result<String, Infallible>> + Send {
    let beats = stream::unfold(interval(BEAT), async |mut beats| {
        beats.tick().await;
        Some((json!({"type": "beat"}), beats))
    });
    stream::select(values, Box::pin(beats)).map(|value| Ok(format!("{value}\n")))
}
