//! The step rule, checked by a model: the real core between two processes that no lease separates,
//! a cluster with the semantics of the API server, and every fault that a network, a crash, a user
//! and time can bring, each a bounded number of times.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod cluster;
mod configuration;
mod ghost;
mod process;
mod report;
mod system;

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Explores every configuration, two at a time.
fn explore_all() -> Vec<report::Outcome> {
    let mut all = configuration::all();
    if let Ok(only) = std::env::var("ONLY") {
        all.retain(|one| one.name.contains(&only));
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let t = std::fs::read_to_string("/proc/uptime").unwrap();
                    let outcome = report::explore(one.clone());
                    let e = std::fs::read_to_string("/proc/uptime").unwrap();
                    let f = |s: &str| s.split(' ').next().unwrap().parse::<f64>().unwrap();
                    eprintln!("{} states {} depth {} t {:.1} ends {:?} viol {}", outcome.name, outcome.states, outcome.depth, f(&e)-f(&t), outcome.ends, outcome.violations.len());
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    let place = |name| all.iter().position(|one| one.name == name);
    outcomes.sort_by_key(|outcome| place(outcome.name));
    outcomes
}

#[test]
fn no_rule_is_broken() {
    let outcomes = explore_all();
    println!("{}", report::table(&outcomes));
    for outcome in &outcomes {
        for violation in &outcome.violations {
            println!("{violation}");
        }
    }
}
