//! One hook: `Create` (a leftover is removed, the object made, held back), `Run` (started, its
//! verdict awaited), `Stop` (its time ran out), `Blocked` (somebody has to decide how to continue).

mod again;
mod failure;

use jiff::{SignedDuration, Timestamp};

use self::failure::note;
use super::{Turn, why_cancelled};
use crate::{
    commands,
    effect::Effect,
    hooks::DeletePolicy,
    journal::{
        Cancel, Failure, HookCursor, HookPhase, HookStatus, HookStep, Journal, Operation, Phase,
        cut,
    },
    object::ObjectRef,
    observation::{Evidence, Gate, HookObservation, Observation, Verdict},
    plan::{HookKind, Plan, PlannedHook, parse_run_id},
    reason::Reason,
    rule::is_infrastructure,
    step::{POLL, Step, after, poll_awaited, poll_watched},
};

/// The step at which the hook begins, or continues after it has failed. If it is unknown whether
/// the hook has run, somebody has to decide.
pub(super) fn cursor(plan: &Plan, hook: &HookStatus, now: Timestamp) -> HookCursor {
    let unknown = hook.phase == HookPhase::Unknown;
    HookCursor {
        index: hook.index,
        attempt: hook.attempt.saturating_add(1),
        step: if unknown { HookStep::Blocked } else { HookStep::Create },
        uid: None,
        leftover: None,
        started_at: now,
        deadline: after(now, plan.hook_timeout(hook.index)),
        not_before: None,
        retried: 0,
        retried_infrastructure: 0,
        unstarted: None,
    }
}

pub(super) fn step(turn: Turn<'_>, cursor: &HookCursor, observation: &Observation) -> Step {
    let Some(hook) = turn.plan.hooks.get(cursor.index) else {
        let message = format!("status.operation.hook.index is {}, beyond the plan", cursor.index);
        return turn.fail(Failure::new(Reason::JournalLost, message));
    };
    let turn = HookTurn { turn, cursor, hook };
    match (observation, cursor.step) {
        (_, HookStep::Blocked) => turn.blocked(),
        (Observation::Hook(object), HookStep::Create) => turn.create(object.as_ref()),
        (Observation::Hook(object), HookStep::Run) => turn.run(turn.mine(object.as_ref())),
        (Observation::Hook(object), HookStep::Stop) => turn.stop(turn.mine(object.as_ref())),
        // If an object could not be made, Helm deletes nothing.
        (Observation::Refused(failure), HookStep::Create) => turn.give_up(failure.clone()),
        (Observation::Refused(failure), HookStep::Run | HookStep::Stop) => {
            turn.conclude(Err(failure.clone()), &Evidence::default())
        }
        _ => Step::wait(turn.turn.journal.clone(), turn.turn.now, None),
    }
}

struct HookTurn<'a> {
    turn: Turn<'a>,
    cursor: &'a HookCursor,
    hook: &'a PlannedHook,
}

impl HookTurn<'_> {
    fn now(&self) -> Timestamp {
        self.turn.now
    }

    fn operation(&self) -> &Operation {
        &self.turn.journal.operation
    }

    fn status(&self) -> Option<&HookStatus> {
        self.turn.journal.hooks.get(self.cursor.index)
    }

    /// The object of the present attempt.
    fn object(&self) -> ObjectRef {
        self.turn.plan.object(self.cursor.index, self.cursor.attempt)
    }

    /// The time that a step of the hook may take.
    fn timeout(&self) -> SignedDuration {
        self.turn.plan.hook_timeout(self.cursor.index)
    }

    /// The object made for this attempt, if it still has the journal's UID.
    fn mine<'o>(&self, object: Option<&'o HookObservation>) -> Option<&'o HookObservation> {
        object.filter(|object| Some(&object.uid) == self.cursor.uid.as_ref())
    }

    fn create(&self, object: Option<&HookObservation>) -> Step {
        let index = self.cursor.index;
        let attempt = self.cursor.attempt;
        // An object that cannot be held back already runs, and is awaited to its end or stopped.
        let ours = self.turn.plan.run_id(index, attempt);
        if let Some(object) = object
            && object.run.as_ref() == Some(&ours)
            && object.gate != Gate::Held
        {
            return self.created(object);
        }
        // Any other object made for it is held: it never starts, and is swept.
        if self.operation().skip.is_some() {
            return self.leave(self.turn.journal.clone());
        }
        if self.is_ending() {
            let mut journal = self.turn.journal.clone();
            // Nothing was requested for an attempt that is waited for.
            if self.cursor.not_before.is_none_or(|until| self.now() >= until) {
                self.use_up_attempt(&mut journal);
            }
            return self.end(journal);
        }
        if let Some(until) = self.cursor.not_before.filter(|until| self.now() < *until) {
            return self.wait_for_the_next_attempt(until);
        }
        let Some(object) = object else {
            return self.effect(Effect::CreateHook { hook: index, attempt });
        };
        if object.run.as_ref() == Some(&ours) {
            return self.created(object);
        }
        let name = self.object();
        if object.terminating {
            let what = object.waiting.as_deref().unwrap_or("it is being deleted");
            if self.now() >= self.cursor.deadline {
                let message = format!(
                    "an older {name} was not gone within {} s ({}): {what}",
                    self.timeout().as_secs(),
                    self.hook.rule.timeout_field()
                );
                return self.give_up(Failure::new(Reason::LeftoverNotGone, message));
            }
            return self.wait(Some(format!("an older {name} is not gone yet: {what}")), true);
        }
        if self.hook.leaves_alone() {
            return self.created(object);
        }
        if self.hook.kind() == HookKind::Crd {
            let uid = object.uid.clone();
            return self.effect(Effect::ApplyHook { hook: index, attempt, uid });
        }
        if let Some(whose) = &object.foreign {
            let message = format!(
                "{name} exists and is not of this release ({whose}); delete the object if it is \
                 not needed ({}), or rename the hook",
                commands::delete(std::slice::from_ref(&name))
            );
            return self.give_up(Failure::new(Reason::HookNameTaken, message));
        }
        // An object that never started was made by a late request, and is not a run of the hook; a
        // failed attempt of this operation makes room for the next.
        if self.hook.has(DeletePolicy::BeforeHookCreation)
            || object.gate == Gate::Held
            || self.is_earlier_attempt(object)
        {
            return self.replace(object);
        }
        let message = format!(
            "{name} is left over from an earlier run, and its delete policy does not include \
             before-hook-creation; delete it or add the policy"
        );
        self.give_up(Failure::new(Reason::HookExists, message))
    }

    fn is_earlier_attempt(&self, object: &HookObservation) -> bool {
        let run = object.run.as_deref().and_then(|run| parse_run_id(run, &self.operation().id));
        run.is_some_and(|(index, attempt)| {
            index == self.cursor.index && attempt < self.cursor.attempt
        })
    }

    /// Deletes the leftover. Its UID is journalled before that: a process with an old journal may
    /// see the object of a later run here, and its write fails.
    fn replace(&self, leftover: &HookObservation) -> Step {
        let uid = leftover.uid.clone();
        let mut journal = self.turn.journal.clone();
        journal.operation.hook =
            Some(HookCursor { leftover: Some(uid.clone()), ..self.cursor.clone() });
        Step::go(journal, Some(Effect::DeleteLeftover { hook: self.cursor.index, uid }))
    }

    /// Records that the object of this attempt exists: its UID is journalled before it is started.
    fn created(&self, object: &HookObservation) -> Step {
        let mut journal = self.turn.journal.clone();
        let name = self.object().name;
        if let Some(status) = journal.hooks.get_mut(self.cursor.index) {
            status.keep_attempt();
            *status = HookStatus {
                name,
                phase: HookPhase::Running,
                attempt: self.cursor.attempt,
                uid: Some(object.uid.clone()),
                started_at: Some(self.now()),
                completed_at: None,
                exit_code: None,
                reason: None,
                message: self.attempt_before(),
                log: None,
                ..status.clone()
            };
        }
        let cursor = HookCursor {
            step: HookStep::Run,
            uid: Some(object.uid.clone()),
            leftover: None,
            started_at: self.now(),
            deadline: after(self.now(), self.timeout()),
            not_before: None,
            ..self.cursor.clone()
        };
        journal.operation.hook = Some(cursor.clone());
        let turn = HookTurn { turn: self.turn.with(&journal), cursor: &cursor, hook: self.hook };
        turn.run(Some(object))
    }

    fn run(&self, object: Option<&HookObservation>) -> Step {
        let index = self.cursor.index;
        let Some(object) = object else {
            return self.conclude(Err(self.vanished()), &Evidence::default());
        };
        if let Some(step) = self.verdict(object) {
            return step;
        }
        let uid = object.uid.clone();
        let overdue = self.now() >= self.cursor.deadline;
        let skip = self.operation().skip.is_some();
        let cancel = self.operation().cancel.as_ref();
        match object.gate {
            Gate::Held if object.terminating && overdue => {
                let what = object.waiting.as_deref().unwrap_or("it is being deleted");
                let message =
                    format!("{} was deleted before it had started: {what}", self.object());
                self.conclude(Err(Failure::new(Reason::Vanished, message)), &object.evidence)
            }
            Gate::Held if object.terminating => self.wait(object.waiting.clone(), false),
            Gate::Held if skip || self.is_ending() => {
                let mut step = self.again(HookStep::Stop, Effect::StopHook { hook: index, uid });
                if let (Some(cursor), Some(failure)) =
                    (&mut step.journal.operation.hook, &self.operation().failure)
                {
                    cursor.unstarted = Some(cut(&failure.message, ""));
                }
                step
            }
            // It never ran, so its time has not begun.
            Gate::Held if overdue || self.is_stale() => {
                self.again(HookStep::Run, Effect::StartHook { hook: index, uid })
            }
            Gate::Held => self.effect(Effect::StartHook { hook: index, uid }),
            // It may hold data: it stays, as the hook's delete policy says.
            _ if self.hook.kind() == HookKind::Awaited
                && (overdue || skip || cancel.is_some_and(|cancel| self.is_stopped_by(cancel))) =>
            {
                self.conclude(Err(self.not_ready(object)), &object.evidence)
            }
            Gate::Open | Gate::None
                if overdue || skip || cancel.is_some_and(|cancel| self.is_stopped_by(cancel)) =>
            {
                let mut step = self.again(HookStep::Stop, Effect::StopHook { hook: index, uid });
                note(&mut step.journal, index, &object.evidence);
                if let Some(status) = step.journal.hooks.get_mut(index)
                    && object.waiting.is_some()
                {
                    // Once it is stopped, the cause is unknown.
                    status.message.clone_from(&object.waiting);
                }
                step
            }
            Gate::Open | Gate::None
                if self.fails_fast_at(object).is_some_and(|at| self.now() >= at) =>
            {
                let mut step = self.again(HookStep::Stop, Effect::StopHook { hook: index, uid });
                if let Some(cursor) = &mut step.journal.operation.hook {
                    let why = object.unstarted.as_ref();
                    cursor.unstarted = why.map(|why| cut(&why.message, ""));
                }
                step
            }
            Gate::Open | Gate::None => {
                let waiting = object.waiting.clone().or_else(|| self.uninterrupted());
                let mut step = self.wait(waiting, false);
                note(&mut step.journal, index, &object.evidence);
                let wakes =
                    [object.look_again_at, self.fails_fast_at(object)].into_iter().flatten();
                for at in wakes.filter(|at| *at > self.now()) {
                    step.wake_at = step.wake_at.map(|wake| wake.min(at));
                }
                step
            }
        }
    }

    /// Returns whether the hook was held back for longer than it may take to start.
    fn is_stale(&self) -> bool {
        let fast = self.hook.rule.fail_fast_seconds.map(SignedDuration::from_secs);
        fast.is_some_and(|fast| self.now() >= after(self.cursor.started_at, fast))
    }

    /// The time at which a container of the hook has to have started, if its rule says so and none
    /// can start now.
    fn fails_fast_at(&self, object: &HookObservation) -> Option<Timestamp> {
        let seconds = self.hook.rule.fail_fast_seconds?;
        let since = object.unstarted.as_ref()?.since.max(self.cursor.started_at);
        Some(after(since, SignedDuration::from_secs(seconds)))
    }

    /// Returns whether the operation is ending, so that nothing new starts.
    fn is_ending(&self) -> bool {
        self.operation().cancel.is_some() || self.operation().failure.is_some()
    }

    /// Returns whether the cancellation stops the running hook.
    fn is_stopped_by(&self, cancel: &Cancel) -> bool {
        cancel.now && !self.hook.rule.uninterruptible
    }

    /// Says that the operation is cancelled, and waits for the running hook.
    fn uninterrupted(&self) -> Option<String> {
        let cancel = self.operation().cancel.as_ref().filter(|cancel| cancel.now)?;
        Some(format!(
            "{}; the operation ends after this hook, since {} interruptible: false",
            cancel.failure.message,
            self.hook.rule.says()
        ))
    }

    fn stop(&self, object: Option<&HookObservation>) -> Step {
        let Some(object) = object else {
            return self.conclude(Err(self.stopped(true)), &Evidence::default());
        };
        match &object.verdict {
            // It was seen running when it was deleted.
            Some(Verdict::Succeeded) if self.hook.kind() == HookKind::Pod && object.terminating => {
                self.conclude(Err(self.stopped(true)), &object.evidence)
            }
            // It ended well before it could be stopped: the outcome counts, not the clock.
            Some(Verdict::Succeeded) => self.conclude(Ok(()), &object.evidence),
            Some(Verdict::Failed { .. }) => {
                self.conclude(Err(self.stopped(true)), &object.evidence)
            }
            // A late request could still start one that is held back, unless it is being deleted.
            None if self.now() >= self.cursor.deadline
                && (object.gate != Gate::Held || object.terminating) =>
            {
                self.conclude(Err(self.stopped(false)), &object.evidence)
            }
            None if object.terminating || (object.stopping && object.gate != Gate::Held) => {
                self.wait(None, false)
            }
            None => {
                let uid = object.uid.clone();
                self.effect(Effect::StopHook { hook: self.cursor.index, uid })
            }
        }
    }

    fn verdict(&self, object: &HookObservation) -> Option<Step> {
        match object.verdict.as_ref()? {
            Verdict::Succeeded => Some(self.conclude(Ok(()), &object.evidence)),
            Verdict::Failed { reason, message } => {
                let failure = self.failed(reason, message, &object.evidence);
                Some(self.conclude(Err(failure), &object.evidence))
            }
        }
    }

    /// Ends the hook: its outcome, and the intent of the next step, in one journal.
    fn conclude(&self, outcome: Result<(), Failure>, evidence: &Evidence) -> Step {
        let index = self.cursor.index;
        let mut journal = self.turn.journal.clone();
        note(&mut journal, index, evidence);
        // What was noted before counts only while nothing newer is known.
        let noted = journal.hooks.get(index).filter(|_| evidence.cause.is_none());
        let noted = noted.and_then(|status| status.reason.clone());
        match outcome {
            Ok(()) => {
                if let Some(status) = journal.hooks.get_mut(index) {
                    status.phase = HookPhase::Succeeded;
                    status.completed_at = Some(self.now());
                    // The failures of its containers' earlier attempts are no evidence of a
                    // success.
                    status.exit_code = None;
                    status.reason = None;
                    status.message = None;
                    status.log = None;
                }
                if self.is_ending() { self.end(journal) } else { self.leave(journal) }
            }
            Err(failure) => {
                journal.note_failure(index, &failure, self.now());
                let is_left = self.cursor.step == HookStep::Stop
                    || self.operation().cancel.as_ref().is_some_and(|cancel| {
                        self.hook.kind() == HookKind::Awaited && self.is_stopped_by(cancel)
                    });
                if is_left && self.is_ending() {
                    return self.end(journal);
                }
                let infrastructure = is_infrastructure(&failure.reason)
                    || (self.cursor.step == HookStep::Run
                        && (evidence.infrastructure
                            || noted.is_some_and(|reason| is_infrastructure(&reason))));
                self.after_failure(&journal, infrastructure).unwrap_or_else(|| {
                    let failure = self.failure(&failure);
                    self.clean_up_after(journal, failure)
                })
            }
        }
    }

    /// Goes on without this hook, which has ended or was skipped.
    fn leave(&self, mut journal: Journal) -> Step {
        journal.operation.leave_hook();
        self.turn.with(&journal).hooks(self.cleanup_phase())
    }

    /// Ends a cancelled or failed operation here, as after a hook that failed.
    fn end(&self, journal: Journal) -> Step {
        let failure = why_cancelled(&journal);
        self.clean_up_after(journal, failure)
    }

    /// Ends the operation once the hooks beside this one have ended. The first failure counts.
    fn clean_up_after(&self, mut journal: Journal, failure: Failure) -> Step {
        let operation = &mut journal.operation;
        operation.failed_in = Some(operation.phase);
        operation.failure.get_or_insert(failure);
        self.leave(journal)
    }

    /// Gives up a hook that could not be made: the operation fails and nothing is deleted (Helm's
    /// `execHook` returns at once if the creation fails). Hooks beside it are awaited, and deleted as
    /// their policies say.
    fn give_up(&self, failure: Failure) -> Step {
        let mut journal = self.turn.journal.clone();
        journal.note_failure(self.cursor.index, &failure, self.now());
        self.use_up_attempt(&mut journal);
        let is_alone = self.operation().beside.is_empty() && self.operation().failure.is_none();
        let failure = self.failure(&failure);
        self.after_failure(&journal, false).unwrap_or_else(|| {
            if is_alone {
                self.turn.with(&journal).fail(failure)
            } else {
                self.clean_up_after(journal, failure)
            }
        })
    }

    /// Ends the attempt without an object. One may still be under way, or already being swept: a
    /// retry must not take it for its own.
    fn use_up_attempt(&self, journal: &mut Journal) {
        if let Some(status) = journal.hooks.get_mut(self.cursor.index)
            && status.attempt != self.cursor.attempt
        {
            status.attempt = self.cursor.attempt;
            status.uid = None;
            status.started_at = None;
            status.exit_code = None;
            status.log = None;
        }
    }

    fn failure(&self, failure: &Failure) -> Failure {
        Failure::new(
            Reason::HookFailed,
            format!(
                "{} hook {} failed: {}: {}",
                self.hook.event,
                self.object(),
                failure.reason,
                failure.message
            ),
        )
    }

    fn cleanup_phase(&self) -> Phase {
        match self.operation().phase {
            Phase::PreHooks => Phase::PreCleanup,
            _ => Phase::PostCleanup,
        }
    }

    fn effect(&self, effect: Effect) -> Step {
        Step::go(self.turn.journal.clone(), Some(effect))
    }

    /// Gives the hook a fresh deadline in `step`, journalled before `effect`.
    fn again(&self, step: HookStep, effect: Effect) -> Step {
        let mut journal = self.turn.journal.clone();
        journal.operation.hook = Some(HookCursor {
            step,
            started_at: self.now(),
            deadline: after(self.now(), self.timeout()),
            ..self.cursor.clone()
        });
        Step::go(journal, Some(effect))
    }

    /// Waits for a watch to report a change, and for the deadline. Changes that no watch covers are
    /// polled.
    fn wait(&self, waiting: Option<String>, leftover: bool) -> Step {
        let elapsed = self.now().duration_since(self.cursor.started_at);
        let poll = match self.hook.kind() {
            _ if leftover => POLL,
            HookKind::Job | HookKind::Pod => poll_watched(elapsed),
            HookKind::Awaited => poll_awaited(elapsed),
            HookKind::Crd | HookKind::Other => POLL,
        };
        let wake_at = after(self.now(), poll);
        Step::wait(self.turn.journal.clone(), wake_at.min(self.cursor.deadline), waiting)
    }
}
