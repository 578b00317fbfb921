//! Begins an operation, or reopens the one that failed.

use helm::pending::Pending;
use lifecycle::{
    event::Event,
    journal::{Journal, Requests},
    known::KnownPlan,
    plan::Begin,
    reason::Reason,
    rebuild::recall,
};

use crate::{
    cluster::error::Error,
    desired::{digest, source},
    operation::drive::{Origin, Progress, resume, run},
    plan::{
        make::{self, Planned},
        preflight::Warnings,
    },
    records::{self, Draft, Records, Stored},
    release::{Release, finalizer},
    support::clock::now,
};

/// Begins an operation: creates its plan, unless somebody has `approved` one, writes its journal, and
/// takes its first steps.
pub(crate) async fn start(
    release: &mut Release<'_>,
    history: &[Stored],
    mut begin: Begin,
    approved: Option<Pending>,
) -> Result<Progress, Error> {
    finalizer::hold(release).await?;
    let approved_by = approved.as_ref().map(|_| approver(release));
    let (plan, draft, warnings) = if let Some(Pending { plan, record, .. }) = approved {
        // The warnings about it were reported when it was made.
        (plan, record.map(Draft::pending), None)
    } else {
        let planned = make::plan(release, history, &begin).await?;
        let warnings = Warnings::of(release, &planned).await?;
        let Planned { plan, rendered, .. } = planned;
        (plan, rendered.map(Draft::rendered), warnings)
    };
    begin.id.clone_from(&plan.operation);
    if let Some(remark) = source::remark(release) {
        release.warn(Reason::LargeSource, remark);
    }
    let last = release.object.status.as_ref().and_then(|status| status.last_attempt.as_ref());
    let wanted = match last.filter(|last| begin.remedies == Some(last.revision)) {
        // A source that cannot be read now does not count as changed once it can be read again.
        Some(failed) => failed.config_digest.clone(),
        None => digest::wanted(release, &plan.config_key),
    };
    let handled = answered(release, begin.event);
    let mut journal = Journal::begin(begin, wanted, handled, now());
    journal.operation.leader = release.ctx.lease.epoch();
    journal.operation.approved_by = approved_by;
    if journal.operation.approved_by.is_none() {
        Records::of(release).withdraw().await?;
    }
    if let Some(warnings) = &warnings {
        warnings.note(release);
    }
    release.plan = Some(KnownPlan::of(&plan, plan.freeze().1));
    release.write_journal(&journal, None).await?;
    if let Some(warnings) = &warnings {
        warnings.tell(release);
    }
    run(release, &plan, Origin::Created(draft), journal).await
}

/// Returns who has approved the plan.
fn approver(release: &Release<'_>) -> String {
    release.object.approved_by().unwrap_or("unknown").to_owned()
}

/// Returns the requests that an operation of `event` answers, or makes irrelevant. Tests that were
/// requested run after it, and a deletion may already have been told to skip its hooks.
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

/// Resumes the operation whose record is the newest and failed. If another operation came after it,
/// its journal is in the record and in the state of its hooks.
pub(crate) async fn reopen(
    release: &mut Release<'_>,
    history: &[Stored],
) -> Result<Progress, Error> {
    let latest = records::newest(history);
    let plan = latest.and_then(|stored| stored.plan.clone());
    let Some((plan, digest)) = plan else { return Ok(Progress::AGAIN) };
    let wanted = match release.object.status.as_ref().and_then(|it| it.last_attempt.as_ref()) {
        // If the source cannot be read, it is unknown whether it has changed.
        Some(last) if release.is_blind() => last.config_digest.clone(),
        _ => digest::wanted(release, &plan.config_key),
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
                "the progress of revision {} is no longer known, so that it cannot be resumed. To \
                 start again, with every hook: {}",
                plan.revision,
                release.commands().restart()
            ),
        ));
    };
    journal.operation.leader = release.ctx.lease.epoch();
    release.write_journal(&journal, None).await?;
    Box::pin(resume(release, journal)).await
}
