//! Event objects and metrics: the changes from one journal to the next. A separate task sends the
//! Event objects, never a reconciliation.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use api::{ReleaseLifecycle, names::STATUS_MANAGER};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use kube_runtime::events::{self, EventType, Recorder};
use lifecycle::{
    conditions,
    event::Event,
    journal::{HookPhase, HookStatus, Journal, first_of},
    reason::Reason,
};
use tokio::sync::mpsc;

use crate::{
    cluster::metrics::Metrics,
    support::{allowances::Allowances, panics},
};

/// The maximum number of unsent Event objects; more are dropped. Status has all the facts; Event
/// objects are only additional.
const QUEUE: usize = 1024;
/// The maximum number of Event objects of one namespace at once, whose tenant may cause any number:
/// the queue has room for others, too.
const MOST_AT_ONCE: u32 = 256;
/// The time after which the namespace may have one more. The recorder remembers each for minutes.
const EACH: Duration = Duration::from_millis(200);

#[derive(Clone)]
pub(crate) struct Reporter {
    queue: mpsc::Sender<(events::Event, ObjectReference)>,
    allowances: Arc<Allowances>,
}

impl Reporter {
    /// Returns the reporter and the task that sends for it.
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
        let allowances = Arc::new(Allowances::new(MOST_AT_ONCE, EACH));
        (Self { queue, allowances }, task)
    }

    /// Reports the news in `after` compared with `before`.
    pub(crate) fn journal(
        &self,
        metrics: &Metrics,
        object: &ReleaseLifecycle,
        before: Option<&Journal>,
        after: &Journal,
    ) {
        for note in notes(before, after) {
            tracing::info!(reason = note.reason.as_str(), "{}", note.text);
            self.send(object, note);
        }
        count(metrics, before, after);
    }

    /// Reports good news that is in no journal.
    pub(crate) fn tell(&self, object: &ReleaseLifecycle, reason: Reason, text: String) {
        tracing::info!(reason = reason.as_str(), "{text}");
        self.send(object, Note { warning: false, reason, text, hook: None });
    }

    /// Reports a problem that is in no journal and that a user should look into.
    pub(crate) fn warn(&self, object: &ReleaseLifecycle, reason: Reason, text: String) {
        tracing::warn!(reason = reason.as_str(), "{text}");
        self.send(object, Note { warning: true, reason, text, hook: None });
    }

    /// Like [`Self::warn`], for an object whose namespace is terminating, where no Event object can
    /// be created: it is about the namespace, and is created where Event objects of cluster-scoped
    /// objects are.
    pub(crate) fn warn_of_namespace(
        &self,
        object: &ReleaseLifecycle,
        reason: Reason,
        text: String,
    ) {
        tracing::warn!(reason = reason.as_str(), "{text}");
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: object.metadata.namespace.clone(),
            ..ObjectReference::default()
        };
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let text = format!("ReleaseLifecycle {name}: {text}");
        self.send_about(about, Note { warning: true, reason, text, hook: None });
    }

    fn send(&self, object: &ReleaseLifecycle, note: Note) {
        self.send_about(object.object_ref(&()), note);
    }

    fn send_about(&self, about: ObjectReference, note: Note) {
        // An object without a namespace is a namespace.
        let namespace = about.namespace.as_ref().or(about.name.as_ref());
        if !self.allowances.take(namespace.map_or("", String::as_str)) {
            return;
        }
        let event = events::Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            // Within minutes the recorder sends the old text again for the same action and reason.
            action: format!("{}-{:x}", note.reason, fingerprint(&note.text)),
            reason: note.reason.into(),
            // Line breaks, which would break a table, are removed.
            note: Some(clip(conditions::flat(&note.text))),
            secondary: note.hook,
        };
        // A full queue drops it, see QUEUE.
        let _ = self.queue.try_send((event, about));
    }
}

struct Note {
    warning: bool,
    reason: Reason,
    text: String,
    hook: Option<ObjectReference>,
}

fn notes(before: Option<&Journal>, after: &Journal) -> Vec<Note> {
    let mut notes = Vec::new();
    let operation = &after.operation;
    let before = before.filter(|before| before.operation.id == operation.id);
    let whole = |warning, reason: Reason, text| Note { warning, reason, text, hook: None };
    let (event, revision) = (operation.event, operation.revision);
    let facts = event.facts();
    if before.is_none() {
        let why = operation.remedies.map_or(String::new(), |failed| {
            format!(", as remediation of revision {failed}, which has failed")
        });
        notes.push(whole(false, facts.started, format!("{event} of revision {revision}{why}")));
    }
    for (was, hook) in transitions(before, after) {
        if hook.phase == was {
            continue;
        }
        let text = format!("hook {}/{} ({})", hook.kind, hook.name, hook.event);
        let (warning, reason, text) = match hook.phase {
            HookPhase::Pending | HookPhase::Unknown => continue,
            HookPhase::Skipped => {
                let why = hook.message.as_deref().unwrap_or_default();
                let digest = hook.digest.as_deref().filter(|_| hook.is_left_out());
                let digest = digest.map_or(String::new(), |digest| format!(" {digest}"));
                (!hook.is_left_out(), Reason::HookSkipped, format!("{text}: {why}{digest}"))
            }
            HookPhase::Running => (false, Reason::HookStarted, text),
            HookPhase::Succeeded => (false, Reason::HookSucceeded, text),
            HookPhase::Failed => {
                let why = hook.message.as_deref().unwrap_or_default();
                let code = hook.exit_code_apart();
                let code = code.map_or(String::new(), |code| format!(", exit code {code}"));
                let reason = hook.reason.as_deref().unwrap_or_default();
                (true, Reason::HookFailed, format!("{text}: {reason}: {why}{code}"))
            }
        };
        let hook = Some(reference(hook));
        notes.push(Note { warning, reason, text, hook });
    }
    notes.extend(skipped(before, after));
    if !operation.left.is_empty() && before.is_none_or(|before| before.operation.left.is_empty()) {
        let text = format!(
            "{event} of revision {revision} continues without waiting for objects that still exist: {}. \
             The operator no longer watches them: remove what holds them by hand",
            first_of(&operation.left)
        );
        notes.push(whole(true, Reason::ReleaseLeft, text));
    }
    let ended_before = before.is_some_and(Journal::is_done);
    if after.is_done() && !ended_before {
        notes.push(match &operation.failure {
            None if event == Event::Test && after.hooks.iter().all(HookStatus::is_left_out) => {
                whole(false, Reason::NoTests, format!("revision {revision} has no tests that run"))
            }
            None => whole(
                false,
                facts.succeeded,
                format!("{event} of revision {revision} succeeded{}", after.without()),
            ),
            Some(failure) => whole(
                true,
                facts.failed,
                format!("{event} of revision {revision} failed: {}", failure.message),
            ),
        });
    }
    notes
}

/// Returns the hooks that have failed and are not retried, since the operation continues without them.
fn skipped(before: Option<&Journal>, after: &Journal) -> Vec<Note> {
    let operation = &after.operation;
    let Some((before, why)) = before.zip(operation.skip.as_ref()) else { return Vec::new() };
    let stood = before.operation.cursors().map(|cursor| cursor.index);
    let left = stood.filter(|index| operation.cursor_of(*index).is_none());
    let failed = left
        .filter_map(|index| after.hooks.get(index))
        .filter(|hook| hook.phase == HookPhase::Failed);
    let note = |hook: &HookStatus| {
        let name = format!("hook {}/{} ({})", hook.kind, hook.name, hook.event);
        let text = format!("{name}, which has failed: {}", why.message);
        Note { warning: true, reason: Reason::HookSkipped, text, hook: Some(reference(hook)) }
    };
    failed.map(note).collect()
}

fn reference(hook: &HookStatus) -> ObjectReference {
    ObjectReference {
        kind: Some(hook.kind.clone()),
        name: Some(hook.name.clone()),
        namespace: hook.namespace.clone(),
        uid: hook.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Returns every hook with its phase before.
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
        if let Some(failure) = &operation.failure {
            metrics.error(&failure.reason);
        }
        let took = seconds(Some(operation.started_at), operation.completed_at);
        metrics.operation_ended(operation.event.facts().word, outcome, took);
    }
}

fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Shortens the text, since Event objects take 1 KiB. The middle is cut: the end contains the
/// remedy.
fn clip(text: String) -> String {
    const BYTES: usize = 1000;
    const END: usize = 350;
    if text.len() <= BYTES {
        return text;
    }
    let (head, _) = text.split_at(text.floor_char_boundary(BYTES - END - '…'.len_utf8()));
    let (_, end) = text.split_at(text.ceil_char_boundary(text.len().saturating_sub(END)));
    format!("{head}…{end}")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lifecycle::{
        event::Event,
        journal::{Failure, HookCursor, HookStep, Phase, Requests},
        plan::Begin,
    };
    use serde_json::json;

    use super::*;

    /// A deletion that is blocked at its failed hook.
    fn blocked() -> Journal {
        let begin = Begin {
            id: "op".to_owned(),
            event: Event::Delete,
            revision: 1,
            target: None,
            remedies: None,
            generation: 1,
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut journal = Journal::begin(begin, String::new(), Requests::default(), now);
        let hook = json!({"index": 0, "event": "pre-delete", "kind": "Job", "name": "backup",
                          "weight": 0, "phase": "Failed", "attempt": 1});
        journal.hooks = vec![serde_json::from_value(hook).unwrap()];
        journal.operation.phase = Phase::PreHooks;
        journal.operation.hook = Some(HookCursor {
            index: 0,
            attempt: 1,
            step: HookStep::Blocked,
            uid: None,
            leftover: None,
            started_at: now,
            deadline: now,
            not_before: None,
            retried: 0,
            retried_infrastructure: 0,
            unstarted: None,
        });
        journal
    }

    fn said(before: &Journal, after: &Journal) -> Vec<(String, String)> {
        notes(Some(before), after).into_iter().map(|note| (note.reason.into(), note.text)).collect()
    }

    fn pair(reason: &str, text: &str) -> (String, String) {
        (reason.to_owned(), text.to_owned())
    }

    #[test]
    fn a_hook_that_failed_and_is_gone_on_without_is_said_to_be_skipped() {
        let before = blocked();
        let mut after = before.clone();
        after.operation.skip =
            Some(Failure::new(Reason::SkipRequested, "it was skipped by request"));
        assert_eq!(said(&before, &after), [], "it still stands there");
        after.operation.hook = None;
        after.operation.phase = Phase::Deleting;
        let text = "hook Job/backup (pre-delete), which has failed: it was skipped by request";
        assert_eq!(said(&before, &after), [pair("HookSkipped", text)]);
        assert_eq!(said(&after, &after), [], "once");
    }

    #[test]
    fn what_is_left_behind_is_said_when_it_is_left_and_at_the_end() {
        let mut before = blocked();
        before.operation.hook = None;
        before.operation.skip =
            Some(Failure::new(Reason::SkipRequested, "it was skipped by request"));
        before.operation.phase = Phase::WaitingForDeletion;
        let mut after = before.clone();
        after.operation.phase = Phase::Closing;
        after.operation.left = vec!["ConfigMap/a: held by finalizer f".to_owned()];
        let text = "delete of revision 1 continues without waiting for objects that still exist: \
                    ConfigMap/a: held by finalizer f. The operator no longer watches them: remove \
                    what holds them by hand";
        assert_eq!(said(&before, &after), [pair("ReleaseLeft", text)]);
        let mut done = after.clone();
        done.operation.phase = Phase::Done;
        let text = "delete of revision 1 succeeded; skipped: hook Job/backup (pre-delete); left \
                    behind: ConfigMap/a: held by finalizer f";
        assert_eq!(said(&after, &done), [pair("DeleteSucceeded", text)]);
    }

    #[test]
    fn the_end_of_a_long_text_is_kept() {
        let text = format!("{}: {}", "é".repeat(2000), "run this");
        let clipped = clip(text);
        assert!(clipped.len() <= 1000 && clipped.ends_with("run this"), "{clipped}");
        assert_eq!(clip("short".to_owned()), "short");
    }
}
