//! The recovery of a lost journal from the frozen plan and the leftovers of its hooks.

use jiff::Timestamp;

use crate::{
    decide::{Controls, decide},
    event::HookEvent,
    journal::{HookCursor, HookPhase, HookStatus, HookStep, Journal, Phase, Requests, pending},
    observation::{Gate, HookObservation, Observation},
    plan::Plan,
    reason::Reason,
    step::after,
};

/// An object that a hook of the operation left behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The hook's index in the plan.
    pub index: usize,
    /// The attempt that made the object.
    pub attempt: i32,
    /// Its present state.
    pub object: HookObservation,
}

/// Returns the journal of the operation of `plan`, whose digest is `plan_digest`, as far as it can
/// be proven. Hooks run one after the other. So a hook before one that left an object has
/// succeeded, unless both run side by side. A hook after one that was held back, started and has not
/// ended has not run. The state of all others is unknown: a policy or a person may have deleted what they left, and an object
/// that is still held may have been made by a request that came twice. They are `Unknown`, and at
/// the first of them the operation waits for somebody. An observed outcome is in the journal at
/// once.
pub fn rebuild(
    plan: &Plan,
    plan_digest: String,
    config_digest: String,
    generation: i64,
    traces: &[Trace],
    controls: &Controls,
    now: Timestamp,
) -> Journal {
    // Old requests have no object any more.
    let handled = controls.requests.clone();
    let mut journal = Journal::begin(plan.begin(generation), config_digest, handled, now);
    journal.operation.plan_digest = Some(plan_digest);
    journal.operation.chart.clone_from(&plan.chart);
    journal.hooks = pending(plan);
    let last = traces.iter().max_by_key(|trace| (trace.index, trace.attempt));
    let last = last.filter(|trace| trace.index < journal.hooks.len());
    let beside = last.map_or(0..0, |last| plan.side_by_side(last.index));
    let started = |index: usize| {
        let own = traces.iter().filter(move |trace| trace.index == index);
        own.max_by_key(|trace| trace.attempt).filter(|trace| trace.was_started())
    };
    let not_after = beside.clone().filter_map(started).any(Trace::is_the_present_one);
    let ignores =
        |index: usize| plan.hooks.get(index).is_some_and(|hook| hook.rule.ignores_failure());
    for hook in &mut journal.hooks {
        let own = traces.iter().filter(|trace| trace.index == hook.index);
        if let Some(own) = own.max_by_key(|trace| trace.attempt) {
            hook.attempt = own.attempt;
            hook.uid = own.was_started().then(|| own.object.uid.clone());
        }
        if hook.phase == HookPhase::Skipped {
            continue;
        }
        hook.phase = match last {
            Some(_) if hook.index < beside.start && ignores(hook.index) => {
                // Whether it has succeeded is unknown, and makes no difference.
                hook.ignored = true;
                hook.reason = Some(Reason::JournalLost.into());
                hook.message = Some("the object's status was lost".to_owned());
                HookPhase::Failed
            }
            Some(_) if hook.index < beside.start => HookPhase::Succeeded,
            Some(_) if beside.contains(&hook.index) && started(hook.index).is_some() => {
                hook.started_at = Some(now);
                HookPhase::Running
            }
            Some(_) if hook.index >= beside.end && not_after => HookPhase::Pending,
            _ => HookPhase::Unknown,
        };
        if hook.phase == HookPhase::Unknown {
            hook.message = Some("because the object's status was lost".to_owned());
        }
    }
    // With the record's own answer the operation continues from its first hook that is not proven.
    let Some(last) = last else { return journal };
    let event: Option<HookEvent> = plan.hooks.get(last.index).map(|hook| hook.event);
    let post = event.is_some() && event == plan.event.post();
    journal.operation.phase = if post { Phase::PostHooks } else { Phase::PreHooks };
    let running: Vec<_> = beside.filter_map(started).collect();
    let at_work = if running.is_empty() { vec![last] } else { running.clone() };
    let mut cursors = at_work.into_iter().map(|trace| trace.cursor(plan, now));
    journal.operation.hook = cursors.next();
    journal.operation.beside = cursors.collect();
    if running.iter().any(|trace| trace.object.verdict.is_some()) {
        let seen = running.iter().map(|trace| (trace.index, Some(trace.object.clone())));
        let seen = Observation::Hooks(seen.collect());
        // The effect follows from the journal, by a step of its own.
        return decide(plan, &journal, &seen, controls, now).journal;
    }
    journal
}

/// Returns the journal of a failed operation after which others ran, from its plan and from the
/// entries of its hooks that status still has; `None` if status says too little.
pub fn recall(
    plan: &Plan,
    plan_digest: String,
    config_digest: String,
    generation: i64,
    hooks: &[HookStatus],
    handled: Requests,
    now: Timestamp,
) -> Option<Journal> {
    let hooks: Vec<_> =
        hooks.iter().filter(|hook| hook.event.operation() == plan.event).cloned().collect();
    let known = hooks
        .iter()
        .zip(&plan.hooks)
        .all(|(hook, planned)| hook.event == planned.event && hook.kind == planned.object.kind);
    if hooks.len() != plan.hooks.len() || !known {
        return None;
    }
    let mut journal = Journal::begin(plan.begin(generation), config_digest, handled, now);
    journal.operation.plan_digest = Some(plan_digest);
    journal.operation.chart.clone_from(&plan.chart);
    journal.hooks = hooks;
    let post = plan.event.post();
    let failed_after = journal
        .hooks
        .iter()
        .any(|hook| Some(hook.event) == post && hook.phase == HookPhase::Failed);
    journal.operation.failed_in = Some(if journal.unfinished(plan.event.pre()).is_some() {
        Phase::PreHooks
    } else if failed_after {
        Phase::PostHooks
    } else {
        Phase::Applying
    });
    Some(journal)
}

impl Trace {
    /// The cursor of its hook: one that was held back may have been made twice.
    fn cursor(&self, plan: &Plan, now: Timestamp) -> HookCursor {
        let started = self.was_started();
        HookCursor {
            index: self.index,
            attempt: self.attempt,
            step: if started { HookStep::Run } else { HookStep::Blocked },
            uid: started.then(|| self.object.uid.clone()),
            leftover: None,
            started_at: now,
            deadline: after(now, plan.hook_timeout(self.index)),
            not_before: None,
            retried: 0,
            retried_infrastructure: 0,
            unstarted: None,
        }
    }

    fn was_started(&self) -> bool {
        self.object.gate != Gate::Held
    }

    /// Returns whether the object is that of the present attempt. If it cannot be held back, it may
    /// have been made twice.
    fn is_the_present_one(&self) -> bool {
        self.object.gate == Gate::Open && self.object.verdict.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Event,
        observation::{Evidence, Verdict},
        testing,
    };
    use Gate::{Held, Open};
    use HookPhase::{Pending, Running, Succeeded, Unknown};

    fn plan() -> Plan {
        let hook =
            |event: HookEvent, name: &str| testing::hook(event, testing::object("Job", name));
        Plan {
            hooks: vec![
                hook(HookEvent::PreUpgrade, "a"),
                hook(HookEvent::PreUpgrade, "b"),
                hook(HookEvent::PostUpgrade, "c"),
            ],
            ..testing::plan(Event::Upgrade)
        }
    }

    #[test]
    fn only_what_is_proven_is_taken_as_done() {
        let check = |traces: &[Trace], phase: Phase, at: Option<usize>, hooks: [HookPhase; 3]| {
            let now = Timestamp::UNIX_EPOCH;
            let controls = Controls::default();
            let journal =
                rebuild(&plan(), "d".to_owned(), String::new(), 1, traces, &controls, now);
            assert_eq!(journal.operation.phase, phase, "{traces:?}");
            let cursor = journal.operation.hook.as_ref().map(|cursor| cursor.index);
            assert_eq!(cursor, at, "{traces:?}");
            let phases: Vec<_> = journal.hooks.iter().map(|hook| hook.phase).collect();
            assert_eq!(phases, hooks, "{traces:?}");
        };
        let trace = |index, gate, ended: bool| Trace {
            index,
            attempt: 1,
            object: HookObservation {
                uid: index.to_string(),
                run: None,
                gate,
                foreign: None,
                terminating: false,
                stopping: false,
                verdict: ended.then_some(Verdict::Succeeded),
                waiting: None,
                evidence: Evidence::default(),
                unstarted: None,
                look_again_at: None,
            },
        };
        check(&[], Phase::Recording, None, [Unknown, Unknown, Unknown]);
        let held = [trace(0, Held, false)];
        check(&held, Phase::PreHooks, Some(0), [Unknown, Unknown, Unknown]);
        let running = [trace(0, Open, false)];
        check(&running, Phase::PreHooks, Some(0), [Running, Pending, Pending]);
        let ended = [trace(0, Open, true)];
        check(&ended, Phase::PreHooks, Some(1), [Succeeded, Unknown, Unknown]);
        // It cannot be held back, and so it may have been made twice.
        let free = [trace(0, Gate::None, false)];
        check(&free, Phase::PreHooks, Some(0), [Running, Unknown, Unknown]);
        let both = [trace(0, Open, true), trace(1, Open, false)];
        check(&both, Phase::PreHooks, Some(1), [Succeeded, Running, Pending]);
        let post = [trace(2, Open, true)];
        check(&post, Phase::Closing, None, [Succeeded, Succeeded, Succeeded]);
    }
}
