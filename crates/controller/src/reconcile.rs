//! One reconciliation, from the outside: whether there is anything to do, as whom, and what is said
//! when it cannot be done. What is done is in `advance`.

pub(crate) mod adopt;
pub(crate) mod advance;
pub(crate) mod dependencies;
pub(crate) mod drift;
pub(crate) mod sweep;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use api::{OnTestFailure, ReleaseLifecycle};
use kube_runtime::controller::Action;
use lifecycle::{
    conditions,
    journal::{Failure, Phase},
};

use crate::support::key::{RECHECK, key};
use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
        resource::Guarded,
        tenant::Tenant,
    },
    desired::charts,
    reconcile::advance::advance,
    release::{
        Release, context::Context, finalizer, identity, read, write_blocked, write_trouble,
        write_waiting,
    },
    support::panics::{self, INTERNAL_ERROR, Panicked},
};

/// One reconciliation, which never panics: whoever awaits it would.
pub(crate) async fn reconcile(object: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
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

/// What ends the wait after a panic where it changes: the object itself, its spec, what is asked for.
fn version(object: &ReleaseLifecycle) -> i64 {
    let mut hasher = DefaultHasher::new();
    (&object.metadata.uid, object.metadata.generation, object.requests()).hash(&mut hasher);
    hasher.finish().cast_signed()
}

/// Says of the object that this program has a fault, and leaves it alone for long.
async fn fault(object: &Guarded, ctx: &Context, panicked: &Panicked) -> Action {
    let Ok(cached) = &object.0 else { return Action::await_change() };
    let key = key(cached);
    let wait = ctx.faults.next(&key, Some(version(cached)));
    tracing::error!(object = key, retry_in = ?wait, "{INTERNAL_ERROR}: {panicked}");
    let say = async {
        let Some(mut object) = read(ctx, cached).await? else { return Ok(()) };
        write_blocked(ctx, &mut object, &panicked.failure()).await
    };
    // Not even that may be possible.
    if let Ok(Err(error)) = panics::caught(Box::pin(say)).await {
        tracing::warn!(object = key, "it is not said in its status: {error}");
    }
    Action::requeue(wait)
}

async fn reconcile_one(object: &Guarded, ctx: &Arc<Context>) -> Result<Action, Error> {
    let cached = match &object.0 {
        Ok(cached) => cached,
        Err(invalid) => {
            // Only an object that was stored under another schema gets here.
            tracing::error!(error = invalid.error, "the object cannot be read");
            return Ok(Action::await_change());
        }
    };
    let key = key(cached);
    ctx.helm_watch.follow(ctx, cached);
    let is_due = ctx.references.is_due(cached) || ctx.helm_watch.is_due(cached);
    if is_settled(cached) && !ctx.held.any(&key) && !is_due {
        ctx.backoff.forget(&key);
        ctx.running.forget(cached.metadata.uid.as_deref().unwrap_or_default());
        return Ok(rest(ctx, cached));
    }
    if !is_at_work(cached)
        && let Some(quiet) = ctx.references.quiet_for(cached)
    {
        return Ok(Action::requeue(quiet));
    }
    if let Some(left) = ctx.backoff.left(&key, cached.metadata.generation) {
        return Ok(Action::requeue(left));
    }
    ctx.metrics.reconciling.inc();
    let result = panics::caught(Box::pin(look_and_advance(cached, ctx))).await;
    ctx.metrics.reconciling.dec();
    let result = result.unwrap_or_else(|panicked| panicked.resume());
    if result.is_ok() {
        ctx.backoff.forget(&key);
        ctx.faults.forget(&key);
    }
    result
}

/// What is tried again, and when.
pub(crate) fn on_error(object: Arc<Guarded>, error: &Error, ctx: Arc<Context>) -> Action {
    let Ok(cached) = &object.0 else {
        return Action::await_change();
    };
    // Somebody else was faster, and what they wrote is there to be read.
    if matches!(error, Error::Outrun) {
        tracing::debug!("{error}");
        return Action::requeue(Duration::from_millis(20));
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

/// Until what the source refers to is looked at again, or something changes.
pub(crate) fn rest(ctx: &Context, object: &ReleaseLifecycle) -> Action {
    let due_in = ctx.references.due_in(object);
    due_in.map_or_else(Action::await_change, Action::requeue)
}

/// Whether there is an operation that goes on, or a deletion that waits for nothing.
fn is_at_work(object: &ReleaseLifecycle) -> bool {
    let running = object.status.as_ref().and_then(|status| status.operation.as_ref());
    running.is_some_and(|last| last.phase != Phase::Done)
        || object.metadata.deletion_timestamp.is_some()
}

/// Whether there is nothing to do, by the object alone; a cached one will do, since whatever
/// unsettles it arrives as an event.
pub(crate) fn is_settled(object: &ReleaseLifecycle) -> bool {
    if object.metadata.deletion_timestamp.is_some() {
        // Without our finalizer it is only others that hold it.
        return !finalizer::is_held(object);
    }
    let Some(status) = &object.status else {
        return false;
    };
    let running = status.operation.as_ref().is_some_and(|last| last.phase != Phase::Done);
    let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
    let at_rest = ready.is_some_and(|ready| match ready.reason.as_str() {
        // Due tests, and a finalizer that is missing, are seen to when it is looked at again.
        _ if ready.status == "True" => {
            finalizer::is_held(object)
                && (!object.tests_enabled() || status.tested_revision == status.revision)
        }
        "TestFailed" => object.on_test_failure() == OnTestFailure::Fail,
        conditions::SUSPENDED => object.suspended(),
        _ => false,
    });
    let last_attempt = status
        .last_attempt
        .as_ref()
        .filter(|last| Some(last.generation) == object.metadata.generation);
    let gave_up = last_attempt.zip(ready).is_some_and(|(last, ready)| {
        // What is to make up for it, and cannot begin, has said why.
        let says_so = ready.reason == last.failure.reason;
        let is_at_rest = says_so || !remedy_is_due(object);
        ready.status == "False" && ready.reason != INTERNAL_ERROR && is_at_rest
    });
    let (requests, handled) = (object.requests(), status.handled());
    let asked = requests.retry != handled.retry
        || requests.restart != handled.restart
        || requests.test != handled.test;
    let observed = status.observed_generation == object.metadata.generation;
    !running && !asked && observed && (at_rest || gave_up)
}

/// Whether something makes up for the last operation, as far as the object tells.
fn remedy_is_due(object: &ReleaseLifecycle) -> bool {
    let last = object.status.as_ref().and_then(|status| status.operation.as_ref());
    let failed = last.filter(|last| last.has_failed_at_work());
    failed.is_some_and(|failed| object.remedy(failed.event).is_some())
}

async fn look_and_advance(cached: &ReleaseLifecycle, ctx: &Context) -> Result<Action, Error> {
    // Before the journal is read, see `sweep`.
    let held = ctx.held.of(&key(cached));
    let Some(mut object) = read(ctx, cached).await? else {
        ctx.forget(&key(cached));
        return Ok(Action::await_change());
    };
    let tenant = match identity(ctx, &object) {
        Ok(identity) => Tenant::new(ctx, identity)?,
        Err(error) => return blocked(ctx, &mut object, error).await,
    };
    let mut release = Release::new(ctx, object, tenant);
    if release.is_being_deleted() {
        release.namespace_goes = finalizer::namespace_goes(&release).await?;
    }
    sweep::sweep(&release, held).await;
    // Before its records are read, so that no change falls between.
    let changed = ctx.helm_watch.take(&release.object);
    if is_settled(&release.object) && !changed && !ctx.references.is_due(&release.object) {
        return Ok(rest(ctx, &release.object));
    }
    let advanced = Box::pin(advance(&mut release)).await;
    if changed && advanced.is_err() {
        ctx.helm_watch.put_back(key(cached));
    }
    match advanced {
        Ok(action) => Ok(action),
        // With the namespace all goes that is in it, and what is kept needs nobody's right.
        Err(Error::Blocked(failure)) if release.namespace_goes || release.is_kept() => {
            let text = format!("the release is left as it is: {}", failure.message);
            if release.is_kept() {
                release.warn("ReleaseLeft", text);
            } else {
                tracing::warn!("{text}");
            }
            finalizer::let_go(&mut release).await?;
            Ok(Action::await_change())
        }
        // What is refused there, or lacking, is on its way to be gone, and so is the release.
        Err(Error::Blocked(_))
            if !release.is_being_deleted() && finalizer::namespace_goes(&release).await? =>
        {
            blocked(ctx, &mut release.object, finalizer::nothing_begins(&release.namespace)).await
        }
        Err(error) => blocked(ctx, &mut release.object, error).await,
    }
}

/// Says why the release does not go on, and when it is looked at again.
async fn blocked(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    error: Error,
) -> Result<Action, Error> {
    match error {
        Error::Outrun => Err(error),
        Error::Blocked(failure) => {
            let failure = match object.metadata.deletion_timestamp {
                Some(_) => while_deleting(failure),
                None => failure,
            };
            write_blocked(ctx, object, &failure).await?;
            Ok(Action::requeue(RECHECK))
        }
        Error::Later(failure, again_in) => {
            // After a start nothing is remembered of servers, and what is deployed is as it was.
            if failure.reason != charts::FETCHING || !is_ready(object) {
                write_waiting(ctx, object, &failure).await?;
            }
            Ok(Action::requeue(again_in))
        }
        Error::Api(trouble) => {
            write_trouble(ctx, object, &trouble).await?;
            Err(Error::Api(trouble))
        }
    }
}

/// Whether that was said of the object as it is, and nothing runs.
fn is_ready(object: &ReleaseLifecycle) -> bool {
    let status = object.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    !is_at_work(object)
        && conditions.any(|it| {
            it.type_ == conditions::READY
                && it.status == "True"
                && it.observed_generation == object.metadata.generation
        })
}

/// A `GitOps` tool that prunes everything of a release at once takes the rights away, too.
pub(crate) fn while_deleting(failure: Failure) -> Failure {
    if failure.reason != "Forbidden" {
        return failure;
    }
    let message = format!(
        "the release cannot be deleted: {}. Its ServiceAccount or RoleBinding may have gone before \
         it: apply them again until this object is gone, or set spec.deletion.objects to Keep to \
         leave the release to Helm",
        failure.message
    );
    Failure::new("IdentityGone", message)
}
