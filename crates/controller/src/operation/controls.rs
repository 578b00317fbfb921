//! The controls of the custom resource that are read live while an operation runs.

use api::{OnDeletionTimeout, OnNewSpec};
use jiff::SignedDuration;
use lifecycle::{
    decide::{Controls, Deletion, OnTimeout},
    event::Event,
    journal::{Cancel, Failure, Journal, Operation},
    plan::Plan,
    reason::Reason,
};

use crate::{desired::digest, release::Release};

/// Returns the controls of the operation of `journal`, as users have set them.
pub(crate) fn controls(release: &Release<'_>, plan: &Plan, journal: &Journal) -> Controls {
    Controls { interrupt: interrupt(release, plan, journal), ..standing(release) }
}

/// Returns the controls that do not depend on the operation.
pub(crate) fn standing(release: &Release<'_>) -> Controls {
    let object = &release.object;
    let timeout = SignedDuration::try_from(object.deletion_timeout());
    Controls {
        suspend: object.suspended(),
        requests: object.requests(),
        interrupt: None,
        deletion: Deletion {
            timeout: timeout.unwrap_or(SignedDuration::MAX),
            on_timeout: match object.on_deletion_timeout() {
                OnDeletionTimeout::Block => OnTimeout::Block,
                OnDeletionTimeout::SkipHooks => OnTimeout::SkipHooks,
            },
            namespace_goes: release.namespace_goes,
        },
        commands: release.commands(),
    }
}

fn interrupt(release: &Release<'_>, plan: &Plan, journal: &Journal) -> Option<Cancel> {
    if plan.event == Event::Delete {
        return None;
    }
    if release.is_being_deleted() {
        let failure = Failure::new(Reason::Deleted, "its ReleaseLifecycle is being deleted");
        return Some(Cancel { now: true, failure });
    }
    if release.is_blind() {
        // A source that cannot be read supersedes nothing.
        return None;
    }
    let now = match release.object.on_new_spec() {
        OnNewSpec::Wait => return None,
        OnNewSpec::CancelAfterHook => false,
        OnNewSpec::CancelNow => true,
    };
    let is_newer = !digest::is_wanted(release, &journal.operation.config_digest, &plan.config_key);
    is_newer.then(|| Cancel { now, failure: superseded(release, &journal.operation) })
}

/// Returns why an operation is no longer the desired one.
pub(crate) fn superseded(release: &Release<'_>, operation: &Operation) -> Failure {
    let generation = release.generation();
    let message = if operation.generation == generation {
        "its source has changed since".to_owned()
    } else {
        format!("generation {generation} of the spec supersedes it")
    };
    Failure::new(Reason::Superseded, message)
}
