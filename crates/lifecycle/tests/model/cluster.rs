//! The cluster: the status, the records, the hook objects and the release's objects, and what
//! happens to them without a request.

use jiff::Timestamp;
use lifecycle::{
    event::Event,
    journal::{Failure, HookPhase, Journal, Requests},
    observation::{Evidence, Gate, HookObservation, Verdict},
    plan::Begin,
    rebuild::Trace,
};

use crate::{
    asked::Asked,
    configuration::{Configuration, DELETION, First},
    ghost::{Entry, Ghost, Removal},
    mutation::Mutation,
    request::Request,
    shared::Shared,
};

/// The custom resource, as far as it changes, with its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Status {
    pub(crate) journal: Shared<Journal>,
    /// The journal is lost: what stands above is only what the operation began with.
    pub(crate) lost: bool,
    pub(crate) asked: Asked,
    pub(crate) version: u16,
}

/// Which run made a hook's object: the operation, the hook's index in its plan, and the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    pub(crate) operation: u8,
    pub(crate) hook: u8,
    pub(crate) attempt: u8,
}

/// A run of an operation before the first one of the model.
const OLDER: Run = Run { operation: u8::MAX, hook: 0, attempt: 1 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    Unstarted,
    Running,
    Succeeded,
    Failed,
    /// Its Pod was told to stop, and then ended with exit code 0.
    Halted,
}

/// A hook's object. At most one has a name.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) uid: u16,
    pub(crate) name: u32,
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
    /// It is awaited until it is established, which never fails.
    pub(crate) crd: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RecordState {
    Pending,
    Deployed,
    Superseded,
    Failed,
    Uninstalling,
}

/// The record of a revision; each operation that makes one has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) foreign: bool,
    pub(crate) state: RecordState,
    /// The operation whose plan stands beside that of the revision: a deletion's or a test's.
    pub(crate) plan: Option<u8>,
    /// The resourceVersion.
    pub(crate) version: u16,
}

impl Record {
    pub(crate) fn new(state: RecordState, version: u16) -> Self {
        Self { foreign: false, state, plan: None, version }
    }
}

/// The release's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Release {
    Absent,
    There,
    /// A finalizer is at work.
    Going,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    /// In seconds.
    pub(crate) now: u16,
    pub(crate) status: Status,
    /// The status that a stale read may still answer; kept while such reads can happen.
    pub(crate) previous: Option<Status>,
    pub(crate) records: Vec<Option<Record>>,
    /// Of all of them together.
    pub(crate) record_version: u16,
    pub(crate) objects: Vec<Object>,
    pub(crate) release: Release,
    /// Which operation applied its objects last, from 1.
    pub(crate) applied: u8,
    /// True if the objects that were applied last have become ready.
    pub(crate) ready: bool,
    /// A policy refuses now what would create anything.
    pub(crate) refusing: bool,
    /// Facts that nothing in the cluster remembers.
    pub(crate) ghost: Ghost,
}

impl Cluster {
    pub(crate) fn new(configuration: &Configuration) -> Self {
        let before = configuration.world.before;
        let old = u8::from(configuration.world.asked_before);
        let asked = Asked { retry: old, cancel: old, skip: old, ..Asked::default() };
        let journal = Shared::new(begin(configuration, before, asked.annotations(), 0));
        let mut cluster = Self {
            now: 0,
            status: Status { journal, lost: false, asked, version: 1 },
            previous: None,
            records: vec![None; configuration.plans.len()],
            record_version: 0,
            objects: Vec::new(),
            release: if before == 0 { Release::Absent } else { Release::There },
            applied: before,
            ready: before > 0,
            refusing: false,
            ghost: Ghost::default(),
        };
        for operation in 0..usize::from(before) {
            let newest = operation + 1 == usize::from(before);
            let state = if newest { RecordState::Deployed } else { RecordState::Superseded };
            cluster.records[operation] = Some(Record::new(state, 0));
        }
        cluster.ghost.cause = configuration.meets_leftovers();
        if configuration.world.foreign_record {
            let record = Record { foreign: true, ..Record::new(RecordState::Deployed, 0) };
            cluster.records[0] = Some(record);
            cluster.ghost.cause = true;
        }
        if let Some(first) = configuration.world.first {
            let held = first == First::Held;
            cluster.objects.push(Object {
                uid: 0,
                name: u32::from(configuration.name(before, 0)),
                run: (first != First::Foreign).then_some(OLDER),
                gate: if held { Gate::Held } else { Gate::Open },
                life: if held { Life::Unstarted } else { Life::Succeeded },
                finalizer: first == First::Finalized,
                terminating: false,
                stopping: false,
                ttl: false,
                pod: false,
                crd: false,
            });
            cluster.ghost.ledger.push(Entry::new(None));
            // Where the policy does not let it be deleted, it is why the operation fails.
            cluster.ghost.cause |= matches!(first, First::Ended | First::Foreign);
        }
        cluster
    }

    /// Whose record `operation` works on: its own, or the newest that there is before it.
    pub(crate) fn record_of(&self, configuration: &Configuration, operation: u8) -> u8 {
        if configuration.plan(operation).event.makes_revision() {
            return operation;
        }
        let there = |operation: &u8| self.records[usize::from(*operation)].is_some();
        (0..operation).rev().find(there).unwrap_or(operation)
    }

    pub(crate) fn operation(&self, configuration: &Configuration) -> u8 {
        configuration.operation(&self.status.journal.operation.id)
    }

    /// Returns whether the journal has no outcome yet of the run whose object `uid` is.
    pub(crate) fn awaits(&self, configuration: &Configuration, uid: u16, run: Run) -> bool {
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

    /// The deadline that comes next, if there is one.
    pub(crate) fn deadline(&self) -> Option<u16> {
        let journal = &self.status.journal;
        if journal.is_done() {
            return None;
        }
        let operation = &journal.operation;
        let deletion =
            (operation.event == Event::Delete).then(|| second(operation.started_at) + DELETION);
        let of_hooks = operation.cursors().flat_map(|hook| [Some(hook.deadline), hook.not_before]);
        let own = of_hooks.chain([operation.deadline]).flatten().map(second);
        own.chain(deletion).filter(|at| *at > self.now).min()
    }

    pub(crate) fn tick(&mut self, to: u16) {
        self.now = to;
        self.ghost.cause = true;
    }

    /// Returns whether a deletion may do without its hooks.
    pub(crate) fn is_excused(&self, configuration: &Configuration) -> bool {
        self.ghost.excused || self.has_outlived(configuration, self.ghost.began_at)
    }

    /// Returns whether a deletion that began then has used up its time, and then does without its hooks.
    pub(crate) fn has_outlived(&self, configuration: &Configuration, began_at: u16) -> bool {
        configuration.world.skips_hooks && self.now >= began_at + DELETION
    }

    /// Replaces the status if it still has `version`; answers with the new one.
    pub(crate) fn write(
        &mut self,
        configuration: &Configuration,
        version: Option<u16>,
        journal: Shared<Journal>,
        keep_previous: bool,
    ) -> Option<Status> {
        if version.is_some_and(|version| version != self.status.version) {
            return None;
        }
        let mut ghost = std::mem::take(&mut self.ghost);
        ghost.journal_moves(configuration, self, &journal);
        self.ghost = ghost;
        Some(self.replace(journal, false, self.status.asked, keep_previous))
    }

    /// Returns what people ask for changes the version as well.
    pub(crate) fn ask(&mut self, change: impl FnOnce(&mut Asked), keep_previous: bool) {
        let mut asked = self.status.asked;
        change(&mut asked);
        let Status { journal, lost, .. } = self.status.clone();
        self.replace(journal, lost, asked, keep_previous);
    }

    fn replace(
        &mut self,
        journal: Shared<Journal>,
        lost: bool,
        asked: Asked,
        keep_previous: bool,
    ) -> Status {
        let version = self.status.version + 1;
        let status = Status { journal, lost, asked, version };
        let old = std::mem::replace(&mut self.status, status.clone());
        self.previous = keep_previous.then_some(old);
        status
    }

    /// The next operation begins.
    pub(crate) fn begin(&mut self, configuration: &Configuration, keep_previous: bool) -> bool {
        let next = self.operation(configuration) + 1;
        if usize::from(next) >= configuration.plans.len() {
            return false;
        }
        let asked = Asked { superseded: None, ..self.status.asked };
        let handled = asked.requests(&self.status.journal.handled);
        let mut journal = begin(configuration, next, handled, self.now);
        // Where there is nothing to delete, or to test, nothing begins.
        if self.record_of(configuration, next) == next && !journal.operation.event.makes_revision()
        {
            journal = journal.concluded(self.timestamp());
        }
        self.ghost.begins(self.now);
        self.replace(Shared::new(journal), false, asked, keep_previous);
        true
    }

    /// Somebody asks to go on with the operation that failed.
    pub(crate) fn reopen(&mut self, attempts_back: bool, keep_previous: bool) {
        let mut asked = Asked { superseded: None, ..self.status.asked };
        asked.ask_retry();
        let journal = &self.status.journal;
        let handled = asked.requests(&journal.handled);
        let mut journal = journal.reopened(1, String::new(), handled);
        self.ghost.reopens();
        if attempts_back {
            for hook in &mut journal.hooks {
                hook.attempt = (hook.attempt - 1).max(0);
            }
        }
        self.replace(Shared::new(journal), false, asked, keep_previous);
    }

    /// The status is lost: a backup was restored, or somebody edited it.
    pub(crate) fn lose(&mut self, configuration: &Configuration, keep_previous: bool) {
        let operation = self.operation(configuration);
        let asked = self.status.asked;
        let handled = asked.annotations();
        let journal = Shared::new(begin(configuration, operation, handled, self.now));
        self.ghost.loses();
        self.replace(journal, true, asked, keep_previous);
    }

    pub(crate) fn object_named(&self, name: u32) -> Option<&Object> {
        self.objects.iter().find(|object| object.name == name)
    }

    pub(crate) fn object_mut(&mut self, uid: u16) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.uid == uid)
    }

    /// A user's deletion.
    pub(crate) fn user_deletes(&mut self, uid: u16) {
        self.ghost.cause = true;
        self.ghost.ledger[usize::from(uid)].removal.get_or_insert(Removal::User);
        self.remove(uid);
    }

    /// The controller of finished Jobs deletes one.
    pub(crate) fn time_to_live(&mut self, uid: u16) {
        self.ghost.ledger[usize::from(uid)].removal.get_or_insert(Removal::TimeToLive);
        self.remove(uid);
    }

    pub(crate) fn remove(&mut self, uid: u16) {
        let object = self.object_mut(uid).unwrap();
        // A running Pod is given the time to end; a finalizer keeps anything.
        if object.finalizer || (object.pod && object.life == Life::Running) {
            object.terminating = true;
        } else {
            self.gone(uid);
        }
    }

    pub(crate) fn gone(&mut self, uid: u16) {
        self.objects.retain(|object| object.uid != uid);
    }

    pub(crate) fn ends(&mut self, uid: u16, succeeded: bool) {
        let object = self.object_mut(uid).unwrap();
        // A Job that is being stopped is judged by its controller.
        let halted = object.pod && object.terminating;
        object.life = match succeeded {
            true if halted => Life::Halted,
            true => Life::Succeeded,
            false => Life::Failed,
        };
        let succeeded = succeeded && !halted;
        self.ghost.ends(uid, succeeded);
        self.ghost.cause |= !succeeded;
    }

    /// Returns what a process sees of the object of `run`'s name.
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
                Life::Halted if configuration.mutation == Some(Mutation::StoppedSucceeds) => {
                    Some(Verdict::Succeeded)
                }
                Life::Halted => {
                    Some(Verdict::Failed { reason: "Vanished".to_owned(), message: String::new() })
                }
                Life::Failed => Some(Verdict::Failed {
                    reason: if configuration.world.evicts {
                        "Evicted"
                    } else {
                        "BackoffLimitExceeded"
                    }
                    .to_owned(),
                    message: String::new(),
                }),
            },
            waiting: None,
            evidence: Evidence::default(),
            unstarted: None,
            look_again_at: None,
        })
    }

    /// Returns what the hooks of `operation` left behind.
    pub(crate) fn traces(&self, configuration: &Configuration, operation: u8) -> Vec<Trace> {
        let runs = self.objects.iter().filter_map(|object| object.run);
        runs.filter(|run| run.operation == operation)
            .filter_map(|run| {
                let object = self.look(configuration, run)?;
                let (index, attempt) = (usize::from(run.hook), i32::from(run.attempt));
                Some(Trace { index, attempt, object })
            })
            .collect()
    }

    /// A held object that no run waits for: what the sweep removes, by UID.
    pub(crate) fn swept(&self, configuration: &Configuration, status: &Status) -> Option<Request> {
        if status.lost {
            return None;
        }
        let journal = &status.journal;
        let is_awaited = |object: &Object| {
            journal.operation.cursors().any(|cursor| {
                let operation = configuration.operation(&journal.operation.id);
                let uid = cursor.uid.as_deref().map(uid_of);
                object.run == Some(run(operation, cursor.index, cursor.attempt))
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

pub(crate) fn begin(
    configuration: &Configuration,
    operation: u8,
    handled: Requests,
    now: u16,
) -> Journal {
    let plan = configuration.plan(operation);
    let begin = Begin {
        id: plan.operation.clone(),
        event: plan.event,
        revision: plan.revision,
        target: plan.target,
        remedies: None,
        generation: 1,
    };
    Journal::begin(begin, String::new(), handled, timestamp(now))
}

pub(crate) fn timestamp(seconds: u16) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).unwrap()
}

fn second(at: Timestamp) -> u16 {
    u16::try_from(at.as_second()).unwrap()
}

pub(crate) fn run(operation: u8, hook: usize, attempt: i32) -> Run {
    let hook = u8::try_from(hook).unwrap();
    Run { operation, hook, attempt: u8::try_from(attempt).unwrap() }
}

/// Hooks of one name share one object; what is named by its run has a name of its own.
pub(crate) fn name(configuration: &Configuration, run: Run) -> u32 {
    if run.operation == OLDER.operation {
        return u32::from(configuration.name(configuration.world.before, 0));
    }
    let name = configuration.name(run.operation, run.hook);
    if configuration.hook(run.operation, run.hook).is_named_by_run() {
        let run = u32::from(run.attempt) | (u32::from(run.operation) << 8);
        return u32::from(name) | (run << 16);
    }
    u32::from(name)
}

fn run_text(configuration: &Configuration, run: Run) -> String {
    if run.operation == OLDER.operation {
        return "older/0/1".to_owned();
    }
    configuration.plan(run.operation).run_id(usize::from(run.hook), i32::from(run.attempt))
}

pub(crate) fn uid_text(uid: u16) -> String {
    format!("u{uid}")
}

pub(crate) fn uid_of(text: &str) -> u16 {
    text.strip_prefix('u').unwrap().parse().unwrap()
}

pub(crate) fn refusal() -> Failure {
    Failure { reason: "Forbidden".to_owned(), message: String::new() }
}
