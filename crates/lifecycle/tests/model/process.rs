//! A process: it reads the custom resource, looks at the cluster, decides by the real core, writes
//! the journal if nobody did in between, sends what the effect consists of, and goes on.

use std::borrow::Cow;

use lifecycle::{
    decide::{self, decide},
    effect::{CleanUpAction, Effect},
    event::Event,
    journal::{Failure, HookPhase, HookStep, Journal, Phase, Requests},
    observation::{Observation, Query},
    reason::Reason,
    rebuild::{Trace, rebuild},
    rule::OnFailure,
    step::{Hold, Step},
};

use crate::{
    cluster::{Cluster, RecordState, Release, Run, Status, begin, refusal, run, timestamp, uid_of},
    configuration::Configuration,
    ghost::Removal,
    request::{Answer, Request, Turn},
    shared::Shared,
};

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// The effect is executed before the journal is written.
    EffectFirst,
    /// The UID of what is started, or removed as a leftover, is not journalled before.
    UidUnjournalled,
    /// The journal is written without its resourceVersion.
    BlindWrite,
    /// Hook objects are created without being held back.
    CreateStarted,
    /// A hook's object is started by its name, whatever its UID.
    StartByName,
    /// A hook's object is deleted by its name, whatever its UID.
    DeleteByName,
    /// A Job is stopped by suspending it.
    StopBySuspending,
    /// An apply whose answer was lost counts as executed.
    LostIsExecuted,
    /// The sweep goes by a status that it read earlier.
    SweepStale,
    /// Nothing is swept.
    SweepNothing,
    /// It is looked at what an effect goes over, but not whether its operation still runs.
    Unconfirmed,
    /// A record is closed whatever its state.
    CloseWhatever,
    /// The clock of the core stands still.
    ClockStands,
    /// A retry makes another object under the attempt that failed.
    SameAttempt,
    /// A deletion does not wait for its pre-delete hooks.
    DeleteFirst,
    /// A deletion removes the records without its post-delete hooks.
    PurgeFirst,
    /// `spec.suspend` is not read.
    SuspendIgnored,
    /// What is to be created is created, whether or not it was cancelled.
    CancelIgnored,
    /// What cannot be told after a loss is taken not to have run.
    UnknownIsPending,
    /// A hook at which somebody has to speak is done without.
    BlockedGoesOn,
    /// A test closes the record.
    TestCloses,
    /// What ends with exit code 0 once it was told to stop counts as succeeded.
    StoppedSucceeds,
    /// A Pod is stopped though it has ended.
    StopsWhatEnded,
    /// An annotation that was taken away is another request.
    RemovalAsks,
    /// The attempts that a hook's rule has used up are not counted.
    UncountedRetries,
    /// Each failed hook is ignored, whatever its rule says.
    IgnoresAll,
    /// A hook that is not to be interrupted is.
    InterruptsAll,
}

/// What was seen.
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

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Conflict,
    /// Somebody has to speak.
    Stalled(String),
    Suspended,
    Other,
}

impl Process {
    /// What is asked for next; nothing needs to be seen where the journal says it all.
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
            Seen::Observation(observation(configuration, cluster, &status.journal))
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

    /// Whether the custom resource changed since the effect was decided on. It is read after what
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
        let look = || observation(configuration, cluster, &status.journal);
        let executed = match (sent, answer) {
            (_, Answer::Refused) => Some(Observation::Refused(refusal())),
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

/// The real step rule; some mutations are of what it is given, and of what it answers.
pub(crate) fn step(
    configuration: &Configuration,
    cluster: &Cluster,
    status: &Status,
    observation: &Observation,
) -> Step {
    let mutation = configuration.mutation;
    let operation = configuration.operation(&status.journal.operation.id);
    let now = match mutation {
        Some(Mutation::ClockStands) => timestamp(0),
        _ => cluster.timestamp(),
    };
    let mut plan = Cow::Borrowed(configuration.plan(operation));
    let mut controls = status.asked.controls(configuration, &status.journal.handled);
    let mut journal = (*status.journal).clone();
    let at = journal.operation.hook.as_ref().map(|cursor| cursor.step);
    match mutation {
        Some(Mutation::SuspendIgnored) => controls.suspend = false,
        Some(Mutation::CancelIgnored) if at == Some(HookStep::Create) => {
            controls.interrupt = None;
            controls.requests.cancel.clone_from(&journal.handled.cancel);
            journal.operation.cancel = None;
        }
        Some(Mutation::UncountedRetries) => {
            if let Some(cursor) = &mut journal.operation.hook {
                cursor.retried = 0;
                cursor.retried_infrastructure = 0;
            }
        }
        Some(Mutation::IgnoresAll) => {
            for hook in &mut plan.to_mut().hooks {
                hook.rule.on_failure = OnFailure::Ignore;
            }
        }
        Some(Mutation::InterruptsAll) => {
            for hook in &mut plan.to_mut().hooks {
                hook.rule.uninterruptible = false;
            }
        }
        Some(Mutation::BlockedGoesOn) if at == Some(HookStep::Blocked) => {
            controls.requests.skip = Some("nobody".to_owned());
        }
        _ => {}
    }
    let mut step = decide(&plan, &journal, observation, &controls, now);
    if mutation == Some(Mutation::BlockedGoesOn) && at == Some(HookStep::Blocked) {
        step.journal.handled.skip.clone_from(&status.journal.handled.skip);
    }
    let phase = step.journal.operation.phase;
    let skipped = match mutation {
        Some(Mutation::DeleteFirst) => phase == Phase::PreHooks,
        Some(Mutation::PurgeFirst) => phase == Phase::PostHooks,
        _ => false,
    };
    if skipped && plan.event == Event::Delete {
        let first = mutation == Some(Mutation::DeleteFirst);
        step.journal.operation.phase = if first { Phase::Deleting } else { Phase::Closing };
        step.journal.operation.hook = None;
        step.effect = Some(if first { Effect::DeleteObjects } else { close() });
    }
    step
}

fn close() -> Effect {
    Effect::Close { deployed: true }
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

/// What the operator does without a journal.
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

pub(crate) fn observation(
    configuration: &Configuration,
    cluster: &Cluster,
    journal: &Journal,
) -> Observation {
    let operation = configuration.operation(&journal.operation.id);
    match decide::query(journal) {
        Query::Record => record(configuration, cluster, operation),
        Query::Hook(index) => {
            let attempt = journal.operation.hook.as_ref().map_or(1, |cursor| cursor.attempt);
            Observation::Hook(cluster.look(configuration, run(operation, index, attempt)))
        }
        Query::Readiness => readiness(cluster),
        Query::Remaining => remaining(cluster),
        Query::Nothing => Observation::Nothing,
    }
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
        let cursor = journal.operation.hook.as_ref().filter(|cursor| cursor.index == hook);
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
    let hook = operation.hook.as_ref().map_or_else(String::new, |hook| {
        let uid = hook.uid.as_deref().unwrap_or("no UID");
        let (index, attempt, until) = (hook.index, hook.attempt, hook.deadline.as_second());
        format!(" hook {index}/{attempt} {:?} {uid} until {until}", hook.step)
    });
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
