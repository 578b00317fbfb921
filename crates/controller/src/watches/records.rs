//! Detects changes of a release by another client: by a watch of the records of a namespace, under
//! the identity of a tenant, metadata only. Writes of this operator carry its mark, which Helm
//! drops.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, LazyLock, Mutex},
};

use api::{ReleaseLifecycle, names};
use futures::StreamExt as _;
use helm::record;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt as _, core::PartialObjectMeta};
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use tokio::task::JoinHandle;

use crate::{
    cluster::{answer::PAGE, impersonation::Identity},
    support::{key::key, panics, sync::lock},
    watches::{
        is_forbidden,
        registry::{InNamespace, Registry, gone},
        triggers::Trigger,
    },
};

/// The maximum number of releases without a custom resource of which one watch remembers the newest
/// record. A custom resource that comes later may be of one of them.
const MOST_UNFOLLOWED: usize = 2000;

/// The hash of a name or a key. A tenant chooses how long these are in its Secrets, and how many
/// there are: what is remembered of each must not grow with them.
type Hash = u64;

/// Returns the hash of `text`, by a seed that nobody outside knows: nobody can choose two texts of
/// one hash.
fn hash(text: &str) -> Hash {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SEED.hash_one(text)
}

/// The namespace of the records, and the identity that watches them.
type Place = (String, Identity);

impl InNamespace for Place {
    fn namespace(&self) -> &str {
        &self.0
    }
}

pub(crate) struct RecordWatches {
    state: Arc<Mutex<State>>,
    operator: Client,
    trigger: Trigger,
}

struct State {
    watches: Registry<Place, Records>,
    /// The place of a custom resource's records, by its key, and the name of its release.
    followers: HashMap<String, (Place, String)>,
    /// The custom resources whose release another client has changed.
    due: HashSet<String>,
}

/// The state from the watch of one place.
#[derive(Default)]
struct Records {
    /// True if the first list is complete.
    listed: bool,
    newest: Newest,
    /// The newest records of the list that is being read, which is in no order.
    listing: Newest,
    /// The custom resources of each release, of which there should be one, by their key, and the
    /// newest revision that each knows of.
    followers: HashMap<String, BTreeMap<String, i32>>,
}

/// The newest record of each release, by the hash of its name.
#[derive(Default)]
struct Newest {
    seen: HashMap<Hash, Record>,
    /// True if there was no room for all.
    is_cut: bool,
}

/// The remembered part of a record.
#[derive(Clone, Copy, Debug)]
struct Record {
    revision: i32,
    /// The key of the custom resource whose operator wrote it last.
    by: Option<Hash>,
}

/// The facts about a record in its metadata.
#[derive(Debug)]
struct Seen {
    release: String,
    record: Record,
}

impl Newest {
    fn get(&self, release: &str) -> Option<Record> {
        self.seen.get(&hash(release)).copied()
    }

    /// Notes the record, unless there is a newer one, or no room for one of a release that nobody
    /// follows; returns true if it was noted.
    fn note(&mut self, seen: &Seen, is_followed: bool, followed: usize) -> bool {
        let hash = hash(&seen.release);
        let known = self.seen.get(&hash);
        if known.is_some_and(|known| known.revision > seen.record.revision) {
            return false;
        }
        let has_room = is_followed || self.seen.len() < MOST_UNFOLLOWED + followed;
        if known.is_none() && !has_room {
            self.is_cut = true;
            return false;
        }
        self.seen.insert(hash, seen.record);
        true
    }
}

impl RecordWatches {
    pub(super) fn new(operator: Client, trigger: Trigger, most: usize) -> Self {
        let warn = |most| {
            tracing::warn!(
                "the releases of {most} namespaces and ServiceAccounts are watched \
                 (--record-watches); changes that Helm makes to others are noticed when these are reconciled"
            );
        };
        let watches = Registry::new(most, warn);
        let state = State { watches, followers: HashMap::new(), due: HashSet::new() };
        Self { state: Arc::new(Mutex::new(state)), operator, trigger }
    }

    /// Brings `object` back from now on when another client changes its release, which is managed
    /// as `identity`.
    pub(crate) fn follow(&self, object: &ReleaseLifecycle, identity: Identity) {
        let key = key(object);
        let place = (object.metadata.namespace.clone().unwrap_or_default(), identity);
        let release = object.release_name().into_owned();
        let mut state = lock(&self.state);
        let is_known = |(at, of): &(Place, String)| (at, of) == (&place, &release);
        if state.followers.get(&key).is_some_and(is_known) {
            if let Some(records) = state.watches.seen_mut(&place) {
                records.follow(release, key, revision(object));
            }
            return;
        }
        state.leave(&key);
        let places = BTreeSet::from([place.clone()]);
        state.watches.follow(&key, &places, |place| self.start(place));
        let Some(records) = state.watches.seen_mut(&place) else { return };
        records.follow(release.clone(), key.clone(), revision(object));
        if records.is_changed(&release, &key) {
            state.due.insert(key.clone());
        }
        state.followers.insert(key, (place, release));
    }

    fn start(&self, place: &Place) -> Option<JoinHandle<()>> {
        let client = place.1.client(&self.operator).ok()?;
        let (place, state) = (place.clone(), Arc::clone(&self.state));
        let trigger = self.trigger.clone();
        Some(tokio::spawn(async move {
            let watch =
                || watch(place.clone(), client.clone(), Arc::clone(&state), trigger.clone());
            panics::kept("the watch of records", watch).await;
        }))
    }

    /// Returns true if another client has changed the release of `object` since it was last
    /// reconciled.
    pub(crate) fn is_due(&self, object: &ReleaseLifecycle) -> bool {
        let state = lock(&self.state);
        state.due.contains(&key(object)) || state.is_ahead(object)
    }

    /// Notes that the release is being reconciled; returns true if it was due.
    pub(crate) fn take(&self, object: &ReleaseLifecycle) -> bool {
        let mut state = lock(&self.state);
        state.due.remove(&key(object)) || state.is_ahead(object)
    }

    /// Makes the release due again, since the reconciliation failed.
    pub(crate) fn put_back(&self, key: String) {
        lock(&self.state).due.insert(key);
    }

    /// Forgets all custom resources but those of these keys.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        let mut state = lock(&self.state);
        for key in gone(state.followers.keys(), keys) {
            state.leave(&key);
        }
        state.due.retain(|key| keys.contains(key));
    }

    /// Forgets the custom resource, which is gone.
    pub(crate) fn forget(&self, key: &str) {
        let mut state = lock(&self.state);
        state.leave(key);
        state.due.remove(key);
    }
}

impl Records {
    fn follow(&mut self, release: String, key: String, known: i32) {
        self.followers.entry(release).or_default().insert(key, known);
    }

    fn leave(&mut self, release: &str, key: &str) {
        if let Some(followers) = self.followers.get_mut(release) {
            followers.remove(key);
            if followers.is_empty() {
                self.followers.remove(release);
            }
        }
    }

    /// Returns true if the newest record of `release` is not owned by `key`, if all its records are
    /// gone, or if nothing is known of them.
    fn is_changed(&self, release: &str, key: &str) -> bool {
        let known = || self.followers.get(release).and_then(|them| them.get(key)).copied();
        self.listed
            && match self.newest.get(release) {
                Some(newest) => newest.by != Some(hash(key)),
                None => self.newest.is_cut || known().is_some_and(|known| known > 0),
            }
    }

    /// Returns the custom resources to reconcile since the newest record of `release` has changed.
    fn changed(&self, release: &str) -> Vec<String> {
        let followers = self.followers.get(release).into_iter().flat_map(BTreeMap::keys);
        followers.filter(|key| self.is_changed(release, key)).cloned().collect()
    }

    fn saw(&mut self, seen: &Seen) -> Vec<String> {
        let is_followed = self.followers.contains_key(&seen.release);
        if !self.newest.note(seen, is_followed, self.followers.len()) {
            return Vec::new();
        }
        self.changed(&seen.release)
    }

    fn lost(&mut self, gone: &Seen) -> Vec<String> {
        let newest = self.newest.get(&gone.release);
        if newest.is_some_and(|newest| newest.revision > gone.record.revision) {
            return Vec::new();
        }
        self.newest.seen.remove(&hash(&gone.release));
        self.changed(&gone.release)
    }

    /// Begins the list after a start, and after an interruption of the watch.
    fn begin_list(&mut self) {
        self.listing = Newest::default();
    }

    fn list(&mut self, seen: &Seen) {
        let is_followed = self.followers.contains_key(&seen.release);
        self.listing.note(seen, is_followed, self.followers.len());
    }

    /// Takes the list, which is complete, in place of what was known.
    fn end_list(&mut self) -> Vec<String> {
        (self.listed, self.newest) = (true, std::mem::take(&mut self.listing));
        self.followers.keys().flat_map(|release| self.changed(release)).collect()
    }
}

/// Returns the newest revision that the custom resource knows of.
fn revision(object: &ReleaseLifecycle) -> i32 {
    let Some(status) = &object.status else { return 0 };
    let operation = status.operation.as_ref().map(|operation| operation.revision);
    let attempt = status.last_attempt.as_ref().map(|attempt| attempt.revision);
    [status.revision, operation, attempt].into_iter().flatten().max().unwrap_or(0)
}

impl State {
    /// Returns true if there is a newer revision than `object` knows of, as after an adoption and
    /// before the next operation.
    fn is_ahead(&self, object: &ReleaseLifecycle) -> bool {
        let newest = || {
            let (place, release) = self.followers.get(&key(object))?;
            Some(self.watches.seen(place)?.newest.get(release)?.revision)
        };
        newest().is_some_and(|newest| newest > revision(object))
    }

    /// Stops following, and ends the watch if this was its only follower.
    fn leave(&mut self, key: &str) {
        let Some((place, release)) = self.followers.remove(key) else { return };
        if let Some(records) = self.watches.seen_mut(&place) {
            records.leave(&release, key);
        }
        self.watches.leave(key);
    }

    /// Ends a watch that failed.
    fn end(&mut self, place: &Place) {
        for key in self.watches.end(place) {
            self.followers.remove(&key);
        }
    }

    /// Records a report of a watch; returns the keys to reconcile.
    fn note(
        &mut self,
        place: &Place,
        see: impl FnOnce(&mut Records) -> Vec<String>,
    ) -> Vec<String> {
        let due = self.watches.seen_mut(place).map(see).unwrap_or_default();
        self.due.extend(due.iter().cloned());
        due
    }
}

async fn watch(place: Place, client: Client, state: Arc<Mutex<State>>, trigger: Trigger) {
    let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(client, &place.0);
    let records = watcher::Config::default().labels("owner=helm").page_size(PAGE);
    let mut events = std::pin::pin!(watcher(api, records).default_backoff());
    let note = |see: &mut dyn FnMut(&mut Records) -> Vec<String>| lock(&state).note(&place, see);
    while let Some(event) = events.next().await {
        let nobody = Vec::new;
        let due = match event {
            Ok(Event::Init) => note(&mut |records| {
                records.begin_list();
                nobody()
            }),
            Ok(Event::InitApply(secret)) => note(&mut |records| {
                if let Some(seen) = seen(&secret) {
                    records.list(&seen);
                }
                nobody()
            }),
            Ok(Event::InitDone) => note(&mut Records::end_list),
            Ok(Event::Apply(secret)) => {
                note(&mut |records| seen(&secret).map_or_else(nobody, |seen| records.saw(&seen)))
            }
            Ok(Event::Delete(secret)) => {
                note(&mut |records| seen(&secret).map_or_else(nobody, |gone| records.lost(&gone)))
            }
            Err(error) => {
                tracing::debug!(?place, "watch of records: {error}");
                // A tenant that may not watch uses no place, and the watch is tried again when one
                // of its releases is reconciled.
                if is_forbidden(&error) {
                    lock(&state).end(&place);
                    return;
                }
                continue;
            }
        };
        for key in due {
            tracing::debug!(release = key, "another client has changed its records");
            trigger.pull(&key);
        }
    }
}

/// Returns `None` if it is no record.
fn seen(secret: &PartialObjectMeta<Secret>) -> Option<Seen> {
    let (release, revision) = record::parse_secret_name(secret.metadata.name.as_deref()?)?;
    let by = secret.annotations().get(names::OWNER_ANNOTATION).map(|key| hash(key));
    Some(Seen { release: release.to_owned(), record: Record { revision, by } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(release: &str, revision: i32, by: Option<&str>) -> Seen {
        Seen { release: release.to_owned(), record: Record { revision, by: by.map(hash) } }
    }

    fn seen(revision: i32, by: Option<&str>) -> Seen {
        of("shop", revision, by)
    }

    fn relisted(records: &mut Records, list: impl IntoIterator<Item = Seen>) -> Vec<String> {
        records.begin_list();
        list.into_iter().for_each(|seen| records.list(&seen));
        records.end_list()
    }

    #[test]
    fn what_another_client_does_to_the_newest_record_brings_the_release_back() {
        let mut records = Records::default();
        records.followers.insert("shop".to_owned(), BTreeMap::from([("ns/shop".to_owned(), 2)]));
        let ours = Some("ns/shop");
        let none: [&str; 0] = [];
        assert_eq!(records.saw(&seen(1, None)), none, "before everything was listed");
        assert_eq!(relisted(&mut records, [seen(2, ours), seen(1, None)]), none);
        assert_eq!(records.saw(&seen(3, ours)), none);
        assert_eq!(records.saw(&seen(2, None)), none, "Helm supersedes an old one");
        assert_eq!(records.saw(&seen(3, None)), ["ns/shop"], "Helm uninstalls");
        assert_eq!(records.saw(&seen(4, Some("ns/other"))), ["ns/shop"]);
        assert_eq!(records.saw(&seen(4, ours)), none, "taken over");
        assert_eq!(records.lost(&seen(3, None)), none, "an old one was pruned");
        assert_eq!(records.lost(&seen(4, ours)), ["ns/shop"]);
        assert_eq!(relisted(&mut records, []), ["ns/shop"]);
        records.follow("shop".to_owned(), "ns/shop".to_owned(), 0);
        assert_eq!(relisted(&mut records, []), none, "never deployed");
        assert_eq!(relisted(&mut records, [seen(5, None)]), ["ns/shop"]);
        assert_eq!(records.saw(&of("other", 9, None)), none);
    }

    #[test]
    fn of_releases_that_nobody_follows_a_bounded_number_is_remembered() {
        let mut records = Records::default();
        let (name, key) = (|n: usize| format!("shop-{n}"), |n: usize| format!("ns/shop-{n}"));
        let last = 2 * MOST_UNFOLLOWED;
        records.follow(name(last), key(last), 1);
        let all = (0..=last).map(|n| of(&name(n), 1, Some(&key(n))));
        assert!(relisted(&mut records, all).is_empty());
        assert!(records.newest.seen.len() <= MOST_UNFOLLOWED + 2);
        // Of what is followed later and was remembered, it is known whether it has changed.
        records.follow(name(0), key(0), 1);
        records.follow(name(last - 1), key(last - 1), 1);
        assert!(!records.is_changed(&name(0), &key(0)));
        assert!(!records.is_changed(&name(last), &key(last)));
        assert!(records.is_changed(&name(last - 1), &key(last - 1)), "nothing is known");
        assert!(records.saw(&of(&name(last - 1), 2, Some(&key(last - 1)))).is_empty());
        assert!(!records.is_changed(&name(last - 1), &key(last - 1)));
    }
}
