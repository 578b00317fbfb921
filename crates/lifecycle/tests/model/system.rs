//! The system: two processes that no lease separates, requests under way, and every move that the
//! processes, the cluster, its users and the faults can make.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{Hash, Hasher},
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use stateright::{Model, Property};

use crate::{
    cluster::{Cluster, Life, Release, Status},
    configuration::{Budget, Configuration},
    ghost::{self, Rule},
    mutation::Mutation,
    people,
    process::{Process, Written},
    request::{Answer, Request, Turn},
    rules,
    shared::hash,
};

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) cluster: Cluster,
    /// In an order that does not depend on who is who: two states that only differ by that are one.
    pub(crate) processes: [Process; 2],
    pub(crate) in_flight: Vec<Request>,
    pub(crate) budget: Budget,
    /// True if the first of `processes` is B; only for the words of a path.
    pub(crate) swapped: bool,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.cluster, &self.processes, &self.in_flight, &self.budget).hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (&self.cluster, &self.processes, &self.in_flight, &self.budget)
            == (&other.cluster, &other.processes, &other.in_flight, &other.budget)
    }
}

/// A move. Processes go by their place in [`State::processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read(usize),
    ReadStale(usize),
    Observe(usize),
    Decide(usize),
    Send(usize),
    /// An apply whose objects are ready at once, so the answers say it.
    ApplyReady(usize),
    /// It is sent, and a copy stays under way.
    SendTwice(usize),
    /// It stays under way, and its answer is not waited for.
    Abandon(usize),
    Crash(usize),
    /// A held object is seen that nothing waits for.
    Sweep(usize, Request),
    /// The next operation begins.
    Begin,
    /// A request that was under way arrives.
    Deliver(usize),
    Tick(u16),
    Ends(u16, bool),
    /// A finalizer is taken off, or a Pod's time to end is over.
    Gone(u16),
    TimeToLive(u16),
    UserDeletes(u16),
    Ready,
    /// The release's objects are gone.
    ObjectsGone,
    Refuse,
    /// Somebody asks to go on with the operation that failed.
    Reopen,
    AskRetry,
    AskSkip,
    Cancel,
    Supersede(bool),
    Suspend,
    Unsuspend,
    Lose,
    NamespaceGoes,
    Withdraw,
}

/// Moves that must have happened somewhere, or the model does not reach what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    WriteConflict,
    Stale,
    NameTaken,
    LateStartRefused,
    LateCreation,
    LateDeletionRefused,
    LateApply,
    LateClose,
    Swept,
    Reopened,
    Rebuilt,
    Stalled,
    Suspended,
    LateDeletionOfObjects,
    LatePurge,
}

impl Reached {
    pub(crate) const ALL: [Self; 15] = [
        Self::WriteConflict,
        Self::Stale,
        Self::NameTaken,
        Self::LateStartRefused,
        Self::LateCreation,
        Self::LateDeletionRefused,
        Self::LateApply,
        Self::LateClose,
        Self::Swept,
        Self::Reopened,
        Self::Rebuilt,
        Self::Stalled,
        Self::Suspended,
        Self::LateDeletionOfObjects,
        Self::LatePurge,
    ];
}

pub(crate) struct System {
    pub(crate) configuration: Configuration,
    reached: AtomicU32,
    /// Ways in which operations ended.
    ends: Mutex<BTreeSet<String>>,
    /// Clusters from which one process alone was seen to finish.
    pub(crate) finishing: Mutex<HashSet<u64>>,
    /// Rules whose first, and so shortest, counterexample was reported: stateright would replace
    /// it by the next one.
    reported: AtomicU64,
}

impl System {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self {
            configuration,
            reached: AtomicU32::new(0),
            ends: Mutex::default(),
            finishing: Mutex::default(),
            reported: AtomicU64::new(0),
        }
    }

    pub(crate) fn has_reached(&self, what: Reached) -> bool {
        self.reached.load(Ordering::Relaxed) & (1 << what as u32) != 0
    }

    pub(crate) fn ends(&self) -> BTreeSet<String> {
        self.ends.lock().unwrap().clone()
    }

    fn reach(&self, what: Reached) {
        self.reached.fetch_or(1 << what as u32, Ordering::Relaxed);
    }

    /// Returns whether `state` keeps `rule`; a rule is only reported once.
    pub(crate) fn keeps(&self, rule: Rule, state: &State) -> bool {
        let kept = !state.cluster.ghost.has_broken(rule)
            && rules::judge(rule, &self.configuration, &state.cluster)
            && (rule != Rule::AlwaysFinishes || self.finishes(&state.cluster));
        let bit = 1 << rule as u64;
        kept || self.reported.fetch_or(bit, Ordering::Relaxed) & bit != 0
    }

    pub(crate) fn sweeps(&self, cluster: &Cluster, status: &Status) -> Option<Request> {
        if self.configuration.mutation == Some(Mutation::SweepNothing) {
            return None;
        }
        cluster.swept(&self.configuration, status)
    }

    fn process_actions(&self, state: &State, process: usize, actions: &mut Vec<Action>) {
        let budget = &state.budget;
        let cluster = &state.cluster;
        let fresh = &cluster.status;
        match &state.processes[process] {
            Process::Idle => {
                if fresh.lost || !fresh.journal.is_done() {
                    actions.push(Action::Read(process));
                }
                if budget.stale > 0 && cluster.previous.is_some() {
                    actions.push(Action::ReadStale(process));
                }
                let seen = match (self.configuration.mutation, &cluster.previous) {
                    (Some(Mutation::SweepStale), Some(previous)) => previous,
                    _ => fresh,
                };
                let request = self.sweeps(cluster, seen);
                actions.extend(request.map(|request| Action::Sweep(process, request)));
                return;
            }
            Process::Read(_) => actions.push(Action::Observe(process)),
            Process::Observed(..) => actions.push(Action::Decide(process)),
            Process::Sending { .. } | Process::Sweeping(_) => {
                actions.push(Action::Send(process));
                // Nothing is sent by who was outrun.
                if state.processes[process].is_outrun(&self.configuration, cluster) {
                    return;
                }
                if matches!(
                    state.processes[process].request(),
                    Some(Request::Apply { .. } | Request::DeleteObjects { .. })
                ) {
                    actions.push(Action::ApplyReady(process));
                }
                // The gap that is stated: what does not exist can be created by who comes late, and
                // so, a record after the release was deleted.
                let creates =
                    matches!(state.processes[process].request(), Some(Request::CreateRecord(_)));
                let may_be_late = !(creates && self.configuration.deletes_later());
                if budget.duplicates > 0 && may_be_late {
                    actions.push(Action::SendTwice(process));
                }
                if budget.late > 0 && may_be_late {
                    actions.push(Action::Abandon(process));
                }
            }
        }
        if budget.crashes > 0 {
            actions.push(Action::Crash(process));
        }
    }

    fn send(&self, state: &mut State, process: usize) {
        if state.processes[process].is_outrun(&self.configuration, &state.cluster) {
            self.reach(Reached::Stale);
            state.processes[process] = Process::Idle;
            return;
        }
        let request = state.processes[process].request().unwrap();
        let answer = state.cluster.deliver(&self.configuration, request);
        match (request, answer) {
            (Request::CreateHook(_), Answer::Conflict) => self.reach(Reached::NameTaken),
            _ if matches!(state.processes[process], Process::Sweeping(_)) => {
                self.reach(Reached::Swept);
            }
            _ => {}
        }
        state.processes[process].answered(&self.configuration, &mut state.cluster, answer);
    }

    fn apply_ready(&self, state: &mut State, process: usize) {
        let request = state.processes[process].request().unwrap();
        let answer = state.cluster.deliver(&self.configuration, request);
        match request {
            Request::DeleteObjects { .. } if answer == Answer::Accepted => {
                state.cluster.release = Release::Absent;
            }
            _ => state.cluster.ready |= answer == Answer::Accepted,
        }
        state.processes[process].answered(&self.configuration, &mut state.cluster, answer);
    }

    fn deliver(&self, state: &mut State, index: usize) {
        let request = state.in_flight.remove(index);
        let answer = state.cluster.deliver(&self.configuration, request);
        match (request, answer) {
            (Request::StartHook { .. }, Answer::Conflict) => self.reach(Reached::LateStartRefused),
            (Request::CreateHook(_), Answer::Accepted) => self.reach(Reached::LateCreation),
            (Request::Delete { .. }, Answer::Conflict) => self.reach(Reached::LateDeletionRefused),
            (Request::Apply { .. }, _) => self.reach(Reached::LateApply),
            (Request::Turn { to: Turn::Close { .. }, .. }, _) => self.reach(Reached::LateClose),
            (Request::DeleteObjects { .. }, _) => self.reach(Reached::LateDeletionOfObjects),
            (Request::Purge { .. }, _) => self.reach(Reached::LatePurge),
            _ => {}
        }
    }
}

pub(crate) fn spend(budget: &mut u8) {
    *budget -= 1;
}

/// Returns what becomes of the hooks' objects by themselves, or by a user.
fn object_actions(cluster: &Cluster, budget: &Budget, actions: &mut Vec<Action>) {
    for object in &cluster.objects {
        let uid = object.uid;
        if object.life == Life::Running {
            actions.push(Action::Ends(uid, true));
            // What is being stopped, or deleted, fails by that.
            let may_fail = budget.failures > 0 || object.stopping || object.terminating;
            if may_fail && !object.crd {
                actions.push(Action::Ends(uid, false));
            }
        }
        if object.terminating {
            actions.push(Action::Gone(uid));
        } else if budget.deletions > 0 {
            actions.push(Action::UserDeletes(uid));
        }
        let ended = matches!(object.life, Life::Succeeded | Life::Failed | Life::Halted);
        if object.ttl && ended && !object.terminating {
            actions.push(Action::TimeToLive(uid));
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            cluster: Cluster::new(&self.configuration),
            processes: [Process::Idle, Process::Idle],
            in_flight: Vec::new(),
            budget: self.configuration.budget,
            swapped: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (cluster, budget) = (&state.cluster, &state.budget);
        self.process_actions(state, 0, actions);
        if state.processes[0] != state.processes[1] {
            self.process_actions(state, 1, actions);
        }
        let rests = cluster.status.journal.is_done() && !cluster.status.lost;
        let operation = usize::from(cluster.operation(&self.configuration));
        if rests && operation + 1 < self.configuration.plans.len() {
            actions.push(Action::Begin);
        }
        actions.extend((0..state.in_flight.len()).map(Action::Deliver));
        object_actions(cluster, budget, actions);
        if cluster.applied > 0 && !cluster.ready && cluster.release == Release::There {
            actions.push(Action::Ready);
        }
        if cluster.release == Release::Going {
            actions.push(Action::ObjectsGone);
        }
        if budget.ticks > 0 {
            actions.extend(cluster.deadline().map(Action::Tick));
        }
        if budget.refusals > 0 && !rests {
            actions.push(Action::Refuse);
        }
        people::actions(&self.configuration, cluster, budget, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let State { cluster, processes, in_flight, budget, .. } = &mut state;
        // What only a stale read sees is forgotten where none can happen.
        let sweeps_stale = self.configuration.mutation == Some(Mutation::SweepStale);
        let keep = budget.stale > 0 || sweeps_stale;
        match action {
            Action::Read(process) => processes[process] = Process::read(cluster.status.clone()),
            Action::ReadStale(process) => {
                spend(&mut budget.stale);
                processes[process] = Process::read(cluster.previous.clone()?);
            }
            Action::Observe(process) => processes[process].observe(&self.configuration, cluster),
            Action::Decide(process) => {
                let rebuilds =
                    matches!(&processes[process], Process::Observed(status, _) if status.lost);
                let written = processes[process].decide(&self.configuration, cluster, keep);
                if rebuilds && written == Written::Other {
                    self.reach(Reached::Rebuilt);
                }
                match written {
                    Written::Conflict => self.reach(Reached::WriteConflict),
                    Written::Stalled(reason) => {
                        self.reach(Reached::Stalled);
                        self.ends.lock().unwrap().insert(format!("blocked: {reason}"));
                    }
                    Written::Suspended => self.reach(Reached::Suspended),
                    Written::Other => {}
                }
                if let Some(end) = rules::end(&cluster.status.journal) {
                    self.ends.lock().unwrap().insert(end);
                }
            }
            Action::Send(process) => self.send(&mut state, process),
            Action::ApplyReady(process) => self.apply_ready(&mut state, process),
            Action::SendTwice(process) => {
                spend(&mut budget.duplicates);
                in_flight
                    .extend(processes[process].request().map(|request| request.under_way(cluster)));
                self.send(&mut state, process);
            }
            Action::Abandon(process) => {
                spend(&mut budget.late);
                in_flight
                    .extend(processes[process].request().map(|request| request.under_way(cluster)));
                processes[process].abandon(&self.configuration);
            }
            Action::Crash(process) => {
                spend(&mut budget.crashes);
                processes[process] = Process::Idle;
            }
            Action::Sweep(process, request) => processes[process] = Process::Sweeping(request),
            Action::Begin => {
                cluster.begin(&self.configuration, keep);
            }
            Action::Deliver(index) => self.deliver(&mut state, index),
            Action::Tick(deadline) => {
                spend(&mut budget.ticks);
                cluster.tick(deadline);
            }
            Action::Ends(uid, succeeded) => {
                let object = cluster.object_mut(uid)?;
                if !succeeded && !object.stopping && !object.terminating {
                    spend(&mut budget.failures);
                }
                cluster.ends(uid, succeeded);
            }
            Action::Gone(uid) => cluster.gone(uid),
            Action::TimeToLive(uid) => cluster.time_to_live(uid),
            Action::UserDeletes(uid) => {
                spend(&mut budget.deletions);
                cluster.user_deletes(uid);
            }
            Action::Ready => cluster.ready = true,
            Action::ObjectsGone => cluster.release = Release::Absent,
            Action::Refuse => {
                spend(&mut budget.refusals);
                cluster.refusing = true;
            }
            asked => {
                if asked == Action::Reopen {
                    self.reach(Reached::Reopened);
                }
                people::act(&self.configuration, cluster, budget, asked, keep);
            }
        }
        state.in_flight.sort_unstable();
        if hash(&state.processes[0]) > hash(&state.processes[1]) {
            state.processes.swap(0, 1);
            state.swapped = !state.swapped;
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        ghost::properties()
    }
}
