//! The rules that are checked. The ghost remembers what nothing in the cluster does: every object that ever
//! was, and which rules were broken on the way. The rules about an end are in [`crate::rules`].

use lifecycle::{
    event::{Event, HookEvent},
    hooks::DeletePolicy,
    journal::{HookPhase, HookStatus, HookStep, Journal},
    observation::{Gate, HookObservation, Observation},
    plan::{Plan, PlannedHook},
};
use stateright::Property;

use crate::{
    cluster::{Cluster, Object, Release, Run, Status, timestamp, uid_of, uid_text},
    configuration::Configuration,
    request::Request,
    rules::judge,
    system::System,
};

macro_rules! rules {
    ($($name:ident: $text:literal,)*) => {
        /// The properties, each of which holds in every state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Rule { $($name),* }

        impl Rule {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

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
    InOrder: "a hook starts only after all before it ended well and, a post hook, after the objects",
    NothingAfterFailure: "nothing starts once the operation has failed or ended",
    ApplyAfterPreHooks: "nothing is applied before all pre hooks succeeded",
    ApplyForward: "an operation never touches the objects of a later one",
    EvidenceFirst: "no object of ours is removed before its outcome was journalled, but by a stop",
    ForeignUntouched: "an object of another owner is never deleted",
    PolicyLeftover: "a leftover that was started is replaced only where the policy says so",
    JournalForward: "the journal goes back only by a retry, or by its loss",
    VerdictNoted: "an outcome that was seen is journalled at once",
    RetryKeepsSuccess: "a hook whose success was journalled is not started again",
    SuspendHolds: "while suspended nothing is created, started, applied or deleted",
    CancelHeeded: "once cancelled nothing new starts, and a hook is stopped only where asked for now",
    LossNeedsWord: "after a loss no hook that may have run is started without a person's word",
    AskedByAnnotation: "what is cancelled or skipped was asked for by an annotation that is there",
    StoppedFails: "a hook that ended because it was told to never counts as succeeded",
    EndedIsLeft: "what has ended is not stopped any more",
    BlockedByWord: "a hook at which somebody has to speak is left only by a person's word",
    SkippedByWord: "a hook is skipped only by its rule, by a request or, in a deletion, by timeout or namespace",
    AttemptsCounted: "a hook is attempted no more often than its rule and people say",
    DeleteAfterPreHooks: "nothing is deleted before all pre-delete hooks ended well",
    RecordsLast: "the records go last, and none of a later operation",
    TestKeepsRecords: "a test changes no record's state",
    DeletionNeverFails: "a deletion waits, but never fails",
    NothingSkipped: "done without a failure: every hook succeeded, started once for each attempt",
    DeployedWhole: "deployed: every hook succeeded, everything is applied and was ready",
    RecordClosed: "done: the record is closed, as what the journal says",
    OneDeployed: "done: at most one record is deployed, unless the status was lost",
    PoliciesKept: "done: hook-succeeded and hook-failed deleted what Helm deletes, and no more",
    CauseOfFailure: "no operation fails without a cause in the cluster",
    HooksAwaited: "an operation goes on or ends only once none of its hooks is at work",
    AlwaysFinishes: "from every state one process alone gets to the end, and leaves nothing held",
}

/// The first removal, and who made it.
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
    /// At the end of a deletion.
    Purged,
}

/// The life of one UID.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) run: Option<Run>,
    pub(crate) started: bool,
    pub(crate) succeeded: Option<bool>,
    pub(crate) removal: Option<Removal>,
    /// Its UID stood in a journal once.
    journalled: bool,
    /// And its success.
    recorded: bool,
    /// And its outcome, whatever it was.
    concluded: bool,
    /// It had been started when the status was lost.
    before_loss: bool,
    /// Or was about to be.
    decided_before: bool,
}

impl Entry {
    pub(crate) fn new(run: Option<Run>) -> Self {
        Self {
            run,
            started: false,
            succeeded: None,
            removal: None,
            journalled: false,
            recorded: false,
            concluded: false,
            before_loss: false,
            decided_before: false,
        }
    }
}

#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    /// Every object that ever was, by UID.
    pub(crate) ledger: Vec<Entry>,
    /// Something happened that may fail an operation.
    pub(crate) cause: bool,
    /// In a deletion, its hooks may be done without: a person said so, or the namespace goes.
    pub(crate) excused: bool,
    pub(crate) began_at: u16,
    /// True if the operation has failed before.
    pub(crate) reopened: bool,
    /// True if the status was ever lost.
    pub(crate) lost: bool,
    /// How often since then somebody asked for another attempt.
    words: u8,
    /// How often somebody ever did.
    retried: u8,
    /// Hooks that have succeeded.
    succeeded: Vec<(u8, u8)>,
    /// Hooks that were done without, rightly.
    skipped: Vec<(u8, u8)>,
    /// A bit for each rule that was broken.
    broken: u64,
}

impl Ghost {
    pub(crate) fn broke(&mut self, rule: Rule) {
        self.broken |= 1 << rule as u64;
    }

    pub(crate) fn has_broken(&self, rule: Rule) -> bool {
        self.broken & (1 << rule as u64) != 0
    }

    /// The first rule that is broken, if one is.
    pub(crate) fn broken(&self, configuration: &Configuration, cluster: &Cluster) -> Option<Rule> {
        let kept = |rule: Rule| {
            (self.broken == 0 || !self.has_broken(rule)) && judge(rule, configuration, cluster)
        };
        Rule::ALL.iter().copied().find(|rule| !kept(*rule))
    }

    pub(crate) fn begins(&mut self, now: u16) {
        self.began_at = now;
        self.excused = false;
        self.reopened = false;
    }

    pub(crate) fn loses(&mut self) {
        self.lost = true;
        self.words = 0;
        for entry in &mut self.ledger {
            entry.before_loss |= entry.started;
            entry.decided_before |= entry.journalled;
        }
    }

    /// Somebody asked to go on with a failed operation.
    pub(crate) fn reopens(&mut self) {
        self.reopened = true;
        self.words += 1;
        self.retried += 1;
    }

    /// Every object that was made for a hook.
    pub(crate) fn of_hook(&self, operation: u8, hook: u8) -> impl Iterator<Item = &Entry> + Clone {
        self.ledger.iter().filter(move |entry| {
            entry.run.is_some_and(|run| run.operation == operation && run.hook == hook)
        })
    }

    pub(crate) fn was_skipped(&self, operation: u8, hook: u8) -> bool {
        self.skipped.contains(&(operation, hook))
    }

    /// The object has ended, or is one that nothing is awaited of.
    pub(crate) fn ends(&mut self, uid: u16, succeeded: bool) {
        let entry = &mut self.ledger[usize::from(uid)];
        entry.succeeded = Some(succeeded);
        if let Some(run) = entry.run.filter(|_| succeeded)
            && let Err(place) = self.succeeded.binary_search(&(run.operation, run.hook))
        {
            self.succeeded.insert(place, (run.operation, run.hook));
        }
    }

    pub(crate) fn has_succeeded(&self, operation: u8, hook: u8) -> bool {
        self.succeeded.binary_search(&(operation, hook)).is_ok()
    }

    /// Returns whether the hook has succeeded, or was rightly done without.
    pub(crate) fn ended_well(&self, operation: u8, hook: u8) -> bool {
        self.has_succeeded(operation, hook) || self.was_skipped(operation, hook)
    }

    pub(crate) fn pre_hooks_ended(&self, configuration: &Configuration, operation: u8) -> bool {
        let plan = configuration.plan(operation);
        hooks_of(plan, plan.event.pre()).all(|hook| self.ended_well(operation, hook))
    }

    /// The gate of `uid` opens, or it was created without one.
    pub(crate) fn started(
        &mut self,
        configuration: &Configuration,
        cluster: &Cluster,
        uid: u16,
        run: Run,
    ) {
        let plan = configuration.plan(run.operation);
        self.attempts_are_counted(plan, run);
        // The promise is about what can be held back.
        if configuration.gated(run.operation, run.hook) {
            self.starts_once(plan, uid, run);
            let journal = &cluster.status.journal;
            let journalled = journal.hooks.get(usize::from(run.hook));
            let now = journalled.is_some_and(|hook| hook.uid.as_deref() == Some(&uid_text(uid)));
            let once = self.lost && self.ledger[usize::from(uid)].journalled;
            if !now && !once {
                self.broke(Rule::UidFirst);
            }
            // Somebody said to do without it, while its start was under way.
            let unwanted = self.lost && self.was_skipped(run.operation, run.hook);
            // A start may be under way when a hook beside it fails; none is decided on any more.
            let awaited = journal.operation.cursor_of(usize::from(run.hook)).is_some();
            let ended = (journal.operation.failure.is_some() && !awaited) || journal.is_done();
            let ended = ended && !unwanted;
            if run.operation != cluster.operation(configuration) || ended {
                self.broke(Rule::NothingAfterFailure);
            }
        }
        let excused = plan.event == Event::Delete && cluster_excused(self, configuration, cluster);
        let is_beside = |hook: u8| are_parallel(plan, hook, run.hook);
        let mut before = (0..run.hook).filter(|hook| !is_beside(*hook));
        let before = before.all(|hook| self.ended_well(run.operation, hook));
        let post = Some(plan.hooks[usize::from(run.hook)].event) == plan.event.post();
        // What cannot be held back may be made late, when the objects are a later operation's.
        let post = post && run.operation == cluster.operation(configuration);
        if !excused && (!before || (post && !is_done_with_objects(plan, cluster, run.operation))) {
            self.broke(Rule::InOrder);
        }
        self.ledger[usize::from(uid)].started = true;
    }

    /// A deletion whose rule says nothing tries for as long as it may take.
    fn attempts_are_counted(&mut self, plan: &Plan, run: Run) {
        let rule = &plan.hooks[usize::from(run.hook)].rule;
        let retries = rule.retries.or((plan.event != Event::Delete).then_some(0));
        let uncounted = rule.retry_infrastructure.unwrap_or_default();
        let most = retries.map(|retries| (1 + retries + uncounted) * (1 + i32::from(self.retried)));
        if rule.skip.is_some()
            || most.is_some_and(|most| i32::from(run.attempt) > most && !self.lost)
        {
            self.broke(Rule::AttemptsCounted);
        }
    }

    fn starts_once(&mut self, plan: &Plan, uid: u16, run: Run) {
        let decided_before = self.ledger[usize::from(uid)].decided_before;
        let started = self.of_hook(run.operation, run.hook).filter(|entry| entry.started);
        let started: Vec<_> = started.copied().collect();
        let same_attempt = |entry: &Entry| entry.run == Some(run);
        // A deletion tries again by itself what has failed, and so does a rule.
        let retries = plan.hooks[usize::from(run.hook)].rule.retries.is_some_and(|most| most > 0);
        let retries = retries || plan.event == Event::Delete;
        let may_repeat = |entry: &Entry| retries && entry.succeeded != Some(true);
        let again = started.iter().any(same_attempt);
        let recorded = started.iter().any(|entry| entry.recorded);
        let needs_word = started
            .iter()
            .any(|entry| entry.before_loss && (same_attempt(entry) || !may_repeat(entry)));
        if needs_word && !decided_before {
            if self.words == 0 {
                self.broke(Rule::LossNeedsWord);
            }
            self.words = self.words.saturating_sub(1);
        } else if again {
            self.broke(Rule::OneStart);
        } else if recorded && !decided_before {
            self.broke(Rule::RetryKeepsSuccess);
        }
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
        // What was journalled before a loss was seen.
        let known = self.lost && self.ledger[usize::from(object.uid)].concluded;
        let awaits = cluster.awaits(configuration, object.uid, run) && !known;
        if why != Removal::Stopped && awaits {
            self.broke(Rule::EvidenceFirst);
        }
        let ended = self.ledger[usize::from(object.uid)].succeeded.is_some();
        if why == Removal::Stopped && awaits && ended {
            self.broke(Rule::EndedIsLeft);
        }
        let earlier_attempt = (run.operation, run.hook) == (requester.operation, requester.hook)
            && run.attempt < requester.attempt;
        if why == Removal::Replaced && object.gate != Gate::Held && !earlier_attempt {
            let hook = configuration.hook(requester.operation, requester.hook);
            if !hook.has(DeletePolicy::BeforeHookCreation) {
                self.broke(Rule::PolicyLeftover);
            }
        }
        self.ledger[usize::from(object.uid)].removal.get_or_insert(why);
    }

    /// The records are being removed, and what hooks left behind before.
    pub(crate) fn purges(
        &mut self,
        configuration: &Configuration,
        cluster: &Cluster,
        operation: u8,
    ) {
        let plan = configuration.plan(operation);
        let hooks = u8::try_from(plan.hooks.len()).unwrap();
        let ended = (0..hooks).all(|hook| self.ended_well(operation, hook));
        let later = cluster.operation(configuration) > operation;
        let gone = later || is_done_with_objects(plan, cluster, operation);
        let may_go = later || cluster_excused(self, configuration, cluster) || (ended && gone);
        if !may_go {
            self.broke(Rule::RecordsLast);
        }
    }

    /// A process has decided, by what it had read and seen.
    pub(crate) fn decides(
        &mut self,
        configuration: &Configuration,
        status: &Status,
        seen: &Observation,
        next: &Journal,
        requests: &[Request],
        now: u16,
    ) {
        let journal = &status.journal;
        let seen = seen_of_each(journal, seen);
        // What is cancelled ends with a record.
        let ends = next.operation.cancel.is_some();
        let begins = |request: &Request| request.starts_something() || (request.opens() && !ends);
        if status.asked.suspend && requests.iter().any(begins) {
            self.broke(Rule::SuspendHolds);
        }
        let operation = configuration.operation(&journal.operation.id);
        let mut failures = [journal, next].into_iter().map(|it| &it.operation.failure);
        let has_failed = failures.any(Option::is_some);
        if has_failed && requests.iter().any(|request| request.starts_something()) {
            self.broke(Rule::NothingAfterFailure);
        }
        let wished = status.asked.cancels(&journal.handled);
        let decided = journal.operation.cancel.as_ref();
        if (wished || decided.is_some()) && configuration.plan(operation).event != Event::Delete {
            let at_once = status.asked.superseded == Some(true)
                || status.asked.asks_to_cancel(&journal.handled)
                || decided.is_some_and(|cancel| cancel.now);
            let too_early = |run: Run| {
                let index = usize::from(run.hook);
                let in_time = journal.operation.cursor_of(index).is_some_and(|cursor| {
                    cursor.step == HookStep::Run && timestamp(now) < cursor.deadline
                });
                let was_started =
                    seen.iter().any(|(at, object)| *at == index && object.gate != Gate::Held);
                let rule = &configuration.hook(operation, run.hook).rule;
                (rule.uninterruptible || !at_once) && in_time && was_started
            };
            let wrong = |request: &Request| match request {
                Request::StopHook { run, .. } => too_early(*run),
                // The leftover goes before a creation.
                other => other.starts_something(),
            };
            if requests.iter().any(wrong) {
                self.broke(Rule::CancelHeeded);
            }
        }
        let is_missed = |(index, object): &(usize, &HookObservation)| {
            journal.operation.cursor_of(*index).is_some_and(|cursor| {
                cursor.step == HookStep::Run
                    && cursor.uid.as_ref() == Some(&object.uid)
                    && object.verdict.is_some()
                    && next.hooks[*index].phase == HookPhase::Running
            })
        };
        if seen.iter().any(is_missed) {
            self.broke(Rule::VerdictNoted);
        }
    }

    /// The journal is being replaced by `to`.
    pub(crate) fn journal_moves(
        &mut self,
        configuration: &Configuration,
        cluster: &Cluster,
        to: &Journal,
    ) {
        let from = &cluster.status.journal;
        let operation = configuration.operation(&to.operation.id);
        if !cluster.status.lost {
            let place = |journal: &Journal| {
                let operation = &journal.operation;
                let number = configuration.operation(&operation.id);
                let failed = operation.failure.is_some();
                (number, operation.phase, failed, places(journal))
            };
            if place(to) < place(from) {
                self.broke(Rule::JournalForward);
            }
            self.rules_are_kept(configuration, operation, to);
            self.words_are_heard(configuration, cluster, operation, to);
            self.words_are_there(configuration, cluster, to);
        }
        let failed = |uid: &String| self.ledger[usize::from(uid_of(uid))].succeeded == Some(false);
        let mut succeeded = to.hooks.iter().filter(|hook| hook.phase == HookPhase::Succeeded);
        if succeeded.any(|hook| hook.uid.as_ref().is_some_and(failed)) {
            self.broke(Rule::StoppedFails);
        }
        for hook in &to.hooks {
            if let Some(uid) = &hook.uid {
                let entry = &mut self.ledger[usize::from(uid_of(uid))];
                entry.journalled = true;
                entry.recorded |= hook.phase == HookPhase::Succeeded;
                entry.concluded |= matches!(hook.phase, HookPhase::Succeeded | HookPhase::Failed);
            }
        }
    }

    /// Notes the hooks that the operation does without, because their rules say so.
    fn rules_are_kept(&mut self, configuration: &Configuration, operation: u8, to: &Journal) {
        let deletes = configuration.plan(operation).event == Event::Delete;
        for (hook, index) in to.hooks.iter().zip(0..) {
            let rule = &configuration.hook(operation, index).rule;
            // A deletion may have no time for them.
            let retries = rule.retries.filter(|_| !deletes).unwrap_or_default();
            let is_ignored = hook.ignored && hook.phase == HookPhase::Failed;
            // After a loss it is unknown how many there were.
            let all_used = hook.attempt > retries || self.lost;
            if hook.ignored && !(is_ignored && rule.ignores_failure() && all_used) {
                self.broke(Rule::SkippedByWord);
            }
            let is_left_out = hook.phase == HookPhase::Skipped && rule.skip.is_some();
            if (is_ignored || is_left_out) && !self.was_skipped(operation, index) {
                self.skipped.push((operation, index));
            }
        }
        self.skipped.sort_unstable();
    }

    fn words_are_there(&mut self, configuration: &Configuration, cluster: &Cluster, to: &Journal) {
        let Status { journal: from, asked, .. } = &cluster.status;
        let (there, handled) = (asked.annotations(), &from.handled);
        let is_asked =
            |there: &Option<String>, handled: &Option<String>| there.is_some() && there != handled;
        let cancelled = to.operation.cancel.is_some() && from.operation.cancel.is_none();
        let skipped = to.operation.skip.is_some() && from.operation.skip.is_none();
        let excused = asked.namespace_goes || cluster.has_outlived(configuration, self.began_at);
        let wrong = (cancelled && !asked.cancels(handled))
            || (skipped && !excused && !is_asked(&there.skip, &handled.skip));
        if wrong {
            self.broke(Rule::AskedByAnnotation);
        }
    }

    fn words_are_heard(
        &mut self,
        configuration: &Configuration,
        cluster: &Cluster,
        operation: u8,
        to: &Journal,
    ) {
        let from = &cluster.status.journal;
        let deletes = configuration.plan(operation).event == Event::Delete;
        let excused = deletes && cluster_excused(self, configuration, cluster);
        let heard = |to: &Option<String>, from: &Option<String>| to.is_some() && to != from;
        let retried = heard(&to.handled.retry, &from.handled.retry);
        let skips = heard(&to.handled.skip, &from.handled.skip);
        if retried {
            self.words += 1;
            self.retried += 1;
        }
        let is_blocked = |journal: &Journal, index: usize| {
            let cursor = journal.operation.cursor_of(index);
            cursor.is_some_and(|cursor| cursor.step == HookStep::Blocked)
        };
        let cancelled = to.operation.cancel.is_some();
        let left = (0..from.hooks.len()).any(|at| is_blocked(from, at) && !is_blocked(to, at));
        let beside_failed = !from.operation.beside.is_empty() && to.operation.failure.is_some();
        if left && !(retried || skips || cancelled || excused || beside_failed) {
            self.broke(Rule::BlockedByWord);
        }
        let mut newly = 0;
        for (hook, index) in to.hooks.iter().zip(0..) {
            if hook.phase == HookPhase::Skipped && !self.was_skipped(operation, index) {
                self.skipped.push((operation, index));
                newly += 1;
            }
        }
        self.skipped.sort_unstable();
        if newly > 0 && !excused && !(skips && newly == 1) {
            self.broke(Rule::SkippedByWord);
        }
    }
}

/// How far each hook of the journal is: before its first attempt, at a step of one, or over.
fn places(journal: &Journal) -> Vec<(i32, u8)> {
    const OVER: (i32, u8) = (i32::MAX, 0);
    let operation = &journal.operation;
    let is_ending = operation.failure.is_some() || operation.skip.is_some();
    let place = |hook: &HookStatus| match operation.cursor_of(hook.index) {
        Some(cursor) => (cursor.attempt, 1 + cursor.step as u8),
        None if is_ending || hook.is_over() => OVER,
        None => (hook.attempt, 0),
    };
    journal.hooks.iter().map(place).collect()
}

/// Returns what was seen of each hook at work that has an object.
fn seen_of_each<'a>(journal: &Journal, seen: &'a Observation) -> Vec<(usize, &'a HookObservation)> {
    match seen {
        Observation::Hooks(seen) => {
            seen.iter().filter_map(|(index, object)| Some((*index, object.as_ref()?))).collect()
        }
        Observation::Hook(object) => {
            let cursor = journal.operation.hook.as_ref();
            cursor.zip(object.as_ref()).map(|(it, object)| (it.index, object)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Returns whether both hooks may run at the same time: they and all between them say so.
fn are_parallel(plan: &Plan, one: u8, other: u8) -> bool {
    let hooks = &plan.hooks[usize::from(one.min(other))..=usize::from(one.max(other))];
    let same = |hook: &PlannedHook| (hook.event, hook.weight) == (hooks[0].event, hooks[0].weight);
    hooks.iter().all(|hook| hook.rule.parallel && same(hook))
}

/// The ghost is not in its cluster while it judges.
fn cluster_excused(ghost: &Ghost, configuration: &Configuration, cluster: &Cluster) -> bool {
    ghost.excused || cluster.has_outlived(configuration, ghost.began_at)
}

/// Returns whether what lies between pre and post hooks is done.
pub(crate) fn is_done_with_objects(plan: &Plan, cluster: &Cluster, operation: u8) -> bool {
    if plan.event == Event::Delete {
        return cluster.release == Release::Absent
            || (!plan.wait && cluster.release == Release::Going);
    }
    plan.objects.is_empty() || (cluster.applied > operation && (cluster.ready || !plan.wait))
}

pub(crate) fn hooks_of(plan: &Plan, event: HookEvent) -> impl Iterator<Item = u8> {
    plan.hooks.iter().zip(0..).filter(move |(hook, _)| hook.event == event).map(|(_, index)| index)
}
