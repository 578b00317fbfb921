//! Acquires, renews and releases the lease. Every write is a replace of the version that was read,
//! so that of several replicas one wins.

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

/// A watch that died silently is noticed after this many seconds. Until then the lease looks
/// expired, and the attempt to take it shows that it is not.
const WATCH_TIMEOUT: u32 = 60;

/// Why the election ended.
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
    /// With these settings there can be no lease.
    #[error(transparent)]
    Refused(RequestError),
    /// The process leads no longer.
    #[error(
        "lost the lease {namespace}/{name}: {loss}{}",
        .trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"))
    )]
    Lost {
        /// The namespace of the Lease.
        namespace: String,
        /// The name of the Lease.
        name: String,
        /// Why it was lost.
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
    /// As it was seen or written last; `None` where there is none.
    seen: Option<coordination::Lease>,
    /// Since when its spec is as in `seen`.
    since: Instant,
    /// Its transitions, as far as they were ever seen: no leader has the epoch of an earlier one.
    transitions: Option<i32>,
    /// When the request was sent that acquired or renewed it last.
    renewed: Option<Instant>,
}

impl Election {
    /// A candidacy that has not begun. `lease` is told whether this process leads.
    #[must_use]
    pub fn new(client: Client, candidacy: Candidacy, lease: Arc<Lease>) -> Self {
        let api = Api::namespaced(client, &candidacy.namespace);
        let (timing, since) = (Timing::new(candidacy.duration), Instant::now());
        Self { api, candidacy, timing, lease, seen: None, since, transitions: None, renewed: None }
    }

    /// Stands by until this process leads; `standing_by` is called each time that another one is seen
    /// to lead.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] and [`Error::Refused`]: what may pass is waited for.
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
                // A look of our own, should the watch have died.
                () = sleep_until(end.into()) => self.look().await,
                change = changes.next() => match change {
                    Some(Ok(lease)) => {
                        self.observe(lease);
                        Ok(())
                    }
                    Some(Err(error)) => Err(error),
                    // It never ends by itself.
                    None => self.look().await,
                },
            };
        }
        let Candidacy { namespace, name, identity, .. } = &self.candidacy;
        let epoch = self.lease.epoch();
        tracing::info!(epoch, "leading as {identity}, by lease {namespace}/{name}");
        Ok(())
    }

    /// Renews the lease for as long as that goes well, and returns [`Error::Lost`] then.
    pub async fn keep(&mut self) -> Error {
        let mut trouble = None;
        let loss = loop {
            let deadline = self.timing.renew_deadline;
            // Without one there is nothing to keep.
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
            // What was sent last may or may not have been carried out.
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

    /// One renewal, with as many attempts as it takes.
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
                Err(error) if error.meaning() == Meaning::Outrun => match self.look().await {
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

    /// Waits after what may pass, and fails for what does not.
    async fn forgive(&self, error: RequestError) -> Result<(), Error> {
        match error.meaning() {
            Meaning::Outrun => Ok(()),
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
        let found = self.send("get", self.api.get_opt(&self.candidacy.name)).await?;
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

    /// The lease each time that it changes. It is not watched before this is polled.
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

    /// Not the same for all replicas.
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
