//! The requests that the page offers, each of which is a command. Pure.

use api::ReleaseLifecycle;
use kube::ResourceExt as _;
use lifecycle::event::Event;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::state::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Action {
    Approve,
    Retry,
    Restart,
    Cancel,
    Skip,
    Test,
    Suspend,
    Resume,
    Rollback,
    Undo,
}

/// A request of the page, about the release as it was shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) action: Action,
    /// The UID of the object.
    uid: String,
    /// The ID of the operation.
    operation: Option<String>,
    /// The digest of the plan that is approved.
    digest: Option<String>,
    /// The revision of a rollback; default: the one before.
    revision: Option<i32>,
}

impl Request {
    /// Returns why the request is not about the release as it is now; somebody has looked at it before it
    /// changed.
    pub(super) fn outdated(&self, object: &ReleaseLifecycle) -> Option<&'static str> {
        if object.metadata.uid.as_deref() != Some(&*self.uid) {
            return Some("it was deleted, and another release has its name");
        }
        let operation = State::new(object).operation().map(|operation| &operation.id);
        (operation != self.operation.as_ref())
            .then_some("another operation has begun since the page showed it")
    }

    /// Returns what follows the name of the release.
    pub(super) fn argument(&self) -> Option<String> {
        match self.action {
            Action::Approve => self.digest.clone(),
            Action::Rollback => self.revision.map(|revision| revision.to_string()),
            _ => None,
        }
    }
}

/// Returns the words of the command, without the release and its namespace.
pub(super) fn words(action: Action) -> &'static [&'static str] {
    match action {
        Action::Approve => &["approve"],
        Action::Retry => &["retry"],
        Action::Restart => &["retry", "--restart"],
        Action::Cancel => &["cancel"],
        Action::Skip => &["skip"],
        Action::Test => &["test"],
        Action::Suspend => &["suspend"],
        Action::Resume => &["resume"],
        Action::Rollback => &["rollback"],
        Action::Undo => &["rollback", "--undo"],
    }
}

/// Returns the label of the button, and what happens.
fn words_of(action: Action, is_deleted: bool) -> (&'static str, &'static str) {
    match action {
        Action::Approve => ("Approve the plan", "Exactly the plan that is shown runs."),
        Action::Retry => (
            "Retry",
            "The operation resumes where it failed: the same revision, with one more attempt at its hook.",
        ),
        Action::Restart => ("Start again", "A new revision begins, with every hook."),
        Action::Cancel => (
            "Cancel the operation",
            "The running hook is stopped for good. Its effects are not undone, and applied objects stay.",
        ),
        Action::Skip if is_deleted => (
            "Skip the hooks",
            "The release is deleted without the hooks that remain. Check first what they do: one of them \
             may be the last backup.",
        ),
        Action::Skip => (
            "Skip the hook",
            "The operation continues as if the hook had run. Check first that it did.",
        ),
        Action::Test => ("Test", "The tests of the latest revision run."),
        Action::Suspend => (
            "Suspend",
            "Nothing new is started until it is resumed. A running hook is watched to its end.",
        ),
        Action::Resume => ("Resume", "The release continues."),
        Action::Rollback => (
            "Roll back",
            "The release goes back to the revision before, with its rollback hooks, and stays there: \
             changes of its source have no effect until that is undone.",
        ),
        Action::Undo => (
            "Undo the rollback",
            "The release is no longer held at its revision, and is upgraded to its spec.",
        ),
    }
}

/// Returns whether a request stops or skips something for good.
fn is_final(action: Action) -> bool {
    matches!(action, Action::Cancel | Action::Skip | Action::Restart | Action::Rollback)
}

/// Returns what may be requested of the release in its present state.
pub(super) fn offers(object: &ReleaseLifecycle) -> Value {
    let all = [
        Action::Approve,
        Action::Retry,
        Action::Resume,
        Action::Skip,
        Action::Cancel,
        Action::Test,
        Action::Rollback,
        Action::Undo,
        Action::Restart,
        Action::Suspend,
    ];
    all.into_iter()
        .filter(|action| is_offered(*action, object))
        .map(|it| offer(it, object))
        .collect()
}

fn is_offered(action: Action, object: &ReleaseLifecycle) -> bool {
    let state = State::new(object);
    let running = state.running();
    let is_deleted = state.is_being_deleted();
    let rests = running.is_none() && !is_deleted;
    let revision = object.status.as_ref().and_then(|status| status.revision);
    match action {
        Action::Approve => {
            let plan = state.pending_plan();
            plan.is_some_and(|plan| object.approved_plan() != Some(&*plan.digest))
        }
        Action::Retry => {
            state.can_be_retried() && state.ready_status() == "False" || state.is_blocked()
        }
        Action::Restart => rests,
        Action::Cancel => running
            .is_some_and(|running| running.event != Event::Delete && running.cancel.is_none()),
        Action::Skip => is_deleted || state.is_blocked(),
        Action::Test => rests && revision.is_some(),
        Action::Suspend => !object.suspended(),
        Action::Resume => object.suspended(),
        Action::Rollback => rests && object.spec.pin_revision.is_none() && revision > Some(1),
        Action::Undo => !is_deleted && object.spec.pin_revision.is_some(),
    }
}

fn offer(action: Action, object: &ReleaseLifecycle) -> Value {
    let state = State::new(object);
    let (label, says) = words_of(action, state.is_being_deleted());
    let (name, namespace) = (object.name_any(), state.namespace());
    json!({
        "action": action, "label": label, "says": says, "isFinal": is_final(action),
        "command": format!("kubectl lifecycle {} {name} -n {namespace}", words(action).join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(status: Value, more: Value) -> ReleaseLifecycle {
        let mut metadata =
            json!({"name": "shop", "namespace": "prod", "uid": "u", "generation": 1});
        if more["deleted"] == true {
            metadata["deletionTimestamp"] = json!("2026-11-22T11:02:09Z");
        }
        let mut spec = json!({"source": {"objects": []}});
        for field in ["suspend", "pinRevision"] {
            if !more[field].is_null() {
                spec[field] = more[field].clone();
            }
        }
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))
            .unwrap()
    }

    fn labels(object: &ReleaseLifecycle) -> Vec<String> {
        let offers = offers(object);
        offers
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["action"].as_str().unwrap().to_owned())
            .collect()
    }

    fn status(ready: &str, event: &str, completed: Option<&str>) -> Value {
        json!({
            "observedGeneration": 1, "revision": 2,
            "conditions": [{"type": "Ready", "status": ready, "reason": "X", "message": "",
                            "lastTransitionTime": "2026-11-22T11:02:09Z"}],
            "operation": {"id": "op", "event": event, "revision": 2, "generation": 1,
                          "phase": "PreHooks", "startedAt": "2026-11-22T11:02:09Z",
                          "completedAt": completed},
        })
    }

    #[test]
    fn what_has_no_effect_is_not_offered() {
        let none = json!({});
        let end = Some("2026-11-22T11:03:09Z");
        let good = release(status("True", "Upgrade", end), none.clone());
        assert_eq!(labels(&good), ["test", "rollback", "restart", "suspend"]);
        let failed = release(status("False", "Upgrade", end), none.clone());
        assert_eq!(labels(&failed), ["retry", "test", "rollback", "restart", "suspend"]);
        let running = release(status("Unknown", "Upgrade", None), none.clone());
        assert_eq!(labels(&running), ["cancel", "suspend"]);
        let deleted = release(status("Unknown", "Delete", None), json!({"deleted": true}));
        assert_eq!(labels(&deleted), ["skip", "suspend"]);
        let held =
            release(status("True", "Rollback", end), json!({"pinRevision": 1, "suspend": true}));
        assert_eq!(labels(&held), ["resume", "test", "undo", "restart"]);
        assert_eq!(labels(&release(Value::Null, none)), ["restart", "suspend"]);
    }

    #[test]
    fn a_request_is_about_what_was_shown() {
        let request = |text: Value| serde_json::from_value::<Request>(text);
        let object = release(status("Unknown", "Upgrade", None), json!({}));
        let same = request(json!({"action": "cancel", "uid": "u", "operation": "op"})).unwrap();
        assert_eq!(same.outdated(&object), None);
        let before = request(json!({"action": "cancel", "uid": "u", "operation": "op1"})).unwrap();
        assert!(before.outdated(&object).unwrap().starts_with("another operation"));
        let other = request(json!({"action": "cancel", "uid": "v", "operation": "op"})).unwrap();
        assert!(other.outdated(&object).unwrap().starts_with("it was deleted"));
        assert!(request(json!({"action": "cancel"})).is_err());
        assert!(request(json!({"action": "delete", "uid": "u"})).is_err());
        assert!(request(json!({"action": "cancel", "uid": "u", "flags": ["--x"]})).is_err());
    }

    #[test]
    fn a_request_is_the_command_that_is_shown() {
        let object = release(status("True", "Upgrade", Some("2026-11-22T11:03:09Z")), json!({}));
        let shown = offer(Action::Restart, &object);
        assert_eq!(shown["command"], "kubectl lifecycle retry --restart shop -n prod");
        let request: Request =
            serde_json::from_value(json!({"action": "rollback", "uid": "u", "revision": 3}))
                .unwrap();
        assert_eq!(words(request.action), ["rollback"]);
        assert_eq!(request.argument().as_deref(), Some("3"));
    }
}
