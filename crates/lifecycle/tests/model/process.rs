//! A process: it reads the status, looks at the cluster, decides by the real core, writes the
//! journal if nobody did in between, sends what the effect consists of, and goes on.

use lifecycle::{
    decide::{self, CleanUpAction, Effect, Observation, Query, decide},
    journal::Journal,
};

use crate::{
    cluster::{Cluster, Run, Status, refusal, timestamp, uid_of},
    configuration::Configuration,
    ghost::Removal,
    request::{Answer, Request},
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
    /// An apply reads the objects that it applies over, but not whether its operation still runs.
    ApplyUnchecked,
    /// A record is closed whatever its state.
    CloseWhatever,
    /// The clock of the core stands still.
    ClockStands,
}

/// The memory of one process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// It waits for a watch to report something.
    Idle,
    /// It has read the status and looks at the cluster next.
    Read(Status),
    /// It knows what there is to decide on.
    Observed(Status, Shared<Observation>),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Conflict,
    Other,
}

impl Process {
    /// What is asked for next; nothing needs to be seen where the journal says it all.
    pub(crate) fn read(status: Status) -> Self {
        if decide::query(&status.journal) == Query::Nothing {
            Self::Observed(status, Shared::new(Observation::Nothing))
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
        let observation = observation(configuration, cluster, &status.journal);
        *self = Self::Observed(status.clone(), Shared::new(observation));
    }

    /// Decides, and writes the journal where it changed.
    pub(crate) fn decide(
        &mut self,
        configuration: &Configuration,
        cluster: &mut Cluster,
        keep_previous: bool,
    ) -> Written {
        let Self::Observed(status, observation) = self else {
            return Written::Other;
        };
        let mutation = configuration.mutation;
        let operation = configuration.operation(&status.journal.operation.id);
        let now = match mutation {
            Some(Mutation::ClockStands) => timestamp(0),
            _ => cluster.timestamp(),
        };
        let plan = configuration.plan(operation);
        let step = decide(plan, &status.journal, observation, now);
        let requests = step.effect.map_or_else(Vec::new, |effect| requests(operation, effect));
        if step.journal == *status.journal {
            *self = Self::sending(status.clone(), requests, None);
            return Written::Other;
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
        match cluster.write(expected, journal, keep_previous) {
            None => {
                *self = Self::Idle;
                Written::Conflict
            }
            Some(written) if requests.is_empty() => {
                *self = Self::go_on(written);
                Written::Other
            }
            Some(written) => {
                *self = Self::sending(written, requests, None);
                Written::Other
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

    /// Whether the status changed since an apply was decided on. It is read after the objects that
    /// the apply goes over were, so nothing of a later operation is among them.
    pub(crate) fn is_outrun(&self, configuration: &Configuration, cluster: &Cluster) -> bool {
        let checked = configuration.mutation != Some(Mutation::ApplyUnchecked);
        match (self, self.request()) {
            (Self::Sending { status, .. }, Some(Request::Apply { .. })) if checked => {
                status.version != cluster.status.version
            }
            _ => false,
        }
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
            let Some(written) = cluster.write(Some(status.version), journal, false) else {
                *self = Self::Idle;
                return;
            };
            *status = written;
        }
        let sent = requests.remove(0);
        if !requests.is_empty() {
            return;
        }
        let look = || observation(configuration, cluster, &status.journal);
        let executed = match (sent, answer) {
            // The answer holds the object.
            (Request::CreateHook(_) | Request::StartHook { .. }, Answer::Accepted) => Some(look()),
            (_, Answer::Refused) => Some(Observation::Refused(refusal())),
            (Request::CreateRecord(_), Answer::Accepted) => Some(recorded()),
            (Request::Apply { .. }, _) => Some(readiness(cluster)),
            (
                Request::Close { .. }
                | Request::Supersede(_)
                | Request::SetTtl(_)
                | Request::Delete { why: Removal::CleanedUp, .. },
                _,
            ) => Some(Observation::Executed),
            // The object says what there is now.
            _ => None,
        };
        *self = match executed {
            Some(observation) => Self::Observed(status.clone(), Shared::new(observation)),
            None => Self::go_on(status.clone()),
        };
    }

    /// The request as it is once it is under way.
    pub(crate) fn under_way(&self, cluster: &Cluster) -> Option<Request> {
        match self.request()? {
            Request::Apply { operation, .. } => {
                let seen = Some(cluster.applied);
                Some(Request::Apply { operation, seen })
            }
            request => Some(request),
        }
    }

    /// The request is under way, and its answer is not waited for.
    pub(crate) fn abandon(&mut self, configuration: &Configuration) {
        let lost_is_executed = configuration.mutation == Some(Mutation::LostIsExecuted);
        *self = match self {
            Self::Sending { status, requests, .. } if lost_is_executed => {
                let believed = match requests.first() {
                    Some(Request::Apply { .. }) => Observation::Readiness { waiting: Vec::new() },
                    _ => Observation::Executed,
                };
                Self::Observed(status.clone(), Shared::new(believed))
            }
            _ => Self::Idle,
        };
    }
}

fn observation(configuration: &Configuration, cluster: &Cluster, journal: &Journal) -> Observation {
    let operation = configuration.operation(&journal.operation.id);
    let record = cluster.records[usize::from(operation)];
    match decide::query(journal) {
        Query::Record => match record {
            None => Observation::NoRecord,
            Some(record) if record.foreign => {
                Observation::ForeignRecord { message: "it was made by Helm".to_owned() }
            }
            Some(_) => recorded(),
        },
        Query::Hook(index) => {
            let hook = u8::try_from(index).unwrap();
            Observation::Hook(cluster.look(configuration, Run { operation, hook }))
        }
        Query::Readiness => readiness(cluster),
        Query::Nothing => Observation::Nothing,
    }
}

fn readiness(cluster: &Cluster) -> Observation {
    let waiting = (!cluster.ready).then(|| "Deployment/web: 0 of 1".to_owned());
    Observation::Readiness { waiting: waiting.into_iter().collect() }
}

fn recorded() -> Observation {
    Observation::Recorded { plan_digest: "sha256:0".to_owned() }
}

/// The requests of an effect, in order.
fn requests(operation: u8, effect: Effect) -> Vec<Request> {
    let run = |hook: usize| Run { operation, hook: u8::try_from(hook).unwrap() };
    match effect {
        Effect::CreateRecord => vec![Request::CreateRecord(operation)],
        Effect::DeleteLeftover { hook, uid } => {
            vec![Request::Delete { uid: uid_of(&uid), run: run(hook), why: Removal::Replaced }]
        }
        Effect::CreateHook { hook, .. } => vec![Request::CreateHook(run(hook))],
        Effect::StartHook { hook, uid } => {
            vec![Request::StartHook { uid: uid_of(&uid), run: run(hook) }]
        }
        Effect::StopHook { hook, uid } => {
            vec![Request::StopHook { uid: uid_of(&uid), run: run(hook) }]
        }
        Effect::CleanUp(items) => items
            .into_iter()
            .map(|item| match item.action {
                CleanUpAction::Delete => Request::Delete {
                    uid: uid_of(&item.uid),
                    run: run(item.hook),
                    why: Removal::CleanedUp,
                },
                CleanUpAction::SetTtl(_) => Request::SetTtl(uid_of(&item.uid)),
            })
            .collect(),
        Effect::Apply => vec![Request::Apply { operation, seen: None }],
        Effect::Close { deployed } => {
            let close = Request::Close { operation, deployed };
            let older = (0..operation).filter(|_| deployed).map(Request::Supersede);
            std::iter::once(close).chain(older).collect()
        }
    }
}

/// How far a journal got, in a few words.
pub(crate) fn brief(journal: &Journal) -> String {
    let operation = &journal.operation;
    let hook = operation.hook.as_ref().map_or_else(String::new, |hook| {
        let uid = hook.uid.as_deref().unwrap_or("no UID");
        format!(" hook {} {:?} {uid} until {}", hook.index, hook.step, hook.deadline.as_second())
    });
    let failure = operation
        .failure
        .as_ref()
        .map_or_else(String::new, |failure| format!(" failed: {}", failure.message));
    let id = &operation.id;
    format!("{id} {:?}{hook}{failure}", operation.phase)
}
