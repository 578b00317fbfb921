//! What is next for a release, and then: gather → decide → journal → execute → report.

use std::{sync::Arc, time::Duration};

use api::OnNewSpec;
use jiff::Timestamp;
use kube_runtime::controller::Action;
use lifecycle::{
    decide::{decide, query},
    event::Event,
    journal::{Cancel, Failure, Journal, Phase, Requests},
    next::{self, Disposal, Next, RecordState, Situation},
    plan::{Begin, Plan},
    reason::Reason,
    rebuild::recall,
    step::Hold,
};

use crate::{
    cluster::error::Error,
    desired::source,
    operation::{
        controls::{superseded, wishes},
        execute::execute,
        gather::{gather, is_of_another_plan},
        recover, remarks,
    },
    plan::{
        preflight::Warnings,
        prepare::{self, Prepared},
    },
    reconcile::{adopt, dependencies, drift, is_settled, rest, while_deleting},
    records::{self, Stored},
    release::{Release, finalizer},
    support::{clock::now, key::RECHECK},
};

/// More steps than this in one reconciliation are a fault; others get their turn.
const STEPS: usize = 256;

pub(crate) async fn advance(release: &mut Release<'_>) -> Result<Action, Error> {
    let running = release.journal().filter(|journal| !journal.is_done());
    let is_deletion = |journal: &Journal| journal.operation.event == Event::Delete;
    if release.is_kept() && running.as_ref().is_none_or(is_deletion) {
        // Nothing of the release is asked for, which nobody may be allowed to look at any more.
        return keep(release, running).await;
    }
    if let Some(journal) = running {
        if release.object.on_new_spec() != OnNewSpec::Wait && !release.is_being_deleted() {
            // What it cannot be told supersedes nothing.
            unknown(release).await?;
        }
        return resume(release, journal).await;
    }
    let history = release.records().history().await?;
    // Going back needs no source, and may be the way out.
    let is_needed = !release.is_being_deleted() && release.object.spec.pin_revision.is_none();
    let missing = if is_needed { unknown(release).await? } else { None };
    let orphaned = adopt::is_orphaned(release, &history).await?;
    let next = next(release, &history, missing.is_none(), orphaned);
    let begins = matches!(
        next,
        Next::Begin { .. } | Next::Reopen | Next::Adopt { .. } | Next::AwaitHelm { .. }
    );
    if begins && !release.is_being_deleted() && finalizer::namespace_goes(release).await? {
        return Err(finalizer::nothing_begins(&release.namespace));
    }
    if let Some(why) = missing
        && needs_source(&next)
    {
        return Err(why);
    }
    if release.object.suspended() && begins && !release.namespace_goes {
        release.write_suspended().await?;
        return Ok(Action::await_change());
    }
    match next {
        Next::Begin { event, revision, target, remedies } => {
            if event.needs_source()
                && let Some(waiting) = dependencies::unready(release).await?
            {
                release.write_waiting(&waiting).await?;
                return Ok(Action::requeue(RECHECK));
            }
            if event == Event::Install {
                adopt::note_gone(release, &history);
            }
            let id = uuid::Uuid::new_v4().simple().to_string();
            let generation = release.generation();
            let begin = Begin { id, event, revision, target, remedies, generation };
            start(release, &history, begin).await
        }
        Next::Reopen => Box::pin(reopen(release, &history)).await,
        Next::InSync { revision } => Box::pin(in_sync(release, &history, revision)).await,
        // With the namespace it all goes.
        Next::GivenUp | Next::Adopt { .. } | Next::AwaitHelm { .. } if release.namespace_goes => {
            finalizer::let_go(release).await?;
            Ok(Action::await_change())
        }
        Next::GivenUp => {
            release.write_given_up().await?;
            if !is_settled(&release.object) {
                return Ok(Action::requeue(RECHECK));
            }
            release.ctx.references.settle(&release.object);
            Ok(rest(release.ctx, &release.object))
        }
        Next::JournalLost { revision } => {
            let journal = recover::journal(release, &history, revision).await?;
            release.write_journal(&journal, None).await?;
            resume(release, journal).await
        }
        Next::Finish => {
            finalizer::let_go(release).await?;
            Ok(Action::await_change())
        }
        Next::CloseLate { .. } => {
            if let Some(journal) = release.journal()
                && let Err(failure) = release.records().close(&journal).await?
            {
                return Err(Error::Blocked(failure));
            }
            Ok(Action::requeue(Duration::ZERO))
        }
        // It is about to be read again.
        Next::Resume => Ok(Action::requeue(RECHECK)),
        Next::Adopt { .. } => adopt::adopt(release, &history).await,
        Next::AwaitHelm { .. } => adopt::await_helm(release, &history).await,
        Next::Foreign { revision } => Err(Error::blocked(
            Reason::ForeignRelease,
            format!(
                "revision {revision} of release {} was made by another ReleaseLifecycle, which is \
                 there: delete this object and create one with another spec.releaseName, or have the \
                 other one leave its release (spec.deletion.objects: Keep) and delete it",
                release.name
            ),
        )),
    }
}

/// The deployed revision is what is wanted: what there is to say of it.
async fn in_sync(
    release: &mut Release<'_>,
    history: &[Stored],
    revision: i32,
) -> Result<Action, Error> {
    finalizer::hold(release).await?;
    let stored = history.iter().find(|stored| stored.release.version == revision);
    let plan = stored.and_then(|stored| stored.plan.as_ref());
    let chart = plan.and_then(|(plan, _)| plan.chart.clone());
    let drift = match stored.filter(|_| release.object.looks_for_drift()) {
        Some(stored) => Some(Box::pin(drift::check(release, stored)).await?),
        None => None,
    };
    note_outside(release, stored).await?;
    release.besides = match stored {
        Some(stored) => Box::pin(remarks::of_revision(release, stored)).await,
        None => None,
    };
    release.write_in_sync(revision, chart, drift).await?;
    release.ctx.references.settle(&release.object);
    Ok(rest(release.ctx, &release.object))
}

/// Learns what the deployed revision has outside of the namespace, where no operation of this operator
/// has told.
async fn note_outside(release: &mut Release<'_>, stored: Option<&Stored>) -> Result<(), Error> {
    let is_known = release.object.status.as_ref().is_some_and(|it| it.outside.is_some());
    if let Some(stored) = stored.filter(|_| !is_known) {
        release.outside = Some(prepare::outside(release, stored).await?);
    }
    Ok(())
}

/// Why nobody can tell what the source is: until it is changed, or for now.
async fn unknown(release: &Release<'_>) -> Result<Option<Error>, Error> {
    match release.source().await {
        Ok(Ok(_)) => Ok(None),
        Ok(Err(failure)) => Ok(Some(Error::Blocked(failure.clone()))),
        Err(later @ Error::Later(..)) => Ok(Some(later)),
        Err(error) => Err(error),
    }
}

/// Whether this cannot be done, or said, of a release whose source cannot be read.
fn needs_source(next: &Next) -> bool {
    match next {
        Next::Begin { event, .. } => event.needs_source(),
        Next::Adopt { .. } | Next::InSync { .. } | Next::GivenUp => true,
        Next::Resume
        | Next::Reopen
        | Next::CloseLate { .. }
        | Next::JournalLost { .. }
        | Next::AwaitHelm { .. }
        | Next::Foreign { .. }
        | Next::Finish => false,
    }
}

/// What is next. Where the source `is_known` to nobody, it is taken not to have changed. What is
/// `orphaned` is nobody's.
fn next(release: &Release<'_>, history: &[Stored], is_known: bool, orphaned: bool) -> Next {
    let inputs = records::config_inputs(release);
    let me = release.object_name();
    let summary = |stored: &Stored| {
        let mut record = stored.summary(&inputs);
        record.matches |= !is_known;
        record.owner.take_if(|owner| orphaned && owner != me);
        // Where the object was made anew, what it says may be the same in other words.
        let of_former = stored.owner_uid().is_some_and(|uid| uid != release.uid());
        let is_open = of_former
            && !record.matches
            && record.state == RecordState::Deployed
            && !release.is_being_deleted();
        record.owner.take_if(|_| is_open);
        record
    };
    let records: Vec<_> = history.iter().map(summary).collect();
    let object = &release.object;
    let status = object.status.as_ref();
    let generation = release.generation();
    let last = status.and_then(|status| status.last_attempt.as_ref());
    let gave_up = last.is_some_and(|last| match prepare::key(history) {
        _ if !is_known => true,
        Some(key) => records::is_wanted(release, &last.config_digest, &key),
        // Without a record there is no key to compare digests by.
        None => last.generation == generation,
    });
    let handled = handled(release);
    let tested = status.and_then(|status| status.tested_revision);
    let newest = records::newest(history);
    let disposal = if object.keeps_objects() { Disposal::Keep } else { Disposal::Delete };
    let operation = status.and_then(|status| status.operation.as_ref());
    next::next(&Situation {
        operation,
        gave_up,
        remedy: operation.and_then(|last| object.remedy(last.event)),
        test_due: object.tests_enabled()
            && newest.is_some_and(|newest| {
                !newest.is_adopted() && tested != Some(newest.release.version)
            }),
        records: &records,
        owner: release.object_name(),
        generation,
        deletion: release.is_being_deleted().then_some(disposal),
        was_ours: status.is_some_and(|status| status.revision.is_some()),
        pin: object.spec.pin_revision,
        requests: &object.requests(),
        handled: &handled,
    })
}

/// The requests that were answered. Where nothing was seen before, or that is forgotten, nobody can
/// tell an old request from a new one; old ones are not answered again.
pub(crate) fn handled(release: &Release<'_>) -> Requests {
    let status = release.object.status.as_ref();
    let seen = status.filter(|status| status.observed_generation.is_some_and(|seen| seen >= 0));
    seen.map_or_else(|| release.object.requests(), api::ReleaseLifecycleStatus::handled)
}

async fn start(
    release: &mut Release<'_>,
    history: &[Stored],
    begin: Begin,
) -> Result<Action, Error> {
    finalizer::hold(release).await?;
    let Prepared { plan, remarks } = prepare::plan(release, history, &begin).await?;
    let warnings = Warnings::of(release, &plan, &remarks).await?;
    if let Some(remark) = source::remark(release) {
        release.warn(Reason::LargeSource, remark);
    }
    let last = release.object.status.as_ref().and_then(|status| status.last_attempt.as_ref());
    let wanted = match last.filter(|last| begin.remedies == Some(last.revision)) {
        // A source that cannot be read now is not changed once it can be read again.
        Some(failed) => failed.config_digest.clone(),
        None => records::wanted(release, &plan.config_key),
    };
    let handled = answered(release, begin.event);
    let mut journal = Journal::begin(begin, wanted, handled, now());
    journal.operation.leader = release.ctx.lease.epoch();
    warnings.note(release);
    release.write_journal(&journal, None).await?;
    warnings.tell(release);
    run(release, &plan, Made::Anew, journal).await
}

/// The requests that an operation of `event` answers, or leaves without an object. Tests that were
/// asked for run after it, and a deletion may have been told already to do without its hooks.
fn answered(release: &Release<'_>, event: Event) -> Requests {
    let before = release.object.status.as_ref().map(api::ReleaseLifecycleStatus::handled);
    let before = before.unwrap_or_default();
    let mut handled = release.object.requests();
    if event != Event::Test {
        handled.test = before.test;
    }
    if event == Event::Delete {
        handled.skip = before.skip;
    }
    handled
}

/// Goes on with the operation whose record is the newest and failed. Where another one came after
/// it, its journal is in the record and in the state of its hooks.
async fn reopen(release: &mut Release<'_>, history: &[Stored]) -> Result<Action, Error> {
    let latest = records::newest(history);
    let plan = latest.and_then(|stored| stored.plan.clone());
    let Some((plan, digest)) = plan else { return Ok(Action::requeue(Duration::ZERO)) };
    let wanted = match release.object.status.as_ref().and_then(|it| it.last_attempt.as_ref()) {
        // Of a source that cannot be read nobody can tell whether it has changed.
        Some(last) if release.is_blind() => last.config_digest.clone(),
        _ => records::wanted(release, &plan.config_key),
    };
    let generation = release.generation();
    let handled = answered(release, plan.event);
    let last = release.journal().filter(|journal| journal.operation.id == plan.operation);
    let hooks = release.object.status.as_ref().map_or(&[][..], |status| &status.hooks);
    let journal = match last {
        Some(last) => Some(last.reopened(generation, wanted, handled)),
        None => recall(&plan, digest, wanted, generation, hooks, handled, now()),
    };
    let Some(mut journal) = journal else {
        return Err(Error::blocked(
            Reason::RetryImpossible,
            format!(
                "how far revision {} got is no longer known, so that it cannot be gone on with. To \
                 begin anew, with every hook: {}",
                plan.revision,
                release.commands().restart()
            ),
        ));
    };
    journal.operation.leader = release.ctx.lease.epoch();
    release.write_journal(&journal, None).await?;
    resume(release, journal).await
}

async fn resume(release: &mut Release<'_>, mut journal: Journal) -> Result<Action, Error> {
    match frozen_plan(release, &journal).await {
        Ok(Frozen::Recorded(plan)) => {
            if journal.operation.plan_digest.is_none() {
                serve_recorded(release, &plan, &mut journal).await?;
            }
            run(release, &plan, Made::Before, journal).await
        }
        Ok(Frozen::Anew { mut plan, is_keyed }) => {
            serve_anew(release, Arc::make_mut(&mut plan), is_keyed, &mut journal);
            run(release, &plan, Made::Anew, journal).await
        }
        Ok(Frozen::Lost) => plan_lost(release, &journal).await,
        // Nothing was recorded, and what was asked for is no longer wanted.
        Err(Error::Blocked(failure) | Error::Later(failure, _))
            if journal.operation.plan_digest.is_none() && is_unwanted(release, &journal) =>
        {
            release.write_journal(&journal.abandon(failure, now()), None).await?;
            Ok(ended(release))
        }
        Err(error) => Err(error),
    }
}

/// The journal of an operation whose record was not found, and whose plan was made again. Where the
/// spec asks for something else by now, nothing of the operation has been done, and it ends with its
/// record: a request for one may be under way. `is_keyed`: whether its digest can be compared.
fn serve_anew(release: &Release<'_>, plan: &mut Plan, is_keyed: bool, journal: &mut Journal) {
    let operation = &mut journal.operation;
    // Of what has failed, or is deployed, or goes, whatever the spec is now.
    let serves_the_spec = operation.event.makes_revision() && operation.remedies.is_none();
    if !serves_the_spec {
        return;
    }
    let is_newer = if is_keyed {
        !records::is_wanted(release, &operation.config_digest, &plan.config_key)
    } else {
        operation.generation != release.generation()
    };
    if is_newer {
        let failure = superseded(release, operation);
        operation.cancel.get_or_insert(Cancel { now: true, failure });
        // What is wanted now was not tried by it.
        plan.config_digest.clear();
    } else {
        operation.config_digest = records::wanted(release, &plan.config_key);
        operation.generation = release.generation();
    }
}

/// The journal of an operation whose record was found though it knows of none. A first install has a
/// key of its own each time its plan is made, so that its digest may be by another one.
async fn serve_recorded(
    release: &Release<'_>,
    plan: &Plan,
    journal: &mut Journal,
) -> Result<(), Error> {
    let is_first =
        plan.event == Event::Install && release.generation() == journal.operation.generation;
    if !is_first || release.is_being_deleted() || unknown(release).await?.is_some() {
        return Ok(());
    }
    let inputs = records::config_inputs(release);
    if inputs.have(&plan.config_digest, &plan.config_key) {
        journal.operation.config_digest = records::wanted(release, &plan.config_key);
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

/// The object is let go, and the release stays Helm's. A deletion that has deleted nothing yet gives
/// the record its state back, where it may.
async fn keep(release: &mut Release<'_>, running: Option<Journal>) -> Result<Action, Error> {
    if let Some(journal) = running.filter(|journal| journal.operation.phase < Phase::Deleting) {
        let revision = journal.operation.revision;
        let status = release.object.status.as_ref();
        let deployed = status.is_some_and(|status| status.revision == Some(revision));
        match release.records().reinstate(revision, deployed).await {
            Err(Error::Blocked(Failure { message, .. })) => {
                let text = format!("the record goes on saying that it is being deleted: {message}");
                release.warn(Reason::RecordNotReinstated, text);
            }
            other => other?,
        }
    }
    finalizer::let_go(release).await?;
    Ok(Action::await_change())
}

/// The plan of an operation that goes on.
enum Frozen {
    /// As its record has it.
    Recorded(Arc<Plan>),
    /// Made again, since nothing was recorded yet; whether with the key of the one before.
    Anew { plan: Arc<Plan>, is_keyed: bool },
    /// Its record no longer has it.
    Lost,
}

/// The plan that the journal speaks of. Before it is recorded, it is made anew under the same id;
/// where the record exists after all, the one in it counts.
async fn frozen_plan(release: &Release<'_>, journal: &Journal) -> Result<Frozen, Error> {
    let operation = &journal.operation;
    if let Some(digest) = &operation.plan_digest
        && let Some(plan) = release.ctx.running.plan(release.uid(), digest)
    {
        return Ok(Frozen::Recorded(plan));
    }
    let stored = release.records().get(operation.revision).await?;
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
            let history = release.records().history().await?;
            let begin = Begin {
                id: operation.id.clone(),
                event: operation.event,
                revision: operation.revision,
                target: operation.target,
                remedies: operation.remedies,
                generation: operation.generation,
            };
            let is_keyed = prepare::key(&history).is_some();
            let prepared = prepare::plan(release, &history, &begin).await?;
            Ok(Frozen::Anew { plan: Arc::new(prepared.plan), is_keyed })
        }
    }
}

/// The plan that the operation began with is gone, and with it what remains to be done.
async fn plan_lost(release: &mut Release<'_>, journal: &Journal) -> Result<Action, Error> {
    let operation = &journal.operation;
    let journal = if operation.phase == Phase::Closing && !operation.event.makes_revision() {
        // A deletion removes it itself, and a test too.
        journal.concluded(now())
    } else {
        let record = helm::record::secret_name(&release.name, operation.revision);
        let message = format!(
            "Secret {record} no longer holds the plan that the operation began with: it was removed \
             or rewritten by another client. See in status.hooks which hooks have run"
        );
        journal.abandon(Failure::new(Reason::PlanLost, message), now())
    };
    release.write_journal(&journal, None).await?;
    Ok(ended(release))
}

/// Where the plan in hand comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// From the record.
    Before,
    /// It was made in this reconciliation, and is in no record that was read.
    Anew,
}

/// Takes steps until there is something to wait for.
async fn run(
    release: &mut Release<'_>,
    plan: &Plan,
    made: Made,
    mut journal: Journal,
) -> Result<Action, Error> {
    release.outside = Some(plan.outside(&release.namespace));
    let mut observation = gather(release, plan, &journal, query(&journal), now()).await?;
    if made == Made::Anew && is_of_another_plan(&observation, plan) {
        return Ok(Action::requeue(Duration::ZERO));
    }
    for _ in 0..STEPS {
        let now = now();
        let mut step = decide(plan, &journal, &observation, &wishes(release, plan, &journal), now);
        if let Some(Hold::Stalled(failure)) = &mut step.hold
            && release.is_being_deleted()
        {
            *failure = while_deleting(failure.clone());
        }
        if step.journal.is_done() && step.journal.operation.failure.is_none() {
            release.besides = Box::pin(remarks::of_rollback(release, plan)).await;
        }
        let changed = step.journal != journal;
        if changed || step.effect.is_none() {
            release.write_journal(&step.journal, step.hold.as_ref()).await?;
        }
        journal = step.journal;
        observation = match (step.effect, step.wake_at) {
            (Some(effect), _) => Box::pin(execute(release, plan, &journal, &effect, now)).await?,
            (None, Some(wake_at)) => return Ok(Action::requeue(until(wake_at, now))),
            (None, None) if journal.is_done() => {
                forget_old(release, &journal).await;
                return Ok(ended(release));
            }
            (None, None) => gather(release, plan, &journal, query(&journal), now).await?,
        };
    }
    tracing::warn!("{STEPS} steps in one reconciliation, and still at work");
    Ok(Action::requeue(Duration::from_secs(1)))
}

/// Keeps as many records as are wanted. What could not be removed goes after the next operation.
async fn forget_old(release: &Release<'_>, journal: &Journal) {
    let Some(most) = release.object.max_history() else { return };
    if !journal.operation.event.makes_revision() {
        return;
    }
    match release.records().prune(most, release.object.spec.pin_revision).await {
        Ok(()) | Err(Error::Outrun) => {}
        Err(error) => {
            let text = format!("more than {most} records are left: {error}");
            release.warn(Reason::RecordsNotPruned, text);
        }
    }
}

fn until(wake_at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(wake_at.duration_since(now)).unwrap_or_default()
}

/// The next event, if there is one already, gets a reconciliation of its own.
fn ended(release: &Release<'_>) -> Action {
    release.ctx.running.forget(release.uid());
    release.ctx.references.look_for_drift(&release.object);
    // What its source refers to was looked at when the operation began, if at all.
    let refers = release.ctx.references.due_in(&release.object).is_some();
    if is_settled(&release.object) && !refers {
        Action::await_change()
    } else {
        Action::requeue(Duration::ZERO)
    }
}
