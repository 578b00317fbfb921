//! One reconciliation: gather → decide → journal → execute → report.

use std::{sync::Arc, time::Duration};

use api::ReleaseLifecycle;
use jiff::Timestamp;
use kube::{ResourceExt, core::DeserializeGuard};
use kube_runtime::controller::Action;
use lifecycle::{
    conditions,
    decide::{decide, query},
    event::{self, Next},
    journal::{Failure, Journal, Phase},
    plan::Plan,
};

use crate::{
    context::Context,
    error::Error,
    execute::execute,
    gather::gather,
    prepare::{self, Begin},
    records::{self, now},
    release::{Release, identity, read, write_blocked, write_trouble},
    sweep,
    tenant::Tenant,
};

/// How often what blocks a release is looked at again, where no change of the object mends it.
const RECHECK: Duration = Duration::from_mins(1);
/// More steps than this in one reconciliation are a fault; others get their turn.
const STEPS: usize = 256;

pub(crate) type Guarded = DeserializeGuard<ReleaseLifecycle>;

pub(crate) async fn reconcile(object: Arc<Guarded>, ctx: Arc<Context>) -> Result<Action, Error> {
    let cached = match &object.0 {
        Ok(cached) => cached,
        Err(invalid) => {
            // Only an object that was stored under another schema gets here.
            tracing::error!(error = invalid.error, "the object cannot be read");
            return Ok(Action::await_change());
        }
    };
    let key = key(cached);
    if is_settled(cached) && !ctx.held.any(&key) {
        ctx.backoff.forget(&key);
        ctx.running.forget(cached.metadata.uid.as_deref().unwrap_or_default());
        return Ok(Action::await_change());
    }
    if let Some(left) = ctx.backoff.left(&key, cached.metadata.generation) {
        return Ok(Action::requeue(left));
    }
    ctx.metrics.reconciling.inc();
    let result = look_and_advance(cached, &ctx).await;
    ctx.metrics.reconciling.dec();
    if result.is_ok() {
        ctx.backoff.forget(&key);
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
    let wait = ctx.backoff.next(&key(cached), cached.metadata.generation);
    tracing::warn!(retry_in = ?wait, "{error}");
    Action::requeue(wait)
}

pub(crate) fn key(object: &ReleaseLifecycle) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Whether there is nothing to do, by the object alone; a cached one will do, since whatever
/// unsettles it arrives as an event.
fn is_settled(object: &ReleaseLifecycle) -> bool {
    // Deletion is not served yet: nothing holds the object, and its release stays with Helm.
    if object.metadata.deletion_timestamp.is_some() {
        return true;
    }
    let Some(status) = &object.status else {
        return false;
    };
    let running = status.operation.as_ref().is_some_and(|last| last.phase != Phase::Done);
    let ready = status
        .conditions
        .iter()
        .any(|condition| condition.type_ == conditions::READY && condition.status == "True");
    let gave_up = status.operation.as_ref().is_some_and(|last| {
        last.failure.is_some() && Some(last.generation) == object.metadata.generation
    });
    !running && status.observed_generation == object.metadata.generation && (ready || gave_up)
}

async fn look_and_advance(cached: &ReleaseLifecycle, ctx: &Context) -> Result<Action, Error> {
    // Before the journal is read, see `sweep`.
    let held = ctx.held.of(&key(cached));
    let Some(mut object) = read(ctx, cached).await? else { return Ok(Action::await_change()) };
    let tenant = match identity(ctx, &object) {
        Ok(identity) => Tenant::new(ctx, identity)?,
        Err(error) => return blocked(ctx, &mut object, error).await,
    };
    let mut release = Release::new(ctx, object, tenant);
    sweep::sweep(&release, held).await;
    if is_settled(&release.object) {
        return Ok(Action::await_change());
    }
    match advance(&mut release).await {
        Ok(action) => Ok(action),
        Err(error) => blocked(ctx, &mut release.object, error).await,
    }
}

async fn advance(release: &mut Release<'_>) -> Result<Action, Error> {
    if let Some(journal) = release.journal().filter(|journal| !journal.is_done()) {
        return match frozen_plan(release, &journal).await? {
            Some(plan) => run(release, &plan, journal).await,
            None => give_up(release, &journal).await,
        };
    }
    let mut desired = prepare::desired(release)?;
    let history = records::history(&release.tenant, &release.name, &release.namespace).await?;
    let inputs = records::config_inputs(&release.name, &release.object.spec.source.objects);
    let summaries: Vec<_> = history.iter().map(|stored| stored.summary(&inputs)).collect();
    let operation = release.object.status.as_ref().and_then(|status| status.operation.as_ref());
    let generation = release.generation();
    match event::next(operation, &summaries, release.object_name(), generation) {
        Next::Begin { event, revision } => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let begin = Begin { id: id.clone(), event, revision };
            let plan = prepare::plan(release, &mut desired, &history, begin).await?;
            let journal = Journal::begin(id, event, revision, generation, now());
            release.write_journal(&journal, None).await?;
            run(release, &plan, journal).await
        }
        Next::InSync => {
            let revision = summaries.iter().map(|record| record.revision).max().unwrap_or(0);
            release.write_in_sync(revision).await?;
            Ok(Action::await_change())
        }
        // It is settled, or about to be read again.
        Next::GivenUp | Next::Resume => Ok(Action::requeue(RECHECK)),
        Next::JournalLost { revision } => Err(Error::blocked(
            "JournalLost",
            format!(
                "revision {revision} of release {} is pending, but status.operation, which says \
                 how far it got, is lost. When you have seen which of its hooks have run and it \
                 may begin anew: kubectl delete secret {}",
                release.name,
                helm::record::secret_name(&release.name, revision)
            ),
        )),
        Next::Foreign { revision } => Err(Error::blocked(
            "ForeignRelease",
            format!(
                "revision {revision} of release {name} was made by Helm or by another \
                 ReleaseLifecycle, and taking over is not served yet. Delete this object and create \
                 one with another spec.releaseName, or remove the release: helm uninstall {name}",
                name = release.name
            ),
        )),
    }
}

/// The plan that the journal speaks of; `None` where it is lost. Before it is recorded, it is made
/// anew under the same id; where the record exists after all, the one in it counts.
async fn frozen_plan(release: &Release<'_>, journal: &Journal) -> Result<Option<Arc<Plan>>, Error> {
    let operation = &journal.operation;
    if let Some(digest) = &operation.plan_digest
        && let Some(plan) = release.ctx.running.plan(release.uid(), digest)
    {
        return Ok(Some(plan));
    }
    let (tenant, name, namespace) = (&release.tenant, &release.name, &release.namespace);
    let stored = records::get(tenant, name, namespace, operation.revision).await?;
    match (stored.and_then(|stored| stored.plan), &operation.plan_digest) {
        (Some((plan, found)), Some(digest)) if found == *digest => {
            let plan = Arc::new(plan);
            release.ctx.running.keep_plan(release.uid(), digest, &plan);
            Ok(Some(plan))
        }
        (_, Some(_)) => Ok(None),
        (Some((plan, _)), None) if plan.operation == operation.id => Ok(Some(Arc::new(plan))),
        (_, None) => {
            let mut desired = prepare::desired(release)?;
            let history = records::history(tenant, name, namespace).await?;
            let begin = Begin {
                id: operation.id.clone(),
                event: operation.event,
                revision: operation.revision,
            };
            let plan = prepare::plan(release, &mut desired, &history, begin).await?;
            Ok(Some(Arc::new(plan)))
        }
    }
}

/// The plan that the operation began with is gone, and with it what remains to be done.
async fn give_up(release: &mut Release<'_>, journal: &Journal) -> Result<Action, Error> {
    let record = helm::record::secret_name(&release.name, journal.operation.revision);
    let message = format!(
        "Secret {record} no longer holds the plan that the operation began with: it was removed or \
         rewritten by another client. See in status.hooks which hooks have run"
    );
    let journal = journal.abandon(Failure::new("PlanLost", message), now());
    release.write_journal(&journal, None).await?;
    Ok(ended(release))
}

/// Takes steps until there is something to wait for.
async fn run(
    release: &mut Release<'_>,
    plan: &Plan,
    mut journal: Journal,
) -> Result<Action, Error> {
    let mut observation = gather(release, plan, &journal, query(&journal), now()).await?;
    for _ in 0..STEPS {
        let now = now();
        let step = decide(plan, &journal, &observation, now);
        let changed = step.journal != journal;
        if changed || step.effect.is_none() {
            release.write_journal(&step.journal, step.waiting.as_deref()).await?;
        }
        journal = step.journal;
        observation = match (step.effect, step.wake_at) {
            (Some(effect), _) => execute(release, plan, &journal, &effect, now).await?,
            (None, Some(wake_at)) => return Ok(Action::requeue(until(wake_at, now))),
            (None, None) if journal.is_done() => return Ok(ended(release)),
            (None, None) => gather(release, plan, &journal, query(&journal), now).await?,
        };
    }
    tracing::warn!("{STEPS} steps in one reconciliation, and still at work");
    Ok(Action::requeue(Duration::from_secs(1)))
}

fn until(wake_at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(wake_at.duration_since(now)).unwrap_or_default()
}

/// The next event, if there is one already, gets a reconciliation of its own.
fn ended(release: &Release<'_>) -> Action {
    release.ctx.running.forget(release.uid());
    if is_settled(&release.object) {
        Action::await_change()
    } else {
        Action::requeue(Duration::ZERO)
    }
}

/// Says why the release does not go on, and when it is looked at again.
async fn blocked(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    error: Error,
) -> Result<Action, Error> {
    match &error {
        Error::Outrun => {}
        Error::Blocked(failure) => write_blocked(ctx, object, failure).await?,
        Error::Api(trouble) => write_trouble(ctx, object, trouble).await?,
    }
    match error {
        Error::Blocked(_) => Ok(Action::requeue(RECHECK)),
        error => Err(error),
    }
}
