//! The cluster: the status, the records, the hook objects and the release's objects, and what
//! happens to them without a request.

use jiff::Timestamp;
use lifecycle::{
    decide::{Gate, HookObservation, Verdict},
    journal::{Failure, HookPhase, Journal},
};

use crate::{
    configuration::{Configuration, First},
    ghost::{Entry, Ghost, Removal},
    request::Request,
    shared::Shared,
};

/// The status with its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Status {
    pub(crate) journal: Shared<Journal>,
    pub(crate) version: u8,
}

/// Which run made a hook's object: the operation, and the hook's index in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    pub(crate) operation: u8,
    pub(crate) hook: u8,
}

/// A run of an operation before the first one of the model.
const OLDER: u8 = u8::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    Unstarted,
    Running,
    Succeeded,
    Failed,
}

/// A hook's object. At most one has a name.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) uid: u8,
    /// Which operation's which hook has this name: the first one that does.
    pub(crate) name: u8,
    /// `None` where it was not made by this operator.
    pub(crate) run: Option<Run>,
    pub(crate) gate: Gate,
    pub(crate) life: Life,
    pub(crate) finalizer: bool,
    pub(crate) terminating: bool,
    /// Told to stop for good (a Job's `activeDeadlineSeconds: 1`).
    pub(crate) stopping: bool,
    /// It has a time to live.
    pub(crate) ttl: bool,
    pub(crate) pod: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RecordState {
    Pending,
    Deployed,
    Superseded,
    Failed,
}

/// The record of a revision; each operation makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) foreign: bool,
    pub(crate) state: RecordState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    /// In seconds.
    pub(crate) now: u8,
    pub(crate) status: Status,
    /// What a stale read may still answer; kept while such reads can happen.
    pub(crate) previous: Option<Status>,
    pub(crate) records: Vec<Option<Record>>,
    pub(crate) objects: Vec<Object>,
    /// How many operations applied their objects.
    pub(crate) applied: u8,
    /// Whether the objects that were applied last have become ready.
    pub(crate) ready: bool,
    /// A policy refuses now what would create anything.
    pub(crate) refusing: bool,
    /// What nothing in the cluster remembers.
    pub(crate) ghost: Ghost,
}

impl Cluster {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let mut cluster = Self {
            now: 0,
            status: Status { journal: Shared::new(begin(configuration, 0, 0)), version: 1 },
            previous: None,
            records: vec![None; configuration.plans.len()],
            objects: Vec::new(),
            applied: 0,
            ready: false,
            refusing: false,
            ghost: Ghost::default(),
        };
        if configuration.world.foreign_record {
            cluster.records[0] = Some(Record { foreign: true, state: RecordState::Deployed });
            cluster.ghost.cause = true;
        }
        if let Some(first) = configuration.world.first {
            let run = Run { operation: OLDER, hook: 0 };
            let held = first == First::Held;
            cluster.objects.push(Object {
                uid: 0,
                name: 0,
                run: (first != First::Foreign).then_some(run),
                gate: if held { Gate::Held } else { Gate::Open },
                life: if held { Life::Unstarted } else { Life::Succeeded },
                finalizer: first == First::Finalized,
                terminating: false,
                stopping: false,
                ttl: false,
                pod: false,
            });
            cluster.ghost.ledger.push(Entry::new(None));
            // Where the policy does not let it be deleted, it is why the operation fails.
            cluster.ghost.cause = matches!(first, First::Ended | First::Foreign);
        }
        cluster
    }

    pub(crate) fn operation(&self, configuration: &Configuration) -> u8 {
        configuration.operation(&self.status.journal.operation.id)
    }

    /// Whether the journal has no outcome yet of the run whose object `uid` is.
    pub(crate) fn awaits(&self, configuration: &Configuration, uid: u8, run: Run) -> bool {
        let hook = self.status.journal.hooks.get(usize::from(run.hook));
        run.operation == self.operation(configuration)
            && hook.is_some_and(|hook| {
                hook.uid.as_deref() == Some(&uid_text(uid))
                    && matches!(hook.phase, HookPhase::Pending | HookPhase::Running)
            })
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        timestamp(self.now)
    }

    /// The deadline in the journal, if it has not come yet.
    pub(crate) fn deadline(&self) -> Option<u8> {
        let operation = &self.status.journal.operation;
        let hook = operation.hook.as_ref().map(|hook| hook.deadline);
        let deadline = u8::try_from(operation.deadline.or(hook)?.as_second()).unwrap();
        (deadline > self.now).then_some(deadline)
    }

    pub(crate) fn tick(&mut self, to: u8) {
        self.now = to;
        self.ghost.cause = true;
    }

    /// Replaces the status if it still has `version`; answers with the new one.
    pub(crate) fn write(
        &mut self,
        version: Option<u8>,
        journal: Shared<Journal>,
        keep_previous: bool,
    ) -> Option<Status> {
        if version.is_some_and(|version| version != self.status.version) {
            return None;
        }
        self.ghost.journal_moves(&self.status.journal, &journal);
        let status = Status { journal, version: self.status.version + 1 };
        let old = std::mem::replace(&mut self.status, status.clone());
        self.previous = keep_previous.then_some(old);
        Some(status)
    }

    pub(crate) fn object_named(&self, name: u8) -> Option<&Object> {
        self.objects.iter().find(|object| object.name == name)
    }

    pub(crate) fn object_mut(&mut self, uid: u8) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.uid == uid)
    }

    /// A user's deletion.
    pub(crate) fn user_deletes(&mut self, uid: u8) {
        self.ghost.cause = true;
        self.ghost.ledger[usize::from(uid)].removal.get_or_insert(Removal::User);
        self.remove(uid);
    }

    /// The controller of finished Jobs deletes one.
    pub(crate) fn time_to_live(&mut self, uid: u8) {
        self.ghost.ledger[usize::from(uid)].removal.get_or_insert(Removal::TimeToLive);
        self.remove(uid);
    }

    pub(crate) fn remove(&mut self, uid: u8) {
        let object = self.object_mut(uid).unwrap();
        // A running Pod is given the time to end; a finalizer keeps anything.
        if object.finalizer || (object.pod && object.life == Life::Running) {
            object.terminating = true;
        } else {
            self.gone(uid);
        }
    }

    pub(crate) fn gone(&mut self, uid: u8) {
        self.objects.retain(|object| object.uid != uid);
    }

    pub(crate) fn ends(&mut self, uid: u8, succeeded: bool) {
        let object = self.object_mut(uid).unwrap();
        object.life = if succeeded { Life::Succeeded } else { Life::Failed };
        self.ghost.ledger[usize::from(uid)].succeeded = Some(succeeded);
        self.ghost.cause |= !succeeded;
    }

    /// What a process sees of the object of `run`'s name.
    pub(crate) fn look(&self, configuration: &Configuration, run: Run) -> Option<HookObservation> {
        let object = self.object_named(name(configuration, run))?;
        Some(HookObservation {
            uid: uid_text(object.uid),
            run: object.run.map(|run| run_text(configuration, run)),
            gate: object.gate,
            foreign: object.run.is_none().then(|| "it has no mark of this release".to_owned()),
            terminating: object.terminating,
            stopping: object.stopping,
            verdict: match object.life {
                Life::Unstarted | Life::Running => None,
                Life::Succeeded => Some(Verdict::Succeeded),
                Life::Failed => Some(Verdict::Failed {
                    reason: "BackoffLimitExceeded".to_owned(),
                    message: String::new(),
                }),
            },
            waiting: None,
            evidence: lifecycle::decide::Evidence::default(),
            look_again_at: None,
        })
    }

    /// A held object that no run waits for: what the sweep removes, by UID.
    pub(crate) fn swept(
        &self,
        configuration: &Configuration,
        journal: &Journal,
    ) -> Option<Request> {
        let cursor = journal.operation.hook.as_ref();
        let is_awaited = |object: &Object| {
            cursor.is_some_and(|cursor| {
                let operation = configuration.operation(&journal.operation.id);
                let hook = u8::try_from(cursor.index).unwrap();
                let uid = cursor.uid.as_deref().map(uid_of);
                object.run == Some(Run { operation, hook })
                    && uid.is_none_or(|uid| uid == object.uid)
            })
        };
        self.objects
            .iter()
            .find(|object| {
                object.gate == Gate::Held
                    && object.run.is_some()
                    && !object.terminating
                    && !is_awaited(object)
            })
            .map(|object| Request::Delete {
                uid: object.uid,
                run: object.run.unwrap(),
                why: Removal::Swept,
            })
    }
}

pub(crate) fn begin(configuration: &Configuration, operation: u8, now: u8) -> Journal {
    let plan = configuration.plan(operation);
    Journal::begin(plan.operation.clone(), plan.event, i32::from(operation) + 1, 1, timestamp(now))
}

pub(crate) fn timestamp(seconds: u8) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap()
}

/// Hooks of one name share one object; operations have the same hooks.
pub(crate) fn name(configuration: &Configuration, run: Run) -> u8 {
    if run.operation == OLDER {
        return 0;
    }
    let object = &configuration.hook(run.operation, run.hook).object;
    let hooks = &configuration.plan(0).hooks;
    let position = hooks.iter().position(|hook| hook.object == *object);
    u8::try_from(position.unwrap()).unwrap()
}

fn run_text(configuration: &Configuration, run: Run) -> String {
    if run.operation == OLDER {
        return "older/0/1".to_owned();
    }
    configuration.plan(run.operation).run_id(usize::from(run.hook), 1)
}

pub(crate) fn uid_text(uid: u8) -> String {
    format!("u{uid}")
}

pub(crate) fn uid_of(text: &str) -> u8 {
    text.strip_prefix('u').unwrap().parse().unwrap()
}

pub(crate) fn refusal() -> Failure {
    Failure { reason: "Forbidden".to_owned(), message: String::new() }
}
