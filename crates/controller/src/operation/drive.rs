//! Drives one operation: gather → decide → journal → execute, until there is something to wait for.

use std::{sync::Arc, time::Duration};

use helm::pending::Pending;
use lifecycle::{
    approval::PendingPlan,
    decide::{decide, presume, query},
    event::Event,
    journal::{Cancel, Failure, Journal, Operation, Phase},
    observation::{Observation, Query},
    plan::{Begin, Plan},
    reason::Reason,
    step::Hold,
};

use tracing::{Instrument, Span};

use crate::{
    cluster::error::Error,
    desired::digest,
    desired::source,
    operation::{
        controls::{controls, superseded},
        execute::Turn,
        gather::{gather, is_of_another_plan},
        remarks,
    },
    plan::{
        history,
        make::{self, Planned},
    },
    records::{Draft, Records, Stored},
    release::{Release, finalizer::while_deleting},
    support::clock::{now, until},
};

/// The maximum number of steps in one reconciliation: more are a fault; other releases get their
/// turn.
const STEPS: usize = 256;

/// The progress of an operation in this reconciliation.
pub(crate) enum Progress {
    /// The operation waits for a change, for this long at most.
    Waits(Duration),
    /// The operation has ended, and its journal has the result.
    Ended,
}

impl Progress {
    /// The state that was read is outdated.
    pub(crate) const AGAIN: Self = Self::Waits(Duration::ZERO);
    /// Others wait for the slot. It is no repetition, which would be slowed down.
    const YIELDS: Self = Self::Waits(Duration::from_millis(1));
}

/// Resumes the operation of `journal`, by the plan that it began with.
pub(crate) async fn resume(
    release: &mut Release<'_>,
    mut journal: Journal,
) -> Result<Progress, Error> {
    match frozen_plan(release, &journal).await {
        Ok(Frozen::Recorded(plan)) => {
            if journal.operation.plan_digest.is_none() {
                serve_recorded(release, &plan, &mut journal).await?;
            }
            run(release, &plan, Origin::Record, journal).await
        }
        Ok(Frozen::Anew { made, is_keyed }) => {
            let Planned { mut plan, rendered, .. } = *made;
            serve_anew(release, &mut plan, is_keyed, &mut journal);
            // While it is suspended it is made each time it is reconciled, and not recorded.
            if !release.object.suspended() {
                release.write_plan(&plan).await?;
            }
            let origin = Origin::Created(rendered.map(Draft::rendered));
            run(release, &plan, origin, journal).await
        }
        Ok(Frozen::Approved(pending)) => {
            let origin = Origin::Created(pending.record.map(Draft::pending));
            run(release, &pending.plan, origin, journal).await
        }
        Ok(Frozen::Lost) => plan_lost(release, &journal).await,
        // Nothing was recorded, and the operation is no longer wanted.
        Err(Error::Blocked(failure) | Error::RetryAfter(failure, _))
            if journal.operation.plan_digest.is_none() && is_unwanted(release, &journal) =>
        {
            let abandoned = journal.abandon(failure, now());
            Records::of(release).withdraw().await?;
            release.write_journal(&abandoned, None).await?;
            Ok(Progress::Ended)
        }
        Err(error) => Err(error),
    }
}

/// Updates the journal of an operation whose record was not found, and whose plan was created
/// again. If the spec has changed since, nothing of the operation has been done, and it ends with
/// its record: a request that creates one may be in flight. `is_keyed`: true if its digest can be
/// compared.
fn serve_anew(release: &Release<'_>, plan: &mut Plan, is_keyed: bool, journal: &mut Journal) {
    let operation = &mut journal.operation;
    // Remediations, tests and deletions continue, whatever the spec is now.
    let serves_the_spec = operation.event.makes_revision() && operation.remedies.is_none();
    if !serves_the_spec {
        return;
    }
    let is_newer = if is_keyed {
        !digest::is_wanted(release, &operation.config_digest, &plan.config_key)
    } else {
        operation.generation != release.generation()
    };
    if is_newer {
        let failure = superseded(release, operation);
        operation.cancel.get_or_insert(Cancel { now: true, failure });
        // This operation has not tried the new desired state.
        plan.config_digest.clear();
    } else {
        operation.config_digest = digest::wanted(release, &plan.config_key);
        operation.generation = release.generation();
    }
}

/// Updates the journal of an operation whose record was found, although the journal does not
/// mention one. A first install gets a new key each time its plan is created, so that its digest
/// may be by another key.
async fn serve_recorded(
    release: &mut Release<'_>,
    plan: &Plan,
    journal: &mut Journal,
) -> Result<(), Error> {
    let is_first =
        plan.event == Event::Install && release.generation() == journal.operation.generation;
    if !is_first || release.is_being_deleted() {
        return Ok(());
    }
    source::resolve(release).await?;
    if release.known_source().is_none() {
        return Ok(());
    }
    let inputs = digest::input(release);
    if inputs.have(&plan.config_digest, &plan.config_key) {
        journal.operation.config_digest = digest::wanted(release, &plan.config_key);
    }
    Ok(())
}

fn is_unwanted(release: &Release<'_>, journal: &Journal) -> bool {
    // A deletion waits for the right that it lacks.
    journal.operation.event != Event::Delete
        && (release.is_being_deleted()
            || release.generation() != journal.operation.generation
            || release.object.requests().cancel != journal.handled.cancel)
}

/// The plan of an operation that continues.
enum Frozen {
    /// The plan from the record.
    Recorded(Arc<Plan>),
    /// A new plan, since nothing was recorded yet; `is_keyed`: true if it has the key of the plan
    /// before.
    Anew { made: Box<Planned>, is_keyed: bool },
    /// The plan that somebody has approved, since nothing was recorded yet.
    Approved(Box<Pending>),
    /// The record no longer has the plan, or what was approved is gone.
    Lost,
}

/// Returns the plan that the journal refers to. Before it is recorded, it is created again under
/// the same id; if the record exists after all, the plan in the record counts.
async fn frozen_plan(release: &mut Release<'_>, journal: &Journal) -> Result<Frozen, Error> {
    let operation = &journal.operation;
    if let Some(digest) = &operation.plan_digest
        && let Some(plan) = release.ctx.running.plan(release.uid(), digest)
    {
        return Ok(Frozen::Recorded(plan));
    }
    let stored = Records::of(release).get(operation.revision).await?;
    if let Some(plan) =
        stored.as_ref().and_then(|stored| of_earlier_version(release, stored, operation))
    {
        let plan = plan.clone();
        release.write_plan(&plan).await?;
        return Ok(Frozen::Recorded(Arc::new(plan)));
    }
    match (stored.and_then(|stored| stored.plan_of(operation.event)), &operation.plan_digest) {
        (Some((plan, found)), Some(digest)) if found == *digest => {
            let plan = Arc::new(plan);
            release.ctx.running.keep_plan(release.uid(), digest, &plan);
            Ok(Frozen::Recorded(plan))
        }
        (_, Some(_)) => Ok(Frozen::Lost),
        (Some((plan, _)), None) if plan.operation == operation.id => {
            Ok(Frozen::Recorded(Arc::new(plan)))
        }
        (_, None) => {
            if let Some(pending) = approved(release, operation) {
                let found = Records::of(release).proposed(pending).await?;
                return Ok(found.map_or(Frozen::Lost, |found| Frozen::Approved(Box::new(found))));
            }
            let history = Records::of(release).history().await?;
            let begin = Begin {
                id: operation.id.clone(),
                event: operation.event,
                revision: operation.revision,
                target: operation.target,
                remedies: operation.remedies,
                generation: operation.generation,
            };
            let is_keyed = history::key(&history).is_some();
            let made = make::plan(release, &history, &begin).await?;
            Ok(Frozen::Anew { made: Box::new(made), is_keyed })
        }
    }
}

/// Returns the plan of the operation that was approved and is not recorded yet: no other may be made.
fn approved<'a>(release: &'a Release<'_>, operation: &Operation) -> Option<&'a PendingPlan> {
    let pending = release.object.status.as_ref()?.plan.as_ref();
    pending.filter(|pending| pending.operation == operation.id)
}

/// Returns the recorded plan of an operation that an earlier version began, and whose digest that
/// version was to note only after the record was written.
fn of_earlier_version<'a>(
    release: &Release<'_>,
    stored: &'a Stored,
    operation: &Operation,
) -> Option<&'a Plan> {
    if release.knows_plans() || operation.plan_digest.is_some() {
        return None;
    }
    stored.claimed().map(|(plan, _)| plan).filter(|plan| plan.operation == operation.id)
}

/// Ends an operation whose plan is lost: with the plan, the remaining work is unknown.
async fn plan_lost(release: &mut Release<'_>, journal: &Journal) -> Result<Progress, Error> {
    let operation = &journal.operation;
    let journal = if operation.phase == Phase::Closing && !operation.event.makes_revision() {
        // A deletion removes it itself, and a test too.
        journal.concluded(now())
    } else if approved(release, operation).is_some() {
        let message = format!(
            "Secret {} no longer holds the plan that was approved: it was removed or rewritten by \
             another client. Nothing of it was done",
            helm::pending::secret_name(&release.name)
        );
        journal.abandon(Failure::new(Reason::PlanLost, message), now())
    } else {
        let record = helm::record::secret_name(&release.name, operation.revision);
        let message = format!(
            "Secret {record} no longer holds the plan that the operation began with: it was removed \
             or rewritten by another client. See in status.hooks which hooks have run"
        );
        journal.abandon(Failure::new(Reason::PlanLost, message), now())
    };
    Records::of(release).withdraw().await?;
    release.write_journal(&journal, None).await?;
    Ok(Progress::Ended)
}

/// The origin of the plan in use.
pub(crate) enum Origin {
    /// The record.
    Record,
    /// This reconciliation, which created the plan or read it as it was approved: it is in no record
    /// that was read. There is no draft if the record is made from another one.
    Created(Option<Draft>),
}

/// Takes steps until there is something to wait for.
pub(crate) async fn run(
    release: &mut Release<'_>,
    plan: &Plan,
    origin: Origin,
    journal: Journal,
) -> Result<Progress, Error> {
    let span = tracing::info_span!(
        "operation",
        event = %plan.event,
        revision = plan.revision,
        id = plan.operation,
    );
    Box::pin(take_steps(release, plan, origin, journal)).instrument(span).await
}

/// Returns the span of the hook at which the operation is; none outside of hooks.
fn span(plan: &Plan, journal: &Journal) -> Span {
    let Some(cursor) = &journal.operation.hook else { return Span::none() };
    let Some(hook) = plan.hooks.get(cursor.index) else { return Span::none() };
    tracing::info_span!("hook", event = %hook.event, object = %hook.object, attempt = cursor.attempt)
}

async fn take_steps(
    release: &mut Release<'_>,
    plan: &Plan,
    origin: Origin,
    mut journal: Journal,
) -> Result<Progress, Error> {
    release.outside = Some(plan.outside(&release.namespace));
    let mut observation = match query(&journal) {
        // What was just read has no such record. If there is one by now, the request for it is refused.
        Query::Record if matches!(origin, Origin::Created(_)) && plan.event.makes_revision() => {
            Observation::NoRecord
        }
        _ => observe(release, plan, &journal).await?,
    };
    if matches!(origin, Origin::Created(_)) && is_of_another_plan(&observation, plan) {
        return Ok(Progress::AGAIN);
    }
    let draft = match &origin {
        Origin::Record => None,
        Origin::Created(draft) => draft.as_ref(),
    };
    for step in 0..STEPS {
        // One step at least: where it takes long to read everything, none would ever be taken.
        if step > 0 && release.slot.is_due() {
            return Ok(Progress::YIELDS);
        }
        let now = now();
        let mut step =
            decide(plan, &journal, &observation, &controls(release, plan, &journal), now);
        if let Some(Hold::Stalled(failure)) = &mut step.hold
            && release.is_being_deleted()
        {
            *failure = while_deleting(failure.clone());
        }
        if step.journal.is_done() && step.journal.operation.failure.is_none() {
            release.remark = Box::pin(remarks::of_rollback(release, plan)).await;
        }
        if step.journal.operation.plan_digest.is_some() || step.journal.is_done() {
            Records::of(release).withdraw().await?;
        }
        let changed = step.journal != journal;
        if changed || step.effect.is_none() {
            let write = release.write_journal(&step.journal, step.hold.as_ref());
            write.instrument(span(plan, &step.journal)).await?;
        }
        journal = step.journal;
        observation = match (step.effect, step.wake_at) {
            (Some(effect), _) => {
                let turn = Turn { release, plan, draft, journal: &journal, now };
                Box::pin(turn.execute(&effect)).instrument(span(plan, &journal)).await?
            }
            (None, Some(wake_at)) => {
                if let (Origin::Created(_), Some(digest)) =
                    (&origin, &journal.operation.plan_digest)
                {
                    let plan = Arc::new(plan.clone());
                    release.ctx.running.keep_plan(release.uid(), digest, &plan);
                }
                return Ok(Progress::Waits(until(wake_at, now)));
            }
            (None, None) if journal.is_done() => {
                forget_old(release, &journal).await;
                return Ok(Progress::Ended);
            }
            (None, None) => observe(release, plan, &journal).await?,
        };
    }
    tracing::warn!("{STEPS} steps in one reconciliation, and still at work");
    Ok(Progress::Waits(Duration::from_secs(1)))
}

/// Returns what `decide` needs to know: presumed, if nothing but a request follows from it that fails if
/// it is wrong, or gathered.
async fn observe(
    release: &Release<'_>,
    plan: &Plan,
    journal: &Journal,
) -> Result<Observation, Error> {
    let now = now();
    match presume(plan, journal, &controls(release, plan, journal), now) {
        Some(presumed) => Ok(presumed),
        None => gather(release, plan, journal, query(journal), now).await,
    }
}

/// Keeps as many records as the spec asks for. Records that could not be removed are removed after
/// the next operation.
async fn forget_old(release: &Release<'_>, journal: &Journal) {
    let Some(most) = release.object.max_history() else { return };
    // There are no more records than revisions.
    let are_few = usize::try_from(journal.operation.revision).is_ok_and(|count| count <= most);
    if are_few || !journal.operation.event.makes_revision() {
        return;
    }
    match Records::of(release).prune(most, release.object.spec.pin_revision).await {
        Ok(()) | Err(Error::Stale) => {}
        Err(error) => {
            let text = format!("more than {most} records are left: {error}");
            release.warn(Reason::RecordsNotPruned, text);
        }
    }
}
