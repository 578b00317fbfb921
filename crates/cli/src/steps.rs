//! The steps of an operation in the order in which they happen, and the state of each. Pure.

use api::SourceKind;
use lifecycle::{
    event::{Event, Work},
    journal::{HookPhase, HookStatus, Operation, Phase},
};

use crate::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Pending,
    Active,
    Done,
    Failed,
    /// The operation failed before it reached this step.
    NotReached,
    /// It was skipped.
    Skipped,
}

pub(crate) enum Step<'a> {
    Phase(Mark, &'static str),
    Hook(Mark, &'a HookStatus),
}

pub(crate) fn steps<'a>(state: State<'a>, operation: &Operation) -> Vec<Step<'a>> {
    let event = operation.event;
    let mark = |phase| phase_mark(phase, operation);
    let hooks = |event| {
        let mine = state.hooks().filter(move |hook| hook.event == event);
        mine.map(move |hook| Step::Hook(hook_mark(state, operation, hook), hook))
    };
    let phase = |phase, words: [&'static str; 3]| {
        let mark = mark(phase);
        let [wanted, going_on, done] = words;
        let words = match mark {
            Mark::Active => going_on,
            Mark::Done => done,
            Mark::Pending | Mark::Failed | Mark::NotReached | Mark::Skipped => wanted,
        };
        Step::Phase(mark, words)
    };
    // Most operations have nothing to delete, and those that do delete it quickly.
    let only_now = |at, words| (operation.phase == at).then(|| phase(at, [words; 3]));
    let mut steps =
        vec![phase(Phase::Recording, ["record the plan", "recording the plan", "plan recorded"])];
    steps.extend(hooks(event.pre()));
    steps.extend(only_now(Phase::PreCleanup, "deleting hooks as their policies say"));
    match event.facts().work {
        Work::Nothing => {}
        Work::Delete => {
            let words = ["delete the objects", "deleting the objects", "objects deleted"];
            steps.push(phase(Phase::Deleting, words));
            steps.extend(only_now(Phase::WaitingForDeletion, "waiting until they are gone"));
        }
        Work::Apply => {
            let (applies, waits) = objects(state, operation);
            if applies {
                let words = ["apply the objects", "applying the objects", "objects applied"];
                steps.push(phase(Phase::Applying, words));
            }
            if waits {
                let words = [
                    "wait until they are ready",
                    "waiting until they are ready",
                    "objects are ready",
                ];
                steps.push(phase(Phase::WaitingForReady, words));
            }
        }
    }
    steps.extend(event.post().into_iter().flat_map(hooks));
    steps.extend(only_now(Phase::PostCleanup, "deleting hooks as their policies say"));
    steps.push(phase(
        Phase::Closing,
        match event {
            Event::Delete => ["remove the records", "removing the records", "records removed"],
            _ => ["close the record", "closing the record", "record closed"],
        },
    ));
    steps
}

/// Returns whether the operation applies objects and waits for them, as far as the spec shows: the
/// plan itself is in the record, which only the tenant may read.
fn objects(state: State<'_>, operation: &Operation) -> (bool, bool) {
    let is_hook = |object: &serde_json::Value| {
        let annotations = object.pointer("/metadata/annotations");
        annotations.is_some_and(|annotations| annotations.get(lifecycle::hooks::HOOK).is_some())
    };
    let spec = &state.object.spec;
    // The content of a ConfigMap or a Secret is unknown here.
    let any = match spec.source.kind() {
        SourceKind::Objects(all) => !all.iter().all(is_hook),
        SourceKind::ObjectsFrom(_) | SourceKind::Chart(_) | SourceKind::SourceRef(_) => true,
    };
    let same = operation.generation == state.generation();
    (
        any || !same || operation.phase == Phase::Applying,
        any && state.object.wait() || !same || operation.phase == Phase::WaitingForReady,
    )
}

fn phase_mark(phase: Phase, operation: &Operation) -> Mark {
    let reached = |at: Phase| match phase.cmp(&at) {
        std::cmp::Ordering::Less => Mark::Done,
        std::cmp::Ordering::Equal => Mark::Active,
        std::cmp::Ordering::Greater => Mark::Pending,
    };
    let failed_in = operation.failure.as_ref().and(operation.failed_in);
    match failed_in {
        None => reached(operation.phase),
        // Without a record nothing is closed.
        Some(Phase::Recording) if phase == Phase::Closing => Mark::NotReached,
        Some(_) if matches!(phase, Phase::PreCleanup | Phase::PostCleanup | Phase::Closing) => {
            reached(operation.phase)
        }
        Some(at) => match reached(at) {
            Mark::Active => Mark::Failed,
            Mark::Pending => Mark::NotReached,
            other => other,
        },
    }
}

fn hook_mark(state: State<'_>, operation: &Operation, hook: &HookStatus) -> Mark {
    let here = state.cursor_of(hook).is_some();
    match hook.phase {
        HookPhase::Succeeded => Mark::Done,
        HookPhase::Running if operation.completed_at.is_none() => Mark::Active,
        HookPhase::Failed if here && operation.completed_at.is_none() => Mark::Active,
        // The operation was given up; the outcome of the hook is unknown.
        HookPhase::Running | HookPhase::Failed => Mark::Failed,
        HookPhase::Skipped => Mark::Skipped,
        HookPhase::Pending | HookPhase::Unknown if here => Mark::Active,
        HookPhase::Pending | HookPhase::Unknown if operation.failure.is_some() => Mark::NotReached,
        HookPhase::Pending | HookPhase::Unknown => Mark::Pending,
    }
}

/// Returns the step that is at work, in words; `None` if nothing runs.
pub(crate) fn active(state: State<'_>) -> Option<String> {
    let running = state.running()?;
    let all = steps(state, running);
    all.iter().find_map(|step| match step {
        Step::Phase(Mark::Active, words) => Some((*words).to_owned()),
        Step::Hook(Mark::Active, hook) => {
            Some(format!("{} {}/{}", hook.event, hook.kind, hook.name))
        }
        _ => None,
    })
}
