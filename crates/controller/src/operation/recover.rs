//! Recovers the journal of an operation whose status was lost, from its record and its hooks'
//! objects.

use std::collections::BTreeSet;

use api::names;
use helm::record::Status;
use lifecycle::{
    event::Event,
    journal::{Cancel, Failure, Journal},
    known::KnownPlan,
    object::ObjectRef,
    plan::{Plan, parse_run_id},
    reason::Reason,
    rebuild::{Trace, rebuild},
};
use live::observe;

use crate::{
    cluster::error::Error, desired::digest, operation::controls, records::Stored, release::Release,
    support::clock::now,
};

/// Returns the journal of the operation that is running according to the record of `revision`.
pub(crate) async fn journal(
    release: &Release<'_>,
    history: &[Stored],
    revision: i32,
) -> Result<Journal, Error> {
    let stored = history.iter().find(|stored| stored.release.version == revision);
    let found = stored.and_then(|stored| match stored.release.info.status {
        Status::Uninstalling => stored.plan_of(Event::Delete),
        // That of a former custom resource is not executed, but ended.
        _ if stored.owner_uid() != Some(release.uid()) => stored.claimed().cloned(),
        _ => stored.plan.clone(),
    });
    let Some((plan, digest)) = found else {
        return Err(Error::blocked(
            Reason::JournalLost,
            format!(
                "revision {revision} of release {} is pending, but neither status.operation nor its \
                 record has the operation. When you have seen which of its hooks have run and \
                 it may start again: kubectl delete secret {}",
                release.name,
                helm::record::secret_name(&release.name, revision)
            ),
        ));
    };
    let traces = traces(release, &plan).await?;
    let inputs = digest::input(release);
    // The operation of a former custom resource ends here: the new custom resource starts its own.
    // Nothing of its plan is believed, and nothing of it is executed.
    let is_of_former = plan.owner.uid != release.uid() && plan.event != Event::Delete;
    let wanted = match &plan.remedies {
        _ if is_of_former => String::new(),
        // The failed configuration that it remediates is not the desired one now.
        Some(failed) if !inputs.have(&failed.config_digest, &plan.config_key) => String::new(),
        _ => digest::wanted(release, &plan.config_key),
    };
    let text = if is_of_former {
        format!(
            "the {} of revision {revision} was begun by a ReleaseLifecycle of this name that was deleted; \
             its record is closed",
            plan.event
        )
    } else {
        format!(
            "status.operation was lost while the {} of revision {revision} ran; it resumes at the \
             point that the objects of its hooks prove",
            plan.event
        )
    };
    release.warn(Reason::JournalRebuilt, text);
    let mut controls = controls::standing(release);
    controls.interrupt = is_of_former.then(|| Cancel {
        now: true,
        failure: Failure::new(Reason::Deleted, "the ReleaseLifecycle that began it is gone"),
    });
    // The operation serves no generation of the new custom resource, and gives none up.
    let generation = if is_of_former { 0 } else { release.generation() };
    let mut journal = rebuild(&plan, digest, wanted, generation, &traces, &controls, now());
    journal.operation.cancel = journal.operation.cancel.or(controls.interrupt);
    Ok(journal)
}

/// Returns the report on a record at work whose plan nothing proves to be the operator's. It names
/// the plan, so that a person vouches for this one.
pub(crate) fn plan_unknown(release: &Release<'_>, history: &[Stored], revision: i32) -> Error {
    unknown(release, revision, at_work(history, revision).as_ref())
}

/// Notes the plan at work in the record of `revision` as the operator's, as a person has asked who
/// was told of this plan.
pub(crate) async fn trust(
    release: &mut Release<'_>,
    history: &[Stored],
    revision: i32,
) -> Result<(), Error> {
    let plan = at_work(history, revision);
    let conditions = release.object.status.iter().flat_map(|status| &status.conditions);
    let mut told = conditions.filter(|it| it.reason == Reason::JournalLost);
    match plan {
        Some(plan) if told.any(|it| it.message.contains(&plan.digest)) => {
            release.write_trusted(plan).await
        }
        plan => Err(unknown(release, revision, plan.as_ref())),
    }
}

fn at_work(history: &[Stored], revision: i32) -> Option<KnownPlan> {
    let stored = history.iter().find(|stored| stored.release.version == revision)?;
    stored.at_work().map(|(plan, digest)| KnownPlan::of(&plan, digest))
}

fn unknown(release: &Release<'_>, revision: i32, plan: Option<&KnownPlan>) -> Error {
    Error::blocked(
        Reason::JournalLost,
        format!(
            "nothing in status proves that the plan in Secret {}, by which revision {revision} of \
             release {} is at work, is the operator's: the status was lost, or another client wrote \
             the record. If it is what you expect ({}), it resumes where the objects of its hooks \
             prove that it was: {}",
            helm::record::secret_name(&release.name, revision),
            release.name,
            plan.map_or("no plan that can be read", |plan| &plan.digest),
            release.commands().retry()
        ),
    )
}

/// Returns the traces of the operation's hooks, by the run ids of their objects.
async fn traces(release: &Release<'_>, plan: &Plan) -> Result<Vec<Trace>, Error> {
    let kinds: BTreeSet<_> = plan
        .hooks
        .iter()
        .map(|hook| ObjectRef { name: String::new(), ..hook.object.clone() })
        .collect();
    let selector = format!("{}={}", names::NAME_LABEL, plan.owner.name);
    let mut traces = Vec::new();
    for kind in kinds {
        for live in release.tenant.list(&kind, &selector).await? {
            let run = &live["metadata"]["annotations"][names::RUN_ANNOTATION];
            let run = run.as_str().and_then(|run| parse_run_id(run, &plan.operation));
            if let Some((index, attempt)) = run
                && let Some(hook) = plan.hooks.get(index)
            {
                let object = observe::hook(plan, hook, &live, &release.name, &release.namespace);
                traces.push(Trace { index, attempt, object });
            }
        }
    }
    Ok(traces)
}
