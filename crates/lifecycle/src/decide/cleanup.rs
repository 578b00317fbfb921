//! The clean-up of hook objects after the hooks of an event have ended.

use crate::{
    effect::{CleanUp, CleanUpAction},
    event::HookEvent,
    hooks::DeletePolicy,
    journal::{HookPhase, HookStatus, Journal},
    plan::Plan,
};

/// The clean-up of the hooks of `event` that have ended (Helm's `execHook`): after success
/// `hook-succeeded` in reverse; after a failure the failed one if `hook-failed`, then the succeeded
/// ones if `hook-succeeded`. A Job that stays gets its time to live back.
pub(super) fn items(plan: &Plan, journal: &Journal, event: Option<HookEvent>) -> Vec<CleanUp> {
    let ended = |phase: HookPhase| {
        let all = event.into_iter().flat_map(|event| plan.hooks_of(event));
        let is_it =
            move |index: &usize| journal.hooks.get(*index).is_some_and(|hook| hook.phase == phase);
        all.filter(is_it).collect::<Vec<_>>()
    };
    let failed = ended(HookPhase::Failed);
    let mut succeeded = ended(HookPhase::Succeeded);
    let fails = |index: &usize| journal.hooks.get(*index).is_some_and(HookStatus::has_failed);
    if !failed.iter().any(fails) {
        succeeded.reverse();
    }
    let failed = failed.into_iter().map(|index| (index, DeletePolicy::HookFailed));
    let succeeded = succeeded.into_iter().map(|index| (index, DeletePolicy::HookSucceeded));
    failed
        .chain(succeeded)
        .filter_map(|(index, policy)| {
            let hook = plan.hooks.get(index)?;
            let action = if hook.has(policy) {
                CleanUpAction::Delete
            } else {
                CleanUpAction::SetTtl(hook.ttl_seconds()?)
            };
            let uid = journal.hooks.get(index)?.uid.clone()?;
            Some(CleanUp { hook: index, uid, action })
        })
        .collect()
}
