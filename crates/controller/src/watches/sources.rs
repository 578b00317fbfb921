//! Notices when what a source refers to changes: by a watch of each object, under the identity of
//! the tenant, while there are few enough; and of all of them by looking again now and then. So is
//! drift noticed, which nobody watches for.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use api::{ObjectsFromKind, ReleaseLifecycle, SourceKind, SourceRefKind};
use futures::StreamExt as _;
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
};
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use tokio::task::JoinHandle;

use crate::watches::pace::Pace;
use crate::{
    cluster::impersonation::Identity,
    release::Release,
    support::{key::key, panics, sync::lock},
    watches::triggers::Trigger,
};

/// An object that a source names, and who may read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    pub(crate) identity: Identity,
    pub(crate) referent: Referent,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a source may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Referent {
    /// A `ConfigMap` or a Secret.
    Core(ObjectsFromKind),
    /// A source of Flux.
    Flux(SourceRefKind),
}

impl Referent {
    fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Core(kind) => {
                let plural = match kind {
                    ObjectsFromKind::ConfigMap => "configmaps",
                    ObjectsFromKind::Secret => "secrets",
                };
                ("", "v1", kind.as_str(), plural)
            }
            Self::Flux(kind) => {
                let plural = match kind {
                    SourceRefKind::OciRepository => "ocirepositories",
                    SourceRefKind::GitRepository => "gitrepositories",
                    SourceRefKind::Bucket => "buckets",
                    SourceRefKind::HelmChart => "helmcharts",
                    SourceRefKind::ExternalArtifact => "externalartifacts",
                };
                (sources::FLUX_GROUP, sources::FLUX_VERSION, kind.as_str(), plural)
            }
        };
        let gvk = GroupVersionKind::gvk(group, version, kind);
        ApiResource::from_gvk_with_plural(&gvk, plural)
    }
}

pub(crate) struct References {
    state: Arc<Mutex<State>>,
    /// So many are watched at once.
    most: usize,
    /// Whether it was said that there are so many.
    full: AtomicBool,
}

#[derive(Default)]
struct State {
    /// By the key of the custom resource.
    releases: HashMap<String, Followed>,
    watches: HashMap<Reference, Watch>,
}

struct Followed {
    references: BTreeSet<Reference>,
    pace: Pace,
    /// Until when what was found holds, if that is said.
    until: Option<Instant>,
}

/// Brings a release back to look at its source once more.
#[derive(Clone)]
pub(crate) struct Comeback {
    state: Arc<Mutex<State>>,
    trigger: Trigger,
    key: String,
}

impl Comeback {
    /// What the release was told holds until then: a change of something else does not put off the
    /// next look.
    pub(crate) fn valid_until(&self, until: Instant) {
        if let Some(followed) = lock(&self.state).releases.get_mut(&self.key) {
            followed.until = Some(until);
        }
    }

    pub(crate) fn now(&self) {
        if let Some(followed) = lock(&self.state).releases.get_mut(&self.key) {
            followed.pace.change(Instant::now());
        }
        self.trigger.pull(&self.key);
    }
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
        Self { state: Arc::default(), most, full: AtomicBool::new(false) }
    }

    /// From now on a change of any of `references` brings the release back. To be called before they
    /// are read, so that no change falls between.
    pub(crate) fn follow(&self, release: &Release<'_>, references: BTreeSet<Reference>) {
        let follower = key(&release.object);
        let mut state = lock(&self.state);
        state.leave(&follower, &references);
        for reference in &references {
            if let Some(watch) = state.watches.get_mut(reference) {
                watch.followers.insert(follower.clone());
                continue;
            }
            if state.watches.len() >= self.most {
                if !self.full.swap(true, Relaxed) {
                    tracing::warn!(
                        "{} objects that sources name are watched (--source-watches); further ones \
                         are looked at once in spec.interval",
                        self.most
                    );
                }
                continue;
            }
            let Ok(client) = reference.identity.client(&release.ctx.operator) else { continue };
            let (known, shared) = (reference.clone(), Arc::clone(&self.state));
            let trigger = release.ctx.triggers.trigger().clone();
            let task = tokio::spawn(async move {
                let watch =
                    || watch(known.clone(), client.clone(), Arc::clone(&shared), trigger.clone());
                panics::kept("the watch of what a source names", watch).await;
            });
            let followers = HashSet::from([follower.clone()]);
            state.watches.insert(reference.clone(), Watch { task, followers });
        }
        let known = state.releases.remove(&follower);
        let mut pace = known.map_or_else(|| Pace::new(Instant::now()), |known| known.pace);
        pace.look();
        state.releases.insert(follower, Followed { references, pace, until: None });
    }

    /// What was read of the references has been dealt with.
    pub(crate) fn settle(&self, object: &ReleaseLifecycle) {
        let follower = key(object);
        let interval = jittered(object.interval(), &follower);
        let now = Instant::now();
        let mut state = lock(&self.state);
        let is_held = object.spec.pin_revision.is_some() && refers(object);
        if is_held || (!refers(object) && object.looks_for_drift()) {
            // Nothing was followed that could have changed meanwhile, or nothing depends on it.
            state
                .releases
                .entry(follower.clone())
                .or_insert_with(|| Followed::new(now))
                .pace
                .look();
        }
        if let Some(followed) = state.releases.get_mut(&follower) {
            let left = followed.until.map(|until| until.saturating_duration_since(now));
            followed.pace.settle(now, left.unwrap_or(interval).min(interval));
        }
    }

    /// For whoever will know more of the source of `release` later on.
    pub(crate) fn comeback(&self, release: &Release<'_>) -> Comeback {
        Comeback {
            state: Arc::clone(&self.state),
            trigger: release.ctx.triggers.trigger().clone(),
            key: key(&release.object),
        }
    }

    /// The custom resources of these keys are all that there are.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        let state = lock(&self.state);
        let gone: Vec<_> =
            state.releases.keys().filter(|key| !keys.contains(*key)).cloned().collect();
        drop(state);
        for key in gone {
            self.forget(&key);
        }
    }

    /// The custom resource is gone.
    pub(crate) fn forget(&self, key: &str) {
        let mut state = lock(&self.state);
        state.leave(key, &BTreeSet::new());
        state.releases.remove(key);
    }

    /// It refers to nothing any more; when it is looked at for drift does not change.
    pub(crate) fn follow_none(&self, key: &str) {
        let mut state = lock(&self.state);
        state.leave(key, &BTreeSet::new());
        if let Some(followed) = state.releases.get_mut(key) {
            followed.references.clear();
            followed.until = None;
        }
    }

    /// Objects have been applied: the next look after drift is due.
    pub(crate) fn look_for_drift(&self, object: &ReleaseLifecycle) {
        if object.looks_for_drift() {
            let now = Instant::now();
            let mut state = lock(&self.state);
            let followed = state.releases.entry(key(object)).or_insert_with(|| Followed::new(now));
            followed.pace.hasten(now);
        }
    }

    /// How long until what `object` refers to, or whether it has drifted, is to be looked at again;
    /// `None` where neither has to be. After a start nothing has been looked at.
    pub(crate) fn due_in(&self, object: &ReleaseLifecycle) -> Option<Duration> {
        let refers = refers(object);
        if !refers && !object.looks_for_drift() {
            return None;
        }
        let (key, now) = (key(object), Instant::now());
        let mut state = lock(&self.state);
        if refers {
            let followed = state.releases.get(&key);
            return Some(followed.map_or(Duration::ZERO, |it| it.pace.due_in(now)));
        }
        // Nobody waits for it, so that not all are looked at right after the start.
        let first = || Followed::new(now + spread(object.interval(), &key));
        Some(state.releases.entry(key.clone()).or_insert_with(first).pace.due_in(now))
    }

    /// Whether what `object` refers to is to be looked at now.
    pub(crate) fn is_due(&self, object: &ReleaseLifecycle) -> bool {
        self.due_in(object).is_some_and(|left| left.is_zero())
    }

    /// How long more changes of what `object` refers to are waited for.
    pub(crate) fn quiet_for(&self, object: &ReleaseLifecycle) -> Option<Duration> {
        lock(&self.state).releases.get(&key(object))?.pace.quiet_for(Instant::now())
    }
}

impl Followed {
    fn new(due: Instant) -> Self {
        Self { references: BTreeSet::new(), pace: Pace::new(due), until: None }
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

    /// Everything that follows `reference` is to be looked at; the keys of it.
    fn touch(&mut self, reference: &Reference) -> Vec<String> {
        let followers = self.watches.get(reference).map(|watch| &watch.followers);
        let followers: Vec<_> = followers.into_iter().flatten().cloned().collect();
        let now = Instant::now();
        for follower in &followers {
            if let Some(followed) = self.releases.get_mut(follower) {
                followed.pace.change(now);
            }
        }
        followers
    }
}

/// Metadata only: what a Secret holds is read when it is needed, and not kept.
async fn watch(reference: Reference, client: Client, state: Arc<Mutex<State>>, trigger: Trigger) {
    let resource = reference.referent.resource();
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client, &reference.namespace, &resource);
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
            // A tenant that may read but not watch is looked at now and then, and takes no place.
            Err(error) if is_forbidden(&error) => {
                tracing::debug!(?reference, "watch: {error}");
                lock(&state).watches.remove(&reference);
                return;
            }
            Err(error) => tracing::debug!(?reference, "watch: {error}"),
        }
    }
}

pub(crate) fn is_forbidden(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchError(status) => status.code == 403,
        _ => false,
    }
}

/// Whether what it refers to matters. What is pinned or deleted needs no source.
fn refers(object: &ReleaseLifecycle) -> bool {
    // Objects are no matter here, and the cache forgets them. One that is held at a revision is told
    // of, though it needs none of it.
    let refers = match object.spec.source.kind() {
        SourceKind::Objects(_) => false,
        SourceKind::ObjectsFrom(holders) => !holders.is_empty(),
        SourceKind::Chart(_) | SourceKind::SourceRef(_) => true,
    };
    refers && object.metadata.deletion_timestamp.is_none()
}

/// Up to a tenth more, so that releases that were applied together are not looked at together; the
/// same for a release each time.
pub(crate) fn jittered(interval: Duration, key: &str) -> Duration {
    interval + spread(interval, key) / 10
}

/// A part of the interval, the same for a release each time.
fn spread(interval: Duration, key: &str) -> Duration {
    let sum = key.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    interval / 100 * (sum % 100)
}
