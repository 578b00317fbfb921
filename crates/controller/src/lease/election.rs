//! Acquires, renews and releases the lease. Every write is a replace of the version that was read,
//! so that of several replicas one wins.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use api::names::STATUS_MANAGER;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1 as coordination;
use kube::{Api, Client, api::PostParams, core::ObjectMeta};
use kube_runtime::{WatchStreamExt, watcher};
use thiserror::Error;
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use super::{
    Candidacy, Lease,
    decide::{self, Decision, Loss, Seen, decide},
};
use crate::{
    cluster::{
        call::{Access, ApiError, Cause, Refused, call, optional},
        metrics::Metrics,
    },
    support::backoff::jitter,
};

/// A watch that died silently is noticed after this many seconds. Until then the lease looks
/// expired, and the attempt to take it shows that it is not.
const WATCH_TIMEOUT: u32 = 60;

#[derive(Debug, Error)]
pub(crate) enum ElectionError {
    #[error(
        "{0}; give the operator the verbs get, list, watch, create and update on \
         leases.coordination.k8s.io in namespace {1}, name another one with --lease-namespace, or \
         run a single replica with --no-leader-election"
    )]
    Forbidden(ApiError, String),
    #[error("{0}; see --lease-namespace, --lease-name and --identity")]
    Refused(ApiError),
    #[error(
        "lost the lease {namespace}/{name}: {loss}{}; running hooks go on, and whoever leads next \
         finds them again",
        .trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"))
    )]
    Lost { namespace: String, name: String, loss: Loss, trouble: Option<String> },
}

pub(crate) struct Election {
    api: Api<coordination::Lease>,
    candidacy: Candidacy,
    metrics: Arc<Metrics>,
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
    pub(crate) fn new(
        client: Client,
        candidacy: Candidacy,
        metrics: Arc<Metrics>,
        lease: Arc<Lease>,
    ) -> Self {
        let api = Api::namespaced(client, &candidacy.namespace);
        let since = Instant::now();
        Self { api, candidacy, metrics, lease, seen: None, since, transitions: None, renewed: None }
    }

    /// Stands by until this process leads; `standing_by` is called when another one does.
    pub(crate) async fn acquire(
        &mut self,
        mut standing_by: impl FnMut(),
    ) -> Result<(), ElectionError> {
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
        self.metrics.leader.set(1);
        let Candidacy { namespace, name, identity, .. } = &self.candidacy;
        let epoch = self.lease.epoch();
        tracing::info!(epoch, "leading as {identity}, by lease {namespace}/{name}");
        Ok(())
    }

    /// Renews the lease for as long as that goes well.
    pub(crate) async fn keep(&mut self) -> ElectionError {
        let mut trouble = None;
        let loss = loop {
            let deadline = self.candidacy.timing.renew_deadline;
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
        ElectionError::Lost { namespace, name, loss, trouble }
    }

    /// Lets another replica take over at once. Nothing may be begun any more.
    pub(crate) async fn release(&mut self) {
        let led = self.renewed.is_some();
        self.end();
        let Candidacy { namespace, name, identity, .. } = &self.candidacy;
        let what = format!("lease {namespace}/{name}");
        let identity = identity.clone();
        let released = timeout(self.candidacy.timing.request, async {
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
                Err(error) if is_outrun(&error) => match self.look().await {
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
    async fn forgive(&self, error: ApiError) -> Result<(), ElectionError> {
        match &error.cause {
            _ if is_outrun(&error) => Ok(()),
            Cause::Refused(Refused { code: 403, .. }) => {
                Err(ElectionError::Forbidden(error, self.candidacy.namespace.clone()))
            }
            Cause::Refused(_) => Err(ElectionError::Refused(error)),
            _ => {
                tracing::warn!("{error}");
                sleep(self.pause()).await;
                Ok(())
            }
        }
    }

    fn decide(&self) -> Decision {
        let spec = self.seen.as_ref().and_then(|lease| lease.spec.as_ref());
        let seen = Seen { spec, since: self.since, renewed: self.renewed };
        decide(&seen, &self.candidacy.timing, Instant::now(), &self.candidacy.identity)
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

    async fn look(&mut self) -> Result<(), ApiError> {
        let get = self.api.get(&self.candidacy.name);
        let found = optional(self.send("get", get).await)?;
        self.observe(found);
        Ok(())
    }

    /// Acquires or renews it.
    async fn write(&mut self) -> Result<(), ApiError> {
        let start = Instant::now();
        let Candidacy { identity: me, timing, .. } = &self.candidacy;
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

    async fn create(&self, spec: coordination::LeaseSpec) -> Result<coordination::Lease, ApiError> {
        let name = Some(self.candidacy.name.clone());
        let lease = coordination::Lease {
            metadata: ObjectMeta { name, ..ObjectMeta::default() },
            spec: Some(spec),
        };
        let created = self.send("create", self.api.create(&params(), &lease)).await;
        created.map_err(|ApiError { what, cause }| match cause {
            // The namespace.
            Cause::NotFound(message) => {
                ApiError { what, cause: Cause::Refused(Refused::own(404, message)) }
            }
            cause => ApiError { what, cause },
        })
    }

    async fn replace(
        &self,
        verb: &str,
        lease: &coordination::Lease,
    ) -> Result<coordination::Lease, ApiError> {
        self.send(verb, self.api.replace(&self.candidacy.name, &params(), lease)).await
    }

    async fn send<T>(
        &self,
        verb: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        let what = self.what(verb);
        let sent = call(&self.metrics, Access::Lease, what.clone(), request);
        let limit = self.candidacy.timing.request;
        match timeout(limit, sent).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(ApiError { what, cause: Cause::Outage(format!("no answer within {limit:?}")) })
            }
        }
    }

    /// The lease each time that it changes. It is not watched before this is polled.
    fn changes(&self) -> impl Stream<Item = Result<Option<coordination::Lease>, ApiError>> + use<> {
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
                Err(error) => Some(Err(ApiError { what: what.clone(), cause: cause(error) })),
            };
            std::future::ready(event)
        })
    }

    fn end(&mut self) {
        self.renewed = None;
        self.lease.end();
        self.metrics.leader.set(0);
    }

    /// Not the same for all replicas.
    fn pause(&self) -> Duration {
        self.candidacy.timing.retry.mul_f64(jitter())
    }

    fn what(&self, verb: &str) -> String {
        let Candidacy { namespace, name, .. } = &self.candidacy;
        format!("{verb} lease {namespace}/{name}")
    }
}

/// Somebody wrote it since it was read.
fn is_outrun(error: &ApiError) -> bool {
    matches!(error.cause, Cause::Conflict(_) | Cause::AlreadyExists | Cause::NotFound(_))
}

fn cause(error: watcher::Error) -> Cause {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::cluster::call::cause(error),
        error => Cause::Unavailable(error.to_string()),
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PostParams::default() }
}
