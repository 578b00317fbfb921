//! The step rule, checked by a model: the real core in two processes that no lease separates, a
//! cluster with the semantics of the API server, and every fault that a network, a crash, a user
//! and time can bring, each a bounded number of times. All that can happen is explored.
//!
//! `ONLY=<part of a name>` explores some configurations, `SMALL=1` those of few states, `LARGE=1` all of
//! them with more faults, `UPDATE=1` writes the table to docs/src/internals/model.md.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod alone;
mod asked;
mod beginning;
mod cluster;
mod configuration;
mod configurations;
mod ghost;
mod mutation;
mod operations;
mod people;
mod process;
mod report;
mod request;
mod rules;
mod shared;
mod system;
mod walk;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use ghost::Rule;
use mutation::Mutation;
use report::Outcome;
use system::Reached;

#[test]
fn no_rule_is_broken() {
    let only = std::env::var("ONLY").ok();
    let large = std::env::var_os("LARGE").is_some();
    let configurations: Vec<_> = configurations::all()
        .into_iter()
        .filter(|one| only.as_ref().is_none_or(|only| one.name.contains(only)))
        .filter(|one| is_explored(&one.name))
        .map(|one| if large { one.enlarged() } else { one })
        .collect();
    let outcomes = two_at_a_time(&configurations, |one| report::explore(one.clone()));
    let table = report::table(&outcomes);
    println!("{table}");
    let violations: Vec<_> =
        outcomes.iter().flat_map(|outcome| &outcome.violations).cloned().collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    let mut wrong = Vec::new();
    for (one, outcome) in configurations.iter().zip(&outcomes) {
        let expected: BTreeSet<_> = one.ends.iter().map(|end| (*end).to_owned()).collect();
        wrong.extend(
            (outcome.ends != expected)
                .then(|| format!("{}: can end as {:?}", one.name, outcome.ends)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if only.is_none() && !large && !is_small() {
        assert_all_reached(&outcomes);
        compare_with_the_document("model", &table);
    }
}

/// Returns whether only configurations of few states are explored.
fn is_small() -> bool {
    std::env::var_os("SMALL").is_some()
}

/// Returns whether the configuration of this name is explored. The page has the numbers of states.
fn is_explored(name: &str) -> bool {
    const FEW: u64 = 130_000;
    let row = format!("| {name} | ");
    let states = |page: &str| {
        let (_, rest) = page.split_once(&row)?;
        rest.split_once(' ')?.0.parse::<u64>().ok()
    };
    !is_small() || states(&page()).is_none_or(|states| states < FEW)
}

/// The page with the tables.
const PAGE: &str = "docs/src/internals/model.md";

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A model that misses what it is for would find nothing.
fn assert_all_reached(outcomes: &[Outcome]) {
    for what in Reached::ALL {
        let reached = outcomes.iter().any(|outcome| outcome.reached.contains(&what));
        assert!(reached, "{what:?} happens nowhere");
    }
}

/// Compares what was found with the part of the page that has this name.
fn compare_with_the_document(part: &str, found: &str) {
    /// The parts are written by tests that run side by side.
    static PAGE_IS_FREE: Mutex<()> = Mutex::new(());
    let _free = PAGE_IS_FREE.lock().unwrap();
    let begin = format!("<!-- {part}:begin -->");
    let end = format!("<!-- {part}:end -->");
    let document = page();
    let parts = document.split_once(&begin).and_then(|(before, rest)| {
        let (written, after) = rest.split_once(&end)?;
        Some((before, written, after))
    });
    let Some((before, written, after)) = parts else {
        panic!("{PAGE} lacks the lines {begin} and {end}, between which it stands");
    };
    if std::env::var_os("UPDATE").is_some() {
        let document = format!("{before}{begin}\n{}\n{end}{after}", found.trim());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
        std::fs::write(path, document).unwrap();
    } else {
        assert_eq!(written.trim(), found.trim(), "{PAGE} is out of date: UPDATE=1 make model");
    }
}

/// Each is broken on purpose in one place; the rule that it breaks is found broken.
const BROKEN: [(Mutation, &str, Rule); 37] = [
    (Mutation::EffectFirst, "one pre hook", Rule::UidFirst),
    (Mutation::EffectFirst, "deleted by a user", Rule::OneStart),
    (Mutation::UidUnjournalled, "deleted by a user", Rule::OneStart),
    (Mutation::UidUnjournalled, "an install, then an upgrade", Rule::EvidenceFirst),
    (Mutation::BlindWrite, "pre and post hooks", Rule::JournalForward),
    (Mutation::CreateStarted, "deleted by a user", Rule::OneStart),
    (Mutation::StartByName, "one object at two events", Rule::UidFirst),
    (Mutation::DeleteByName, "leftover with a finalizer", Rule::EvidenceFirst),
    (Mutation::StopBySuspending, "timeout", Rule::NothingAfterFailure),
    (Mutation::LostIsExecuted, "pre and post hooks", Rule::InOrder),
    (Mutation::SweepStale, "one pre hook", Rule::EvidenceFirst),
    (Mutation::SweepNothing, "deleted by a user", Rule::AlwaysFinishes),
    (Mutation::Unconfirmed, "an install, then an upgrade", Rule::ApplyForward),
    (Mutation::CloseWhatever, "an install, then an upgrade", Rule::OneDeployed),
    (Mutation::ClockStands, "timeout", Rule::AlwaysFinishes),
    (Mutation::Unconfirmed, "a retry", Rule::RecordClosed),
    (Mutation::Unconfirmed, "an install, a deletion, an install", Rule::RecordsLast),
    (Mutation::SameAttempt, "a retry of the second hook", Rule::OneStart),
    (Mutation::DeleteFirst, "a deletion", Rule::DeleteAfterPreHooks),
    (Mutation::PurgeFirst, "a deletion", Rule::RecordsLast),
    (Mutation::SuspendIgnored, "suspended at any moment", Rule::SuspendHolds),
    (Mutation::CancelIgnored, "cancelled at any moment", Rule::CancelHeeded),
    (Mutation::UnknownIsPending, "a lost status, two hooks, hook-succeeded", Rule::LossNeedsWord),
    (Mutation::TestCloses, "a test", Rule::TestKeepsRecords),
    (Mutation::BlockedGoesOn, "a deletion whose hook fails", Rule::BlockedByWord),
    (Mutation::StoppedSucceeds, "a Pod that ends well when it is stopped", Rule::StoppedFails),
    (
        Mutation::StoppedSucceeds,
        "a deletion whose backup ends well when it is stopped",
        Rule::DeleteAfterPreHooks,
    ),
    (Mutation::RemovalAsks, "old requests withdrawn", Rule::AskedByAnnotation),
    (Mutation::RemovalAsks, "a deletion, old requests withdrawn", Rule::SkippedByWord),
    (Mutation::StopsWhatEnded, "timeout of a pod", Rule::EndedIsLeft),
    (Mutation::UncountedRetries, "a rule with a retry", Rule::AttemptsCounted),
    (Mutation::UncountedRetries, "an eviction that does not count", Rule::AttemptsCounted),
    (Mutation::IgnoresAll, "a rule with a retry", Rule::SkippedByWord),
    (Mutation::AllBeside, "two hooks, hook-succeeded", Rule::InOrder),
    (Mutation::BesideForgotten, "two hooks side by side", Rule::EvidenceFirst),
    (Mutation::FailsAtOnce, "two hooks side by side", Rule::HooksAwaited),
    (Mutation::InterruptsAll, "a hook that is not interrupted", Rule::CancelHeeded),
];

#[test]
fn what_is_broken_on_purpose_is_found() {
    let all = configurations::all();
    let broken: Vec<_> = BROKEN.iter().filter(|(_, name, _)| is_explored(name)).collect();
    let found = two_at_a_time(&broken, |(mutation, name, rule)| {
        let one = all.iter().find(|one| one.name == *name).unwrap();
        report::counterexample(one.clone().broken_by(*mutation), *rule)
    });
    let mut kept = Vec::new();
    for ((mutation, name, rule), path) in broken.into_iter().zip(found) {
        match path {
            Some(path) => {
                let moves = path.lines().count();
                println!("{mutation:?} in {name:?} breaks {rule:?} in {moves} moves");
            }
            None => kept.push(format!("{mutation:?} in {name:?} keeps {rule:?}")),
        }
    }
    assert!(kept.is_empty(), "{}", kept.join("\n"));
}

/// The model's memory is bound by what it explores at once, and the machine has two cores.
fn two_at_a_time<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { break };
                    let result = work(item);
                    results.lock().unwrap().push((place, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
