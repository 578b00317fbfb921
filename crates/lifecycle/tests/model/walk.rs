//! Random walks over plans that are far too large to explore: twenty hooks of mixed kinds and
//! policies, several operations in a row, every fault. Each rule is judged after each move.
//!
//! `SEED=<number>` begins with another seed than 1, `WALKS=<number>` takes so many walks; a failure
//! names both so that it is the only one. The same seed takes the same walk.

use std::collections::{BTreeMap, VecDeque};

use lifecycle::{
    event::{
        Event, Event::Delete, Event::Install, Event::Rollback, Event::Test, Event::Upgrade,
        HookEvent,
    },
    hooks::{
        DeletePolicy::BeforeHookCreation, DeletePolicy::HookFailed, DeletePolicy::HookSucceeded,
    },
    journal::Failure,
    plan::PlannedHook,
    reason::Reason,
    rule::{self, OnFailure, Run},
};
use stateright::Model;

use crate::{
    configuration::{
        Budget, Configuration, core, crd, install, job, named_by_run, ruled, with_ttl,
    },
    ghost::Rule,
    mutation::Mutation,
    report::story,
    rules,
    system::{Action, Reached, State, System},
    two_at_a_time,
};

const WALKS: u64 = 2000;
const MOVES: usize = 4000;
const MOST_HOOKS: u64 = 20;
/// As many moves before a violation are told.
const TOLD: usize = 120;
/// How often it is tried whether one process alone would finish.
const FINISHES_EVERY: usize = 200;

#[test]
fn no_rule_is_broken_on_long_ways() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let (first, walks) = (number("SEED").unwrap_or(1), number("WALKS").unwrap_or(WALKS));
    let seeds: Vec<u64> = (first..first + walks).collect();
    let outcomes = two_at_a_time(&seeds, |seed| Walk::new(*seed, None).go());
    let broken: Vec<_> = outcomes.iter().filter_map(|walk| walk.broken.as_ref()).collect();
    assert!(broken.is_empty(), "{} walks; the first: {}", broken.len(), broken[0].1);
    let mut ends = BTreeMap::<(&str, String), usize>::new();
    for end in outcomes.iter().flat_map(|walk| &walk.ends) {
        *ends.entry(end.clone()).or_default() += 1;
    }
    let moves: usize = outcomes.iter().map(|walk| walk.moves).sum();
    println!("{walks} walks, {moves} moves: {ends:?}");
    if walks < WALKS {
        return;
    }
    for what in Reached::ALL {
        assert!(outcomes.iter().any(|walk| walk.reached.contains(&what)), "{what:?} never happens");
    }
    for event in [Install, Upgrade, Rollback, Delete, Test] {
        let ended = ends.keys().filter(|(of, _)| *of == event.as_str());
        assert!(ended.count() > 0, "no {event} ever ends");
    }
}

/// Faults that are made on purpose, each of which is found on some way.
const BROKEN: [(Mutation, Rule); 6] = [
    (Mutation::BlindWrite, Rule::JournalForward),
    (Mutation::StartByName, Rule::UidFirst),
    (Mutation::SuspendIgnored, Rule::SuspendHolds),
    (Mutation::CancelIgnored, Rule::CancelHeeded),
    (Mutation::UnknownIsPending, Rule::LossNeedsWord),
    (Mutation::BlockedGoesOn, Rule::BlockedByWord),
];

#[test]
fn what_is_broken_on_purpose_is_found_on_long_ways() {
    let kept = two_at_a_time(&BROKEN, |(mutation, rule)| {
        let broken = (1..=WALKS).find_map(|seed| {
            let (found, _) = Walk::new(seed, Some(*mutation)).go().broken?;
            (found == *rule).then_some(seed)
        });
        match broken {
            Some(seed) => println!("{mutation:?} breaks {rule:?} with seed {seed}"),
            None => return Some(format!("{mutation:?} keeps {rule:?}")),
        }
        None
    });
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    assert!(kept.is_empty(), "{}", kept.join("\n"));
}

/// Steele, Lea and Flood's `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let place = self.below(u64::try_from(items.len()).unwrap());
        &items[usize::try_from(place).unwrap()]
    }
}

/// Several operations in a row, and what they meet.
fn configuration(random: &mut Random, mutation: Option<Mutation>) -> Configuration {
    let mut configuration = install("a walk", hooks(random, Install));
    let operations = 2 + random.below(5);
    let mut before = Install;
    for _ in 0..operations {
        // After a deletion there is nothing but an install.
        let next = if before == Delete {
            Install
        } else {
            *random.of(&[Upgrade, Upgrade, Rollback, Test, Delete])
        };
        configuration = configuration.then(next, hooks(random, next));
        if random.one_in(3) {
            configuration = configuration.without_waiting();
        }
        before = next;
    }
    let world = |world: &mut crate::configuration::World| {
        world.finalizers = random.one_in(8);
        world.skips_hooks = random.one_in(2);
        world.cancels_now = random.one_in(2);
        world.asked_before = random.one_in(2);
    };
    let mut configuration = configuration.world(world);
    configuration.mutation = mutation;
    let mut times = |most: u64| u8::try_from(random.below(most + 1)).unwrap();
    configuration.budget = Budget {
        crashes: times(12),
        late: times(6),
        duplicates: times(6),
        stale: times(6),
        deletions: times(4),
        failures: times(6),
        ticks: times(8),
        refusals: u8::from(times(9) == 0),
        retries: times(6),
        skips: times(4),
        cancels: times(2),
        supersedes: times(2),
        suspends: times(3),
        losses: times(2),
        // A namespace that is gone has no more operations.
        namespaces: u8::from(before == Delete && times(2) == 0),
        withdrawals: times(3),
    };
    configuration
}

fn hooks(random: &mut Random, event: Event) -> Vec<PlannedHook> {
    let most = if random.one_in(4) { MOST_HOOKS } else { 4 };
    let number = random.below(most + 1);
    let before = random.below(number + 1);
    (0..number)
        .filter_map(|place| {
            let at = if place < before { Some(event.pre()) } else { event.post() };
            at.map(|at| hook(random, at))
        })
        .collect()
}

fn hook(random: &mut Random, at: HookEvent) -> PlannedHook {
    let policies = *random.of(&[
        &[BeforeHookCreation][..],
        &[BeforeHookCreation],
        &[BeforeHookCreation, HookSucceeded],
        &[HookSucceeded, HookFailed],
        &[BeforeHookCreation, HookFailed],
    ]);
    let name = *random.of(&["a", "b", "c", "d", "e"]);
    let hook = match random.below(10) {
        0 => core(at, "Pod", policies),
        1 => core(at, "ConfigMap", policies),
        2 => crd(at),
        3 => named_by_run(job(at, "named", policies)),
        4 => with_ttl(job(at, name, policies)),
        _ => job(at, name, policies),
    };
    if random.one_in(4) { ruled(hook, |rule| change(random, rule)) } else { hook }
}

fn change(random: &mut Random, rule: &mut rule::Rule) {
    if random.one_in(2) {
        rule.retries = Some(i32::try_from(random.below(3)).unwrap());
    }
    if random.one_in(3) {
        rule.on_failure = OnFailure::Ignore;
    }
    rule.uninterruptible = random.one_in(3);
    rule.parallel = random.one_in(2);
    if random.one_in(8) {
        rule.run = Run::Never;
        rule.skip = Some(Failure::new(Reason::RunNever, "the rule says so"));
    }
}

struct Walk {
    seed: u64,
    random: Random,
    system: System,
}

struct Outcome {
    /// The rule that was broken first, and how.
    broken: Option<(Rule, String)>,
    moves: usize,
    /// How each operation ended.
    ends: Vec<(&'static str, String)>,
    reached: Vec<Reached>,
}

impl Walk {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut random = Random(seed);
        let system = System::new(configuration(&mut random, mutation));
        Self { seed, random, system }
    }

    fn go(mut self) -> Outcome {
        let mut way: VecDeque<(State, Option<Action>)> = VecDeque::new();
        let mut state = self.system.init_states().remove(0);
        let mut ends = Vec::new();
        let mut moves = 0;
        let mut broken = None;
        while moves < MOVES {
            let Some(action) = self.choose(&state) else { break };
            let Some(next) = self.system.next_state(&state, action) else { break };
            moves += 1;
            let was_done = state.cluster.status.journal.is_done();
            way.push_back((state, Some(action)));
            if way.len() > TOLD {
                way.pop_front();
            }
            state = next;
            let journal = &state.cluster.status.journal;
            if let (false, Some(end)) = (was_done, rules::end(journal)) {
                ends.push((journal.operation.event.as_str(), end));
            }
            let cluster = &state.cluster;
            broken = cluster.ghost.broken(&self.system.configuration, cluster);
            if broken.is_none() && moves % FINISHES_EVERY == 0 && !self.system.finishes(cluster) {
                broken = Some(Rule::AlwaysFinishes);
            }
            if broken.is_some() {
                break;
            }
        }
        if broken.is_none() && !self.system.finishes(&state.cluster) {
            broken = Some(Rule::AlwaysFinishes);
        }
        way.push_back((state, None));
        Outcome {
            broken: broken.map(|rule| (rule, self.words(rule, moves, way))),
            moves,
            ends,
            reached: Reached::ALL.into_iter().filter(|it| self.system.has_reached(*it)).collect(),
        }
    }

    fn words(&self, rule: Rule, moves: usize, way: VecDeque<(State, Option<Action>)>) -> String {
        let plans = self.system.configuration.plans.iter();
        let plans: Vec<_> = plans.map(|plan| format!("{:?}", plan.hooks)).collect();
        format!(
            "SEED={} WALKS=1 breaks in move {moves}: {}\n{}plans: {}",
            self.seed,
            rule.text(),
            story(way.into()),
            plans.join("\n")
        )
    }

    /// Most moves are what happens anyway; or else every budget would be spent at the beginning.
    fn choose(&mut self, state: &State) -> Option<Action> {
        let mut actions = Vec::new();
        self.system.actions(state, &mut actions);
        let (usual, rare): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| is_usual(state, *action));
        let rarely = self.random.one_in(12);
        let list = if (rarely && !rare.is_empty()) || usual.is_empty() { rare } else { usual };
        if list.is_empty() { None } else { Some(*self.random.of(&list)) }
    }
}

fn is_usual(state: &State, action: Action) -> bool {
    match action {
        Action::Read(_)
        | Action::Observe(_)
        | Action::Decide(_)
        | Action::Send(_)
        | Action::ApplyReady(_)
        | Action::Sweep(..)
        | Action::Begin
        | Action::Ends(_, true)
        | Action::Gone(_)
        | Action::Ready
        | Action::ObjectsGone
        | Action::Unsuspend => true,
        // Where somebody is waited for.
        Action::AskRetry | Action::AskSkip => state.cluster.status.journal.operation.skip.is_none(),
        _ => false,
    }
}
