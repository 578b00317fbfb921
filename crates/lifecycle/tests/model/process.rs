//! A process: it reads the custom resource, looks at the cluster, decides by the real core, writes
//! the journal if nobody did in between, sends what the effect consists of, and goes on.

use lifecycle::{
    decide,
    effect::{CleanUpAction, Effect},
    event::Event,
    journal::{Failure, HookPhase, HookStep, Journal, Requests},
    observation::{Observation, Query},
    reason::Reason,
    rebuild::{Trace, rebuild},
    step::Hold,
};

use crate::{
    cluster::{Cluster, RecordState, Release, Run, Status, begin, refusal, run, uid_of},
    configuration::Configuration,
    ghost::Removal,
    mutation::{Mutation, step},
    request::{Answer, Request, Turn},
    shared::Shared,
};

/// The observation of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Seen {
    Observation(Observation),
    /// The journal is lost: the record's state, and what the hooks left behind.
    Traces(Option<RecordState>, Vec<Trace>),
}

/// The memory of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// It waits for a watch to report something.
    Idle,
    /// It has read the status and looks at the cluster next.
    Read(Status),
    /// It knows what there is to decide on.
    Observed(Status, Shared<Seen>),
    /// It has written the journal, and sends these one by one.
    Sending {
        status: Status,
        requests: Vec<Request>,
        /// The journal of the mutation that writes it last.
        unwritten: Option<Shared<Journal>>,
    },
    /// It sweeps.
    Sweeping(Request),
}

/// The result of writing a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Conflict,
    /// Somebody has to speak.
    Stalled(String),
    Suspended,
    Other,
}

impl Process {
    /// Returns what is asked for next; nothing needs to be seen where the journal says it all.
    pub(crate) fn read(status: Status) -> Self {
        if !status.lost && decide::query(&status.journal) == Query::Nothing {
            Self::Observed(status, Shared::new(Seen::Observation(Observation::Nothing)))
        } else {
            Self::Read(status)
        }
    }

    /// The request that it sends next.
    pub(crate) fn request(&self) -> Option<Request> {
        match self {
            Self::Sending { requests, .. } => requests.first().copied(),
            Self::Sweeping(request) => Some(*request),
            Self::Idle | Self::Read(_) | Self::Observed(..) => None,
        }
    }

    /// Looks at the cluster for `query`.
    pub(crate) fn observe(&mut self, configuration: &Configuration, cluster: &Cluster) {
        let Self::Read(status) = self else { return };
        let seen = if status.lost {
            traces(configuration, cluster, &status.journal)
        } else {
            Seen::Observation(presumed(configuration, cluster, status))
        };
        *self = Self::Observed(status.clone(), Shared::new(seen));
    }

    /// Decides, and writes the journal where it changed.
    pub(crate) fn decide(
        &mut self,
        configuration: &Configuration,
        cluster: &mut Cluster,
        keep_previous: bool,
    ) -> Written {
        let Self::Observed(status, seen) = self else {
            return Written::Other;
        };
        let observation = match &**seen {
            Seen::Observation(observation) => observation,
            Seen::Traces(record, traces) => {
                let journal = rebuilt(configuration, cluster, status, *record, traces);
                let version = Some(status.version);
                let journal = Shared::new(journal);
                let written = cluster.write(configuration, version, journal, keep_previous);
                let conflict = written.is_none();
                *self = written.map_or(Self::Idle, Self::go_on);
                return if conflict { Written::Conflict } else { Written::Other };
            }
        };
        let mutation = configuration.mutation;
        let step = step(configuration, cluster, status, observation);
        let now = cluster.now;
        let outcome = match &step.hold {
            Some(Hold::Stalled(failure)) => Written::Stalled(failure.reason.clone()),
            Some(Hold::Suspended) => Written::Suspended,
            Some(Hold::Waiting(_)) | None => Written::Other,
        };
        let requests = step.effect.map_or_else(Vec::new, |effect| {
            requests(configuration, cluster, &step.journal, effect)
        });
        cluster.ghost.decides(configuration, status, observation, &step.journal, &requests, now);
        if step.journal == *status.journal {
            *self = Self::sending(status.clone(), requests, None);
            return outcome;
        }
        let journal = Shared::new(step.journal);
        let names_new_uid = matches!(
            requests.first(),
            Some(Request::StartHook { .. } | Request::Delete { why: Removal::Replaced, .. })
        );
        if names_new_uid && mutation == Some(Mutation::UidUnjournalled) {
            *self = Self::sending(status.clone(), requests, None);
            return Written::Other;
        }
        if !requests.is_empty() && mutation == Some(Mutation::EffectFirst) {
            *self = Self::sending(status.clone(), requests, Some(journal));
            return Written::Other;
        }
        let expected = (mutation != Some(Mutation::BlindWrite)).then_some(status.version);
        match cluster.write(configuration, expected, journal, keep_previous) {
            None => {
                *self = Self::Idle;
                Written::Conflict
            }
            Some(written) if requests.is_empty() => {
                *self = Self::go_on(written);
                outcome
            }
            Some(written) => {
                *self = Self::sending(written, requests, None);
                outcome
            }
        }
    }

    fn sending(status: Status, requests: Vec<Request>, unwritten: Option<Shared<Journal>>) -> Self {
        if requests.is_empty() {
            return Self::Idle;
        }
        Self::Sending { status, requests, unwritten }
    }

    fn go_on(status: Status) -> Self {
        if status.journal.is_done() { Self::Idle } else { Self::read(status) }
    }

    /// Returns whether the custom resource changed since the effect was decided on. It is read after what
    /// the effect goes over was, so nothing of a later operation is among that.
    pub(crate) fn is_outrun(&self, configuration: &Configuration, cluster: &Cluster) -> bool {
        let Self::Sending { status, requests, .. } = self else { return false };
        let confirms = match requests.first() {
            Some(
                Request::CreateRecord(_)
                | Request::Apply { .. }
                | Request::ApplyHook { .. }
                | Request::DeleteObjects { .. }
                | Request::Turn { .. }
                | Request::Leftovers { .. }
                | Request::Purge { .. },
            ) => configuration.mutation != Some(Mutation::Unconfirmed),
            _ => false,
        };
        confirms && status.version != cluster.status.version
    }

    /// Takes the answer to the request that was sent last.
    pub(crate) fn answered(
        &mut self,
        configuration: &Configuration,
        cluster: &mut Cluster,
        answer: Answer,
    ) {
        let Self::Sending { status, requests, unwritten } = self else {
            // The sweep does not care.
            *self = Self::Idle;
            return;
        };
        if let Some(journal) = unwritten.take() {
            let version = Some(status.version);
            let Some(written) = cluster.write(configuration, version, journal, false) else {
                *self = Self::Idle;
                return;
            };
            *status = written;
        }
        let sent = requests.remove(0);
        if !requests.is_empty() && answer != Answer::Refused {
            return;
        }
        let look = || observation_of_current(configuration, cluster, &status.journal);
        let executed = match (sent, answer) {
            (_, Answer::Refused) => Some(Observation::Refused(refusal())),
            // It exists, although it was presumed not to.
            (Request::CreateHook(_), Answer::Conflict) => {
                Some(observation(configuration, cluster, &status.journal))
            }
            // The answer holds the object.
            (
                Request::CreateHook(_) | Request::StartHook { .. } | Request::ApplyHook { .. },
                Answer::Accepted,
            ) => Some(look()),
            (
                Request::CreateRecord(_) | Request::Turn { to: Turn::AddPlan, .. },
                Answer::Accepted,
            ) => Some(recorded(true)),
            (Request::Apply { .. }, _) => Some(readiness(cluster)),
            (Request::DeleteObjects { .. }, _) => Some(remaining(cluster)),
            (
                Request::Turn { to: Turn::Close { .. } | Turn::Supersede | Turn::DropPlan, .. }
                | Request::Purge { .. }
                | Request::SetTtl(_)
                | Request::Delete { why: Removal::CleanedUp, .. },
                _,
            ) => Some(Observation::Executed),
            // The object says what there is now.
            _ => None,
        };
        *self = match executed {
            Some(observation) => {
                Self::Observed(status.clone(), Shared::new(Seen::Observation(observation)))
            }
            None => Self::go_on(status.clone()),
        };
    }

    /// The request is under way, and its answer is not waited for.
    pub(crate) fn abandon(&mut self, configuration: &Configuration) {
        let lost_is_executed = configuration.mutation == Some(Mutation::LostIsExecuted);
        *self = match self {
            Self::Sending { status, requests, .. } if lost_is_executed => {
                let believed = match requests.first() {
                    Some(Request::Apply { .. }) => {
                        Observation::Readiness { waiting: Vec::new(), failed: None }
                    }
                    _ => Observation::Executed,
                };
                Self::Observed(status.clone(), Shared::new(Seen::Observation(believed)))
            }
            _ => Self::Idle,
        };
    }
}

fn traces(configuration: &Configuration, cluster: &Cluster, journal: &Journal) -> Seen {
    let operation = configuration.operation(&journal.operation.id);
    let record = cluster.record(cluster.record_of(configuration, operation));
    let traces = cluster.traces(configuration, operation);
    let at_work = record.map(|record| match (record.state, record.plan) {
        // Not yet that of the deletion.
        (RecordState::Uninstalling, plan) if plan != Some(operation) => RecordState::Pending,
        (state, _) => state,
    });
    Seen::Traces(at_work, traces)
}

/// Returns what the operator does without a journal.
fn rebuilt(
    configuration: &Configuration,
    cluster: &Cluster,
    status: &Status,
    record: Option<RecordState>,
    traces: &[Trace],
) -> Journal {
    let operation = configuration.operation(&status.journal.operation.id);
    let plan = configuration.plan(operation);
    let deletes = plan.event == Event::Delete;
    let begun = || begin(configuration, operation, status.asked.annotations(), cluster.now);
    match record {
        Some(RecordState::Pending) if !deletes => {}
        Some(RecordState::Uninstalling) if deletes => {}
        // Nothing has begun.
        None if !deletes => return begun(),
        Some(_) if deletes => return begun(),
        Some(RecordState::Failed) => {
            let failure = Failure::new(Reason::GivenUp, "the newest revision failed");
            return begun().abandon(failure, cluster.timestamp());
        }
        Some(_) | None => return begun().concluded(cluster.timestamp()),
    }
    let controls = status.asked.controls(configuration, &Requests::default());
    let now = cluster.timestamp();
    let mut journal =
        rebuild(plan, "sha256:0".to_owned(), String::new(), 1, traces, &controls, now);
    if configuration.mutation == Some(Mutation::UnknownIsPending) {
        for hook in &mut journal.hooks {
            if hook.phase == HookPhase::Unknown {
                hook.phase = HookPhase::Pending;
            }
        }
        if let Some(cursor) = &mut journal.operation.hook
            && cursor.step == HookStep::Blocked
        {
            cursor.step = HookStep::Create;
        }
    }
    journal
}

/// Returns what is observed, or presumed without a look.
fn presumed(configuration: &Configuration, cluster: &Cluster, status: &Status) -> Observation {
    let plan = configuration.plan(configuration.operation(&status.journal.operation.id));
    let controls = status.asked.controls(configuration, &status.journal.handled);
    decide::presume(plan, &status.journal, &controls, cluster.timestamp())
        .unwrap_or_else(|| observation(configuration, cluster, &status.journal))
}

pub(crate) fn observation(
    configuration: &Configuration,
    cluster: &Cluster,
    journal: &Journal,
) -> Observation {
    let operation = configuration.operation(&journal.operation.id);
    match decide::query(journal) {
        Query::Record => record(configuration, cluster, operation),
        Query::Hooks => {
            let seen = journal.operation.cursors().map(|cursor| {
                let looked_at = Some(cursor).filter(|cursor| cursor.step != HookStep::Blocked);
                let run = looked_at.map(|cursor| run(operation, cursor.index, cursor.attempt));
                (cursor.index, run.and_then(|run| cluster.look(configuration, run)))
            });
            Observation::Hooks(seen.collect())
        }
        Query::Readiness => readiness(cluster),
        Query::Remaining => remaining(cluster),
        Query::Nothing => Observation::Nothing,
    }
}

/// The answer to an effect on the current hook.
fn observation_of_current(
    configuration: &Configuration,
    cluster: &Cluster,
    journal: &Journal,
) -> Observation {
    let operation = configuration.operation(&journal.operation.id);
    let cursor = journal.operation.hook.as_ref();
    let run = cursor.map(|cursor| run(operation, cursor.index, cursor.attempt));
    Observation::Hook(run.and_then(|run| cluster.look(configuration, run)))
}

fn record(configuration: &Configuration, cluster: &Cluster, operation: u8) -> Observation {
    let of = cluster.record_of(configuration, operation);
    let foreign = || Observation::ForeignRecord { message: "it is another client's".to_owned() };
    match cluster.records[usize::from(of)] {
        Some(record) if record.foreign => foreign(),
        None if of == operation => Observation::NoRecord,
        None => foreign(),
        Some(record) if of == operation => recorded(record.state != RecordState::Failed),
        Some(record) if record.plan == Some(operation) => recorded(true),
        Some(_) => Observation::NoRecord,
    }
}

fn readiness(cluster: &Cluster) -> Observation {
    let waiting = (!cluster.ready).then(|| "Deployment/web: 0 of 1".to_owned());
    Observation::Readiness { waiting: waiting.into_iter().collect(), failed: None }
}

fn remaining(cluster: &Cluster) -> Observation {
    let waiting = (cluster.release != Release::Absent).then(|| "Deployment/web: held".to_owned());
    let untouched = cluster.release == Release::There;
    Observation::Remaining { waiting: waiting.into_iter().collect(), untouched }
}

fn recorded(open: bool) -> Observation {
    Observation::Recorded { plan_digest: "sha256:0".to_owned(), open }
}

/// The requests of an effect, in order.
fn requests(
    configuration: &Configuration,
    cluster: &Cluster,
    journal: &Journal,
    effect: Effect,
) -> Vec<Request> {
    let operation = configuration.operation(&journal.operation.id);
    let of = |hook: usize| -> Run {
        let cursor = journal.operation.cursor_of(hook);
        let last = journal.hooks.get(hook).map(|hook| hook.attempt);
        run(operation, hook, cursor.map(|cursor| cursor.attempt).or(last).unwrap_or(1))
    };
    let record = cluster.record_of(configuration, operation);
    let turn = |to| Request::Turn { operation, record, to, seen: None };
    match effect {
        Effect::CreateRecord if record == operation => vec![Request::CreateRecord(operation)],
        Effect::CreateRecord => vec![turn(Turn::AddPlan)],
        Effect::ReopenRecord => vec![turn(Turn::Reopen)],
        Effect::DeleteLeftover { hook, uid } => {
            vec![Request::Delete { uid: uid_of(&uid), run: of(hook), why: Removal::Replaced }]
        }
        Effect::CreateHook { hook, attempt } => {
            vec![Request::CreateHook(run(operation, hook, attempt))]
        }
        Effect::ApplyHook { hook, attempt, uid } => {
            vec![Request::ApplyHook { uid: uid_of(&uid), run: run(operation, hook, attempt) }]
        }
        Effect::StartHook { hook, uid } => {
            vec![Request::StartHook { uid: uid_of(&uid), run: of(hook) }]
        }
        Effect::StopHook { hook, uid } => {
            vec![Request::StopHook { uid: uid_of(&uid), run: of(hook) }]
        }
        Effect::CleanUp(items) => items
            .into_iter()
            .map(|item| match item.action {
                CleanUpAction::Delete => Request::Delete {
                    uid: uid_of(&item.uid),
                    run: of(item.hook),
                    why: Removal::CleanedUp,
                },
                CleanUpAction::SetTtl(_) => Request::SetTtl(uid_of(&item.uid)),
            })
            .collect(),
        Effect::Apply => vec![Request::Apply { operation, seen: None }],
        Effect::DeleteObjects => vec![Request::DeleteObjects { operation, seen: None }],
        Effect::Close { deployed } => match configuration.plan(operation).event {
            Event::Delete => vec![
                Request::Leftovers { operation, seen: None },
                Request::Purge { operation, seen: false },
            ],
            Event::Test if configuration.mutation == Some(Mutation::TestCloses) => {
                let state = Turn::Close { deployed };
                vec![
                    Request::Turn { operation, record, to: Turn::Supersede, seen: None },
                    turn(state),
                ]
            }
            Event::Test => vec![turn(Turn::DropPlan)],
            Event::Install | Event::Upgrade | Event::Rollback => {
                let older = (0..operation).filter(|_| deployed).map(|record| Request::Turn {
                    operation,
                    record,
                    to: Turn::Supersede,
                    seen: None,
                });
                std::iter::once(turn(Turn::Close { deployed })).chain(older).collect()
            }
        },
    }
}

/// How far a journal got, in a few words.
pub(crate) fn brief(journal: &Journal) -> String {
    let operation = &journal.operation;
    let hooks = operation.cursors().map(|hook| {
        let uid = hook.uid.as_deref().unwrap_or("no UID");
        let (index, attempt, until) = (hook.index, hook.attempt, hook.deadline.as_second());
        format!(" hook {index}/{attempt} {:?} {uid} until {until}", hook.step)
    });
    let hook: String = hooks.collect();
    let hooks: Vec<_> = journal.hooks.iter().map(|hook| format!("{:?}", hook.phase)).collect();
    let cancel = if operation.cancel.is_some() { " cancelled" } else { "" };
    let skip = if operation.skip.is_some() { " skipping" } else { "" };
    let failure = operation
        .failure
        .as_ref()
        .map_or_else(String::new, |failure| format!(" failed: {}", failure.message));
    let id = &operation.id;
    format!("{id} {:?}{hook} {hooks:?}{cancel}{skip}{failure}", operation.phase)
}
