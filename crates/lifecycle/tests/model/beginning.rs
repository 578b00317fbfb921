//! How an upgrade begins that needs an approval and waits for a window: the core's own decisions in
//! two processes that no lease separates, while people change the spec and the source, approve what
//! they see, or something else, and take it back. Each is bounded; all that can happen is explored.

use std::{collections::BTreeSet, fmt::Write};

use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    approval::{Found, Gate, Mode, PendingPlan, gate},
    event::Event,
    journal::Requests,
    plan::Begin,
    schedule::Schedule,
    testing,
    windows::{Opening, Window, is_exempt, opening},
};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};

use crate::system::spend;

/// How often each thing may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Budget {
    spec_changes: u8,
    source_changes: u8,
    approvals: u8,
    requests: u8,
    crashes: u8,
    late: u8,
    ticks: u8,
}

/// A plan. Each that is made has a digest of its own, since it has its operation's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Made {
    digest: u8,
    generation: u8,
    source: u8,
}

/// The custom resource, with what belongs to its resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Object {
    version: u8,
    generation: u8,
    shown: Option<Made>,
    approved: Option<u8>,
    is_requested: bool,
    /// The operation that the journal says has begun.
    begun: Option<Made>,
    /// The operation has ended, with nothing done: its plan is gone.
    lost: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Process {
    Idle,
    Read(Object),
    /// It stores the plan in the version of the Secret that it read, and shows it then.
    Stores(Object, Made, u8),
    Shows(Object, Made),
    Starts(Object, Made),
    Records(Made),
    Loses(Object),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    object: Object,
    source: u8,
    /// The plan in the Secret, and the Secret's version.
    stored: (Option<Made>, u8),
    record: Option<Made>,
    /// A write of the Secret that is still under way.
    late: Option<(Made, u8)>,
    /// The time as a place in `TIMES`.
    time: u8,
    processes: [Process; 2],
    budget: Budget,
    /// Digests that status has shown.
    shown: BTreeSet<u8>,
    /// Digests that a person has approved while status showed them.
    meant: BTreeSet<u8>,
    broken: BTreeSet<Rule>,
    made: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Read(usize),
    Decide(usize),
    Write(usize),
    Abandon(usize),
    Crash(usize),
    Arrive,
    ChangeSpec,
    ChangeSource,
    Approve,
    ApproveAnother(u8),
    Disapprove,
    Request,
    Tick,
}

/// The rules, each a property of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rule {
    /// The plan that begins is the one that status shows, and that the annotation names.
    Approved,
    /// Somebody has seen the plan that begins when they approved it.
    Seen,
    /// The plan that begins was made from the spec as it is.
    Spec,
    /// The plan that begins was made from the source as it was read.
    Source,
    /// It begins in a window, or on request.
    InWindow,
    /// The record has the plan that has begun.
    Recorded,
    /// If somebody approves what is shown, and the window opens, it begins.
    Begins,
}

impl Rule {
    fn text(self) -> &'static str {
        match self {
            Self::Approved => "what begins is the plan that status shows, and that is approved",
            Self::Seen => "somebody has seen the plan that begins when they approved it",
            Self::Spec => "what begins was made from the spec as it is",
            Self::Source => "what begins was made from the source as it was read",
            Self::InWindow => "it begins in a window, or on request",
            Self::Recorded => "the record has the plan that has begun",
            Self::Begins => "approved and in a window, it begins",
        }
    }
}

/// Faults that are made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// Any approval counts.
    AnyApproval,
    /// A plan of an older spec is taken.
    AnyGeneration,
    /// A plan is taken although its source has changed.
    AnySource,
    /// The journal is written without the version that was read.
    BlindStart,
    /// Windows are not asked.
    AlwaysOpen,
    /// The stored plan is recorded, whatever has begun.
    AnyRecord,
    /// An outdated plan is never made anew.
    NeverAnew,
}

/// Something begins at all.
const RECORDED: &str = "an operation begins and is recorded";

/// Two processes alone would replace each other's plan for ever.
const MOST_PLANS: u8 = 4;

/// The configurations that are explored.
const CONFIGURATIONS: [(&str, Budget); 3] = [
    (
        "crashes and late requests",
        Budget {
            source_changes: 1,
            approvals: 1,
            crashes: 1,
            late: 1,
            ticks: 1,
            spec_changes: 0,
            requests: 0,
        },
    ),
    (
        "people",
        Budget {
            spec_changes: 1,
            source_changes: 1,
            approvals: 2,
            ticks: 1,
            crashes: 0,
            late: 0,
            requests: 0,
        },
    ),
    (
        "windows",
        Budget {
            approvals: 1,
            requests: 1,
            ticks: 3,
            crashes: 1,
            spec_changes: 0,
            source_changes: 0,
            late: 0,
        },
    ),
];

const BROKEN: [(Mutation, &str, Rule); 8] = [
    (Mutation::AnyApproval, "people", Rule::Approved),
    (Mutation::AnyApproval, "people", Rule::Seen),
    (Mutation::AnyGeneration, "people", Rule::Spec),
    (Mutation::AnySource, "people", Rule::Source),
    (Mutation::BlindStart, "people", Rule::Approved),
    (Mutation::AlwaysOpen, "windows", Rule::InWindow),
    (Mutation::AnyRecord, "crashes and late requests", Rule::Recorded),
    (Mutation::NeverAnew, "people", Rule::Begins),
];

/// Before the window, in it, after it, in the next one.
const TIMES: [&str; 4] = [
    "2026-12-01T21:00:00Z",
    "2026-12-01T23:00:00Z",
    "2026-12-02T03:00:00Z",
    "2026-12-02T23:00:00Z",
];

struct System {
    budget: Budget,
    mutation: Option<Mutation>,
    windows: [Window; 1],
    times: [Timestamp; 4],
}

impl System {
    fn new(name: &str, mutation: Option<Mutation>) -> Self {
        let (_, budget) = *CONFIGURATIONS.iter().find(|(it, _)| *it == name).unwrap();
        let schedule = Schedule::parse("0 22 * * *", None).unwrap();
        let windows = [Window { schedule, duration: SignedDuration::from_hours(4) }];
        let times = TIMES.map(|time| time.parse().unwrap());
        Self { budget, mutation, windows, times }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn is_open(&self, time: u8) -> bool {
        opening(&self.windows, self.times[usize::from(time)]) == Opening::Open
    }

    /// Returns what follows from what was read, as `reconcile/operate` does it around the core's decisions.
    fn decide(&self, state: &mut State, seen: Object) -> Process {
        if let Some(begun) = seen.begun {
            let any = self.is(Mutation::AnyRecord);
            return match state.stored.0 {
                Some(stored) if stored == begun || any => Process::Records(stored),
                _ => Process::Loses(seen),
            };
        }
        let begin = begin(seen.generation);
        let mut pending = seen.shown.map(pending);
        if let Some(pending) = pending.as_mut().filter(|_| self.is(Mutation::AnyGeneration)) {
            pending.generation = begin.generation;
        }
        let mut approved = seen.approved.map(digest);
        if let Some(pending) = pending.as_ref().filter(|_| self.is(Mutation::AnyApproval)) {
            approved = approved.map(|_| pending.digest.clone());
        }
        let decided = gate(Mode::Upgrade, &begin, pending.as_ref(), approved.as_deref());
        let found = match state.stored.0 {
            Some(stored) if seen.shown != Some(stored) => Found::Missing,
            None => Found::Missing,
            Some(stored) if stored.source == state.source => Found::Current,
            Some(_) if self.is(Mutation::AnySource) => Found::Current,
            Some(_) => Found::Outdated,
        };
        let decided = if self.is(Mutation::NeverAnew) { decided } else { decided.once_read(found) };
        match (decided, state.stored.0) {
            (Gate::Propose, _) => {
                let (generation, source) = (seen.generation, state.source);
                let made = Made { digest: state.made, generation, source };
                state.made += 1;
                Process::Stores(seen, made, state.stored.1)
            }
            (Gate::Approved(_), Some(stored)) if found != Found::Missing => {
                let requests = Requests {
                    retry: seen.is_requested.then(|| "now".to_owned()),
                    ..Requests::default()
                };
                let is_open = self.is_open(state.time);
                let exempt = is_exempt(&begin, &requests, &Requests::default());
                if !is_open && !exempt && !self.is(Mutation::AlwaysOpen) {
                    return Process::Idle;
                }
                if stored.source != state.source {
                    state.broken.insert(Rule::Source);
                }
                if !is_open && !seen.is_requested {
                    state.broken.insert(Rule::InWindow);
                }
                Process::Starts(seen, stored)
            }
            (Gate::Waits(_) | Gate::Approved(_) | Gate::Free, _) => Process::Idle,
        }
    }

    fn write(&self, state: &mut State, process: usize) {
        let next = match state.processes[process].clone() {
            Process::Stores(seen, made, version) if store(state, made, version) => {
                Process::Shows(seen, made)
            }
            Process::Shows(seen, made) if state.object.version == seen.version => {
                state.object.shown = Some(made);
                state.shown.insert(made.digest);
                state.object.version += 1;
                Process::Idle
            }
            Process::Starts(seen, made)
                if state.object.version == seen.version || self.is(Mutation::BlindStart) =>
            {
                if state.object.begun.is_none() {
                    begins(state, made);
                    Process::Records(made)
                } else {
                    Process::Idle
                }
            }
            Process::Records(made) => {
                if state.record.is_none() {
                    state.record = Some(made);
                    if state.object.begun != Some(made) {
                        state.broken.insert(Rule::Recorded);
                    }
                }
                Process::Idle
            }
            Process::Loses(seen) if state.object.version == seen.version => {
                state.object.lost = true;
                state.object.version += 1;
                Process::Idle
            }
            _ => Process::Idle,
        };
        state.processes[process] = next;
    }

    /// Returns whether one process alone begins the operation, if somebody approves what is shown and the
    /// window opens.
    fn goes_on(&self, state: &State) -> bool {
        let mut state = state.clone();
        state.processes = [Process::Idle, Process::Idle];
        state.time = 1;
        for _ in 0..12 {
            if state.record.is_some() || state.object.lost {
                return true;
            }
            let seen = state.object;
            let mut process = self.decide(&mut state, seen);
            while process != Process::Idle {
                state.processes[0] = process;
                self.write(&mut state, 0);
                process = state.processes[0].clone();
            }
            if let Some(shown) = state.object.shown.filter(|_| state.object.begun.is_none()) {
                state.object.approved = Some(shown.digest);
                state.object.version += 1;
            }
        }
        false
    }
}

fn begin(generation: u8) -> Begin {
    Begin {
        id: "new".to_owned(),
        event: Event::Upgrade,
        revision: 1,
        target: None,
        remedies: None,
        generation: i64::from(generation),
    }
}

fn digest(number: u8) -> String {
    format!("sha256:{number}")
}

fn pending(made: Made) -> PendingPlan {
    let plan = testing::plan(Event::Upgrade);
    let generation = i64::from(made.generation);
    let pending = PendingPlan::of(&plan, None, generation, Vec::new(), 0, Timestamp::UNIX_EPOCH);
    PendingPlan { digest: digest(made.digest), ..pending }
}

/// Replaces the Secret, if it still has this version.
fn store(state: &mut State, made: Made, version: u8) -> bool {
    let accepted = state.stored.1 == version;
    if accepted {
        state.stored = (Some(made), version + 1);
    }
    accepted
}

fn begins(state: &mut State, made: Made) {
    let object = &mut state.object;
    if object.shown != Some(made) || object.approved != Some(made.digest) {
        state.broken.insert(Rule::Approved);
    }
    if !state.meant.contains(&made.digest) {
        state.broken.insert(Rule::Seen);
    }
    if made.generation != object.generation {
        state.broken.insert(Rule::Spec);
    }
    object.begun = Some(made);
    object.version += 1;
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let object = Object {
            version: 0,
            generation: 0,
            shown: None,
            approved: None,
            is_requested: false,
            begun: None,
            lost: false,
        };
        vec![State {
            object,
            source: 0,
            stored: (None, 0),
            record: None,
            late: None,
            time: 0,
            processes: [Process::Idle, Process::Idle],
            budget: self.budget,
            shown: BTreeSet::new(),
            meant: BTreeSet::new(),
            broken: BTreeSet::new(),
            made: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (object, budget) = (&state.object, &state.budget);
        if state.record.is_some() || object.lost || state.made > MOST_PLANS {
            return;
        }
        for (process, does) in state.processes.iter().enumerate() {
            if process == 1 && *does == state.processes[0] {
                continue;
            }
            match does {
                Process::Idle => actions.push(Action::Read(process)),
                Process::Read(_) => actions.push(Action::Decide(process)),
                _ => actions.push(Action::Write(process)),
            }
            if matches!(does, Process::Stores(..)) && budget.late > 0 {
                actions.push(Action::Abandon(process));
            }
            if *does != Process::Idle && budget.crashes > 0 {
                actions.push(Action::Crash(process));
            }
        }
        actions.extend(state.late.map(|_| Action::Arrive));
        actions.extend((budget.spec_changes > 0).then_some(Action::ChangeSpec));
        actions.extend((budget.source_changes > 0).then_some(Action::ChangeSource));
        actions.extend((budget.requests > 0).then_some(Action::Request));
        actions.extend((budget.ticks > 0).then_some(Action::Tick));
        actions.extend(object.approved.map(|_| Action::Disapprove));
        if budget.approvals > 0 {
            let shown = object.shown.map(|made| made.digest);
            actions.extend(shown.map(|_| Action::Approve));
            let others = state.shown.iter().copied().filter(|made| Some(*made) != shown);
            actions.extend(others.map(Action::ApproveAnother));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let budget = &mut state.budget;
        let object = &mut state.object;
        match action {
            Action::Read(process) => state.processes[process] = Process::Read(*object),
            Action::Decide(process) => {
                let Process::Read(seen) = state.processes[process] else { return None };
                state.processes[process] = self.decide(&mut state, seen);
            }
            Action::Write(process) => self.write(&mut state, process),
            Action::Abandon(process) => {
                spend(&mut budget.late);
                let Process::Stores(_, made, version) = state.processes[process] else {
                    return None;
                };
                state.late = Some((made, version));
                state.processes[process] = Process::Idle;
            }
            Action::Crash(process) => {
                spend(&mut budget.crashes);
                state.processes[process] = Process::Idle;
            }
            Action::Arrive => {
                let (made, version) = state.late.take()?;
                store(&mut state, made, version);
            }
            Action::ChangeSpec => {
                spend(&mut budget.spec_changes);
                object.generation += 1;
                object.version += 1;
            }
            Action::ChangeSource => {
                spend(&mut budget.source_changes);
                state.source += 1;
            }
            Action::Approve => {
                spend(&mut budget.approvals);
                let digest = object.shown?.digest;
                state.meant.insert(digest);
                object.approved = Some(digest);
                object.version += 1;
            }
            Action::ApproveAnother(digest) => {
                spend(&mut budget.approvals);
                object.approved = Some(digest);
                object.version += 1;
            }
            Action::Disapprove => {
                object.approved = None;
                object.version += 1;
            }
            Action::Request => {
                spend(&mut budget.requests);
                object.is_requested = true;
                object.version += 1;
            }
            Action::Tick => {
                spend(&mut budget.ticks);
                state.time += 1;
            }
        }
        // Two states that differ only by who is who are one.
        state.processes.sort_unstable();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept(state: &State, rule: Rule) -> bool {
            !state.broken.contains(&rule)
        }
        vec![
            Property::always(Rule::Approved.text(), |_, state| kept(state, Rule::Approved)),
            Property::always(Rule::Seen.text(), |_, state| kept(state, Rule::Seen)),
            Property::always(Rule::Spec.text(), |_, state| kept(state, Rule::Spec)),
            Property::always(Rule::Source.text(), |_, state| kept(state, Rule::Source)),
            Property::always(Rule::InWindow.text(), |_, state| kept(state, Rule::InWindow)),
            Property::always(Rule::Recorded.text(), |_, state| kept(state, Rule::Recorded)),
            Property::always(Rule::Begins.text(), |system: &Self, state| system.goes_on(state)),
            Property::sometimes(RECORDED, |_, state: &State| state.record.is_some()),
        ]
    }
}

#[test]
fn what_begins_was_approved_and_is_in_a_window() {
    let mut table =
        String::from("| configuration | states | depth | properties |\n|---|--:|--:|--:|\n");
    for (name, _) in CONFIGURATIONS.into_iter().filter(|(name, _)| crate::is_explored(name)) {
        let checker = System::new(name, None).checker().spawn_bfs().join();
        for property in System::new(name, None).properties() {
            let path = checker.discovery(property.name).map(Path::into_actions);
            let is_rule = matches!(property.expectation, Expectation::Always);
            assert!(!(is_rule && path.is_some()), "{name}: {} is broken: {path:?}", property.name);
        }
        let begins = checker.discovery(RECORDED).is_some();
        assert!(begins, "{name}: nothing begins");
        let (states, depth) = (checker.unique_state_count(), checker.max_depth());
        writeln!(table, "| {name} | {states} | {depth} | {} |", checker.model().properties().len())
            .unwrap();
    }
    println!("{table}");
    if !crate::is_small() {
        crate::compare_with_the_document("beginning", &table);
    }
}

#[test]
fn a_beginning_that_is_broken_on_purpose_is_found() {
    for (mutation, name, rule) in BROKEN {
        let found = HasDiscoveries::AnyOf(BTreeSet::from([rule.text()]));
        let system = System::new(name, Some(mutation));
        let checker = system.checker().finish_when(found).spawn_bfs().join();
        let path = checker.discovery(rule.text()).map(Path::into_actions);
        let path = path.unwrap_or_else(|| panic!("{mutation:?} in {name:?} keeps {rule:?}"));
        println!("{mutation:?} in {name:?} breaks {rule:?} in {} moves", path.len());
    }
}
