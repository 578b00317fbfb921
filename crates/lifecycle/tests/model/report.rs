//! Runs a configuration and says what was found: a row of the table, and the shortest path to each
//! violation in words.

use std::{collections::BTreeSet, fmt::Write};

use stateright::{Checker, HasDiscoveries, Model};

use crate::{
    configuration::Configuration,
    ghost::Rule,
    process::{Process, Seen, brief},
    system::{Action, Reached, State, System},
};

pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) states: usize,
    pub(crate) depth: usize,
    pub(crate) properties: usize,
    pub(crate) ends: BTreeSet<String>,
    pub(crate) reached: Vec<Reached>,
    /// Each violated property with the shortest path to it.
    pub(crate) violations: Vec<String>,
}

/// Explores all of `configuration`. One thread, so that the depth is the same every time.
pub(crate) fn explore(configuration: Configuration) -> Outcome {
    let name = configuration.name.clone();
    let checker = System::new(configuration).checker().spawn_bfs().join();
    let system = checker.model();
    let mut violations: Vec<_> = checker.discoveries().into_iter().collect();
    violations.sort_by_key(|(_, path)| path.clone().into_actions().len());
    let violations: Vec<_> = violations
        .into_iter()
        .map(|(rule, path)| format!("{name}: {rule}\n{}", story(path.into_vec())))
        .collect();
    println!(
        "{name}: {} states {} violations, {:?}",
        checker.unique_state_count(),
        violations.len(),
        system.ends()
    );
    Outcome {
        name,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        properties: system.properties().len(),
        ends: system.ends(),
        reached: Reached::ALL.into_iter().filter(|what| system.has_reached(*what)).collect(),
        violations,
    }
}

/// The shortest path on which `configuration` breaks `rule`, if there is one.
pub(crate) fn counterexample(configuration: Configuration, rule: Rule) -> Option<String> {
    let found = HasDiscoveries::AnyOf(BTreeSet::from([rule.text()]));
    let checker = System::new(configuration).checker().finish_when(found);
    let checker = checker.spawn_bfs().join();
    let path = checker.discovery(rule.text())?;
    Some(story(path.into_vec()))
}

pub(crate) fn story(path: Vec<(State, Option<Action>)>) -> String {
    let mut text = String::new();
    for (number, pair) in path.windows(2).enumerate() {
        let (before, after) = (&pair[0].0, &pair[1].0);
        let action = pair[0].1.unwrap();
        writeln!(text, "  {:2}. {}", number + 1, words(before, action, after)).unwrap();
    }
    text
}

fn words(before: &State, action: Action, after: &State) -> String {
    let who = |process: usize| {
        if (process == 1) == before.swapped { "A" } else { "B" }
    };
    let request = |process: usize| format!("{:?}", before.processes[process].request().unwrap());
    match action {
        Action::Read(process) => {
            let status = &before.cluster.status;
            let (who, version) = (who(process), status.version);
            let lost = if status.lost { "(lost) " } else { "" };
            format!("{who} reads version {version}: {lost}{}", brief(&status.journal))
        }
        Action::ReadStale(process) => {
            let status = before.cluster.previous.as_ref().unwrap();
            let (who, version) = (who(process), status.version);
            format!("{who} reads the older version {version}: {}", brief(&status.journal))
        }
        Action::Observe(process) => {
            let seen = after.processes.iter().find(|process| {
                matches!(process, Process::Observed(..)) && !before.processes.contains(process)
            });
            let Some(Process::Observed(_, seen)) = seen else {
                return format!("{} sees the same as the other", who(process));
            };
            match &**seen {
                Seen::Observation(observation) => {
                    format!("{} sees {observation:?}", who(process))
                }
                traces @ Seen::Traces(..) => format!("{} sees {traces:?}", who(process)),
            }
        }
        Action::Decide(process) => {
            let (old, new) = (&before.cluster.status, &after.cluster.status);
            let written = if old.version == new.version {
                "writes nothing".to_owned()
            } else {
                format!("writes version {}: {}", new.version, brief(&new.journal))
            };
            let effect = after.processes.iter().find_map(|process| match process {
                Process::Sending { requests, .. } if !before.processes.contains(process) => {
                    Some(format!(", will send {requests:?}"))
                }
                _ => None,
            });
            format!("{} decides, {written}{}", who(process), effect.unwrap_or_default())
        }
        Action::Send(process) => format!("{} sends {}", who(process), request(process)),
        Action::ApplyReady(process) => {
            format!("{} sends {}, done at once", who(process), request(process))
        }
        Action::SendTwice(process) => {
            let (who, request) = (who(process), request(process));
            format!("{who} sends {request}, and a copy stays under way")
        }
        Action::Abandon(process) => {
            let (who, request) = (who(process), request(process));
            format!("{who} leaves {request} under way")
        }
        Action::Crash(process) => format!("{} crashes", who(process)),
        Action::Sweep(process, request) => {
            format!("{} sweeps, will send {request:?}", who(process))
        }
        Action::Begin => {
            format!("the next operation begins: {}", brief(&after.cluster.status.journal))
        }
        Action::Deliver(index) => format!("late arrives {:?}", before.in_flight[index]),
        Action::Tick(now) => format!("the time is {now}"),
        Action::Ends(uid, true) => format!("u{uid} ends well"),
        Action::Ends(uid, false) => format!("u{uid} fails"),
        Action::Gone(uid) => format!("u{uid} is gone"),
        Action::TimeToLive(uid) => format!("u{uid} is deleted by its time to live"),
        Action::UserDeletes(uid) => format!("a user deletes u{uid}"),
        Action::Ready => "the objects become ready".to_owned(),
        Action::ObjectsGone => "the release's objects are gone".to_owned(),
        Action::Refuse => "a policy refuses creations from now on".to_owned(),
        Action::Reopen => {
            format!("a retry is asked for: {}", brief(&after.cluster.status.journal))
        }
        Action::AskRetry => "retryAt is set".to_owned(),
        Action::AskSkip => "skipAt is set".to_owned(),
        Action::Cancel => "cancelAt is set".to_owned(),
        Action::Supersede(now) => format!("the spec changes, to cancel at once: {now}"),
        Action::Suspend => "spec.suspend is set".to_owned(),
        Action::Unsuspend => "spec.suspend is cleared".to_owned(),
        Action::Lose => "the status is lost".to_owned(),
        Action::Withdraw => "the annotations of all requests are taken away".to_owned(),
        Action::NamespaceGoes => "the namespace begins to go".to_owned(),
    }
}

/// The table as it stands in docs/src/internals/model.md.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| configuration | states | depth | properties | it can end as |\n|---|--:|--:|--:|---|\n",
    );
    for outcome in outcomes {
        let ends: Vec<_> = outcome.ends.iter().map(String::as_str).collect();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            outcome.name,
            outcome.states,
            outcome.depth,
            outcome.properties,
            ends.join(", ")
        )
        .unwrap();
    }
    let states: usize = outcomes.iter().map(|outcome| outcome.states).sum();
    let violations: usize = outcomes.iter().map(|outcome| outcome.violations.len()).sum();
    let properties = outcomes.first().map_or(0, |outcome| outcome.properties);
    writeln!(
        text,
        "\nmodel: {} configurations, {states} states, {properties} properties, {violations} violations",
        outcomes.len(),
    )
    .unwrap();
    text
}
