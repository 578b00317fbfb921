//! Executes the next step.

use std::time::Duration;

use kube_runtime::controller::Action;
use lifecycle::{conditions, event::Event, next::Next, plan::Begin, reason::Reason};

use crate::{
    cluster::error::Error,
    operation::{drive::resume, outside, recover},
    reconcile::{
        adopt,
        approve::{Approval, approval},
        dependencies, gate,
        in_sync::in_sync,
        next::{begins, needs_source},
        start::{reopen, start},
        wake::{after, settle},
    },
    records::{Records, Stored},
    release::{Release, finalizer, settled::is_settled},
    support::{
        clock::{now, until},
        key::RECHECK,
    },
};

/// Executes `next`, unless the release has to wait: for its namespace to be gone, for a source that
/// is unknown (`missing`), for the end of `spec.suspend`, or for its dependencies.
pub(crate) async fn operate(
    release: &mut Release<'_>,
    history: &[Stored],
    next: Next,
    missing: Option<Error>,
) -> Result<Action, Error> {
    let begins = begins(&next);
    if begins && !release.is_being_deleted() && finalizer::namespace_goes_lately(release).await? {
        return Err(finalizer::nothing_begins(&release.namespace));
    }
    if let Some(why) = missing
        && needs_source(&next)
    {
        return Err(why);
    }
    if release.object.suspended() && begins && !release.namespace_goes {
        release.write_held(&conditions::suspended()).await?;
        return Ok(Action::await_change());
    }
    match next {
        Next::Begin { event, revision, target, remedies } => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let generation = release.generation();
            let next = Begin { id, event, revision, target, remedies, generation };
            Box::pin(begin(release, history, next)).await
        }
        Next::Reopen => {
            let progress = Box::pin(reopen(release, history)).await?;
            Ok(after(progress, release))
        }
        Next::InSync { revision } => {
            Box::pin(in_sync(release, history, revision)).await?;
            Ok(settle(release))
        }
        // Everything is deleted with the namespace.
        Next::GivenUp | Next::AwaitRetry { .. } | Next::Adopt { .. } | Next::AwaitHelm { .. }
            if release.namespace_goes =>
        {
            outside::let_go(release).await?;
            Ok(Action::await_change())
        }
        Next::GivenUp => {
            Records::of(release).withdraw().await?;
            release.write_given_up().await?;
            if !is_settled(&release.object) {
                return Ok(Action::requeue(RECHECK));
            }
            Ok(settle(release))
        }
        Next::AwaitRetry { at } => {
            release.write_retry_at(at).await?;
            Ok(Action::requeue(until(at, now())))
        }
        Next::JournalLost { revision } => {
            let journal = recover::journal(release, history, revision).await?;
            release.write_journal(&journal, None).await?;
            Ok(after(Box::pin(resume(release, journal)).await?, release))
        }
        Next::PlanUnknown { revision } => Err(recover::plan_unknown(release, history, revision)),
        Next::Trust { revision } => {
            recover::trust(release, history, revision).await?;
            Ok(Action::requeue(Duration::ZERO))
        }
        Next::Finish => {
            outside::let_go(release).await?;
            Ok(Action::await_change())
        }
        Next::CloseLate { .. } => {
            if let Some(journal) = release.journal()
                && let Err(failure) = Records::of(release).close(&journal).await?
            {
                return Err(Error::Blocked(failure));
            }
            Ok(Action::requeue(Duration::ZERO))
        }
        // It is about to be read again.
        Next::Resume => Ok(Action::requeue(RECHECK)),
        Next::Adopt { .. } => adopt::adopt(release, history).await,
        Next::AwaitHelm { .. } => adopt::await_helm(release, history).await,
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

/// Begins an operation, unless it has to wait: for its dependencies, for an approval, or for a window.
async fn begin(
    release: &mut Release<'_>,
    history: &[Stored],
    begin: Begin,
) -> Result<Action, Error> {
    if begin.event.needs_source()
        && let Some(waiting) = dependencies::unready(release).await?
    {
        release.write_waiting(&waiting).await?;
        return Ok(Action::requeue(RECHECK));
    }
    let approved = match Box::pin(approval(release, history, &begin)).await? {
        Approval::Free => None,
        Approval::Approved(approved) => Some(*approved),
        Approval::Waits(why) => {
            release.write_held(&why).await?;
            let rest = settle(release);
            return Ok(if release.is_being_deleted() { Action::requeue(RECHECK) } else { rest });
        }
    };
    if let Some(closed) = gate::closed(release, &begin, now())? {
        let mut look_again_in = closed.look_again_in;
        if begin.event == Event::Test {
            // The release is as it should be.
            in_sync(release, history, begin.revision).await?;
            settle(release);
            let due_in = release.ctx.watches.sources.due_in(&release.object);
            look_again_in = due_in.map_or(look_again_in, |due_in| due_in.min(look_again_in));
        } else {
            release.write_held(&closed.why).await?;
        }
        if release.is_being_deleted() {
            // Nobody tells when its namespace begins to go.
            look_again_in = look_again_in.min(RECHECK);
        }
        return Ok(Action::requeue(look_again_in));
    }
    if begin.event == Event::Install {
        adopt::note_gone(release, history);
    }
    let progress = Box::pin(start(release, history, begin, approved)).await?;
    Ok(after(progress, release))
}
