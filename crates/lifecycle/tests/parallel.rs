//! Hooks side by side, in the hands of the step rule.

use jiff::Timestamp;
use lifecycle::{
    decide::{Controls, decide},
    effect::Effect,
    event::{Event, HookEvent},
    journal::{HookPhase, Journal, Requests},
    observation::{Evidence, Gate, HookObservation, Observation, Verdict},
    plan::Plan,
    step::Step,
    testing,
};

/// The hooks at work, in a world that does at once what they ask for.
struct Group {
    plan: Plan,
    journal: Journal,
}

impl Group {
    fn of(number: usize) -> Self {
        let mut plan = testing::plan(Event::Install);
        for index in 0..number {
            let object = testing::object("Job", &format!("hook-{index:02}"));
            let mut hook = testing::hook(HookEvent::PreInstall, object);
            hook.rule.parallel = true;
            plan.hooks.push(hook);
        }
        let now = Timestamp::UNIX_EPOCH;
        let journal = Journal::begin(plan.begin(1), String::new(), Requests::default(), now);
        let mut group = Self { plan, journal };
        let plan_digest = group.plan.freeze().1;
        group.step(&Observation::Recorded { plan_digest, open: true });
        group
    }

    fn step(&mut self, observation: &Observation) -> Step {
        let now = Timestamp::UNIX_EPOCH;
        let step = decide(&self.plan, &self.journal, observation, &Controls::default(), now);
        self.journal = step.journal.clone();
        step
    }

    fn at_work(&self) -> Vec<usize> {
        let mut all: Vec<_> = self.journal.operation.cursors().map(|it| it.index).collect();
        all.sort_unstable();
        all
    }

    /// Returns what is seen if these have such a verdict, and the others run, as far as they are there.
    fn seen(&self, verdicts: &[(usize, Verdict)]) -> Observation {
        let seen = self.at_work().into_iter().map(|index| {
            let there = self.journal.operation.cursor_of(index).and_then(|it| it.uid.clone());
            let verdict = verdicts.iter().find(|(at, _)| *at == index);
            let verdict = verdict.map(|(_, verdict)| verdict.clone());
            (index, there.map(|_| object(index, Gate::Open, verdict)))
        });
        Observation::Hooks(seen.collect())
    }

    /// Lets all of them begin.
    fn begin(&mut self) -> Vec<usize> {
        let mut created = Vec::new();
        loop {
            let seen = self.seen(&[]);
            let Some(Effect::CreateHook { hook, .. }) = self.step(&seen).effect else { break };
            created.push(hook);
            let held = Observation::Hook(Some(object(hook, Gate::Held, None)));
            let started = self.step(&held).effect;
            assert_eq!(started, Some(Effect::StartHook { hook, uid: format!("u{hook}") }));
            let open = Observation::Hook(Some(object(hook, Gate::Open, None)));
            let step = self.step(&open);
            let waits = step.wake_at.is_some();
            assert_eq!(
                waits,
                self.journal.operation.beside.is_empty(),
                "others are looked at first"
            );
        }
        created
    }
}

fn object(index: usize, gate: Gate, verdict: Option<Verdict>) -> HookObservation {
    HookObservation {
        uid: format!("u{index}"),
        run: Some(format!("op/{index}/1")),
        gate,
        foreign: None,
        terminating: false,
        stopping: false,
        verdict,
        waiting: None,
        evidence: Evidence::default(),
        unstarted: None,
        look_again_at: None,
    }
}

fn failed() -> Verdict {
    Verdict::Failed { reason: "BackoffLimitExceeded".to_owned(), message: String::new() }
}

#[test]
fn ten_run_at_once_and_each_that_ends_makes_room_for_the_next() {
    let mut group = Group::of(12);
    assert_eq!(group.begin(), (0..10).collect::<Vec<_>>());
    let seen = group.seen(&[(3, Verdict::Succeeded), (4, Verdict::Succeeded)]);
    group.step(&seen);
    assert_eq!(group.at_work(), [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(group.begin(), [10, 11]);
}

#[test]
fn all_that_was_seen_is_noted_at_once_and_then_written_in_one_form() {
    let mut group = Group::of(3);
    group.begin();
    let seen = group.seen(&[(1, failed()), (2, Verdict::Succeeded)]);
    group.step(&seen);
    let phases: Vec<_> = group.journal.hooks.iter().map(|hook| hook.phase).collect();
    assert_eq!(phases, [HookPhase::Running, HookPhase::Failed, HookPhase::Succeeded]);
    assert!(group.journal.operation.failure.is_some(), "it is known before the last has ended");
    assert_eq!(group.at_work(), [0]);

    let mut group = Group::of(3);
    group.begin();
    let before = group.journal.clone();
    let seen = group.seen(&[]);
    assert!(group.step(&seen).wake_at.is_some());
    assert_eq!(group.journal, before, "nothing is written while nothing changes");
}

#[test]
fn nothing_begins_after_a_failure() {
    let mut group = Group::of(12);
    group.begin();
    let seen = group.seen(&[(0, failed()), (1, Verdict::Succeeded)]);
    assert_eq!(group.step(&seen).effect, None);
    assert_eq!(group.at_work(), (2..10).collect::<Vec<_>>());
    let verdicts: Vec<_> = (2..10).map(|index| (index, Verdict::Succeeded)).collect();
    let seen = group.seen(&verdicts);
    group.step(&seen);
    let failure = group.journal.operation.failure.as_ref().map(|failure| &*failure.message);
    assert!(failure.is_some_and(|it| it.contains("Job/hook-00 failed")), "{failure:?}");
    let pending = group.journal.hooks.iter().filter(|hook| hook.phase == HookPhase::Pending);
    assert_eq!(pending.count(), 2);
}
