//! One hook: `Create` (a leftover is removed, the object made, held back), `Run` (started, its
//! verdict awaited), `Stop` (its time ran out).

use jiff::Timestamp;

use super::{Effect, Observation, POLL, POLL_WATCHED, Step, after, enter, fail, timeout};
use crate::{
    hooks::DeletePolicy,
    journal::{Failure, HookCursor, HookPhase, HookStatus, HookStep, Journal, Phase},
    plan::{HookKind, Plan, PlannedHook},
};

/// A hook's object, as it is on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HookObservation {
    /// Its UID.
    pub uid: String,
    /// Its run id; `None` where it was not made by this operator.
    pub run: Option<String>,
    /// Whether it may start.
    pub gate: Gate,
    /// Why it does not belong to this release; `None` where it does.
    pub foreign: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it has been told to stop for good.
    pub stopping: bool,
    /// How it ended, if it has.
    pub verdict: Option<Verdict>,
    /// What holds it up, such as `pod x ImagePullBackOff: …` or its finalizers.
    pub waiting: Option<String>,
    /// What its containers left behind so far.
    pub evidence: Evidence,
    /// When to look again for evidence that will not last.
    pub look_again_at: Option<Timestamp>,
}

/// Whether a hook's object may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Held back until it is started.
    Held,
    /// It has been started.
    Open,
    /// It cannot be held back: its author or another controller starts it.
    None,
}

/// How a hook's object ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `Complete`, `Succeeded`, or created where nothing is awaited.
    Succeeded,
    /// `Failed`.
    Failed {
        /// The reason of the Job's condition or of the Pod's status.
        reason: String,
        /// What was seen.
        message: String,
    },
}

/// What a hook's containers left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// The exit code of the container that ended last and failed.
    pub exit_code: Option<i32>,
    /// The last lines it wrote.
    pub log: Option<String>,
    /// Why its Pods failed.
    pub cause: Option<Box<Cause>>,
}

/// Why a hook's Pods failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// What befell the Pod from outside, such as `Evicted`; `None` where a container failed.
    pub reason: Option<String>,
    /// Such as `pod x container main ended with exit code 3`.
    pub message: String,
}

pub(super) fn cursor(plan: &Plan, index: usize, now: Timestamp) -> HookCursor {
    HookCursor {
        index,
        attempt: 1,
        step: HookStep::Create,
        uid: None,
        leftover: None,
        started_at: now,
        deadline: after(now, timeout(plan)),
    }
}

pub(super) fn step(
    plan: &Plan,
    journal: &Journal,
    cursor: &HookCursor,
    observation: &Observation,
    now: Timestamp,
) -> Step {
    let Some(hook) = plan.hooks.get(cursor.index) else {
        let message = format!("status.operation.hook.index is {}, beyond the plan", cursor.index);
        return fail(journal, Failure::new("JournalLost", message));
    };
    let turn = Turn { plan, journal, cursor, hook, now };
    match (observation, cursor.step) {
        (Observation::Hook(object), HookStep::Create) => turn.create(object.as_ref()),
        (Observation::Hook(object), HookStep::Run) => turn.run(turn.mine(object.as_ref())),
        (Observation::Hook(object), HookStep::Stop) => turn.stop(turn.mine(object.as_ref())),
        // Where an object could not be made, Helm deletes nothing.
        (Observation::Refused(failure), HookStep::Create) => turn.give_up(failure.clone()),
        (Observation::Refused(failure), HookStep::Run | HookStep::Stop) => {
            turn.conclude(Err(failure.clone()), &Evidence::default())
        }
        _ => Step::wait(journal.clone(), now, None),
    }
}

struct Turn<'a> {
    plan: &'a Plan,
    journal: &'a Journal,
    cursor: &'a HookCursor,
    hook: &'a PlannedHook,
    now: Timestamp,
}

impl Turn<'_> {
    /// The object made for this attempt, if it is still the one of the journal's UID.
    fn mine<'o>(&self, object: Option<&'o HookObservation>) -> Option<&'o HookObservation> {
        object.filter(|object| Some(&object.uid) == self.cursor.uid.as_ref())
    }

    fn create(&self, object: Option<&HookObservation>) -> Step {
        let index = self.cursor.index;
        let Some(object) = object else {
            let attempt = self.cursor.attempt;
            return self.effect(Effect::CreateHook { hook: index, attempt });
        };
        let ours = self.plan.run_id(index, self.cursor.attempt);
        if object.run.as_ref() == Some(&ours) {
            return self.created(object);
        }
        let name = &self.hook.object;
        if object.terminating {
            let what = object.waiting.as_deref().unwrap_or("it is being deleted");
            if self.now >= self.cursor.deadline {
                let message = format!(
                    "an older {name} was not gone within {} s: {what}",
                    self.plan.timeout_seconds
                );
                return self.give_up(Failure::new("LeftoverNotGone", message));
            }
            return self.wait(Some(format!("an older {name} is not gone yet: {what}")), true);
        }
        if let Some(whose) = &object.foreign {
            let message = format!(
                "{name} exists and is not of this release ({whose}); rename the hook or remove \
                 the object"
            );
            return self.give_up(Failure::new("HookNameTaken", message));
        }
        // What never started is what a late request made, and no run of the hook.
        if self.hook.has(DeletePolicy::BeforeHookCreation) || object.gate == Gate::Held {
            return self.replace(object);
        }
        let message = format!(
            "{name} is left over from an earlier run, and its delete policy does not include \
             before-hook-creation; delete it or add the policy"
        );
        self.give_up(Failure::new("HookExists", message))
    }

    /// The leftover's UID goes into the journal before it is deleted: a process that goes by an old
    /// journal may see the object of a later run here, and its write fails.
    fn replace(&self, leftover: &HookObservation) -> Step {
        let uid = leftover.uid.clone();
        let mut journal = self.journal.clone();
        journal.operation.hook =
            Some(HookCursor { leftover: Some(uid.clone()), ..self.cursor.clone() });
        Step::go(journal, Some(Effect::DeleteLeftover { hook: self.cursor.index, uid }))
    }

    /// The object of this attempt exists: its UID goes into the journal before it is started.
    fn created(&self, object: &HookObservation) -> Step {
        let mut journal = self.journal.clone();
        if let Some(status) = journal.hooks.get_mut(self.cursor.index) {
            status.phase = HookPhase::Running;
            status.attempt = self.cursor.attempt;
            status.uid = Some(object.uid.clone());
            status.started_at = Some(self.now);
        }
        let cursor = HookCursor {
            step: HookStep::Run,
            uid: Some(object.uid.clone()),
            leftover: None,
            started_at: self.now,
            deadline: after(self.now, timeout(self.plan)),
            ..self.cursor.clone()
        };
        journal.operation.hook = Some(cursor.clone());
        let turn = Turn { journal: &journal, cursor: &cursor, ..*self };
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
        let overdue = self.now >= self.cursor.deadline;
        match object.gate {
            Gate::Held if object.terminating && overdue => {
                let what = object.waiting.as_deref().unwrap_or("it is being deleted");
                let message =
                    format!("{} was deleted before it had started: {what}", self.hook.object);
                self.conclude(Err(Failure::new("Vanished", message)), &object.evidence)
            }
            Gate::Held if object.terminating => self.wait(object.waiting.clone(), false),
            // It never ran, so its time has not begun.
            Gate::Held if overdue => {
                self.again(HookStep::Run, Effect::StartHook { hook: index, uid })
            }
            Gate::Held => self.effect(Effect::StartHook { hook: index, uid }),
            Gate::Open | Gate::None if overdue => {
                let mut step = self.again(HookStep::Stop, Effect::StopHook { hook: index, uid });
                note(&mut step.journal, index, &object.evidence);
                if let Some(status) = step.journal.hooks.get_mut(index)
                    && object.waiting.is_some()
                {
                    // Once it is stopped, nobody can tell any more.
                    status.message.clone_from(&object.waiting);
                }
                step
            }
            Gate::Open | Gate::None => {
                let mut step = self.wait(object.waiting.clone(), false);
                note(&mut step.journal, index, &object.evidence);
                if let Some(at) = object.look_again_at.filter(|at| *at > self.now) {
                    step.wake_at = step.wake_at.map(|wake| wake.min(at));
                }
                step
            }
        }
    }

    fn stop(&self, object: Option<&HookObservation>) -> Step {
        let timed_out = |more: &str| {
            let why = self.noted().and_then(|status| status.message.as_deref());
            let message = format!(
                "{} did not end within {} s{more}{}",
                self.hook.object,
                self.plan.timeout_seconds,
                why.map_or(String::new(), |why| format!("; last seen: {why}"))
            );
            Err(Failure::new("Timeout", message))
        };
        let Some(object) = object else {
            return self.conclude(timed_out(" and was stopped"), &Evidence::default());
        };
        match &object.verdict {
            // It ended well before it could be stopped: what happened wins over the clock.
            Some(Verdict::Succeeded) => self.conclude(Ok(()), &object.evidence),
            Some(Verdict::Failed { .. }) => {
                self.conclude(timed_out(" and was stopped"), &object.evidence)
            }
            None if self.now >= self.cursor.deadline => {
                self.conclude(timed_out(", and could not be stopped"), &object.evidence)
            }
            None if object.stopping || object.terminating => self.wait(None, false),
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
                // What a Pod says of itself is in its own message.
                let noted = self.noted().and_then(|status| status.message.as_ref());
                let why = object.evidence.cause.as_ref().map(|cause| &cause.message).or(noted);
                let why = why.filter(|_| self.hook.kind() == HookKind::Job);
                let parts: Vec<_> = [Some(message), why].into_iter().flatten().collect();
                let parts = parts.iter().filter(|part| !part.is_empty());
                let message = parts.map(|part| part.as_str()).collect::<Vec<_>>().join("; ");
                Some(self.conclude(Err(Failure::new(reason, message)), &object.evidence))
            }
        }
    }

    /// What was known of the object last may tell why it is gone.
    fn vanished(&self) -> Failure {
        let noted = self.noted();
        let reason = noted.and_then(|status| status.reason.as_deref()).unwrap_or("Vanished");
        let why = noted.and_then(|status| status.message.as_ref());
        let why = why.map_or(String::new(), |why| format!("; last seen: {why}"));
        Failure::new(reason, format!("{} was deleted before it had ended{why}", self.hook.object))
    }

    /// What the journal says of the hook so far.
    fn noted(&self) -> Option<&HookStatus> {
        self.journal.hooks.get(self.cursor.index)
    }

    /// The hook has ended: its outcome, and the intent of what comes next, in one journal.
    fn conclude(&self, outcome: Result<(), Failure>, evidence: &Evidence) -> Step {
        let index = self.cursor.index;
        let mut journal = self.journal.clone();
        note(&mut journal, index, evidence);
        let status = journal.hooks.get_mut(index);
        match outcome {
            Ok(()) => {
                if let Some(status) = status {
                    status.phase = HookPhase::Succeeded;
                    status.completed_at = Some(self.now);
                    // What earlier attempts of its containers left is no evidence of a success.
                    status.exit_code = None;
                    status.reason = None;
                    status.message = None;
                    status.log = None;
                }
                self.next(journal)
            }
            Err(failure) => {
                fail_status(status, &failure, self.now);
                journal.operation.failure = Some(self.failure(&failure));
                enter(self.plan, journal, self.cleanup_phase(), self.now)
            }
        }
    }

    fn next(&self, mut journal: Journal) -> Step {
        let next = self.plan.hooks_of(self.hook.event).find(|other| *other > self.cursor.index);
        match next {
            Some(next) => {
                journal.operation.hook = Some(cursor(self.plan, next, self.now));
                Step::go(journal, None)
            }
            None => enter(self.plan, journal, self.cleanup_phase(), self.now),
        }
    }

    /// The hook could not be made: the operation fails and nothing is deleted (Helm's `execHook`
    /// returns at once where the creation fails).
    fn give_up(&self, failure: Failure) -> Step {
        let mut journal = self.journal.clone();
        fail_status(journal.hooks.get_mut(self.cursor.index), &failure, self.now);
        fail(&journal, self.failure(&failure))
    }

    fn failure(&self, failure: &Failure) -> Failure {
        Failure::new(
            "HookFailed",
            format!(
                "{} hook {} failed: {}: {}",
                self.hook.event, self.hook.object, failure.reason, failure.message
            ),
        )
    }

    fn cleanup_phase(&self) -> Phase {
        match self.journal.operation.phase {
            Phase::PreHooks => Phase::PreCleanup,
            _ => Phase::PostCleanup,
        }
    }

    fn effect(&self, effect: Effect) -> Step {
        Step::go(self.journal.clone(), Some(effect))
    }

    /// Gives the hook a fresh deadline in `step`, journalled before `effect`.
    fn again(&self, step: HookStep, effect: Effect) -> Step {
        let mut journal = self.journal.clone();
        journal.operation.hook = Some(HookCursor {
            step,
            started_at: self.now,
            deadline: after(self.now, timeout(self.plan)),
            ..self.cursor.clone()
        });
        Step::go(journal, Some(effect))
    }

    /// Waits for a watch to report a change, and for the deadline. What no watch covers is polled.
    fn wait(&self, waiting: Option<String>, leftover: bool) -> Step {
        let unwatched = leftover || self.hook.kind() == HookKind::Other;
        let wake_at = after(self.now, if unwatched { POLL } else { POLL_WATCHED });
        Step::wait(self.journal.clone(), wake_at.min(self.cursor.deadline), waiting)
    }
}

fn fail_status(status: Option<&mut HookStatus>, failure: &Failure, now: Timestamp) {
    if let Some(status) = status {
        status.phase = HookPhase::Failed;
        status.completed_at = Some(now);
        status.reason = Some(failure.reason.clone());
        status.message = Some(failure.message.clone());
    }
}

/// Keeps what is there: evidence that is gone from the cluster is not forgotten.
fn note(journal: &mut Journal, index: usize, evidence: &Evidence) {
    if let Some(status) = journal.hooks.get_mut(index) {
        status.exit_code = evidence.exit_code.or(status.exit_code);
        if let Some(cause) = &evidence.cause {
            status.reason.clone_from(&cause.reason);
            status.message = Some(cause.message.clone());
        }
        status.log = evidence.log.clone().or_else(|| status.log.take());
    }
}
