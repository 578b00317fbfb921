//! Detects changes of the objects that a source refers to: by a watch of each object, under the
//! identity of the tenant, while there are few enough; and by a periodic check of all of them.
//! Drift is also detected by that check, since nothing watches for it.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
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

use crate::{
    cluster::impersonation::Identity,
    support::{key::key, panics, sync::lock},
    watches::{
        is_forbidden,
        pace::Pace,
        registry::{InNamespace, Registry, gone},
        triggers::Trigger,
    },
};

/// An object that a source names, and the identity that may read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    pub(crate) identity: Identity,
    pub(crate) referent: Referent,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl InNamespace for Reference {
    fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// The kinds of object that a source may name.
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

pub(crate) struct SourceWatches {
    state: Arc<Mutex<State>>,
    operator: Client,
    trigger: Trigger,
}

struct State {
    /// The followed releases, by the key of the custom resource.
    releases: HashMap<String, Followed>,
    watches: Registry<Reference, ()>,
}

struct Followed {
    pace: Pace,
    /// The time until which the result is valid, if that is known.
    until: Option<Instant>,
}

/// Brings a release back to check its source again.
#[derive(Clone)]
pub(crate) struct Comeback {
    state: Arc<Mutex<State>>,
    trigger: Trigger,
    key: String,
}

impl Comeback {
    /// Sets the time until which the result is valid: a change of something else does not delay the
    /// next check.
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

impl SourceWatches {
    pub(super) fn new(operator: Client, trigger: Trigger, most: usize) -> Self {
        let warn = |most| {
            tracing::warn!(
                "{most} objects that sources name are watched (--source-watches); further ones are \
                 read once in spec.interval"
            );
        };
        let state = State { releases: HashMap::new(), watches: Registry::new(most, warn) };
        Self { state: Arc::new(Mutex::new(state)), operator, trigger }
    }

    /// Makes a change of any of `references` bring the release of this key back. Must be called
    /// before they are read, so that no change is missed in between.
    pub(crate) fn follow(&self, key: &str, references: &BTreeSet<Reference>) {
        let mut state = lock(&self.state);
        state.watches.follow(key, references, |reference| self.start(reference));
        let followed = state.followed(key, Instant::now());
        followed.until = None;
        followed.pace.look();
    }

    fn start(&self, reference: &Reference) -> Option<JoinHandle<()>> {
        let client = reference.identity.client(&self.operator).ok()?;
        let (reference, state) = (reference.clone(), Arc::clone(&self.state));
        let trigger = self.trigger.clone();
        Some(tokio::spawn(async move {
            let watch =
                || watch(reference.clone(), client.clone(), Arc::clone(&state), trigger.clone());
            panics::kept("the watch of a source", watch).await;
        }))
    }

    /// Notes that the state that was read of the references has been handled.
    pub(crate) fn settle(&self, object: &ReleaseLifecycle) {
        let follower = key(object);
        let interval = jittered(object.interval(), &follower);
        let now = Instant::now();
        let mut state = lock(&self.state);
        let is_held = object.spec.pin_revision.is_some() && refers(object);
        if is_held || (!refers(object) && object.looks_for_drift()) {
            // Nothing was followed that could have changed meanwhile, or nothing depends on it.
            state.followed(&follower, now).pace.look();
        }
        if let Some(followed) = state.releases.get_mut(&follower) {
            let left = followed.until.map(|until| until.saturating_duration_since(now));
            followed.pace.settle(now, left.unwrap_or(interval).min(interval));
        }
    }

    /// Returns a handle for code that learns more about the source of the release of this key
    /// later.
    pub(crate) fn comeback(&self, key: &str) -> Comeback {
        let (state, trigger) = (Arc::clone(&self.state), self.trigger.clone());
        Comeback { state, trigger, key: key.to_owned() }
    }

    /// Forgets all custom resources but those of these keys.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        let mut state = lock(&self.state);
        for key in gone(state.releases.keys(), keys) {
            state.forget(&key);
        }
    }

    /// Forgets the custom resource, which is gone.
    pub(crate) fn forget(&self, key: &str) {
        lock(&self.state).forget(key);
    }

    /// Ends all watches of a release that refers to nothing any more; the time of its check for
    /// drift does not change.
    pub(crate) fn follow_none(&self, key: &str) {
        let mut state = lock(&self.state);
        state.watches.leave(key);
        if let Some(followed) = state.releases.get_mut(key) {
            followed.until = None;
        }
    }

    /// Makes the next check for drift due, since objects have been applied.
    pub(crate) fn look_for_drift(&self, object: &ReleaseLifecycle) {
        if object.looks_for_drift() {
            let now = Instant::now();
            lock(&self.state).followed(&key(object), now).pace.hasten(now);
        }
    }

    /// Returns the time until the next check of the references of `object`, or of its drift; `None`
    /// if it needs neither. After a start nothing has been checked.
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
        // Nothing waits for it, so the first checks are spread over the time after the start.
        let first = now + spread(object.interval(), &key);
        Some(state.followed(&key, first).pace.due_in(now))
    }

    /// Returns true if the references of `object` are due for a check.
    pub(crate) fn is_due(&self, object: &ReleaseLifecycle) -> bool {
        self.due_in(object).is_some_and(|left| left.is_zero())
    }

    /// Returns the time for which more changes of the references of `object` are waited for.
    pub(crate) fn quiet_for(&self, object: &ReleaseLifecycle) -> Option<Duration> {
        lock(&self.state).releases.get(&key(object))?.pace.quiet_for(Instant::now())
    }
}

impl Followed {
    fn new(due: Instant) -> Self {
        Self { pace: Pace::new(due), until: None }
    }
}

impl State {
    /// Returns the state of the release of this key; a new one is first checked when it is `due`.
    fn followed(&mut self, key: &str, due: Instant) -> &mut Followed {
        self.releases.entry(key.to_owned()).or_insert_with(|| Followed::new(due))
    }

    fn forget(&mut self, key: &str) {
        self.watches.leave(key);
        self.releases.remove(key);
    }

    /// Makes all followers of `reference` due for a check; returns their keys.
    fn touch(&mut self, reference: &Reference) -> Vec<String> {
        let followers: Vec<_> = self.watches.followers(reference).cloned().collect();
        let now = Instant::now();
        for follower in &followers {
            if let Some(followed) = self.releases.get_mut(follower) {
                followed.pace.change(now);
            }
        }
        followers
    }
}

/// Watches metadata only: the content of a Secret is read when it is needed, and not kept.
async fn watch(reference: Reference, client: Client, state: Arc<Mutex<State>>, trigger: Trigger) {
    let resource = reference.referent.resource();
    let api: Api<PartialObjectMeta<DynamicObject>> =
        Api::namespaced_with(client, &reference.namespace, &resource);
    let this = watcher::Config::default().fields(&format!("metadata.name={}", reference.name));
    let mut events = std::pin::pin!(watcher(api, this).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            // A complete list may lack an object that existed before.
            Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone) => {
                let followers = lock(&state).touch(&reference);
                for follower in &followers {
                    trigger.pull(follower);
                }
            }
            Ok(Event::Init | Event::InitApply(_)) => {}
            // For a tenant that may read but not watch, the periodic check is used, and no place is
            // taken.
            Err(error) if is_forbidden(&error) => {
                tracing::debug!(?reference, "watch: {error}");
                lock(&state).watches.end(&reference);
                return;
            }
            Err(error) => tracing::debug!(?reference, "watch: {error}"),
        }
    }
}

/// Returns true if the references matter. A release that is pinned or deleted needs no source.
fn refers(object: &ReleaseLifecycle) -> bool {
    // Inline objects do not matter here, and the cache drops them. For a release that is pinned,
    // changes of the source are reported, although it does not need them.
    let refers = match object.spec.source.kind() {
        SourceKind::Objects(_) => false,
        SourceKind::ObjectsFrom(holders) => !holders.is_empty(),
        SourceKind::Chart(_) | SourceKind::SourceRef(_) => true,
    };
    refers && object.metadata.deletion_timestamp.is_none()
}

/// Returns the interval plus up to a tenth, so that releases that were applied together are not
/// checked together; the same for a release each time.
pub(crate) fn jittered(interval: Duration, key: &str) -> Duration {
    interval + spread(interval, key) / 10
}

/// Returns a part of the interval, the same for a release each time.
fn spread(interval: Duration, key: &str) -> Duration {
    let sum = key.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    interval / 100 * (sum % 100)
}
