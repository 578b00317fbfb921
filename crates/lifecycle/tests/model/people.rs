//! Deeds of people to the release while an operation runs, or after it has failed.

use lifecycle::{
    event::Event,
    journal::{HookStep, Requests},
};

use crate::{
    asked::Asked,
    cluster::{Cluster, Status},
    configuration::{Budget, Configuration},
    mutation::Mutation,
    system::{Action, spend},
};

/// Returns what people do to the release. A word is only given where somebody waits for it, or nobody ever
/// would in a deletion.
pub(crate) fn actions(
    configuration: &Configuration,
    cluster: &Cluster,
    budget: &Budget,
    actions: &mut Vec<Action>,
) {
    let Status { journal, lost, asked, .. } = &cluster.status;
    let (lost, asked) = (*lost, *asked);
    let cursors = || journal.operation.cursors();
    let blocked = cursors().any(|cursor| cursor.step == HookStep::Blocked);
    let waits = cursors().any(|cursor| cursor.not_before.is_some());
    let operation = cluster.operation(configuration);
    let event = configuration.plan(operation).event;
    if asked.suspend {
        actions.push(Action::Unsuspend);
    }
    if budget.withdrawals > 0 && !lost && asked.annotations() != Requests::default() {
        actions.push(Action::Withdraw);
    }
    if journal.is_done() && !lost {
        let failed = journal.operation.failure.is_some() && event.makes_revision();
        // A foreign record cannot be gone on with, nor what was lost.
        if failed && budget.retries > 0 && !journal.hooks.is_empty() {
            actions.push(Action::Reopen);
        }
        return;
    }
    if budget.losses > 0 && event != Event::Test {
        actions.push(Action::Lose);
    }
    if budget.suspends > 0 && !asked.suspend {
        actions.push(Action::Suspend);
    }
    if lost {
        return;
    }
    let asks = |asked: u8, handled: &Option<String>| {
        asked.to_string() == handled.clone().unwrap_or("0".to_owned())
    };
    if budget.retries > 0 && (blocked || waits) && asks(asked.retry, &journal.handled.retry) {
        actions.push(Action::AskRetry);
    }
    let skips = blocked || event == Event::Delete;
    if budget.skips > 0 && skips && asks(asked.skip, &journal.handled.skip) {
        actions.push(Action::AskSkip);
    }
    if event == Event::Delete {
        let is_last = configuration.plans.len() == usize::from(operation) + 1;
        if budget.namespaces > 0 && is_last {
            actions.push(Action::NamespaceGoes);
        }
        return;
    }
    if budget.cancels > 0 {
        actions.push(Action::Cancel);
    }
    if budget.supersedes > 0 {
        actions.push(Action::Supersede(configuration.world.cancels_now));
    }
}

/// Does what people do; nothing for any other move.
pub(crate) fn act(
    configuration: &Configuration,
    cluster: &mut Cluster,
    budget: &mut Budget,
    action: Action,
    keep: bool,
) {
    match action {
        Action::Reopen => {
            spend(&mut budget.retries);
            let back = configuration.mutation == Some(Mutation::SameAttempt);
            cluster.reopen(back, keep);
        }
        Action::AskRetry => {
            spend(&mut budget.retries);
            cluster.ask(Asked::ask_retry, keep);
        }
        Action::AskSkip => {
            spend(&mut budget.skips);
            cluster.ghost.excused = true;
            cluster.ask(Asked::ask_skip, keep);
        }
        Action::Cancel => {
            spend(&mut budget.cancels);
            cluster.ghost.cause = true;
            cluster.ask(Asked::ask_cancel, keep);
        }
        Action::Supersede(now) => {
            spend(&mut budget.supersedes);
            cluster.ghost.cause = true;
            cluster.ask(|asked| asked.superseded = Some(now), keep);
        }
        Action::Suspend => {
            spend(&mut budget.suspends);
            cluster.ask(|asked| asked.suspend = true, keep);
        }
        Action::Unsuspend => cluster.ask(|asked| asked.suspend = false, keep),
        Action::Lose => {
            spend(&mut budget.losses);
            cluster.lose(configuration, keep);
        }
        Action::Withdraw => {
            spend(&mut budget.withdrawals);
            cluster.ask(Asked::withdraw, keep);
        }
        Action::NamespaceGoes => {
            spend(&mut budget.namespaces);
            cluster.ghost.excused = true;
            cluster.ghost.cause = true;
            cluster.status.asked.namespace_goes = true;
        }
        _ => {}
    }
}
