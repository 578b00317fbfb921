//! Event objects and metrics: what changed from one journal to the next. Event objects are sent by
//! a task of its own, never on the way of a reconciliation.

use std::hash::{DefaultHasher, Hash, Hasher};

use api::{ReleaseLifecycle, names::STATUS_MANAGER};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use kube_runtime::events::{self, EventType, Recorder};
use lifecycle::journal::{HookPhase, HookStatus, Journal};
use tokio::sync::mpsc;

use crate::{metrics::Metrics, panics};

/// More than this many unsent Event objects are dropped: they are a courtesy, status is the truth.
const QUEUE: usize = 1024;

#[derive(Clone)]
pub(crate) struct Reporter {
    queue: mpsc::Sender<(events::Event, ObjectReference)>,
}

impl Reporter {
    /// The reporter and the task that sends for it.
    pub(crate) fn new(client: Client) -> (Self, impl Future<Output = ()>) {
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        let recorder = Recorder::new(client, STATUS_MANAGER.into());
        let task = async move {
            while let Some((event, object)) = waiting.recv().await {
                // A panic was logged, and the next one is sent.
                if let Ok(Err(error)) = panics::caught(recorder.publish(&event, &object)).await {
                    tracing::debug!(%error, reason = event.reason, "an Event object was not sent");
                }
            }
        };
        (Self { queue }, task)
    }

    /// Reports what `after` says that `before` did not.
    pub(crate) fn journal(
        &self,
        metrics: &Metrics,
        object: &ReleaseLifecycle,
        before: Option<&Journal>,
        after: &Journal,
    ) {
        for note in notes(before, after) {
            tracing::info!(reason = note.reason, "{}", note.text);
            self.send(object, note);
        }
        count(metrics, before, after);
    }

    /// Reports something good that no journal says.
    pub(crate) fn tell(&self, object: &ReleaseLifecycle, reason: &'static str, text: String) {
        tracing::info!(reason, "{text}");
        self.send(object, Note { warning: false, reason: reason.to_owned(), text, hook: None });
    }

    /// Reports something that no journal says and that somebody should look at.
    pub(crate) fn warn(&self, object: &ReleaseLifecycle, reason: &str, text: String) {
        tracing::warn!(reason, "{text}");
        self.send(object, Note { warning: true, reason: reason.to_owned(), text, hook: None });
    }

    fn send(&self, object: &ReleaseLifecycle, note: Note) {
        let event = events::Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            // Within minutes the recorder sends the old text again for the same action and reason.
            action: format!("{}-{:x}", note.reason, fingerprint(&note.text)),
            reason: note.reason,
            note: Some(clip(note.text)),
            secondary: note.hook,
        };
        // A full queue loses it, see QUEUE.
        let _ = self.queue.try_send((event, object.object_ref(&())));
    }
}

struct Note {
    warning: bool,
    reason: String,
    text: String,
    hook: Option<ObjectReference>,
}

fn notes(before: Option<&Journal>, after: &Journal) -> Vec<Note> {
    let mut notes = Vec::new();
    let operation = &after.operation;
    let before = before.filter(|before| before.operation.id == operation.id);
    let whole = |warning, reason: String, text| Note { warning, reason, text, hook: None };
    let (event, revision) = (operation.event, operation.revision);
    let name = capitalised(&event.to_string());
    if before.is_none() {
        let why = operation.remedies.map_or(String::new(), |failed| {
            format!(", to make up for revision {failed}, which has failed")
        });
        notes.push(whole(
            false,
            format!("{name}Started"),
            format!("{event} of revision {revision}{why}"),
        ));
    }
    for (was, hook) in transitions(before, after) {
        if hook.phase == was {
            continue;
        }
        let text = format!("hook {}/{} ({})", hook.kind, hook.name, hook.event);
        let reference = Some(ObjectReference {
            kind: Some(hook.kind.clone()),
            name: Some(hook.name.clone()),
            namespace: hook.namespace.clone(),
            uid: hook.uid.clone(),
            ..ObjectReference::default()
        });
        let (warning, reason, text) = match hook.phase {
            HookPhase::Pending | HookPhase::Unknown => continue,
            HookPhase::Skipped => {
                let why = hook.message.as_deref().unwrap_or_default();
                (true, "HookSkipped", format!("{text}: {why}"))
            }
            HookPhase::Running => (false, "HookStarted", text),
            HookPhase::Succeeded => (false, "HookSucceeded", text),
            HookPhase::Failed => {
                let why = hook.message.as_deref().unwrap_or_default();
                // Most messages name the container and its code.
                let code = hook.exit_code.filter(|_| !why.contains("exit code"));
                let code = code.map_or(String::new(), |code| format!(", exit code {code}"));
                let reason = hook.reason.as_deref().unwrap_or_default();
                (true, "HookFailed", format!("{text}: {reason}: {why}{code}"))
            }
        };
        notes.push(Note { warning, reason: reason.to_owned(), text, hook: reference });
    }
    let ended_before = before.is_some_and(Journal::is_done);
    if after.is_done() && !ended_before {
        notes.push(match &operation.failure {
            None => whole(
                false,
                format!("{name}Succeeded"),
                format!("{event} of revision {revision} succeeded"),
            ),
            Some(failure) => whole(
                true,
                format!("{name}Failed"),
                format!("{event} of revision {revision} failed: {}", failure.message),
            ),
        });
    }
    notes
}

/// Every hook with its phase before.
fn transitions<'a>(
    before: Option<&'a Journal>,
    after: &'a Journal,
) -> impl Iterator<Item = (HookPhase, &'a HookStatus)> {
    after.hooks.iter().map(move |hook| {
        let old = before.and_then(|before| before.hooks.get(hook.index));
        (old.map_or(HookPhase::Pending, |old| old.phase), hook)
    })
}

fn count(metrics: &Metrics, before: Option<&Journal>, after: &Journal) {
    let before = before.filter(|before| before.operation.id == after.operation.id);
    let seconds = |from: Option<Timestamp>, to: Option<Timestamp>| match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
        _ => 0.0,
    };
    for (was, hook) in transitions(before, after).filter(|(was, hook)| *was != hook.phase) {
        let event = hook.event.as_str();
        // One step may take a hook from created to ended.
        if was == HookPhase::Pending && hook.started_at.is_some() {
            metrics.hook_started(event);
        }
        let outcome = match hook.phase {
            HookPhase::Succeeded => "succeeded",
            HookPhase::Failed => "failed",
            HookPhase::Pending | HookPhase::Running | HookPhase::Skipped | HookPhase::Unknown => {
                continue;
            }
        };
        metrics.hook_ended(event, outcome, seconds(hook.started_at, hook.completed_at));
    }
    if after.is_done() && !before.is_some_and(Journal::is_done) {
        let operation = &after.operation;
        let outcome = if operation.failure.is_none() { "succeeded" } else { "failed" };
        let took = seconds(Some(operation.started_at), operation.completed_at);
        metrics.operation_ended(outcome, took);
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Event objects take 1 KiB.
fn clip(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(1000));
    text
}
