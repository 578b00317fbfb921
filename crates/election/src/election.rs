//! Acquires, renews and releases the lease. Every write is a replace of the version that was read,
//! so that one of several replicas wins.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1 as coordination;
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use kube_runtime::{WatchStreamExt, watcher};
use thiserror::Error;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use crate::{
    Candidacy, Lease, Loss, Timing,
    decide::{self, Decision, Seen, decide},
    jitter,
    request::{Meaning, RequestError},
};

/// The seconds after which a watch that died silently is noticed. Until then the lease looks
/// expired, and the attempt to take it shows that it is not.
const WATCH_TIMEOUT: u32 = 60;

/// The reason why the election ended.
#[derive(Debug, Error)]
pub enum Error {
    /// The process lacks a right.
    #[error(
        "{error}; give it the verbs get, list, watch, create and update on \
         leases.coordination.k8s.io in namespace {namespace}"
    )]
    Forbidden {
        /// The request that was refused.
        error: RequestError,
        /// The namespace of the Lease.
        namespace: String,
    },
    /// The settings allow no lease.
    #[error(transparent)]
    Refused(RequestError),
    /// The process no longer leads.
    #[error(
        "lost the lease {namespace}/{name}: {loss}{}",
        .trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"))
    )]
    Lost {
        /// The namespace of the Lease.
        namespace: String,
        /// The name of the Lease.
        name: String,
        /// The reason of the loss.
        loss: Loss,
        /// The last error before.
        trouble: Option<String>,
    },
}

/// One process's part in the election.
pub struct Election {
    api: Api<coordination::Lease>,
    candidacy: Candidacy,
    timing: Timing,
    lease: Arc<Lease>,
    /// The lease as last observed or written; `None` if there is none.
    seen: Option<coordination::Lease>,
    /// The time since when its spec is as in `seen`.
    since: Instant,
    /// The highest transitions that were ever observed: no leader has the epoch of an earlier one.
    transitions: Option<i32>,
    /// The time when the last request was sent that acquired or renewed it.
    renewed: Option<Instant>,
}

impl Election {
    /// Returns a candidacy that has not begun. `lease` is updated when this process starts or stops
    /// leading.
    #[must_use]
    pub fn new(client: Client, candidacy: Candidacy, lease: Arc<Lease>) -> Self {
        let api = Api::namespaced(client, &candidacy.namespace);
        let (timing, since) = (Timing::new(candidacy.duration), Instant::now());
        Self { api, candidacy, timing, lease, seen: None, since, transitions: None, renewed: None }
    }

    /// Stands by until this process leads; `standing_by` is called each time that another one is
    /// observed to lead.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] and [`Error::Refused`]: errors that may pass are waited for.
    pub async fn acquire(&mut self, mut standing_by: impl FnMut()) -> Result<(), Error> {
        let mut changes = pin!(self.changes());
        let mut leader = None;
        let mut step = self.look().await;
        loop {
            if let Err(error) = step {
                self.forgive(error).await?;
                step = self.look().await;
                continue;
            }
            let Decision::WaitUntil(end) = self.decide() else {
                step = self.write().await;
                if step.is_ok() {
                    break;
                }
                continue;
            };
            standing_by();
            let holder = self.holder().map(str::to_owned);
            if holder != leader {
                let Candidacy { namespace, name, identity, .. } = &self.candidacy;
                let holder = holder.as_deref().unwrap_or_default();
                tracing::info!(
                    "standing by as {identity}: {holder} holds lease {namespace}/{name}"
                );
                leader = Some(holder.to_owned());
            }
            step = tokio::select! {
                // A read of our own, in case the watch has died.
                () = sleep_until(end.into()) => self.look().await,
                change = changes.next() => match change {
                    Some(Ok(lease)) => {
                        self.observe(lease);
                        Ok(())
                    }
                    Some(Err(error)) => Err(error),
                    // The watch never ends by itself.
                    None => self.look().await,
                },
            };
        }
        let Candidacy { namespace, name, identity, .. } = &self.candidacy;
        let epoch = self.lease.epoch();
        tracing::info!(epoch, "leading as {identity}, by lease {namespace}/{name}");
        Ok(())
    }

    /// Renews the lease as long as that succeeds, then returns [`Error::Lost`].
    pub async fn keep(&mut self) -> Error {
        let mut trouble = None;
        let loss = loop {
            let deadline = self.timing.renew_deadline;
            // Without a lease there is nothing to keep.
            let Some(renewed) = self.renewed else { break Loss::Overdue(deadline) };
            let end = renewed + deadline;
            match timeout_at(end.into(), self.renew(&mut trouble)).await {
                Ok(Ok(())) => trouble = None,
                Ok(Err(loss)) => break loss,
                Err(_) => break Loss::Overdue(deadline),
            }
        };
        self.end();
        let Candidacy { namespace, name, .. } = &self.candidacy;
        let (namespace, name) = (namespace.clone(), name.clone());
        Error::Lost { namespace, name, loss, trouble }
    }

    /// Lets another replica take over at once. Nothing may be begun any more.
    pub async fn release(&mut self) {
        let led = self.renewed.is_some();
        self.end();
        let Candidacy { namespace, name, identity, .. } = &self.candidacy;
        let what = format!("lease {namespace}/{name}");
        let identity = identity.clone();
        let released = timeout(self.timing.request, async {
            // The last request may or may not have been executed.
            self.look().await?;
            let Some(mut lease) = self.seen.clone() else { return Ok(false) };
            if self.holder() != Some(&identity) {
                return Ok(false);
            }
            lease.spec = lease.spec.map(|spec| decide::released(&spec, Timestamp::now()));
            self.replace("release", &lease).await.map(|_| true)
        });
        match released.await {
            Ok(Ok(true)) => tracing::info!("released {what}"),
            Ok(Ok(false)) => {}
            _ if !led => {}
            Ok(Err(error)) => tracing::warn!("{what} will expire by itself: {error}"),
            Err(_) => tracing::warn!("{what} will expire by itself: no answer in time"),
        }
    }

    /// Renews it once, with as many attempts as that takes.
    async fn renew(&mut self, trouble: &mut Option<String>) -> Result<(), Loss> {
        let mut next = Instant::now() + self.pause();
        loop {
            sleep_until(next.into()).await;
            if let Decision::Lost(loss) = self.decide() {
                return Err(loss);
            }
            next = Instant::now() + self.pause();
            let error = match self.write().await {
                Ok(()) => return Ok(()),
                Err(error) if error.meaning() == Meaning::Stale => match self.look().await {
                    Ok(()) => {
                        next = Instant::now();
                        continue;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            tracing::warn!("{error}");
            *trouble = Some(error.to_string());
        }
    }

    /// Waits after an error that may pass, and fails for others.
    async fn forgive(&self, error: RequestError) -> Result<(), Error> {
        match error.meaning() {
            Meaning::Stale => Ok(()),
            Meaning::Forbidden => {
                Err(Error::Forbidden { error, namespace: self.candidacy.namespace.clone() })
            }
            Meaning::Refused => Err(Error::Refused(error)),
            Meaning::Trouble => {
                tracing::warn!("{error}");
                sleep(self.pause()).await;
                Ok(())
            }
        }
    }

    fn decide(&self) -> Decision {
        let spec = self.seen.as_ref().and_then(|lease| lease.spec.as_ref());
        let seen = Seen { spec, since: self.since, renewed: self.renewed };
        decide(&seen, &self.timing, Instant::now(), &self.candidacy.identity)
    }

    fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.spec.as_ref().and_then(decide::holder)
    }

    fn observe(&mut self, lease: Option<coordination::Lease>) {
        let spec = |lease: &Option<coordination::Lease>| lease.as_ref()?.spec.clone();
        if spec(&lease) != spec(&self.seen) {
            self.since = Instant::now();
        }
        let transitions = spec(&lease).map(|spec| spec.lease_transitions.unwrap_or(0));
        self.transitions = self.transitions.max(transitions);
        self.seen = lease;
    }

    async fn look(&mut self) -> Result<(), RequestError> {
        let found = self.send("get", self.api.get(&self.candidacy.name)).await;
        let found = match found {
            Err(error) if error.is_not_found() => None,
            found => Some(found?),
        };
        self.observe(found);
        Ok(())
    }

    /// Acquires or renews it.
    async fn write(&mut self) -> Result<(), RequestError> {
        let start = Instant::now();
        let (me, timing) = (&self.candidacy.identity, &self.timing);
        let (now, end) = (Timestamp::now(), start + timing.duration);
        let seen = self.seen.as_ref().and_then(|lease| lease.spec.as_ref());
        let spec = match self.renewed {
            Some(_) => decide::renewed(seen, timing, now, me, self.lease.epoch()),
            None => decide::acquired(seen, timing, now, me, self.transitions),
        };
        let epoch = spec.lease_transitions.unwrap_or(0);
        let written = match self.seen.clone() {
            Some(lease) => {
                let lease = coordination::Lease { spec: Some(spec), ..lease };
                let verb = if self.renewed.is_some() { "renew" } else { "acquire" };
                self.replace(verb, &lease).await?
            }
            None => self.create(spec).await?,
        };
        self.observe(Some(written));
        self.renewed = Some(start);
        self.lease.renewed(end, epoch);
        Ok(())
    }

    async fn create(
        &self,
        spec: coordination::LeaseSpec,
    ) -> Result<coordination::Lease, RequestError> {
        let name = Some(self.candidacy.name.clone());
        let lease = coordination::Lease {
            metadata: ObjectMeta { name, ..ObjectMeta::default() },
            spec: Some(spec),
        };
        let created = self.send("create", self.api.create(&self.params(), &lease)).await;
        created.map_err(RequestError::of_create)
    }

    async fn replace(
        &self,
        verb: &str,
        lease: &coordination::Lease,
    ) -> Result<coordination::Lease, RequestError> {
        self.send(verb, self.api.replace(&self.candidacy.name, &self.params(), lease)).await
    }

    async fn send<T>(
        &self,
        verb: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, RequestError> {
        let limit = self.timing.request;
        match timeout(limit, request).await {
            Ok(answer) => answer.map_err(|error| RequestError::kube(self.what(verb), error)),
            Err(_) => Err(RequestError::no_answer(self.what(verb), limit)),
        }
    }

    /// Returns the lease each time that it changes. It is not watched before this is polled.
    fn changes(
        &self,
    ) -> impl Stream<Item = Result<Option<coordination::Lease>, RequestError>> + use<> {
        let what = self.what("watch");
        let field = format!("metadata.name={}", self.candidacy.name);
        let config = watcher::Config::default().fields(&field).timeout(WATCH_TIMEOUT);
        watcher(self.api.clone(), config).default_backoff().filter_map(move |event| {
            let event = match event {
                Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) => {
                    Some(Ok(Some(lease)))
                }
                Ok(watcher::Event::Delete(_)) => Some(Ok(None)),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
                Err(error) => Some(Err(RequestError::watch(what.clone(), error))),
            };
            std::future::ready(event)
        })
    }

    fn end(&mut self) {
        self.renewed = None;
        self.lease.end();
    }

    /// Returns the pause before the next attempt, which differs between replicas.
    fn pause(&self) -> Duration {
        self.timing.retry.mul_f64(jitter())
    }

    fn what(&self, verb: &str) -> String {
        let Candidacy { namespace, name, .. } = &self.candidacy;
        format!("{verb} lease {namespace}/{name}")
    }
    fn params(&self) -> PostParams {
        let field_manager = Some(self.candidacy.field_manager.clone());
        PostParams { field_manager, ..PostParams::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Mutex, PoisonError},
    };

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::watch;
    use tower::service_fn;

    use super::*;

    /// An API server with one Lease, which only a client that has read its current version can
    /// replace.
    #[derive(Clone)]
    struct Server {
        lease: Arc<Mutex<Option<Value>>>,
        version: watch::Sender<u32>,
        /// The code of every answer, if it must fail.
        refuses: Option<u16>,
    }

    impl Server {
        fn new(refuses: Option<u16>) -> Self {
            Self { lease: Arc::default(), version: watch::Sender::new(0), refuses }
        }

        fn candidate(&self, identity: &str) -> (Election, Arc<Lease>) {
            let server = self.clone();
            let service = service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let candidacy = Candidacy {
                namespace: "ns".to_owned(),
                name: "leader".to_owned(),
                identity: identity.to_owned(),
                field_manager: "test".to_owned(),
                duration: Duration::from_secs(15),
            };
            let lease = Arc::new(Lease::new());
            let client = Client::new(service, "ns");
            (Election::new(client, candidacy, Arc::clone(&lease)), lease)
        }

        fn present(&self) -> Option<Value> {
            self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn store(&self, mut lease: Value) -> Value {
            let mut stored = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
            self.version.send_modify(|version| *version += 1);
            lease["metadata"]["resourceVersion"] = json!(self.version.borrow().to_string());
            *stored = Some(lease.clone());
            lease
        }

        async fn answer(&self, request: Request<Body>) -> Response<Body> {
            let (parts, body) = request.into_parts();
            let query = parts.uri.query().unwrap_or_default().to_owned();
            let sent = body.collect().await.unwrap().to_bytes();
            let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
            let failure = |code: u16| {
                (
                    code,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                              "code": code, "reason": "Reason", "message": "words"}),
                )
            };
            let present = self.present();
            let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            let (code, answer) = match (parts.method, present) {
                _ if self.refuses.is_some() => failure(self.refuses.unwrap_or_default()),
                (Method::GET, present) if query.contains("watch=true") => {
                    // It answers with the next change.
                    let seen = present.as_ref().map(version).unwrap_or_default();
                    let mut versions = self.version.subscribe();
                    let newer = |version: &u32| json!(version.to_string()) != seen;
                    versions.wait_for(newer).await.unwrap();
                    (200, json!({"type": "MODIFIED", "object": self.present()}))
                }
                (Method::GET, present) if parts.uri.path().ends_with("/leases") => {
                    let items = present.into_iter().collect::<Vec<_>>();
                    let version = self.version.borrow().to_string();
                    (
                        200,
                        json!({"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1",
                                 "metadata": {"resourceVersion": version}, "items": items}),
                    )
                }
                (Method::GET, Some(lease)) => (200, lease),
                (Method::GET, None) => failure(404),
                (Method::POST, None) => (201, self.store(sent)),
                (Method::PUT, Some(lease)) if version(&lease) == version(&sent) => {
                    (200, self.store(sent))
                }
                _ => failure(409),
            };
            let text = format!("{answer}\n");
            Response::builder().status(code).body(Body::from(text.into_bytes())).unwrap()
        }
    }

    #[tokio::test]
    async fn of_two_that_want_it_at_once_one_leads_and_the_other_follows_it() {
        let server = Server::new(None);
        let (mut a, of_a) = server.candidate("a");
        let (mut b, of_b) = server.candidate("b");
        let (calls, mut called) = watch::channel(0);
        let stand_by = || calls.send_modify(|times| *times += 1);
        let first = {
            let (a, b) = (a.acquire(stand_by), b.acquire(stand_by));
            let (mut a, mut b) = (pin!(a), pin!(b));
            let first = tokio::select! {
                led = &mut a => { led.unwrap(); "a" }
                led = &mut b => { led.unwrap(); "b" }
            };
            // The other one observes that, and does not lead.
            let other = async { if first == "a" { b.await } else { a.await } };
            tokio::select! {
                led = other => panic!("both lead: {led:?}"),
                seen = called.wait_for(|times| *times > 0) => { seen.unwrap(); }
            }
            first
        };
        assert_eq!(server.present().unwrap()["spec"]["holderIdentity"], first);
        assert_eq!((of_a.is_held(), of_b.is_held()), (first == "a", first == "b"));
        let ((mut leader, of_leader), (mut other, of_other)) =
            if first == "a" { ((a, of_a), (b, of_b)) } else { ((b, of_b), (a, of_a)) };
        leader.release().await;
        assert!(!of_leader.is_held());
        other.acquire(|| ()).await.unwrap();
        assert!(of_other.is_held() && of_other.epoch() > of_leader.epoch());
    }

    #[tokio::test]
    async fn a_leader_whose_lease_was_taken_leads_no_longer_and_does_not_take_it_back() {
        let server = Server::new(None);
        let (mut leader, lease) = server.candidate("a");
        leader.acquire(|| ()).await.unwrap();
        let mut taken = server.present().unwrap();
        taken["spec"]["holderIdentity"] = json!("b");
        server.store(taken);
        let Error::Lost { loss, .. } = leader.keep().await else { panic!("it is not lost") };
        assert_eq!(loss, Loss::Taken("b".to_owned()));
        assert!(!lease.is_held());
        leader.release().await;
        assert_eq!(server.present().unwrap()["spec"]["holderIdentity"], "b");
    }

    #[tokio::test]
    async fn what_no_waiting_mends_ends_the_election() {
        let (mut forbidden, _) = Server::new(Some(403)).candidate("a");
        let error = forbidden.acquire(|| ()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Forbidden { namespace, .. } if namespace == "ns"),
            "{error}"
        );
        let (mut refused, _) = Server::new(Some(422)).candidate("a");
        let error = refused.acquire(|| ()).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
}
