//! Charts from servers. Tasks of their own fetch them, so that a server that hangs blocks only the
//! releases that need it. The result is remembered for `spec.interval`.

mod cache;
mod entry;
mod pull;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use api::ReleaseLifecycle;
use lifecycle::{journal::Failure, reason::Reason};
use sources::WantedChart;
use tokio::sync::watch;

pub(crate) use self::{
    cache::Cache,
    pull::{Reach, Settings},
};
use self::{
    cache::Scope,
    entry::{Entry, Next, Occasion, Problem, UnderWay},
    pull::{Pulled, pull},
};
use crate::{
    cluster::error::Error,
    support::{
        backoff::Backoff,
        key::{RECHECK, key},
        panics,
        permits::{Permits, Permitted},
        sync::lock,
    },
    watches::sources::{Comeback, jittered},
};

/// The number of charts that are fetched at once: each may take 200 MiB of memory for a moment,
/// half of it in the engine.
const AT_ONCE: usize = 2;
/// The maximum size of all archives that were fetched and not taken yet.
const MOST_KEPT: usize = 64 << 20;
/// The time for which a reconciliation waits for the answer; most servers are faster.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time for which a request that the server refused is not repeated, however often the release
/// is reconciled.
const REST: Duration = Duration::from_secs(10);

pub(crate) struct Charts {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    cache: Arc<Cache>,
    /// The entries, by the key of the custom resource.
    entries: Mutex<HashMap<String, Entry>>,
    turns: Permits,
    backoff: Backoff,
    started: AtomicU64,
}

/// A chart as its server has it.
pub(crate) struct Fetched {
    pub(crate) archive: Arc<[u8]>,
    pub(crate) digest: String,
}

/// A release's request for its chart.
pub(crate) struct Request {
    key: String,
    namespace: String,
    wanted: WantedChart,
    /// The part of the cache that it may use.
    scope: Scope,
    /// The request to the server, and its credentials.
    asked: Scope,
    occasion: Occasion,
    interval: Duration,
    comeback: Comeback,
}

impl Request {
    /// Returns the request for the release of `object`, which `comeback` brings back.
    pub(crate) fn new(object: &ReleaseLifecycle, wanted: WantedChart, comeback: Comeback) -> Self {
        let (key, requests) = (key(object), object.requests());
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let (scope, asked) = scopes(&namespace, &wanted);
        Self {
            scope,
            asked,
            occasion: Occasion {
                generation: object.metadata.generation.unwrap_or_default(),
                retry: requests.retry,
                restart: requests.restart,
            },
            interval: jittered(object.interval(), &key),
            key,
            namespace,
            wanted,
            comeback,
        }
    }
}

/// Returns the part of the cache that a release of this namespace may use, and its request. Without
/// the credentials, nothing is there; what was verified by other keys, or not at all, is another
/// chart.
fn scopes(namespace: &str, wanted: &WantedChart) -> (Scope, Scope) {
    let WantedChart { place: _, origin, credentials, verify } = wanted;
    let secrets = (credentials, verify);
    (Scope::of(&(namespace, wanted.server(), secrets)), Scope::of(&(namespace, origin, secrets)))
}

impl Charts {
    pub(crate) fn new(settings: Settings, cache: Cache) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                cache: Arc::new(cache),
                entries: Mutex::default(),
                turns: Permits::new(AT_ONCE),
                backoff: Backoff::default(),
                started: AtomicU64::new(0),
            }),
        }
    }

    /// Reads what every fetch needs, so that a missing right is noticed before the first one.
    pub(crate) async fn prepare(&self) {
        self.shared.settings.endpoints.addresses().await;
    }

    /// Forgets the custom resource, which is gone, or names no chart of a server.
    pub(crate) fn forget(&self, key: &str) {
        lock(&self.shared.entries).remove(key);
        self.shared.backoff.forget(key);
    }

    /// Forgets all custom resources but those of these keys.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        lock(&self.shared.entries).retain(|key, _| keys.contains(key));
    }

    /// Returns the chart. If that takes longer, the error is `Error::RetryAfter`, and the release is
    /// brought back when the chart is there.
    pub(crate) async fn get(&self, request: &Request) -> Result<Fetched, Error> {
        let shared = &self.shared;
        if let Some(digest) = request.wanted.pinned()
            && let Some(archive) = shared.cache.get(&request.scope, digest).await
        {
            return Ok(Fetched { archive, digest: digest.to_owned() });
        }
        let mut patient = true;
        loop {
            match shared.step(request, patient) {
                Step::Use { digest, archive } => {
                    let archive = match archive {
                        Some(archive) => Some(archive),
                        None => shared.cache.get(&request.scope, &digest).await,
                    };
                    if let Some(archive) = archive {
                        return Ok(Fetched { archive, digest });
                    }
                    shared.with_entry(request, Entry::lose);
                }
                Step::Fail(problem, left) => return Err(problem.error(left)),
                Step::Wait(mut done) => {
                    tokio::time::timeout(PATIENCE, done.changed()).await.ok();
                    patient = false;
                }
                Step::Leave(meanwhile) => return shared.meanwhile(request, meanwhile).await,
            }
        }
    }
}

enum Step {
    Use {
        digest: String,
        archive: Option<Arc<[u8]>>,
    },
    Fail(Problem, Duration),
    /// Waits for the end of the running fetch.
    Wait(watch::Receiver<()>),
    /// Leaves until the release is brought back; until then, the chart that was found before, or
    /// the problem.
    Leave(Result<Option<String>, Problem>),
}

impl Shared {
    fn with_entry<T>(&self, request: &Request, act: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = lock(&self.entries);
        let new = || Entry::new(request.asked.clone());
        let entry = entries.entry(request.key.clone()).or_insert_with(new);
        if !entry.is_for(&request.asked) {
            *entry = new();
            self.backoff.forget(&request.key);
        }
        act(entry)
    }

    /// Returns the known result, or asks the server, starting a fetch if there is none. If others
    /// are served first, the reconciliation does not wait.
    fn step(self: &Arc<Self>, request: &Request, patient: bool) -> Step {
        self.with_entry(request, |entry| {
            let next = entry.next(&request.occasion, request.interval, Instant::now());
            match next {
                Next::Use { digest, archive } => {
                    if let (None, Some(until)) =
                        (request.wanted.pinned(), entry.until(request.interval))
                    {
                        request.comeback.valid_until(until);
                    }
                    Step::Use { digest, archive }
                }
                Next::Fail(problem, left) => Step::Fail(problem, left),
                Next::Wait | Next::Ask => {
                    let known = entry.digest().map(str::to_owned);
                    let under_way =
                        entry.under_way.get_or_insert_with(|| self.start(request, known));
                    if patient && !under_way.queued {
                        Step::Wait(under_way.done.clone())
                    } else {
                        Step::Leave(entry.meanwhile(&request.occasion))
                    }
                }
            }
        })
    }

    fn start(self: &Arc<Self>, request: &Request, known: Option<String>) -> UnderWay {
        let (sender, done) = watch::channel(());
        let id = self.started.fetch_add(1, Relaxed);
        let turn = self.turns.take_now(&request.namespace);
        let queued = turn.is_none();
        let fetch = Fetch {
            id,
            key: request.key.clone(),
            namespace: request.namespace.clone(),
            wanted: request.wanted.clone(),
            scope: request.scope.clone(),
            request: request.asked.clone(),
            occasion: request.occasion.clone(),
            known,
        };
        tokio::spawn(Arc::clone(self).run(fetch, turn, sender, request.comeback.clone()));
        UnderWay { id, queued, done }
    }

    /// Returns the result that a release uses while the server is asked.
    async fn meanwhile(
        &self,
        request: &Request,
        found: Result<Option<String>, Problem>,
    ) -> Result<Fetched, Error> {
        let mut again_in = RECHECK;
        match found {
            Ok(Some(digest)) => {
                if let Some(archive) = self.cache.get(&request.scope, &digest).await {
                    return Ok(Fetched { archive, digest });
                }
                // The fetch does not know that this release waits, since the chart seemed to be
                // there.
                again_in = PATIENCE;
            }
            Ok(None) => {}
            // As reported before: the running fetch checks whether it still holds.
            Err(problem) => return Err(problem.error(RECHECK)),
        }
        let message = format!("{}: it is being fetched", request.wanted.place);
        Err(Error::RetryAfter(Failure::new(Reason::Fetching, message), again_in))
    }

    /// Asks the server, and brings the release back if it does not wait for the answer.
    async fn run(
        self: Arc<Self>,
        fetch: Fetch,
        turn: Option<Permitted>,
        sender: watch::Sender<()>,
        comeback: Comeback,
    ) {
        let turn = match turn {
            Some(turn) => turn,
            None => self.turns.take(&fetch.namespace).await,
        };
        let since = Instant::now();
        // Reconciliations that wait for it are also told of a panic.
        let pulled = panics::caught(self.fetch(&fetch)).await;
        let pulled = pulled.unwrap_or_else(|panicked| Err(Problem::RetryAfter(panicked.failure())));
        drop(turn);
        self.settings.metrics.chart_fetched(match &pulled {
            Ok(Pulled { archive: Some(_), .. }) => "fetched",
            Ok(Pulled { archive: None, .. }) => "unchanged",
            Err(_) => "failed",
        });
        let is_news = self.conclude(fetch, since, pulled);
        // The entry's own receiver is gone; the remaining ones are reconciliations that wait.
        if is_news && sender.receiver_count() == 0 {
            comeback.now();
        }
    }

    async fn fetch(&self, fetch: &Fetch) -> Result<Pulled, Problem> {
        let known = match &fetch.known {
            Some(digest) if self.cache.get(&fetch.scope, digest).await.is_some() => {
                Some(digest.clone())
            }
            // After a start nothing is remembered, but the chart may be in the cache.
            _ => match self.cache.newest(&fetch.scope).await {
                Some(digest) => {
                    let whole = self.cache.get(&fetch.scope, &digest).await.is_some();
                    whole.then_some(digest)
                }
                None => None,
            },
        };
        let pulled = pull(&self.settings, &fetch.wanted, known).await?;
        if let Some(archive) = &pulled.archive {
            self.cache.put(&fetch.scope, &pulled.digest, Arc::clone(archive)).await;
        }
        Ok(pulled)
    }

    /// Records the result. Returns true if the release must be notified.
    fn conclude(&self, fetch: Fetch, since: Instant, pulled: Result<Pulled, Problem>) -> bool {
        let mut entries = lock(&self.entries);
        let room = room(&entries);
        let own = entries.get_mut(&fetch.key).filter(|entry| {
            entry.is_for(&fetch.request)
                && entry.under_way.as_ref().is_some_and(|it| it.id == fetch.id)
        });
        // By now the release needs another chart, or is gone.
        let Some(entry) = own else { return false };
        match pulled {
            Ok(Pulled { digest, archive }) => {
                self.backoff.forget(&fetch.key);
                let Fetch { key, wanted, occasion, .. } = fetch;
                let archive = archive.filter(|it| it.len() <= room);
                let is_news = entry.succeed(occasion, since, digest.clone(), archive);
                if is_news {
                    tracing::info!(release = key, digest, "fetched {}", wanted.place);
                }
                is_news
            }
            Err(problem) => {
                let wait = match &problem {
                    Problem::Blocked(_) => REST,
                    Problem::RetryAfter(failure) => {
                        let wait = self.backoff.next(&fetch.key, None);
                        tracing::warn!(release = fetch.key, retry_in = ?wait, "{}", failure.message);
                        wait
                    }
                };
                entry.fail(fetch.occasion, Instant::now() + wait, problem);
                true
            }
        }
    }
}

/// Returns the size of the archives that may still be kept. One that nobody takes stays, and a tenant
/// may have many releases: beyond the limit, the cache on disk has to do.
fn room(entries: &HashMap<String, Entry>) -> usize {
    let kept: usize = entries.values().map(Entry::kept_bytes).sum();
    MOST_KEPT.saturating_sub(kept)
}

impl Problem {
    fn error(self, again_in: Duration) -> Error {
        match self {
            Self::Blocked(failure) => Error::Blocked(failure),
            Self::RetryAfter(failure) => Error::RetryAfter(failure, again_in),
        }
    }
}

/// A chart that is being fetched.
struct Fetch {
    id: u64,
    key: String,
    namespace: String,
    wanted: WantedChart,
    scope: Scope,
    request: Scope,
    occasion: Occasion,
    known: Option<String>,
}

#[cfg(test)]
mod tests {
    use engine::protocol::{File, Origin, Verify};

    use super::*;

    fn of(keys: Option<(&'static str, &str)>) -> (Scope, Scope) {
        let verify = keys.map(|(provider, key)| Verify {
            provider,
            files: vec![File { name: "a.pub".to_owned(), data: key.into() }],
        });
        let origin = Origin::Artifact { url: String::new(), digest: String::new(), under: vec![] };
        let wanted = WantedChart { place: String::new(), origin, credentials: None, verify };
        scopes("shop", &wanted)
    }

    #[test]
    fn archives_that_nobody_takes_have_a_bound_together() {
        const EACH: usize = 19 << 20;
        let (archive, occasion): (Arc<[u8]>, _) = (vec![0; EACH].into(), Occasion::default());
        let mut entries = HashMap::new();
        for n in 0..70 {
            let kept = (EACH <= room(&entries)).then(|| Arc::clone(&archive));
            let mut entry = Entry::new(of(None).1);
            entry.succeed(occasion.clone(), Instant::now(), n.to_string(), kept);
            entries.insert(n.to_string(), entry);
        }
        assert_eq!(room(&entries), MOST_KEPT - 3 * EACH);
        for entry in entries.values_mut() {
            entry.next(&occasion, Duration::from_mins(1), Instant::now());
        }
        assert_eq!(room(&entries), MOST_KEPT, "they were taken");
    }

    #[test]
    fn what_was_verified_otherwise_is_another_chart() {
        let keys = [None, Some(("cosign", "a")), Some(("cosign", "b")), Some(("helm", "a"))];
        for (at, one) in keys.iter().enumerate() {
            for (other_at, other) in keys.iter().enumerate() {
                let ((scope, asked), (other_scope, other_asked)) = (of(*one), of(*other));
                assert_eq!(scope == other_scope, at == other_at);
                assert_eq!(asked == other_asked, at == other_at);
            }
        }
    }
}
