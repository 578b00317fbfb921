//! Presumptions that need no observation, since a request that follows from them fails if they are wrong.

use jiff::Timestamp;

use super::{Controls, decide};
use crate::{
    effect::Effect,
    event::Event,
    journal::{HookCursor, HookStep, Journal, Phase},
    observation::Observation,
    plan::{HookKind, Plan},
};

/// Returns the observation that no hook at work has an object, if nothing can have made one yet but a
/// request that got no answer, and if all that [`decide`] does then is to create one. The API server
/// refuses to create an object that exists: whoever presumed observes it then.
pub fn presume(
    plan: &Plan,
    journal: &Journal,
    controls: &Controls,
    now: Timestamp,
) -> Option<Observation> {
    let operation = &journal.operation;
    if !matches!(operation.phase, Phase::PreHooks | Phase::PostHooks)
        || operation.hook.is_none()
        || !operation.cursors().all(|cursor| is_new(plan, cursor))
    {
        return None;
    }
    let none = operation.cursors().map(|cursor| (cursor.index, None));
    let presumed = Observation::Hooks(none.collect());
    let step = decide(plan, journal, &presumed, controls, now);
    matches!(step.effect, Some(Effect::CreateHook { .. })).then_some(presumed)
}

/// Returns true if a hook is about to be made for the first time, in a release that is new, and no
/// other hook of the operation has its name.
fn is_new(plan: &Plan, cursor: &HookCursor) -> bool {
    let (before, rest) = plan.hooks.split_at(cursor.index.min(plan.hooks.len()));
    let Some(hook) = rest.first() else { return false };
    plan.event == Event::Install
        && plan.revision == 1
        && cursor.step == HookStep::Create
        && cursor.attempt == 1
        && cursor.leftover.is_none()
        // The API server applies over what exists.
        && hook.kind() != HookKind::Crd
        && before.iter().all(|earlier| earlier.object != hook.object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        event::HookEvent,
        testing::{self, hook, object},
    };

    #[test]
    fn only_the_first_object_of_a_new_release_is_presumed_to_be_missing() {
        let job = |name: &str| hook(HookEvent::PreInstall, object("Job", name));
        let plan = Plan {
            hooks: vec![
                job("a"),
                job("b"),
                job("a"),
                hook(HookEvent::PreInstall, object("CustomResourceDefinition", "c")),
            ],
            ..testing::plan(Event::Install)
        };
        let cursor = |index: usize, attempt: i32, step: HookStep| -> HookCursor {
            let at = Timestamp::UNIX_EPOCH;
            let cursor = json!({"index": index, "attempt": attempt, "step": step, "startedAt": at,
                                "deadline": at});
            serde_json::from_value(cursor).unwrap()
        };
        let replaces =
            HookCursor { leftover: Some("1".to_owned()), ..cursor(0, 1, HookStep::Create) };
        assert!(!is_new(&plan, &replaces));
        for (cursor, expected) in [
            (cursor(0, 1, HookStep::Create), true),
            (cursor(1, 1, HookStep::Create), true),
            (cursor(2, 1, HookStep::Create), false),
            (cursor(3, 1, HookStep::Create), false),
            (cursor(0, 2, HookStep::Create), false),
            (cursor(0, 1, HookStep::Run), false),
            (cursor(9, 1, HookStep::Create), false),
        ] {
            assert_eq!(is_new(&plan, &cursor), expected, "{cursor:?}");
            assert!(!is_new(&Plan { revision: 2, ..plan.clone() }, &cursor));
            assert!(!is_new(&Plan { event: Event::Upgrade, ..plan.clone() }, &cursor));
        }
    }
}
