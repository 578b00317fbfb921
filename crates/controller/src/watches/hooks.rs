//! The watches of hooks' Jobs and Pods. A change wakes the release of the hook if it reports something
//! that the release's last observation of the object does not have.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use api::names;
use futures::{Stream, StreamExt as _};
use k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Resource, ResourceExt as _,
    core::{NamespaceResourceScope, ObjectMeta},
};
use kube_runtime::{WatchStreamExt as _, reflector::ObjectRef, watcher};
use lifecycle::{object, plan::HookKind};
use live::observe::digest;
use manifests::{
    bounded::{Bounded, MOST_LEVELS, Skip},
    memory::Memory,
};
use serde::{Deserialize, Deserializer, de::DeserializeSeed as _};
use serde_json::Value;

use crate::{
    cluster::{answer::PAGE, resource::Tolerant},
    support::{panics, sync::lock},
    watches::{Watches, held::HeldObject},
};

/// The seconds after which a watch that died silently is noticed.
const TIMEOUT: u32 = 60;
/// The time after which a release checks an object that is still held back: that of a step is opened
/// long before.
const LATE: Duration = Duration::from_millis(500);
/// The longest time between two such checks.
const LATEST: Duration = Duration::from_hours(1);
/// The longest time after which a hook that was started is checked if nothing of it runs.
const LONGEST_IDLE: Duration = Duration::from_secs(2);
/// The maximum number of objects of one release whose digests are remembered.
const MOST_PER_RELEASE: usize = 256;

/// The memory of one object without its bulk.
const MOST_MEMORY: usize = 1 << 20;

/// The parts that nothing here depends on.
const BULK: &[Skip] = &[
    Skip::Within(
        "metadata",
        &[
            Skip::Field("managedFields"),
            Skip::Within("annotations", &[Skip::AllBut(names::PREFIX)]),
            Skip::Within("labels", &[Skip::AllBut(names::PREFIX)]),
        ],
    ),
    Skip::Within(
        "spec",
        &[
            Skip::Field("template"),
            Skip::Field("containers"),
            Skip::Field("initContainers"),
            Skip::Field("volumes"),
        ],
    ),
];

/// A kind of objects that hooks consist of.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Send + 'static
{
    const KIND: HookKind;
}

impl Kind for Job {
    const KIND: HookKind = HookKind::Job;
}

impl Kind for Pod {
    const KIND: HookKind = HookKind::Pod;
}

/// An object of a hook, as a watch reports it.
pub(crate) struct Touched<K> {
    metadata: ObjectMeta,
    /// `None`: unknown, since the object takes too much memory.
    digest: Option<u64>,
    /// The UID of the hook: of the Job that made it, or its own.
    hook: String,
    /// True if it shows that something of the hook has run.
    has_started: bool,
    is_gone: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Touched<K> {
    fn clone(&self) -> Self {
        let (metadata, hook) = (self.metadata.clone(), self.hook.clone());
        Self { metadata, hook, ..*self }
    }
}

impl<K> fmt::Debug for Touched<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Touched").field(&self.metadata.name).finish()
    }
}

impl<'de, K: Kind> Deserialize<'de> for Touched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut memory = Memory::new(MOST_MEMORY);
        let reader = Bounded::new(&mut memory, MOST_LEVELS).without(BULK);
        let object = reader.deserialize(deserializer)?;
        let is_whole = !memory.is_exhausted();
        let digest = is_whole.then(|| digest::of(K::KIND, &object));
        Ok(Self {
            metadata: metadata(&object),
            digest,
            hook: digest::hook_of(&object).to_owned(),
            has_started: K::KIND == HookKind::Pod && digest::has_started(&object),
            is_gone: false,
            kind: PhantomData,
        })
    }
}

/// Returns what is needed of the metadata. Whatever else an object has must not break the watch, which
/// is that of all tenants.
fn metadata(object: &Value) -> ObjectMeta {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let named = |name: &str| text(&format!("/metadata/{name}")).map(str::to_owned);
    let of = |field: &str, names: &[&str]| {
        let all = object["metadata"][field].as_object()?;
        let found = names.iter().filter_map(|name| Some((name, all.get(*name)?.as_str()?)));
        Some(found.map(|(name, value)| ((*name).to_owned(), value.to_owned())).collect())
    };
    let annotations = [names::OWNER_ANNOTATION, names::GATE_ANNOTATION, names::ACCOUNT_ANNOTATION];
    ObjectMeta {
        name: named("name"),
        namespace: named("namespace"),
        uid: named("uid"),
        resource_version: named("resourceVersion"),
        deletion_timestamp: text("/metadata/deletionTimestamp")
            .and_then(|at| at.parse().ok())
            .map(Time),
        labels: of("labels", &[names::UID_LABEL]),
        annotations: of("annotations", &annotations),
        ..ObjectMeta::default()
    }
}

impl<K: Kind> Resource for Touched<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(dt: &()) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &()) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &()) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &()) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Returns hook objects and their Pods as they change; none is stored. A hook may be in another
/// namespace than its release, unless the operator serves only one. An error stays with its own watch,
/// which backs off; in the controller it would block every trigger.
pub(crate) fn touched<K: Kind>(
    all: Api<Touched<K>>,
) -> impl Stream<Item = Result<Touched<K>, watcher::Error>> + Send + 'static + use<K> {
    let config =
        watcher::Config::default().labels(names::UID_LABEL).timeout(TIMEOUT).page_size(PAGE);
    let watch = move || watcher(all.clone(), config.clone()).default_backoff();
    Box::pin(panics::kept_stream("the watch of hooks", watch)).filter_map(async |event| match event
    {
        Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => Some(Ok(object)),
        Ok(watcher::Event::Delete(object)) => Some(Ok(Touched { is_gone: true, ..object })),
        Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
        Err(error) => {
            tracing::warn!("watch of {}s: {error}", K::kind(&()));
            None
        }
    })
}

/// The last observations of hooks' objects, by the key of their custom resource.
#[derive(Default)]
pub(crate) struct Observed(Mutex<HashMap<String, Objects>>);

/// The objects of one release that report something, by their UID.
#[derive(Default)]
struct Objects {
    last: HashMap<String, Last>,
    /// True if they are too many, so that each change is news.
    overflowed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Digest(u64),
    /// The release reports of the object what only Event objects say: each change may be its end.
    Explained,
}

const NOTHING: Last = Last::Digest(digest::NOTHING);

impl Observed {
    /// Notes the digest of the object that the release of this key has observed.
    pub(crate) fn note(&self, key: &str, uid: &str, digest: u64) {
        self.set(key, uid, Last::Digest(digest));
    }

    /// Notes that the release of this key reports of the object what only Event objects say.
    pub(crate) fn explained(&self, key: &str, uid: &str) {
        self.set(key, uid, Last::Explained);
    }

    fn set(&self, key: &str, uid: &str, last: Last) {
        let mut all = lock(&self.0);
        if last == NOTHING {
            all.get_mut(key).and_then(|objects| objects.last.remove(uid));
            return;
        }
        let objects = all.entry(key.to_owned()).or_default();
        if objects.last.len() < MOST_PER_RELEASE || objects.last.contains_key(uid) {
            objects.last.insert(uid.to_owned(), last);
        } else {
            objects.overflowed = true;
        }
    }

    /// Returns true if the release of this key has observed something that the object reports.
    fn has_noted(&self, key: &str, uid: &str) -> bool {
        let all = lock(&self.0);
        all.get(key).is_some_and(|objects| objects.overflowed || objects.last.contains_key(uid))
    }

    /// Returns true if the object reports something by now that the release of this key has not observed.
    fn is_news(&self, key: &str, uid: &str, digest: u64) -> bool {
        let all = lock(&self.0);
        let objects = all.get(key);
        let last = objects.and_then(|it| it.last.get(uid)).copied().unwrap_or(NOTHING);
        objects.is_some_and(|it| it.overflowed) || last != Last::Digest(digest)
    }

    pub(crate) fn forget(&self, key: &str) {
        lock(&self.0).remove(key);
    }

    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        lock(&self.0).retain(|key, _| keys.contains(key));
    }
}

/// Hooks that were started a moment ago, by their namespace and UID, and of which no watch has reported
/// yet that something runs.
#[derive(Clone, Default)]
pub(crate) struct Idle(Arc<Mutex<HashSet<(String, String)>>>);

impl Idle {
    fn has_started(&self, namespace: String, uid: String) {
        lock(&self.0).remove(&(namespace, uid));
    }
}

impl Watches {
    /// Wakes the release of this key after this time, unless a Pod shows until then that something of the
    /// hook with this UID has run.
    pub(crate) fn wake_if_idle(&self, key: &str, namespace: &str, uid: &str, after: Duration) {
        let hook = (namespace.to_owned(), uid.to_owned());
        let (idle, trigger) = (self.idle.clone(), self.triggers.trigger().clone());
        if !lock(&idle.0).insert(hook.clone()) {
            // It is waited for already.
            return;
        }
        let (key, after) = (key.to_owned(), after.min(LONGEST_IDLE));
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if lock(&idle.0).remove(&hook) {
                trigger.pull(&key);
            }
        });
    }

    /// Returns the custom resource that the change of a hook's object wakes. Objects that are held back
    /// are remembered, since they may be those of late requests, and wake it later.
    pub(crate) fn woken_by<K: Kind>(&self, touched: &Touched<K>) -> Option<ObjectRef<Tolerant>> {
        let key = touched.annotations().get(names::OWNER_ANNOTATION)?;
        let uid = touched.uid().unwrap_or_default();
        if touched.has_started {
            self.idle.has_started(touched.namespace().unwrap_or_default(), touched.hook.clone());
        }
        if self.holds_back(key, &uid, touched) && touched.digest == Some(digest::NOTHING) {
            return None;
        }
        if touched.is_gone && self.deletions.hears(&uid) {
            return None;
        }
        // The Pods of a Job that this process has deleted, unless the release reports one of them.
        if self.deletions.has_deleted(&touched.hook) && !self.observed.has_noted(key, &uid) {
            return None;
        }
        let is_news = touched.is_gone
            || touched.digest.is_none_or(|digest| self.observed.is_news(key, &uid, digest));
        let (namespace, name) = key.split_once('/')?;
        let wakes = is_news && self.elsewhere.wakes(&touched.namespace().unwrap_or_default(), key);
        wakes.then(|| ObjectRef::<Tolerant>::new(name).within(namespace))
    }

    /// Returns true if the object is held back, which is noted.
    fn holds_back<K: Kind>(&self, key: &str, uid: &str, touched: &Touched<K>) -> bool {
        let annotations = touched.annotations();
        let Some(gate) = annotations.get(names::GATE_ANNOTATION) else { return false };
        let is_held = gate == names::HELD
            && !touched.is_gone
            && touched.metadata.deletion_timestamp.is_none();
        if !is_held {
            self.held.forget(key, uid);
            return false;
        }
        let is_new = self.held.note(
            key,
            HeldObject {
                object: object::ObjectRef {
                    api_version: K::api_version(&()).into_owned(),
                    kind: K::kind(&()).into_owned(),
                    namespace: touched.namespace(),
                    name: touched.name_any(),
                },
                uid: uid.to_owned(),
                owner: touched.labels().get(names::UID_LABEL).cloned().unwrap_or_default(),
                account: annotations.get(names::ACCOUNT_ANNOTATION).cloned(),
                since: Instant::now(),
            },
        );
        if is_new {
            let namespace = touched.namespace().unwrap_or_default();
            tokio::spawn(self.wake_while_held(namespace, key.to_owned(), uid.to_owned()));
        }
        true
    }

    /// Wakes the release of this key for as long as the object is held back, less and less often: its
    /// deletion may fail.
    fn wake_while_held(
        &self,
        namespace: String,
        key: String,
        uid: String,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (held, elsewhere) = (self.held.clone(), Arc::clone(&self.elsewhere));
        let trigger = self.triggers.trigger().clone();
        async move {
            let mut pause = LATE;
            loop {
                tokio::time::sleep(pause).await;
                if !held.has(&key, &uid) {
                    return;
                }
                if elsewhere.wakes(&namespace, &key) {
                    trigger.pull(&key);
                }
                pause = (pause * 4).min(LATEST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn read<K: Kind>(object: &Value) -> Touched<K> {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn what_is_read_of_an_object_is_what_its_digest_needs() {
        let job = json!({
            "metadata": {"name": "migrate", "uid": "1",
                "managedFields": [{"manager": "kubectl"}],
                "labels": {names::UID_LABEL: "owner", "app": "shop"},
                "annotations": {names::GATE_ANNOTATION: names::OPEN, "example.com/x": "y"}},
            "spec": {"template": {"spec": {"containers": [{"image": "shop"}]}}},
            "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
        let touched = read::<Job>(&job);
        assert_eq!(touched.digest, Some(digest::of(HookKind::Job, &job)));
        assert_eq!(touched.labels().keys().collect::<Vec<_>>(), [names::UID_LABEL]);
        assert_eq!(touched.annotations().keys().collect::<Vec<_>>(), [names::GATE_ANNOTATION]);
        assert_eq!(touched.metadata.managed_fields, None);
    }

    #[test]
    fn an_object_that_takes_too_much_memory_is_always_news() {
        let bulk = vec![json!({"": 0}); 100_000];
        let large = json!({"metadata": {"name": "a"}, "status": {"conditions": bulk}});
        assert_eq!(read::<Pod>(&large).digest, None);
        let template = json!({"metadata": {"name": "a"}, "spec": {"template": bulk}});
        assert_eq!(read::<Job>(&template).digest, Some(digest::NOTHING), "its bulk is not read");
    }

    /// An error would end the list of all tenants' hooks.
    #[test]
    fn no_metadata_breaks_the_watch() {
        let many = |prefix: &str| -> Value {
            (0..20_000).map(|n| (format!("{prefix}{n}"), json!(""))).collect::<Map<_, _>>().into()
        };
        let finalizers = vec![json!("example.com/a"); 100_000];
        let owners = vec![json!({"kind": "Job", "controller": true}); 50_000];
        for (field, bulk) in [
            ("annotations", many(names::PREFIX)),
            ("labels", many(names::PREFIX)),
            ("finalizers", finalizers.into()),
            ("ownerReferences", owners.into()),
            ("deletionTimestamp", json!("never")),
            ("labels", json!([1])),
        ] {
            // In the order of the API server.
            let text =
                format!(r#"{{"metadata":{{"name":"a","namespace":"ns","{field}":{bulk}}}}}"#);
            let touched: Touched<Pod> = serde_json::from_str(&text).unwrap();
            assert_eq!(touched.metadata.name.as_deref(), Some("a"), "{field}");
        }
    }

    #[test]
    fn news_is_what_the_last_observation_did_not_have() {
        let observed = Observed::default();
        let is_news = |digest| observed.is_news("ns/shop", "1", digest);
        assert!(!is_news(digest::NOTHING) && is_news(7), "nothing was seen of it");
        observed.note("ns/shop", "1", 7);
        assert!(is_news(digest::NOTHING) && !is_news(7) && is_news(8));
        assert!(observed.is_news("ns/other", "1", 7) && observed.is_news("ns/shop", "2", 7));
        observed.note("ns/shop", "1", digest::NOTHING);
        assert!(!is_news(digest::NOTHING) && is_news(7));
        observed.explained("ns/shop", "1");
        assert!(is_news(digest::NOTHING) && is_news(7));
        observed.forget("ns/shop");
        assert!(!is_news(digest::NOTHING));
    }

    #[test]
    fn of_a_release_with_thousands_of_pods_some_are_remembered() {
        let observed = Observed::default();
        for uid in 0..10_000 {
            observed.note("ns/shop", &uid.to_string(), 7);
        }
        assert!(lock(&observed.0).values().all(|objects| objects.last.len() <= MOST_PER_RELEASE));
        assert!(
            observed.is_news("ns/shop", "9999", digest::NOTHING),
            "each change of any of them is"
        );
        observed.note("ns/other", "1", 7);
        assert!(!observed.is_news("ns/other", "9999", digest::NOTHING));
    }
}
