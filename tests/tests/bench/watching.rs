//! Waiting by a watch until many objects are as they should be.

use std::{collections::HashSet, fmt::Debug, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;

/// No wait of the bench takes longer.
const PATIENCE: Duration = Duration::from_hours(2);

/// The meaning of an event: that an object is as it should be, or that it is not; `None`: nothing.
pub(crate) type Judge<K> = fn(&WatchEvent<K>) -> Option<bool>;

/// Returns the version from which a watch sees all that is written from now on.
pub(crate) async fn now<K>(api: &Api<K>) -> Result<String>
where
    K: Clone + DeserializeOwned + Debug,
{
    let list = api.list_metadata(&ListParams::default().limit(1)).await?;
    list.metadata.resource_version.context("a list has a version")
}

/// Waits until so many objects are as `judge` wants them, by the events since `version`.
pub(crate) async fn until<K>(
    api: &Api<K>,
    version: String,
    count: usize,
    judge: Judge<K>,
) -> Result<()>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = kube::core::ApiResource>,
{
    let mut done = HashSet::new();
    let watch = follow(api, version, count, judge, &mut done);
    match tokio::time::timeout(PATIENCE, watch).await {
        Ok(result) => result,
        Err(_) => bail!("{} of {count} objects were done within {PATIENCE:?}", done.len()),
    }
}

async fn follow<K>(
    api: &Api<K>,
    mut version: String,
    count: usize,
    judge: Judge<K>,
    done: &mut HashSet<String>,
) -> Result<()>
where
    K: Clone + DeserializeOwned + Debug + Resource<DynamicType = kube::core::ApiResource>,
{
    loop {
        let mut events = api.watch(&WatchParams::default(), &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            let verdict = judge(&event);
            match event {
                WatchEvent::Added(it) | WatchEvent::Modified(it) | WatchEvent::Deleted(it) => {
                    match verdict {
                        Some(true) => _ = done.insert(it.name_any()),
                        Some(false) => _ = done.remove(&it.name_any()),
                        None => {}
                    }
                    version = it.resource_version().unwrap_or(version);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(status) => bail!("watch: {}", status.message),
            }
            if done.len() == count {
                return Ok(());
            }
        }
    }
}
