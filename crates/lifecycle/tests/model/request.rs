//! Requests, and what they do to the cluster. Each has the fences of the real one: a creation fails
//! where the name is taken, all else names the UID, the gate or the version that it expects.

use lifecycle::{event::Event, observation::Gate, plan::HookKind};

use crate::{
    cluster::{Cluster, Life, Object, Record, RecordState, Release, Run, name},
    configuration::Configuration,
    ghost::{Entry, Removal, Rule},
    mutation::Mutation,
};

/// A request as it travels to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    CreateRecord(u8),
    /// Replaces the record of the operation `record`; under way, it expects the version as it was
    /// when it was sent.
    Turn {
        operation: u8,
        record: u8,
        to: Turn,
        seen: Option<u16>,
    },
    CreateHook(Run),
    /// Over an object that exists.
    ApplyHook {
        uid: u16,
        run: Run,
    },
    StartHook {
        uid: u16,
        run: Run,
    },
    StopHook {
        uid: u16,
        run: Run,
    },
    /// `run` is the one on whose behalf.
    Delete {
        uid: u16,
        run: Run,
        why: Removal,
    },
    SetTtl(u16),
    /// Under way, it expects the objects as they were when it was sent.
    Apply {
        operation: u8,
        seen: Option<u8>,
    },
    DeleteObjects {
        operation: u8,
        seen: Option<u8>,
    },
    /// Removes what hooks left behind: those that are there by then or, under way, by `seen`.
    Leftovers {
        operation: u8,
        seen: Option<u16>,
    },
    /// Removes all records that are there by then or, under way, were there when it was sent.
    Purge {
        operation: u8,
        seen: bool,
    },
}

/// A change of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Turn {
    /// Only while it is pending; as deployed, also where it was closed as failed too late.
    Close { deployed: bool },
    /// Only while it is deployed.
    Supersede,
    /// Only where it failed.
    Reopen,
    /// The plan of a deletion, which takes the state over, or of a test.
    AddPlan,
    /// The end of a test.
    DropPlan,
}

/// The answer of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// A precondition does not hold, the name is taken, or there is no such object.
    Conflict,
    /// Forbidden or invalid: nothing but a change by a user helps.
    Refused,
}

impl Request {
    /// The operation on whose behalf it is sent.
    pub(crate) fn operation(self) -> Option<u8> {
        match self {
            Self::CreateRecord(operation)
            | Self::Turn { operation, .. }
            | Self::Apply { operation, .. }
            | Self::DeleteObjects { operation, .. }
            | Self::Leftovers { operation, .. }
            | Self::Purge { operation, .. } => Some(operation),
            Self::CreateHook(run)
            | Self::ApplyHook { run, .. }
            | Self::StartHook { run, .. }
            | Self::StopHook { run, .. }
            | Self::Delete { run, .. } => Some(run.operation),
            Self::SetTtl(_) => None,
        }
    }

    /// Returns whether an operation begins by it.
    pub(crate) fn opens(self) -> bool {
        let opens = |to| matches!(to, Turn::AddPlan | Turn::Reopen);
        match self {
            Self::CreateRecord(_) => true,
            Self::Turn { to, .. } => opens(to),
            _ => false,
        }
    }

    /// Returns whether something new begins by it.
    pub(crate) fn starts_something(self) -> bool {
        match self {
            Self::CreateHook(_)
            | Self::ApplyHook { .. }
            | Self::StartHook { .. }
            | Self::Apply { .. }
            | Self::DeleteObjects { .. } => true,
            Self::Delete { why, .. } => why == Removal::Replaced,
            Self::CreateRecord(_)
            | Self::Turn { .. }
            | Self::StopHook { .. }
            | Self::SetTtl(_)
            | Self::Leftovers { .. }
            | Self::Purge { .. } => false,
        }
    }

    /// The request as it is once it is under way.
    pub(crate) fn under_way(self, cluster: &Cluster) -> Self {
        let version = |record: u8| {
            cluster.records[usize::from(record)].map_or(u16::MAX, |record| record.version)
        };
        match self {
            Self::Apply { operation, .. } => Self::Apply { operation, seen: Some(cluster.applied) },
            Self::DeleteObjects { operation, .. } => {
                Self::DeleteObjects { operation, seen: Some(cluster.applied) }
            }
            Self::Turn { operation, record, to, .. } => {
                Self::Turn { operation, record, to, seen: Some(version(record)) }
            }
            Self::Leftovers { operation, .. } => {
                let known = u16::try_from(cluster.ghost.ledger.len()).unwrap();
                Self::Leftovers { operation, seen: Some(known) }
            }
            Self::Purge { operation, .. } => Self::Purge { operation, seen: true },
            other => other,
        }
    }
}

impl Cluster {
    /// Returns what the API server does with `request`.
    pub(crate) fn deliver(&mut self, configuration: &Configuration, request: Request) -> Answer {
        if self.refuses(request) {
            self.ghost.cause = true;
            return Answer::Refused;
        }
        let plan = |operation: u8| configuration.plans.get(usize::from(operation));
        let plan = request.operation().and_then(plan);
        let states = plan.filter(|plan| plan.event == Event::Test).map(|_| {
            self.records.iter().map(|record| record.map(|it| it.state)).collect::<Vec<_>>()
        });
        let accepted = match request {
            Request::CreateRecord(operation) => self.create_record(operation),
            Request::Turn { operation, record, to, seen } => {
                if self.record(record).is_none() && matches!(to, Turn::Close { .. }) {
                    return Answer::Refused;
                }
                self.turn(configuration, operation, record, to, seen)
            }
            Request::CreateHook(run) => self.create_hook(configuration, run),
            Request::ApplyHook { uid, run } => self.apply_hook(configuration, uid, run),
            Request::StartHook { uid, run } => self.start(configuration, uid, run),
            Request::StopHook { uid, run } => self.stop(configuration, uid, run),
            Request::Delete { uid, run, why } => self.delete(configuration, uid, run, why),
            Request::SetTtl(uid) => self.set_ttl(configuration, uid),
            Request::Apply { operation, seen } => self.apply(configuration, operation, seen),
            Request::DeleteObjects { operation, seen } => {
                self.delete_objects(configuration, operation, seen)
            }
            Request::Leftovers { operation, seen } => {
                self.remove_leftovers(configuration, operation, seen)
            }
            Request::Purge { operation, seen } => self.purge(configuration, operation, seen),
        };
        if let Some(states) = states
            && !self.records.iter().map(|record| record.map(|it| it.state)).eq(states)
        {
            self.ghost.broke(Rule::TestKeepsRecords);
        }
        if accepted { Answer::Accepted } else { Answer::Conflict }
    }

    fn refuses(&self, request: Request) -> bool {
        match request {
            // In a namespace that goes, nothing can be made.
            Request::CreateHook(_) if self.status.asked.namespace_goes => true,
            _ if !self.refusing => false,
            Request::CreateRecord(_)
            | Request::CreateHook(_)
            | Request::ApplyHook { .. }
            | Request::Apply { .. }
            | Request::DeleteObjects { .. }
            | Request::Purge { .. } => true,
            // What is not held any more is a conflict.
            Request::StartHook { uid, .. } => self.objects.iter().any(|object| {
                object.uid == uid && object.gate == Gate::Held && !object.terminating
            }),
            _ => false,
        }
    }

    /// The record that `operation` made, if it is ours and still there.
    pub(crate) fn record(&self, operation: u8) -> Option<Record> {
        self.records[usize::from(operation)].filter(|record| !record.foreign)
    }

    fn create_record(&mut self, operation: u8) -> bool {
        let record = &mut self.records[usize::from(operation)];
        if record.is_some() {
            return false;
        }
        self.record_version += 1;
        *record = Some(Record::new(RecordState::Pending, self.record_version));
        true
    }

    fn turn(
        &mut self,
        configuration: &Configuration,
        operation: u8,
        record: u8,
        to: Turn,
        seen: Option<u16>,
    ) -> bool {
        let whatever = configuration.mutation == Some(Mutation::CloseWhatever);
        let deletes = configuration.plan(operation).event == Event::Delete;
        let Some(record) = &mut self.records[usize::from(record)] else { return false };
        if record.foreign || (seen.is_some_and(|seen| seen != record.version) && !whatever) {
            return false;
        }
        let from = record.state;
        let (state, plan) = match to {
            Turn::Close { deployed }
                if from == RecordState::Pending
                    || (from == RecordState::Failed && deployed)
                    || whatever =>
            {
                let state = if deployed { RecordState::Deployed } else { RecordState::Failed };
                (state, record.plan)
            }
            Turn::Supersede if from == RecordState::Deployed => {
                (RecordState::Superseded, record.plan)
            }
            Turn::Reopen if from == RecordState::Failed => (RecordState::Pending, record.plan),
            Turn::AddPlan if deletes => (RecordState::Uninstalling, Some(operation)),
            Turn::AddPlan => (from, Some(operation)),
            Turn::DropPlan if record.plan == Some(operation) => (from, None),
            Turn::Close { .. } | Turn::Supersede | Turn::Reopen | Turn::DropPlan => return false,
        };
        self.record_version += 1;
        *record = Record { state, plan, version: self.record_version, ..*record };
        true
    }

    fn create_hook(&mut self, configuration: &Configuration, run: Run) -> bool {
        let name = name(configuration, run);
        if self.object_named(name).is_some() {
            return false;
        }
        let kind = configuration.hook(run.operation, run.hook).kind();
        let gated = configuration.gated(run.operation, run.hook);
        let uid = u16::try_from(self.ghost.ledger.len()).unwrap();
        self.ghost.ledger.push(Entry::new(Some(run)));
        self.objects.push(Object {
            uid,
            name,
            run: Some(run),
            gate: if gated { Gate::Held } else { Gate::None },
            life: match kind {
                HookKind::Other => Life::Succeeded,
                _ if gated => Life::Unstarted,
                _ => Life::Running,
            },
            finalizer: configuration.world.finalizers,
            terminating: false,
            stopping: false,
            ttl: false,
            pod: kind == HookKind::Pod,
            crd: kind == HookKind::Crd,
        });
        self.objects.sort_by_key(|object| object.name);
        if !gated {
            self.ghost_start(configuration, uid, run);
            if kind == HookKind::Other {
                self.ghost.ends(uid, true);
            }
        }
        if configuration.mutation == Some(Mutation::CreateStarted) {
            self.open(configuration, uid, run);
        }
        true
    }

    /// A CRD: the one that is there becomes that of the run, and stays established.
    fn apply_hook(&mut self, configuration: &Configuration, uid: u16, run: Run) -> bool {
        let Some(object) = self.object_mut(uid) else { return false };
        object.run = Some(run);
        let established = object.life == Life::Succeeded;
        self.ghost_start(configuration, uid, run);
        self.ghost.ledger[usize::from(uid)].run = Some(run);
        if established {
            self.ghost.ends(uid, true);
        }
        true
    }

    /// One JSON patch that tests the UID and the gate.
    fn start(&mut self, configuration: &Configuration, uid: u16, run: Run) -> bool {
        let name = name(configuration, run);
        let by_name = configuration.mutation == Some(Mutation::StartByName);
        let held = self.objects.iter().find(|object| {
            object.name == name && (by_name || object.uid == uid) && object.gate == Gate::Held
        });
        let Some((uid, Some(run))) = held.map(|object| (object.uid, object.run)) else {
            return false;
        };
        self.open(configuration, uid, run);
        true
    }

    fn open(&mut self, configuration: &Configuration, uid: u16, run: Run) {
        let object = self.object_mut(uid).unwrap();
        object.gate = Gate::Open;
        // The Job controller and the scheduler start nothing that is being deleted.
        if !object.terminating {
            object.life = Life::Running;
            self.ghost_start(configuration, uid, run);
        }
    }

    fn ghost_start(&mut self, configuration: &Configuration, uid: u16, run: Run) {
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.started(configuration, self, uid, run);
        self.ghost = ghost;
    }

    /// A Job that was started gets a deadline by its UID; what else there is, is deleted.
    fn stop(&mut self, configuration: &Configuration, uid: u16, run: Run) -> bool {
        let job = configuration.hook(run.operation, run.hook).kind() == HookKind::Job;
        let suspend = configuration.mutation == Some(Mutation::StopBySuspending);
        match self.object_mut(uid) {
            None => false,
            Some(object) if suspend => {
                object.gate = Gate::Held;
                object.life = Life::Unstarted;
                true
            }
            Some(object) if job && object.gate != Gate::Held => {
                object.stopping = true;
                true
            }
            // Its resourceVersion is a precondition: what ended is looked at again.
            Some(object)
                if matches!(object.life, Life::Succeeded | Life::Failed | Life::Halted)
                    && configuration.mutation != Some(Mutation::StopsWhatEnded) =>
            {
                false
            }
            Some(_) => self.delete(configuration, uid, run, Removal::Stopped),
        }
    }

    /// The UID is the request's precondition.
    fn delete(&mut self, configuration: &Configuration, uid: u16, run: Run, why: Removal) -> bool {
        let by_name = configuration.mutation == Some(Mutation::DeleteByName);
        let name = name(configuration, run);
        let target = self
            .objects
            .iter()
            .find(|object| object.uid == uid || (by_name && object.name == name));
        let Some(object) = target.cloned() else {
            return false;
        };
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.deleted(configuration, self, &object, run, why);
        self.ghost = ghost;
        self.remove(object.uid);
        true
    }

    fn set_ttl(&mut self, configuration: &Configuration, uid: u16) -> bool {
        let Some(object) = self.object_mut(uid) else {
            return false;
        };
        object.ttl = true;
        let run = object.run;
        if run.is_some_and(|run| self.awaits(configuration, uid, run)) {
            self.ghost.broke(Rule::EvidenceFirst);
        }
        true
    }

    fn apply(&mut self, configuration: &Configuration, operation: u8, seen: Option<u8>) -> bool {
        if seen.is_some_and(|seen| seen != self.applied) {
            return false;
        }
        if self.applied > operation + 1 {
            self.ghost.broke(Rule::ApplyForward);
        }
        if self.applied == operation + 1 {
            return true;
        }
        if !self.ghost.pre_hooks_ended(configuration, operation) {
            self.ghost.broke(Rule::ApplyAfterPreHooks);
        }
        self.applied = operation + 1;
        self.release = Release::There;
        self.ready = false;
        true
    }

    fn delete_objects(
        &mut self,
        configuration: &Configuration,
        operation: u8,
        seen: Option<u8>,
    ) -> bool {
        if seen.is_some_and(|seen| seen != self.applied) || self.release != Release::There {
            return false;
        }
        if self.applied > operation + 1 {
            self.ghost.broke(Rule::ApplyForward);
        }
        let excused = self.is_excused(configuration);
        if !excused && !self.ghost.pre_hooks_ended(configuration, operation) {
            self.ghost.broke(Rule::DeleteAfterPreHooks);
        }
        self.release = Release::Going;
        true
    }

    fn remove_leftovers(
        &mut self,
        configuration: &Configuration,
        operation: u8,
        seen: Option<u16>,
    ) -> bool {
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.purges(configuration, self, operation);
        self.ghost = ghost;
        let known =
            |object: &&Object| object.run.is_some() && seen.is_none_or(|seen| object.uid < seen);
        let all: Vec<_> = self.objects.iter().filter(known).cloned().collect();
        for object in all {
            // A CRD holds data.
            if !object.crd {
                let run = object.run.unwrap();
                self.delete(configuration, object.uid, run, Removal::Purged);
            }
        }
        true
    }

    fn purge(&mut self, configuration: &Configuration, operation: u8, seen: bool) -> bool {
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.purges(configuration, self, operation);
        for (record, place) in self.records.iter_mut().zip(0..) {
            if place > operation && record.is_some() && !seen {
                ghost.broke(Rule::RecordsLast);
            }
            let foreign = record.is_some_and(|record| record.foreign);
            if !foreign && (place < operation || !seen) {
                *record = None;
            }
        }
        self.ghost = ghost;
        true
    }
}
