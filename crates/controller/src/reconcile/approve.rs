//! `spec.approval`: the plan of an operation is made, stored and shown, and waits until somebody has
//! approved it.

use helm::pending::Pending;
use lifecycle::{
    approval::{Action, Found, Gate, PendingPlan, gate, short},
    journal::Failure,
    plan::{Begin, Plan},
    reason::Reason,
};

use crate::{
    cluster::error::Error,
    desired::{digest, source},
    plan::{
        changes,
        make::{self, Planned},
        preflight::Warnings,
    },
    records::{Records, Stored},
    release::{Release, finalizer},
    support::clock::now,
};

/// The answer to whether an operation may begin.
pub(crate) enum Approval {
    /// It needs no approval.
    Free,
    /// It waits, for this reason.
    Waits(Failure),
    /// Somebody has approved this plan.
    Approved(Box<Pending>),
}

/// Returns whether the operation may begin. A plan that is not there, or whose source has changed since,
/// is made anew.
pub(crate) async fn approval(
    release: &mut Release<'_>,
    history: &[Stored],
    begin: &Begin,
) -> Result<Approval, Error> {
    let object = &release.object;
    let mode = object.approval_mode();
    if release.namespace_goes {
        return Ok(Approval::Free);
    }
    let pending = object.status.as_ref().and_then(|status| status.plan.clone());
    let decided = gate(mode, begin, pending.as_ref(), object.approved_plan());
    let stored = match decided.shown() {
        Some(shown) => Records::of(release).proposed(shown).await?,
        None => None,
    };
    let found = match &stored {
        None => Found::Missing,
        Some(stored) if is_current(release, &stored.plan) => Found::Current,
        Some(_) => Found::Outdated,
    };
    match (decided.once_read(found), stored) {
        (Gate::Free, _) => Ok(Approval::Free),
        (Gate::Waits(shown), _) => Ok(Approval::Waits(waits(release, shown))),
        (Gate::Approved(_), Some(stored)) => Ok(Approval::Approved(Box::new(stored))),
        (Gate::Propose | Gate::Approved(_), _) => {
            propose(release, history, begin).await.map(Approval::Waits)
        }
    }
}

/// Returns whether the source is the one that the plan was made from.
fn is_current(release: &Release<'_>, plan: &Plan) -> bool {
    !plan.event.needs_source()
        || release.known_source().is_none()
        || digest::input(release).have(&plan.config_digest, &plan.config_key)
}

/// Makes the plan, stores it, and reports what is in it.
async fn propose(
    release: &mut Release<'_>,
    history: &[Stored],
    begin: &Begin,
) -> Result<Failure, Error> {
    finalizer::hold(release).await?;
    let planned = make::plan(release, history, begin).await?;
    let warnings = Warnings::of(release, &planned).await?;
    let Planned { plan, rendered, .. } = planned;
    let changes = changes::of(release, &plan).await?;
    let record_digest = Records::of(release).propose(&plan, rendered.as_ref()).await?;
    let pending = PendingPlan::of(
        &plan,
        record_digest,
        begin.generation,
        changes.changes,
        changes.unchanged,
        now(),
    );
    if let Some(remark) = source::remark(release) {
        release.warn(Reason::LargeSource, remark);
    }
    let why = waits(release, &pending);
    release.tell(Reason::ApprovalPending, why.message.clone());
    if let Some(warnings) = &warnings {
        warnings.note(release);
    }
    release.write_pending(pending, &why).await?;
    if let Some(warnings) = &warnings {
        warnings.tell(release);
    }
    Ok(why)
}

/// Returns why the plan waits, and how it is seen and approved.
fn waits(release: &Release<'_>, pending: &PendingPlan) -> Failure {
    let PendingPlan { event, revision, hooks, more, .. } = pending;
    let count = |action| pending.count(action);
    let others = if *more > 0 { format!(" and {more} more") } else { String::new() };
    let outdated = match release.object.approved_plan() {
        Some(approved) if approved != pending.digest => {
            format!("; plan {} was approved, which is not this one", short(approved))
        }
        _ => String::new(),
    };
    let commands = release.commands();
    let message = format!(
        "{event} of revision {revision} waits for the approval of plan {}: {} hooks, {} objects to \
         create, {} to update, {} to delete{others}{outdated}. To see it: {}; to approve it: {}",
        pending.short_digest(),
        hooks.iter().filter(|hook| hook.skipped.is_none()).count(),
        count(Action::Create),
        count(Action::Update),
        count(Action::Delete),
        commands.status(),
        commands.approve(pending.short_digest()),
    );
    Failure::new(Reason::ApprovalPending, message)
}
