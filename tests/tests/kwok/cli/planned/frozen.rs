//! The plans that the operator freezes, as they go by in the records: that of a test or a deletion
//! is there only until it has ended.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use e2e::Namespace;
use futures::{StreamExt as _, TryStreamExt as _};
use helm::{
    record::SECRET_TYPE,
    stored::{Holder, Stored, key, thaw},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use lifecycle::{event::Event, known::KnownPlans, plan::Plan};
use tokio::{
    sync::watch::{self, Receiver, Sender},
    task::JoinHandle,
};

/// The longest wait for a plan that was frozen already.
const PATIENCE: Duration = Duration::from_secs(90);

/// All plans so far, by the release, the event and the revision.
#[derive(Default)]
struct Seen {
    plans: HashMap<(String, &'static str, i32), Plan>,
    /// Why there will be no more.
    failure: Option<anyhow::Error>,
}

/// All plans that were frozen since.
pub(super) struct Frozen {
    seen: Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Frozen {
    /// Watches the records of all releases of the namespace.
    pub(super) async fn watch(namespace: &Namespace) -> Result<Self> {
        let secrets = Api::<Secret>::namespaced(namespace.client.clone(), &namespace.name);
        let listed = secrets.list_metadata(&ListParams::default()).await?;
        let version = listed.metadata.resource_version.context("a list has a version")?;
        let (sender, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(async move {
            let failure = follow(&secrets, version, &sender).await.err();
            sender.send_modify(|seen| seen.failure = failure);
        });
        Ok(Self { seen, task })
    }

    /// Returns the plan of the operation that made this revision, or worked on it.
    pub(super) async fn plan(&self, release: &str, event: Event, revision: i32) -> Result<Plan> {
        let key = (release.to_owned(), event.facts().word, revision);
        let mut seen = self.seen.clone();
        let is_there = |seen: &Seen| seen.plans.contains_key(&key) || seen.failure.is_some();
        let seen = tokio::time::timeout(PATIENCE, seen.wait_for(is_there));
        let seen = seen.await.with_context(|| format!("{key:?} was not seen"))??;
        ensure!(seen.failure.is_none(), "the watch has ended: {:?}", seen.failure);
        seen.plans.get(&key).cloned().context("it was seen")
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes every version of every record: a watch leaves out none.
async fn follow(secrets: &Api<Secret>, mut version: String, seen: &Sender<Seen>) -> Result<()> {
    let params = WatchParams::default().fields(&format!("type={SECRET_TYPE}"));
    loop {
        let mut events = secrets.watch(&params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            let secret = match event {
                WatchEvent::Added(it) | WatchEvent::Modified(it) | WatchEvent::Deleted(it) => it,
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => bail!("{status:?}"),
            };
            version = secret.metadata.resource_version.clone().context("it has a version")?;
            let secret = serde_json::to_value(&secret)?;
            let stored = Stored::read(Holder::Secret, &secret, &KnownPlans::default())?;
            seen.send_modify(|seen| {
                for event in [Event::Install, Event::Delete, Event::Test] {
                    let frozen = stored.plans.get(key(event));
                    if let Some((plan, _)) = frozen.and_then(|bytes| thaw(bytes)) {
                        let release = stored.release.name.clone();
                        let key = (release, plan.event.facts().word, plan.revision);
                        seen.plans.insert(key, plan);
                    }
                }
            });
        }
    }
}
