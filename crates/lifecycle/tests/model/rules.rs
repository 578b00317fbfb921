//! The rules about a state rather than about a move; most are about an end.

use lifecycle::{
    event::{Event, HookEvent},
    hooks::DeletePolicy,
    journal::{HookPhase, Journal, Operation, Phase},
    plan::Plan,
};

use crate::{
    cluster::{Cluster, Record, RecordState, uid_of},
    configuration::Configuration,
    ghost::{Removal, Rule, hooks_of, is_done_with_objects},
};

/// Returns whether `cluster` keeps a rule that is about a state.
pub(crate) fn judge(rule: Rule, configuration: &Configuration, cluster: &Cluster) -> bool {
    let journal = &cluster.status.journal;
    let operation = cluster.operation(configuration);
    if rule == Rule::DeployedWhole {
        return whole(configuration, cluster);
    }
    if rule == Rule::HooksAwaited {
        return cluster.status.lost || hooks_are_awaited(configuration, cluster);
    }
    if !journal.is_done() || cluster.status.lost {
        return true;
    }
    let failed = journal.operation.failure.is_some();
    let plan = configuration.plan(operation);
    let record = cluster.record_of(configuration, operation);
    // A purge that comes late ends a deletion whose status was lost.
    let is_purged = || plan.event == Event::Delete && cluster.record(record).is_none();
    match rule {
        Rule::NothingSkipped => failed || not_skipped(configuration, cluster, operation),
        Rule::RecordClosed => record_closed(configuration, cluster, operation),
        Rule::OneDeployed => {
            let deployed = |record: &Option<Record>| {
                record
                    .is_some_and(|record| record.state == RecordState::Deployed && !record.foreign)
            };
            // The next operation that is deployed supersedes what a loss between both writes left.
            cluster.ghost.lost
                || cluster.records.iter().filter(|record| deployed(record)).count() <= 1
        }
        Rule::PoliciesKept => [Some(plan.event.pre()), plan.event.post()]
            .into_iter()
            .flatten()
            .all(|event| policies_kept(plan, cluster, event)),
        Rule::CauseOfFailure => !failed || cluster.ghost.cause || is_purged(),
        Rule::DeletionNeverFails => !failed || plan.event != Event::Delete || is_purged(),
        _ => true,
    }
}

/// Once the hooks of an event are over, none of them is at work any more.
fn hooks_are_awaited(configuration: &Configuration, cluster: &Cluster) -> bool {
    let journal = &cluster.status.journal;
    let plan = configuration.plan(cluster.operation(configuration));
    let pre_are_over = journal.operation.phase > Phase::PreHooks;
    let post_are_over = journal.operation.phase > Phase::PostHooks;
    journal.hooks.iter().all(|hook| {
        let over = if hook.event == plan.event.pre() { pre_are_over } else { post_are_over };
        !over || hook.phase != HookPhase::Running
    })
}

fn record_closed(configuration: &Configuration, cluster: &Cluster, operation: u8) -> bool {
    let failed = cluster.status.journal.operation.failure.is_some();
    let record = cluster.records[usize::from(cluster.record_of(configuration, operation))];
    match configuration.plan(operation).event {
        Event::Install | Event::Upgrade | Event::Rollback => match record {
            Some(record) if !record.foreign => {
                let wanted = if failed { RecordState::Failed } else { RecordState::Deployed };
                // What was closed as a success before the loss stays one.
                let before_loss = cluster.ghost.lost && record.state == RecordState::Deployed;
                // Without a journal a failed release is looked at again each minute, and a retry whose
                // reopening comes late is found then.
                let retried_late = cluster.ghost.lost
                    && cluster.status.journal.hooks.is_empty()
                    && record.state == RecordState::Pending;
                record.state == wanted || before_loss || (failed && retried_late)
            }
            _ => failed,
        },
        // With the namespace all goes that is in it.
        Event::Delete => {
            let mut records = cluster.records[..usize::from(operation)].iter();
            cluster.status.asked.namespace_goes || records.all(Option::is_none)
        }
        Event::Test => record.is_none_or(|record| record.plan != Some(operation)),
    }
}

fn whole(configuration: &Configuration, cluster: &Cluster) -> bool {
    (0..).zip(&cluster.records).all(|(operation, record)| {
        let deployed =
            record.is_some_and(|record| !record.foreign && record.state == RecordState::Deployed);
        let plan = configuration.plan(operation);
        let hooks = u8::try_from(plan.hooks.len()).unwrap();
        let superseding = cluster.operation(configuration) > operation;
        !deployed
            || ((0..hooks).all(|hook| cluster.ghost.ended_well(operation, hook))
                && (superseding || is_done_with_objects(plan, cluster, operation)))
    })
}

fn not_skipped(configuration: &Configuration, cluster: &Cluster, operation: u8) -> bool {
    let hooks = &cluster.status.journal.hooks;
    // A journal that was lost when all was done has none.
    // Or where there was no record, nothing was begun.
    let none = hooks.is_empty()
        && (cluster.ghost.lost || cluster.record_of(configuration, operation) == operation);
    let deletes = configuration.plan(operation).event == Event::Delete;
    if deletes && cluster.is_excused(configuration) {
        return true;
    }
    let number = u8::try_from(configuration.plan(operation).hooks.len()).unwrap();
    none || (0..number).all(|hook| {
        let entries = cluster.ghost.of_hook(operation, hook).filter(|entry| entry.started);
        let phase = hooks[usize::from(hook)].phase;
        if cluster.ghost.was_skipped(operation, hook) {
            let ignored = hooks[usize::from(hook)].ignored;
            return ignored || matches!(phase, HookPhase::Skipped | HookPhase::Succeeded);
        }
        // Each but the last has failed; the rules about starts count them by their attempts.
        let once = !configuration.gated(operation, hook) || cluster.ghost.lost || {
            let last = entries.clone().filter_map(|entry| entry.run).map(|run| run.attempt).max();
            last.is_some_and(|last| usize::from(last) >= entries.clone().count())
        };
        phase == HookPhase::Succeeded && cluster.ghost.has_succeeded(operation, hook) && once
    })
}

/// Helm's `execHook`, said once more in other words than the core's.
fn policies_kept(plan: &Plan, cluster: &Cluster, event: HookEvent) -> bool {
    let journal = &cluster.status.journal;
    let ended = |hook: u8| {
        journal.hooks.get(usize::from(hook)).is_some_and(|hook| {
            hook.ignored || matches!(hook.phase, HookPhase::Succeeded | HookPhase::Skipped)
        })
    };
    let all_ended = hooks_of(plan, event).all(ended);
    // A hook that could not be created has no UID; Helm then deletes nothing.
    let one_ran_and_failed = journal
        .hooks
        .iter()
        .any(|hook| hook.event == event && hook.has_failed() && hook.uid.is_some());
    let Operation { cancel, skip, .. } = &journal.operation;
    // Beside a hook that could not be created, others may have ended.
    let beside = plan.hooks.iter().any(|hook| hook.rule.parallel);
    let ended_early = cancel.is_some() || skip.is_some() || cluster.ghost.reopened || beside;
    hooks_of(plan, event).all(|index| {
        let Some(status) = journal.hooks.get(usize::from(index)) else {
            return true;
        };
        let Some(uid) = status.uid.as_deref() else {
            return true;
        };
        let planned = &plan.hooks[usize::from(index)];
        let policy = match status.phase {
            HookPhase::Succeeded => planned.has(DeletePolicy::HookSucceeded),
            HookPhase::Failed => planned.has(DeletePolicy::HookFailed),
            HookPhase::Pending | HookPhase::Running | HookPhase::Skipped | HookPhase::Unknown => {
                false
            }
        };
        let expected = (all_ended || one_ran_and_failed) && policy;
        match cluster.ghost.ledger[usize::from(uid_of(uid))].removal {
            // After a loss, the objects of hooks that ended before it may be found too late.
            None => !expected || cluster.ghost.lost,
            // What was cancelled, skipped or has failed before, is cleaned up as after a failure.
            Some(Removal::CleanedUp) => expected || (ended_early && policy),
            // A user, a stop or a later hook of the same name came first.
            Some(_) => true,
        }
    })
}

/// How an operation ended, in one word.
pub(crate) fn end(journal: &Journal) -> Option<String> {
    if journal.operation.phase != Phase::Done {
        return None;
    }
    let Some(failure) = &journal.operation.failure else {
        let word = match journal.operation.event {
            Event::Install | Event::Upgrade | Event::Rollback => "deployed",
            Event::Delete => "deleted",
            Event::Test => "tested",
        };
        return Some(word.to_owned());
    };
    let hook = journal.hooks.iter().find(|hook| hook.has_failed());
    Some(hook.and_then(|hook| hook.reason.clone()).unwrap_or_else(|| failure.reason.clone()))
}
