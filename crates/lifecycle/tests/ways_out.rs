//! Messages where somebody has to decide how to continue, and the rest that a deletion leaves behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    commands::Commands,
    conditions::{self, Condition},
    decide::{Controls, Deletion, OnTimeout, decide},
    event::{Event, HookEvent},
    journal::{Failure, HookPhase, HookStep, Journal, Phase, Requests},
    object::{ObjectRef, PlannedObject},
    observation::Observation,
    plan::{Plan, PlannedHook},
    reason::Reason,
    step::{Hold, Step},
    testing,
};
use serde_json::json;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn object(kind: &str, namespace: Option<&str>, name: &str) -> ObjectRef {
    ObjectRef { namespace: namespace.map(str::to_owned), ..testing::object(kind, name) }
}

fn hook(object: ObjectRef) -> PlannedHook {
    testing::hook(HookEvent::PreDelete, object)
}

fn plan() -> Plan {
    Plan {
        hooks: vec![hook(object("Pod", Some("prod"), "backup"))],
        prune: vec![object("ConfigMap", Some("prod"), "held")],
        ..testing::plan(Event::Delete)
    }
}

fn commands() -> Commands {
    Commands { namespace: "prod".to_owned(), name: "shop".to_owned() }
}

fn controls(on_timeout: OnTimeout) -> Controls {
    let deletion =
        Deletion { timeout: SignedDuration::from_secs(10), on_timeout, namespace_goes: false };
    Controls { deletion, commands: commands(), ..Controls::default() }
}

/// A deletion whose plan is recorded: it is at its hook.
fn recorded(plan: &Plan) -> Journal {
    let journal = Journal::begin(plan.begin(1), String::new(), Requests::default(), NOW);
    let seen = Observation::Recorded { plan_digest: plan.freeze().1, open: true };
    decide(plan, &journal, &seen, &Controls::default(), NOW).journal
}

/// One whose hook has failed with `message` for as long as it may.
fn blocked(message: &str) -> Step {
    let plan = plan();
    let mut journal = recorded(&plan);
    journal.operation.hook.as_mut().unwrap().step = HookStep::Blocked;
    journal.hooks[0].phase = HookPhase::Failed;
    journal.hooks[0].reason = Some("BackoffLimitExceeded".to_owned());
    journal.hooks[0].message = Some(message.to_owned());
    decide(&plan, &journal, &Observation::Nothing, &controls(OnTimeout::Block), NOW)
}

fn stalled(step: &Step) -> &Failure {
    let Some(Hold::Stalled(failure)) = &step.hold else { panic!("{step:?}") };
    failure
}

#[test]
fn a_deletion_that_stands_at_a_hook_says_how_to_go_on_however_much_the_hook_said() {
    for message in ["it ended with exit code 1", &"é".repeat(1024)] {
        let step = blocked(message);
        let ways = "To run the hook again: `kubectl lifecycle retry shop -n prod`; to skip \
                    the hooks that remain: `kubectl lifecycle skip shop -n prod`";
        assert!(stalled(&step).message.ends_with(ways), "{step:?}");
        let said = conditions::of(&step.journal, step.hold.as_ref(), &commands());
        let ends = |condition: &Condition| conditions::flat(&condition.message).ends_with(ways);
        assert!(said.iter().all(ends), "{said:?}");
    }
}

/// At the phase `Gone`, with what is there yet.
fn gone(controls: &Controls, waiting: &[String], now: Timestamp) -> Step {
    let plan = plan();
    let mut journal = recorded(&plan);
    journal.operation.phase = Phase::WaitingForDeletion;
    journal.operation.hook = None;
    journal.operation.deadline = Some(NOW + SignedDuration::from_secs(10));
    let seen = Observation::Remaining { waiting: waiting.to_vec(), untouched: false };
    decide(&plan, &journal, &seen, controls, now)
}

#[test]
fn objects_that_do_not_go_are_named_with_the_way_out() {
    let waiting = ["ConfigMap/held: held by finalizer example.com/held".to_owned()];
    let late = NOW + SignedDuration::from_secs(10);
    let step = gone(&controls(OnTimeout::Block), &waiting, late);
    let failure = stalled(&step);
    assert_eq!(failure.reason, "DeletionTimeout");
    assert_eq!(
        failure.message,
        "the release's objects are not gone within 10 s (spec.deletion.timeout): ConfigMap/held: held \
         by finalizer example.com/held. Remove what holds them, or leave them behind: `kubectl lifecycle skip \
         shop -n prod`"
    );
    assert_eq!(step.journal.operation.left, Vec::<String>::new());
}

#[test]
fn what_is_left_behind_is_kept_and_said_to_the_end() {
    let held = |number: usize| format!("ConfigMap/held-{number}: held by finalizer f");
    let waiting: Vec<_> = (0..60).map(held).collect();
    let late = NOW + SignedDuration::from_secs(10);
    let skipped = Requests { skip: Some("1".to_owned()), ..Requests::default() };
    let asked = Controls { requests: skipped, ..controls(OnTimeout::Block) };
    for controls in [asked, controls(OnTimeout::SkipHooks)] {
        let step = gone(&controls, &waiting[..2], late);
        assert_eq!(step.journal.operation.left, waiting[..2]);
        let mut journal = step.journal;
        journal.operation.phase = Phase::Done;
        let said = conditions::of(&journal, None, &commands());
        let left = format!("left behind: {}; {}", waiting[0], waiting[1]);
        assert!(said[0].message.contains(&left), "{said:?}");
        // However many there are, status and sentences stay small.
        let step = gone(&controls, &waiting, late);
        assert_eq!(step.journal.operation.left.len(), 51);
        assert_eq!(step.journal.operation.left[50], "and 10 more");
        assert!(step.journal.without().len() < 1024, "{}", step.journal.without());
    }
    // What is gone in time is not left.
    let step = gone(&controls(OnTimeout::SkipHooks), &[], late);
    assert_eq!(step.journal.operation.left, Vec::<String>::new());
}

#[test]
fn what_does_not_go_with_the_namespace_is_known_by_the_plan() {
    let planned = |object: ObjectRef| PlannedObject { object, manifest: json!({"metadata": {}}) };
    let plan = Plan {
        objects: vec![
            planned(object("Namespace", None, "prod")),
            planned(object("Namespace", None, "other")),
            planned(object("ConfigMap", Some("prod"), "inside")),
            planned(object("ConfigMap", Some("other"), "outside")),
        ],
        hooks: vec![
            hook(object("Pod", Some("prod"), "inside")),
            hook(object("Pod", Some("other"), "outside")),
            hook(ObjectRef {
                api_version: "apiextensions.k8s.io/v1".to_owned(),
                ..object("CustomResourceDefinition", None, "shops.example.com")
            }),
        ],
        ..plan()
    };
    let outside: Vec<_> = plan.outside("prod").iter().map(ToString::to_string).collect();
    assert_eq!(outside, ["Pod/outside", "ConfigMap/outside", "Namespace/other"]);
}

#[test]
fn a_failed_operation_names_its_retry() {
    let mut journal = recorded(&Plan { event: Event::Upgrade, ..plan() });
    journal.operation.event = Event::Upgrade;
    journal.operation.phase = Phase::Done;
    journal.operation.failure = Some(Failure::new(Reason::HookFailed, "it failed"));
    let said = conditions::of(&journal, None, &commands());
    assert_eq!(
        said[0].message,
        "upgrade of revision 1 failed: it failed. Change the spec, or resume where it failed: \
         `kubectl lifecycle retry shop -n prod`"
    );
}
