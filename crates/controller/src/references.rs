//! Notices when what a source refers to changes: by a watch of each object, under the identity of
//! the tenant, while there are few enough; and of all of them by looking again now and then.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use api::{ObjectsFromKind, ReleaseLifecycle};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Resource,
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::{identity::Identity, reconcile::key, release::Release, triggers::Trigger};

/// An object that a source names, and who may read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    pub(crate) identity: Identity,
    pub(crate) kind: ObjectsFromKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

pub(crate) struct References {
    state: Arc<Mutex<State>>,
    /// So many are watched at once.
    most: usize,
}

#[derive(Default)]
struct State {
    /// By the key of the custom resource.
    releases: HashMap<String, Followed>,
    watches: HashMap<Reference, Watch>,
}

struct Followed {
    references: BTreeSet<Reference>,
    /// When they are to be looked at again.
    due: Instant,
}

struct Watch {
    task: JoinHandle<()>,
    followers: HashSet<String>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl References {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Arc::default(), most }
    }

    /// From now on a change of any of `references` brings the release back. To be called before they
    /// are read, so that no change falls between.
    pub(crate) fn follow(&self, release: &Release<'_>, references: BTreeSet<Reference>) {
        let follower = key(&release.object);
        let due = Instant::now() + jittered(release.object.interval(), &follower);
        let mut state = lock(&self.state);
        state.leave(&follower, &references);
        for reference in &references {
            if let Some(watch) = state.watches.get_mut(reference) {
                watch.followers.insert(follower.clone());
                continue;
            }
            if state.watches.len() >= self.most {
                tracing::debug!(?reference, "not watched, there are {} already", self.most);
                continue;
            }
            let Ok(client) = reference.identity.client(&release.ctx.operator) else { continue };
            let (known, shared) = (reference.clone(), Arc::clone(&self.state));
            let trigger = release.ctx.triggers.trigger().clone();
            let task = match reference.kind {
                ObjectsFromKind::ConfigMap => {
                    tokio::spawn(watch::<ConfigMap>(known, client, shared, trigger))
                }
                ObjectsFromKind::Secret => {
                    tokio::spawn(watch::<Secret>(known, client, shared, trigger))
                }
            };
            let followers = HashSet::from([follower.clone()]);
            state.watches.insert(reference.clone(), Watch { task, followers });
        }
        state.releases.insert(follower, Followed { references, due });
    }

    /// What `key` follows is to be looked at again at once.
    pub(crate) fn look_again(&self, key: &str) {
        if let Some(followed) = lock(&self.state).releases.get_mut(key) {
            followed.due = Instant::now();
        }
    }

    /// The custom resource is gone.
    pub(crate) fn forget(&self, key: &str) {
        let mut state = lock(&self.state);
        state.leave(key, &BTreeSet::new());
        state.releases.remove(key);
    }

    /// How long until what `object` refers to is to be looked at again; `None` where it refers to
    /// nothing. After a start nothing has been looked at.
    pub(crate) fn due_in(&self, object: &ReleaseLifecycle) -> Option<Duration> {
        if object.spec.source.objects_from.is_empty() {
            return None;
        }
        let state = lock(&self.state);
        let due = state.releases.get(&key(object)).map(|followed| followed.due);
        Some(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())))
    }
}

impl State {
    /// Ends the watches that only `follower` had, but for those of `kept`.
    fn leave(&mut self, follower: &str, kept: &BTreeSet<Reference>) {
        let Some(before) = self.releases.get(follower) else { return };
        for reference in before.references.difference(kept) {
            if let Some(watch) = self.watches.get_mut(reference) {
                watch.followers.remove(follower);
                if watch.followers.is_empty() {
                    self.watches.remove(reference);
                }
            }
        }
    }

    /// Everything that follows `reference` is due; the keys of it.
    fn touch(&mut self, reference: &Reference) -> Vec<String> {
        let followers = self.watches.get(reference).map(|watch| &watch.followers);
        let followers: Vec<_> = followers.into_iter().flatten().cloned().collect();
        let now = Instant::now();
        for follower in &followers {
            if let Some(followed) = self.releases.get_mut(follower) {
                followed.due = now;
            }
        }
        followers
    }
}

/// Metadata only: what a Secret holds is read when it is needed, and not kept.
async fn watch<K>(reference: Reference, client: Client, state: Arc<Mutex<State>>, trigger: Trigger)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + 'static,
    PartialObjectMeta<K>: DeserializeOwned,
{
    let api: Api<PartialObjectMeta<K>> = Api::namespaced(client, &reference.namespace);
    let this = watcher::Config::default().fields(&format!("metadata.name={}", reference.name));
    let mut events = std::pin::pin!(watcher(api, this).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            // A list that has come to its end may lack what was there.
            Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => {
                let followers = lock(&state).touch(&reference);
                for follower in &followers {
                    trigger.pull(follower);
                }
            }
            Ok(Event::Init | Event::InitApply(_)) => {}
            // Such as a tenant that may read but not watch: it is looked at now and then.
            Err(error) => tracing::debug!(?reference, "watch: {error}"),
        }
    }
}

/// Up to a tenth more, so that releases that were applied together are not looked at together; the
/// same for a release each time.
fn jittered(interval: Duration, key: &str) -> Duration {
    let sum = key.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    interval + interval / 1000 * (sum % 100)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
