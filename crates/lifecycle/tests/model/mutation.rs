//! Faults that are made on purpose, to prove that the check can fail; most of them in what the step rule is
//! given, or answers.

use std::borrow::Cow;

use lifecycle::{
    decide::decide,
    effect::Effect,
    event::Event,
    journal::{HookStep, Phase},
    observation::Observation,
    rule::OnFailure,
    step::Step,
};

use crate::{
    cluster::{Cluster, Status, timestamp},
    configuration::Configuration,
};

/// A fault that is made on purpose.
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
    /// It is looked at what an effect goes over, but not whether its operation still runs.
    Unconfirmed,
    /// A record is closed whatever its state.
    CloseWhatever,
    /// The core's clock does not move.
    ClockStands,
    /// A retry makes another object under the attempt that failed.
    SameAttempt,
    /// A deletion does not wait for its pre-delete hooks.
    DeleteFirst,
    /// A deletion removes the records without its post-delete hooks.
    PurgeFirst,
    /// `spec.suspend` is not read.
    SuspendIgnored,
    /// A hook that is to be created is created, whether or not it was cancelled.
    CancelIgnored,
    /// A hook whose state is unknown after a loss is taken not to have run.
    UnknownIsPending,
    /// A hook that waits for a person is skipped.
    BlockedGoesOn,
    /// A test closes the record.
    TestCloses,
    /// A hook that ends with exit code 0 after it was ordered to stop counts as succeeded.
    StoppedSucceeds,
    /// A Pod is stopped though it has ended.
    StopsWhatEnded,
    /// An annotation that was taken away is another request.
    RemovalAsks,
    /// The attempts that a hook's rule has used up are not counted.
    UncountedRetries,
    /// All hooks run side by side, whatever their rules say.
    AllBeside,
    /// A hook that runs beside the current one is forgotten.
    BesideForgotten,
    /// The operation ends when a hook fails, while another one is at work.
    FailsAtOnce,
    /// Each failed hook is ignored, whatever its rule says.
    IgnoresAll,
    /// A hook that is not to be interrupted is.
    InterruptsAll,
}

/// The real step rule; some mutations are of what it is given, and of what it answers.
pub(crate) fn step(
    configuration: &Configuration,
    cluster: &Cluster,
    status: &Status,
    observation: &Observation,
) -> Step {
    let mutation = configuration.mutation;
    let operation = configuration.operation(&status.journal.operation.id);
    let now = match mutation {
        Some(Mutation::ClockStands) => timestamp(0),
        _ => cluster.timestamp(),
    };
    let mut plan = Cow::Borrowed(configuration.plan(operation));
    let mut controls = status.asked.controls(configuration, &status.journal.handled);
    let mut journal = (*status.journal).clone();
    let at = journal.operation.hook.as_ref().map(|cursor| cursor.step);
    match mutation {
        Some(Mutation::SuspendIgnored) => controls.suspend = false,
        Some(Mutation::CancelIgnored) if at == Some(HookStep::Create) => {
            controls.interrupt = None;
            controls.requests.cancel.clone_from(&journal.handled.cancel);
            journal.operation.cancel = None;
        }
        Some(Mutation::AllBeside) => {
            for hook in &mut plan.to_mut().hooks {
                hook.rule.parallel = true;
            }
        }
        Some(Mutation::BesideForgotten) => {
            journal.operation.beside.retain(|cursor| cursor.step != HookStep::Run);
        }
        Some(Mutation::UncountedRetries) => {
            if let Some(cursor) = &mut journal.operation.hook {
                cursor.retried = 0;
                cursor.retried_infrastructure = 0;
            }
        }
        Some(Mutation::IgnoresAll) => {
            for hook in &mut plan.to_mut().hooks {
                hook.rule.on_failure = OnFailure::Ignore;
            }
        }
        Some(Mutation::InterruptsAll) => {
            for hook in &mut plan.to_mut().hooks {
                hook.rule.uninterruptible = false;
            }
        }
        Some(Mutation::BlockedGoesOn) if at == Some(HookStep::Blocked) => {
            controls.requests.skip = Some("nobody".to_owned());
        }
        _ => {}
    }
    let mut step = decide(&plan, &journal, observation, &controls, now);
    if mutation == Some(Mutation::BlockedGoesOn) && at == Some(HookStep::Blocked) {
        step.journal.handled.skip.clone_from(&status.journal.handled.skip);
    }
    let fails = step.journal.operation.failure.is_some() && step.journal.operation.hook.is_some();
    if mutation == Some(Mutation::FailsAtOnce) && fails {
        step.journal.operation.phase = Phase::Closing;
        step.journal.operation.hook = None;
        step.journal.operation.beside.clear();
        step.effect = Some(Effect::Close { deployed: false });
    }
    let phase = step.journal.operation.phase;
    let skipped = match mutation {
        Some(Mutation::DeleteFirst) => phase == Phase::PreHooks,
        Some(Mutation::PurgeFirst) => phase == Phase::PostHooks,
        _ => false,
    };
    if skipped && plan.event == Event::Delete {
        let first = mutation == Some(Mutation::DeleteFirst);
        step.journal.operation.phase = if first { Phase::Deleting } else { Phase::Closing };
        step.journal.operation.hook = None;
        step.effect = Some(if first { Effect::DeleteObjects } else { close() });
    }
    step
}

fn close() -> Effect {
    Effect::Close { deployed: true }
}
