//! Requests, and what they do to the cluster. Each has the fences of the real one: a creation fails
//! where the name is taken, all else names the UID, the gate or the state that it expects.

use lifecycle::{decide::Gate, plan::HookKind};

use crate::{
    cluster::{Cluster, Life, Object, Record, RecordState, Run, name},
    configuration::Configuration,
    ghost::{Entry, Removal, Rule},
    process::Mutation,
};

/// A request as it travels to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Request {
    CreateRecord(u8),
    CreateHook(Run),
    StartHook {
        uid: u8,
        run: Run,
    },
    StopHook {
        uid: u8,
        run: Run,
    },
    /// `run` is the one on whose behalf.
    Delete {
        uid: u8,
        run: Run,
        why: Removal,
    },
    SetTtl(u8),
    /// Under way, it expects the objects as they were when it was sent.
    Apply {
        operation: u8,
        seen: Option<u8>,
    },
    /// Expects the record to be pending still, by its resourceVersion.
    Close {
        operation: u8,
        deployed: bool,
    },
    /// Expects the record to be deployed still.
    Supersede(u8),
}

/// What the API server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    /// A precondition does not hold, the name is taken, or there is no such object.
    Conflict,
    /// Forbidden or invalid: nothing but a change by a user helps.
    Refused,
}

impl Cluster {
    /// What the API server does with `request`.
    pub(crate) fn deliver(&mut self, configuration: &Configuration, request: Request) -> Answer {
        if self.refusing && self.refuses(request) {
            self.ghost.cause = true;
            return Answer::Refused;
        }
        if matches!(request, Request::Close { operation, .. } if !self.has_record(operation)) {
            return Answer::Refused;
        }
        let accepted = match request {
            Request::CreateRecord(operation) => self.create_record(operation),
            Request::CreateHook(run) => self.create_hook(configuration, run),
            Request::StartHook { uid, run } => self.start(configuration, uid, run),
            Request::StopHook { uid, run } => self.stop(configuration, uid, run),
            Request::Delete { uid, run, why } => self.delete(configuration, uid, run, why),
            Request::SetTtl(uid) => self.set_ttl(configuration, uid),
            Request::Apply { operation, seen } => self.apply(configuration, operation, seen),
            Request::Close { operation, deployed } => {
                let state = if deployed { RecordState::Deployed } else { RecordState::Failed };
                let whatever = configuration.mutation == Some(Mutation::CloseWhatever);
                let from = self.records[usize::from(operation)].map(|record| record.state);
                let from = from.filter(|_| whatever).unwrap_or(RecordState::Pending);
                self.turn(operation, from, state)
            }
            Request::Supersede(operation) => {
                self.turn(operation, RecordState::Deployed, RecordState::Superseded)
            }
        };
        if accepted { Answer::Accepted } else { Answer::Conflict }
    }

    fn refuses(&self, request: Request) -> bool {
        match request {
            Request::CreateRecord(_) | Request::CreateHook(_) | Request::Apply { .. } => true,
            // What is not held any more is a conflict.
            Request::StartHook { uid, .. } => self.objects.iter().any(|object| {
                object.uid == uid && object.gate == Gate::Held && !object.terminating
            }),
            _ => false,
        }
    }

    fn has_record(&self, operation: u8) -> bool {
        self.records[usize::from(operation)].is_some_and(|record| !record.foreign)
    }

    fn create_record(&mut self, operation: u8) -> bool {
        let record = &mut self.records[usize::from(operation)];
        if record.is_some() {
            return false;
        }
        *record = Some(Record { foreign: false, state: RecordState::Pending });
        true
    }

    fn turn(&mut self, operation: u8, from: RecordState, to: RecordState) -> bool {
        match &mut self.records[usize::from(operation)] {
            Some(record) if !record.foreign && record.state == from => {
                record.state = to;
                true
            }
            _ => false,
        }
    }

    fn create_hook(&mut self, configuration: &Configuration, run: Run) -> bool {
        let name = name(configuration, run);
        if self.object_named(name).is_some() {
            return false;
        }
        let hook = configuration.hook(run.operation, run.hook);
        let gated = configuration.gated(run.operation, run.hook);
        let uid = u8::try_from(self.ghost.ledger.len()).unwrap();
        self.ghost.ledger.push(Entry::new(Some(run)));
        self.objects.push(Object {
            uid,
            name,
            run: Some(run),
            gate: if gated { Gate::Held } else { Gate::None },
            life: match hook.kind() {
                HookKind::Other => Life::Succeeded,
                _ if gated => Life::Unstarted,
                _ => Life::Running,
            },
            finalizer: configuration.world.finalizers,
            terminating: false,
            stopping: false,
            ttl: false,
            pod: hook.kind() == HookKind::Pod,
        });
        self.objects.sort_by_key(|object| object.name);
        if !gated {
            self.ghost_start(configuration, uid, run);
            self.ghost.ledger[usize::from(uid)].succeeded =
                (hook.kind() == HookKind::Other).then_some(true);
        } else if configuration.mutation == Some(Mutation::CreateStarted) {
            self.open(configuration, uid, run);
        }
        true
    }

    /// One JSON patch that tests the UID and the gate.
    fn start(&mut self, configuration: &Configuration, uid: u8, run: Run) -> bool {
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

    fn open(&mut self, configuration: &Configuration, uid: u8, run: Run) {
        let object = self.object_mut(uid).unwrap();
        object.gate = Gate::Open;
        // The Job controller and the scheduler start nothing that is being deleted.
        if !object.terminating {
            object.life = Life::Running;
            self.ghost_start(configuration, uid, run);
        }
    }

    fn ghost_start(&mut self, configuration: &Configuration, uid: u8, run: Run) {
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.started(configuration, self, uid, run);
        self.ghost = ghost;
    }

    /// A Job that was started gets a deadline by its UID; what else there is, is deleted.
    fn stop(&mut self, configuration: &Configuration, uid: u8, run: Run) -> bool {
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
            Some(_) => self.delete(configuration, uid, run, Removal::Stopped),
        }
    }

    /// The UID is the request's precondition.
    fn delete(&mut self, configuration: &Configuration, uid: u8, run: Run, why: Removal) -> bool {
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

    fn set_ttl(&mut self, configuration: &Configuration, uid: u8) -> bool {
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
        if !self.ghost.pre_hooks_succeeded(configuration, operation) {
            self.ghost.broke(Rule::ApplyAfterPreHooks);
        }
        self.applied = operation + 1;
        self.ready = false;
        true
    }
}
