//! What is checked. The ghost remembers what nothing in the cluster does: every object that ever
//! was, and which rules were broken on the way. The rules about an end are judged in `Done`.

use lifecycle::{
    decide::Gate,
    hooks::{DeletePolicy, HookEvent},
    journal::{HookPhase, Journal, Phase},
    plan::{HookKind, Plan},
};
use stateright::Property;

use crate::{
    cluster::{Cluster, Object, RecordState, Run, uid_of, uid_text},
    configuration::Configuration,
    system::System,
};

macro_rules! rules {
    ($($name:ident: $text:literal,)*) => {
        /// The properties, each of which holds in every state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rule { $($name),* }

        impl Rule {
            const ALL: &[Self] = &[$(Self::$name),*];

            pub(crate) fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        pub(crate) fn properties() -> Vec<Property<System>> {
            vec![$(Property::always($text, |system, state| system.keeps(Rule::$name, state))),*]
        }
    };
}

rules! {
    OneStart: "at most one object of a hook, attempt and revision is started",
    UidFirst: "an object is started only after its UID was journalled",
    InOrder: "a hook starts only after all before it succeeded and, a post hook, after the apply",
    NothingAfterFailure: "nothing starts once the operation has failed or ended",
    ApplyAfterPreHooks: "nothing is applied before all pre hooks succeeded",
    ApplyForward: "an operation never applies its objects over those of a later one",
    EvidenceFirst: "no object of ours is removed before its outcome was journalled, but by a stop",
    ForeignUntouched: "somebody else's object is never deleted",
    PolicyLeftover: "a leftover that was started is replaced only where the policy says so",
    JournalForward: "the journal never goes back",
    NothingSkipped: "done without a failure: every hook was started once and succeeded",
    DeployedWhole: "deployed: every hook succeeded, everything is applied and was ready",
    RecordClosed: "done: the record is closed, as what the journal says",
    OneDeployed: "done: at most one record is deployed",
    PoliciesKept: "done: hook-succeeded and hook-failed deleted what Helm deletes, and no more",
    CauseOfFailure: "no operation fails without a cause in the cluster",
    AlwaysFinishes: "from every state one process alone gets to the end, and leaves nothing held",
}

/// What was removed first by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Removal {
    User,
    /// A leftover, before the creation.
    Replaced,
    /// `hook-succeeded` or `hook-failed`.
    CleanedUp,
    Stopped,
    Swept,
    TimeToLive,
}

/// The life of one UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) run: Option<Run>,
    pub(crate) started: bool,
    pub(crate) succeeded: Option<bool>,
    pub(crate) removal: Option<Removal>,
}

impl Entry {
    pub(crate) fn new(run: Option<Run>) -> Self {
        Self { run, started: false, succeeded: None, removal: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    /// Every object that ever was, by UID.
    pub(crate) ledger: Vec<Entry>,
    /// Something happened that may fail an operation.
    pub(crate) cause: bool,
    /// A bit for each rule that was broken.
    broken: u32,
}

impl Ghost {
    pub(crate) fn broke(&mut self, rule: Rule) {
        self.broken |= 1 << rule as u32;
    }

    pub(crate) fn has_broken(&self, rule: Rule) -> bool {
        self.broken & (1 << rule as u32) != 0
    }

    pub(crate) fn keeps_all(&self, configuration: &Configuration, cluster: &Cluster) -> bool {
        let judged = |rule: &Rule| judge(*rule, configuration, cluster);
        self.broken == 0 && Rule::ALL.iter().all(judged)
    }

    fn runs(&self, run: Run) -> impl Iterator<Item = &Entry> + Clone {
        self.ledger.iter().filter(move |entry| entry.run == Some(run))
    }

    fn succeeded(&self, run: Run) -> bool {
        self.runs(run).any(|entry| entry.succeeded == Some(true))
    }

    pub(crate) fn pre_hooks_succeeded(&self, configuration: &Configuration, operation: u8) -> bool {
        let plan = configuration.plan(operation);
        hooks_of(plan, plan.event.pre()).all(|hook| self.succeeded(Run { operation, hook }))
    }

    /// The gate of `uid` opens, or it was created without one.
    pub(crate) fn started(
        &mut self,
        configuration: &Configuration,
        cluster: &Cluster,
        uid: u8,
        run: Run,
    ) {
        let journal = &cluster.status.journal;
        let current = cluster.operation(configuration);
        // The promise is about what can be held back.
        if configuration.gated(run.operation, run.hook) {
            if self.runs(run).any(|entry| entry.started) {
                self.broke(Rule::OneStart);
            }
            let journalled = journal.hooks.get(usize::from(run.hook));
            if journalled.is_none_or(|hook| hook.uid.as_deref() != Some(&uid_text(uid))) {
                self.broke(Rule::UidFirst);
            }
            let ended = journal.operation.failure.is_some() || journal.is_done();
            if run.operation != current || ended {
                self.broke(Rule::NothingAfterFailure);
            }
        }
        let plan = configuration.plan(run.operation);
        let before = (0..run.hook).all(|hook| self.succeeded(Run { hook, ..run }));
        let post = plan.hooks[usize::from(run.hook)].event == plan.event.post();
        if !before || (post && !applied(plan, cluster, run.operation)) {
            self.broke(Rule::InOrder);
        }
        self.ledger[usize::from(uid)].started = true;
    }

    /// `object` is being deleted by a process.
    pub(crate) fn deleted(
        &mut self,
        configuration: &Configuration,
        cluster: &Cluster,
        object: &Object,
        requester: Run,
        why: Removal,
    ) {
        let Some(run) = object.run else {
            self.broke(Rule::ForeignUntouched);
            return;
        };
        if why != Removal::Stopped && cluster.awaits(configuration, object.uid, run) {
            self.broke(Rule::EvidenceFirst);
        }
        if why == Removal::Replaced && object.gate != Gate::Held {
            let hook = configuration.hook(requester.operation, requester.hook);
            if !hook.has(DeletePolicy::BeforeHookCreation) {
                self.broke(Rule::PolicyLeftover);
            }
        }
        self.ledger[usize::from(object.uid)].removal.get_or_insert(why);
    }

    pub(crate) fn journal_moves(&mut self, from: &Journal, to: &Journal) {
        let place = |journal: &Journal| {
            let operation = &journal.operation;
            let hook =
                operation.hook.as_ref().map(|hook| (hook.index, hook.attempt, hook.step as u8));
            (operation.revision, operation.phase, hook)
        };
        if place(to) < place(from) {
            self.broke(Rule::JournalForward);
        }
    }
}

fn applied(plan: &Plan, cluster: &Cluster, operation: u8) -> bool {
    plan.objects.is_empty() || (cluster.applied > operation && (cluster.ready || !plan.wait))
}

fn hooks_of(plan: &Plan, event: HookEvent) -> impl Iterator<Item = u8> {
    plan.hooks.iter().zip(0..).filter(move |(hook, _)| hook.event == event).map(|(_, index)| index)
}

/// Whether `cluster` keeps a rule that is about a state rather than about a move.
pub(crate) fn judge(rule: Rule, configuration: &Configuration, cluster: &Cluster) -> bool {
    let journal = &cluster.status.journal;
    let operation = cluster.operation(configuration);
    if rule == Rule::DeployedWhole {
        return whole(configuration, cluster);
    }
    if !journal.is_done() {
        return true;
    }
    let failed = journal.operation.failure.is_some();
    match rule {
        Rule::NothingSkipped => failed || not_skipped(configuration, cluster, operation),
        Rule::RecordClosed => match cluster.records[usize::from(operation)] {
            Some(record) if !record.foreign => {
                record.state == if failed { RecordState::Failed } else { RecordState::Deployed }
            }
            _ => failed,
        },
        Rule::OneDeployed => {
            let deployed = |record: &Option<_>| {
                record.is_some_and(|record: crate::cluster::Record| {
                    record.state == RecordState::Deployed && !record.foreign
                })
            };
            cluster.records.iter().filter(|record| deployed(record)).count() <= 1
        }
        Rule::PoliciesKept => {
            let plan = configuration.plan(operation);
            [plan.event.pre(), plan.event.post()]
                .into_iter()
                .all(|event| policies_kept(plan, cluster, event))
        }
        Rule::CauseOfFailure => !failed || cluster.ghost.cause,
        _ => true,
    }
}

fn whole(configuration: &Configuration, cluster: &Cluster) -> bool {
    (0..).zip(&cluster.records).all(|(operation, record)| {
        let deployed =
            record.is_some_and(|record| !record.foreign && record.state == RecordState::Deployed);
        let plan = configuration.plan(operation);
        let hooks = u8::try_from(plan.hooks.len()).unwrap();
        let superseding = cluster.operation(configuration) > operation;
        !deployed
            || ((0..hooks).all(|hook| cluster.ghost.succeeded(Run { operation, hook }))
                && (superseding || applied(plan, cluster, operation)))
    })
}

fn not_skipped(configuration: &Configuration, cluster: &Cluster, operation: u8) -> bool {
    let plan = configuration.plan(operation);
    (0..).zip(&plan.hooks).all(|(hook, planned)| {
        let run = Run { operation, hook };
        let entries = cluster.ghost.runs(run).filter(|entry| entry.started);
        let succeeded = entries.clone().filter(|entry| entry.succeeded == Some(true));
        let journalled = &cluster.status.journal.hooks[usize::from(hook)];
        journalled.phase == HookPhase::Succeeded
            && (planned.kind() == HookKind::Other || succeeded.count() >= 1)
            && (!configuration.gated(operation, hook) || entries.count() == 1)
    })
}

/// Helm's `execHook`, said once more in other words than the core's.
fn policies_kept(plan: &Plan, cluster: &Cluster, event: HookEvent) -> bool {
    let journal = &cluster.status.journal;
    let phase_of = |hook: u8| journal.hooks.get(usize::from(hook)).map(|hook| hook.phase);
    let all_succeeded =
        hooks_of(plan, event).all(|hook| phase_of(hook) == Some(HookPhase::Succeeded));
    // A hook that could not be created has no UID; Helm then deletes nothing.
    let one_ran_and_failed = journal
        .hooks
        .iter()
        .any(|hook| hook.event == event && hook.phase == HookPhase::Failed && hook.uid.is_some());
    hooks_of(plan, event).all(|index| {
        let Some(status) = journal.hooks.get(usize::from(index)) else {
            return true;
        };
        let Some(uid) = status.uid.as_deref() else {
            return true;
        };
        let planned = &plan.hooks[usize::from(index)];
        let expected = (all_succeeded || one_ran_and_failed)
            && match status.phase {
                HookPhase::Succeeded => planned.has(DeletePolicy::HookSucceeded),
                HookPhase::Failed => planned.has(DeletePolicy::HookFailed),
                HookPhase::Pending | HookPhase::Running => false,
            };
        match cluster.ghost.ledger[usize::from(uid_of(uid))].removal {
            None => !expected,
            Some(Removal::CleanedUp) => expected,
            // A user, a stop or a later hook of the same name came first.
            Some(_) => true,
        }
    })
}

/// How an operation ended, in one word.
pub(crate) fn end(journal: &Journal) -> Option<String> {
    if journal.operation.phase != Phase::Done {
        return None;
    }
    let Some(failure) = &journal.operation.failure else {
        return Some("deployed".to_owned());
    };
    let hook = journal.hooks.iter().find(|hook| hook.phase == HookPhase::Failed);
    Some(hook.and_then(|hook| hook.reason.clone()).unwrap_or_else(|| failure.reason.clone()))
}
