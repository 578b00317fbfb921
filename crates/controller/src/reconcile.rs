//! One reconciliation, step by step:
//!
//! 1. `wake`: the reason for it. Without a client.
//! 2. `load`: the live object, its tenant; the release's records.
//! 3. `source`: the source, or the reason why it is unknown.
//! 4. `next`: the next operation. Without a client.
//! 5. `operate`: start, resume, adopt, correct, finish or rest.

pub(crate) mod adopt;
pub(crate) mod approve;
pub(crate) mod dependencies;
pub(crate) mod drift;
pub(crate) mod gate;
pub(crate) mod in_sync;
pub(crate) mod keep;
pub(crate) mod load;
pub(crate) mod next;
pub(crate) mod operate;
pub(crate) mod report;
pub(crate) mod start;
pub(crate) mod sweep;
pub(crate) mod wake;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use api::{OnNewSpec, ReleaseLifecycle};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_runtime::controller::Action;
use tracing::{Instrument, Span};

use lifecycle::reason::Reason;

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
        resource::Tolerant,
        tenancy::identity,
    },
    desired::source,
    operation::drive::resume,
    reconcile::{
        load::Loaded,
        next::{Facts, failed_first_tests},
        operate::operate,
        report::{blocked, left},
        wake::{Signals, Wake, after, rest, wake},
    },
    records::{Records, newest},
    release::{Release, context::Context, object::read, report::write_blocked},
    support::{
        key::key,
        panics::{self, Panicked},
        slots::Slot,
    },
};

/// Reconciles one object. It never panics: a panic would spread to the caller that awaits it.
pub(crate) async fn reconcile(object: Arc<Tolerant>, ctx: Arc<Context>) -> Result<Action, Error> {
    if let Ok(cached) = &object.0
        && let Some(left) = ctx.faults.left(&key(cached), Some(version(cached)))
    {
        return Ok(Action::requeue(left));
    }
    match panics::caught(reconcile_one(&object, &ctx)).await {
        Ok(result) => result,
        Err(panicked) => Ok(Box::pin(fault(&object, &ctx, &panicked)).await),
    }
}

/// Returns a number that changes with the object, its spec, or its requests: a change of it ends
/// the wait after a panic.
fn version(object: &ReleaseLifecycle) -> i64 {
    let mut hasher = DefaultHasher::new();
    (&object.metadata.uid, object.metadata.generation, object.requests()).hash(&mut hasher);
    hasher.finish().cast_signed()
}

/// Reports on the object that this program has a fault, and leaves it alone for long.
async fn fault(object: &Tolerant, ctx: &Context, panicked: &Panicked) -> Action {
    let Ok(cached) = &object.0 else { return Action::await_change() };
    let key = key(cached);
    let wait = ctx.faults.next(&key, Some(version(cached)));
    tracing::error!(object = key, retry_in = ?wait, "{}: {panicked}", Reason::InternalError);
    let say = async {
        let Some(mut object) = read(&ctx.cluster, cached).await? else { return Ok(()) };
        write_blocked(ctx, &mut object, &panicked.failure()).await
    };
    // Even that may fail.
    if let Ok(Err(error)) = panics::caught(Box::pin(say)).await {
        tracing::warn!(object = key, "its status could not be written: {error}");
    }
    Action::requeue(wait)
}

async fn reconcile_one(object: &Tolerant, ctx: &Arc<Context>) -> Result<Action, Error> {
    let cached = match &object.0 {
        Ok(cached) => cached,
        Err(invalid) => {
            // Only an object that was stored under another schema gets here.
            tracing::error!(error = invalid.error, "the object cannot be read");
            return Ok(Action::await_change());
        }
    };
    let key = key(cached);
    if let Ok(identity) = identity(&ctx.options.tenancy, cached) {
        ctx.watches.records.follow(cached, identity);
    }
    match wake(&Signals::of_cached(ctx, cached)) {
        Wake::Now => {}
        Wake::RetryAfter(wait) => return Ok(Action::requeue(wait)),
        Wake::Rest => {
            ctx.backoff.forget(&key);
            ctx.running.forget(cached.metadata.uid.as_deref().unwrap_or_default());
            return Ok(rest(ctx, cached));
        }
    }
    let slot = ctx.slots.take(cached.metadata.namespace.as_deref().unwrap_or_default()).await;
    let (metrics, begun) = (&ctx.cluster.metrics, Instant::now());
    metrics.reconciling.inc();
    let work = Box::pin(reconcile_release(cached, ctx, slot)).instrument(span(cached));
    let result = panics::caught(work).await;
    metrics.reconciling.dec();
    let outcome = match &result {
        Ok(Ok(_)) => "succeeded",
        Ok(Err(Error::Stale)) => "repeated",
        Ok(Err(_)) | Err(_) => "failed",
    };
    metrics.reconciled(outcome, begun.elapsed());
    let result = result.unwrap_or_else(|panicked| panicked.resume());
    if let Ok(action) = &result {
        ctx.backoff.forget(&key);
        ctx.faults.forget(&key);
        if *action == Action::requeue(Duration::ZERO) {
            return Ok(Action::requeue(ctx.pace.next(&key, cached.metadata.generation)));
        }
        ctx.pace.forget(&key);
    }
    result
}

/// Returns the span that each line of the log about this object is in.
fn span(object: &ReleaseLifecycle) -> Span {
    let ObjectMeta { namespace, name, .. } = &object.metadata;
    tracing::info_span!("release", namespace = namespace.as_deref(), name = name.as_deref())
}

async fn reconcile_release(
    cached: &ReleaseLifecycle,
    ctx: &Context,
    slot: Slot,
) -> Result<Action, Error> {
    // Before the journal is read, see `sweep`.
    let uid = cached.metadata.uid.as_deref().unwrap_or_default();
    let held = ctx.watches.held.of(&key(cached), uid, sweep::MOST_AT_ONCE);
    let mut release = match load::load(ctx, cached, slot).await? {
        Loaded::Release(release) => *release,
        Loaded::Refused(mut object, error) => return blocked(ctx, &mut object, error).await,
        Loaded::Gone => {
            ctx.forget(&key(cached), uid);
            return Ok(Action::await_change());
        }
    };
    sweep::sweep(&release, held).await;
    // Before its records are read, so that no change is missed in between.
    let changed = ctx.watches.records.take(&release.object);
    if wake(&Signals::of_live(ctx, &release.object, changed)) == Wake::Rest {
        return Ok(rest(ctx, &release.object));
    }
    let advanced = Box::pin(advance(&mut release)).await;
    if changed && advanced.is_err() {
        ctx.watches.records.put_back(key(cached));
    }
    match advanced {
        Err(error) => left(&mut release, error).await,
        done => done,
    }
}

/// Resumes the running operation, or starts what comes next.
async fn advance(release: &mut Release<'_>) -> Result<Action, Error> {
    let running = release.journal().filter(|journal| !journal.is_done());
    if keep::is_due(release, running.as_ref()) {
        keep::keep(release, running).await?;
        return Ok(Action::await_change());
    }
    if let Some(journal) = running {
        if release.object.on_new_spec() != OnNewSpec::Wait && !release.is_being_deleted() {
            // A source that is unknown supersedes nothing.
            source::resolve(release).await?;
        }
        return Ok(after(Box::pin(resume(release, journal)).await?, release));
    }
    if !release.is_being_deleted() {
        gate::check(&release.object)?;
    }
    let history = Records::of(release).history().await?;
    // A rollback needs no source, and may be the solution.
    let is_needed = !release.is_being_deleted() && release.object.spec.pin_revision.is_none();
    if is_needed {
        source::resolve(release).await?;
    }
    let missing = release.source.known().err().filter(|_| is_needed);
    let facts = Facts {
        is_known: missing.is_none(),
        orphaned: adopt::is_orphaned(release, &history).await?,
        before_failed_tests: match failed_first_tests(&release.object) {
            // The configuration that failed is noted by what the source says.
            Some(failed)
                if missing.is_none()
                    && newest(&history).is_some_and(|it| it.release.version == failed) =>
            {
                Records::of(release).deployed_before(failed).await?
            }
            _ => None,
        },
    };
    let next = next::next(release, &history, &facts);
    Box::pin(operate(release, &history, next, missing)).await
}

/// Returns when the reconciliation is retried.
pub(crate) fn on_error(object: Arc<Tolerant>, error: &Error, ctx: Arc<Context>) -> Action {
    let Ok(cached) = &object.0 else {
        return Action::await_change();
    };
    let _span = span(cached).entered();
    // Another client was faster, and its changes can be read now.
    if matches!(error, Error::Stale) {
        tracing::debug!("{error}");
        return Action::requeue(ctx.pace.next(&key(cached), cached.metadata.generation));
    }
    let (key, generation) = (key(cached), cached.metadata.generation);
    let wait = match error {
        Error::Api(ApiError { cause: Cause::Outage(_), .. }) => {
            ctx.backoff.next_in_outage(&key, generation)
        }
        _ => ctx.backoff.next(&key, generation),
    };
    tracing::warn!(retry_in = ?wait, "{error}");
    Action::requeue(wait)
}
