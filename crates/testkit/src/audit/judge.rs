//! Violations of the operator's protocol (design §4, the fences), found in the audit log.
//!
//! The order is by resource versions: they are revisions of one etcd, so they order writes to
//! different objects exactly, which timestamps of concurrent requests do not.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::Event;

const RUN: &str = "releaselifecycle.dev/run";
const GATE: &str = "releaselifecycle.dev/gate";
const GATE_PATH: &str = "/metadata/annotations/releaselifecycle.dev~1gate";

/// A forbidden event that happened.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule that was broken.
    pub kind: Kind,
    /// A sentence with the objects and times.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Two objects, or one object twice, were started for one run id.
    StartedTwice,
    /// A hook was started before the previous one of the list was Complete.
    StartedEarly,
    /// A hook of the list was never started.
    NeverStarted,
    /// A hook was started under more run ids than the list has it, not counting failed attempts; or
    /// it is not in the list.
    Surplus,
    /// A started Job was deleted before it was Complete or Failed.
    DeletedRunning,
    /// A DELETE did not name the UID.
    DeletedWithoutUid,
    /// A hook object was created that ran at once, or without run id or gate.
    NotHeld,
    /// A hook object was started by a request other than a patch that tests UID and gate.
    UnfencedStart,
}

/// Returns the number of starts by run id. More than 1 means that a hook ran twice.
pub fn starts(events: &[Event]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for start in events.iter().filter_map(start) {
        *counts.entry(start.run.to_owned()).or_default() += 1;
    }
    counts
}

/// Hooks that must have run, by name, before the next ones started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran<'a> {
    /// One, to its success.
    Alone(&'a str),
    /// Some, side by side, each to its success.
    Beside(&'a [&'a str]),
    /// One, to its failure, which its rule ignores.
    Ignored(&'a str),
}

impl<'a> Ran<'a> {
    fn names(&self) -> &[&'a str] {
        match self {
            Self::Alone(name) | Self::Ignored(name) => std::slice::from_ref(name),
            Self::Beside(names) => names,
        }
    }
}

/// Compares `events`, of one namespace and in the log's order, with the protocol for hook Jobs and
/// Pods. `hooks` are those that must have run, in order; a name is in it twice if two of the
/// operations or events have it. `operator` identifies the operator's requests:
/// only the operator's creates and deletes are judged, but anyone's starts are.
///
/// Objects that the log has without bodies are not judged.
pub fn judge(
    events: &[Event],
    operator: impl Fn(&Event) -> bool,
    hooks: &[Ran<'_>],
) -> Vec<Violation> {
    let started: Vec<_> = events.iter().filter_map(start).collect();
    let mut violations = Vec::new();
    started_twice(&started, &mut violations);
    unfenced(&started, &mut violations);
    order(events, &started, hooks, &mut violations);
    for event in events.iter().filter(|event| operator(event) && !event.is_dry_run()) {
        deletion(event, events, &started, &mut violations);
        creation(event, hooks, &mut violations);
    }
    violations
}

struct Start<'a> {
    event: &'a Event,
    run: &'a str,
    uid: &'a str,
    name: &'a str,
}

impl Start<'_> {
    /// The run without its attempt: one hook of one operation.
    fn hook(&self) -> &str {
        self.run.rsplit_once('/').map_or(self.run, |(hook, _)| hook)
    }
}

fn start(event: &Event) -> Option<Start<'_>> {
    let object = written_hook(event)?;
    let asked = is_creation(event) || asks_to_start(&event.request);
    if !asked || is_inert(event) {
        return None;
    }
    Some(Start {
        event,
        run: annotation(object, RUN)?,
        uid: text(object, "/metadata/uid")?,
        name: text(object, "/metadata/name")?,
    })
}

/// Returns the object that a successful write left, if it can be a hook: those have no owner, while
/// the Pods of a hook Job, which may carry its annotations, do.
fn written_hook(event: &Event) -> Option<&Value> {
    let writes = matches!(&*event.verb, "create" | "update" | "patch");
    let object = &event.response;
    (writes
        && is_job_or_pod(event)
        && event.subresource.is_none()
        && event.succeeded()
        && !event.is_dry_run()
        && object.pointer("/metadata/ownerReferences/0").is_none())
    .then_some(object)
}

fn is_job_or_pod(event: &Event) -> bool {
    matches!((&*event.group, &*event.resource), ("batch", "jobs") | ("", "pods"))
}

/// Server-side apply creates by `patch`.
fn is_creation(event: &Event) -> bool {
    event.verb == "create" || event.verb == "patch" && event.code == 201
}

/// Returns whether the object that the write left is kept from running.
fn is_inert(event: &Event) -> bool {
    if event.resource == "jobs" {
        event.response.pointer("/spec/suspend") == Some(&Value::Bool(true))
    } else {
        event.response.pointer("/spec/schedulingGates/0").is_some()
    }
}

fn asks_to_start(request: &Value) -> bool {
    match request {
        Value::Array(steps) => steps.iter().any(|step| match text(step, "/path") {
            _ if text(step, "/op") == Some("test") => false,
            Some("/spec/suspend") => step.get("value") != Some(&Value::Bool(true)),
            Some(GATE_PATH) => text(step, "/value") == Some("open"),
            Some(path) => path.starts_with("/spec/schedulingGates"),
            None => false,
        }),
        object => {
            object.pointer("/spec/suspend") == Some(&Value::Bool(false))
                || text(object, GATE_PATH) == Some("open")
                || object.pointer("/spec/schedulingGates").is_some_and(is_empty)
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

fn started_twice(all: &[Start<'_>], violations: &mut Vec<Violation>) {
    let mut runs: BTreeMap<&str, Vec<&Start<'_>>> = BTreeMap::new();
    for start in all {
        runs.entry(start.run).or_default().push(start);
    }
    for (run, starts) in runs.into_iter().filter(|(_, starts)| starts.len() > 1) {
        let list: Vec<_> = starts
            .iter()
            .map(|start| format!("{} at {}", start.uid, start.event.completed))
            .collect();
        violations.push(Violation {
            kind: Kind::StartedTwice,
            message: format!(
                "run {run} of hook {} was started {} times: {}",
                starts.first().map_or("", |start| start.name),
                starts.len(),
                list.join(", "),
            ),
        });
    }
}

fn unfenced(started: &[Start<'_>], violations: &mut Vec<Violation>) {
    for Start { event, run, name, uid } in started {
        let tests = |path: &str, value: &str| {
            let test = serde_json::json!({"op": "test", "path": path, "value": value});
            event.request.as_array().is_some_and(|patch| patch.contains(&test))
        };
        let fenced = tests("/metadata/uid", uid) && tests(GATE_PATH, "held");
        // A creation that runs at once is `NotHeld` already.
        if !is_creation(event) && !fenced {
            violations.push(Violation {
                kind: Kind::UnfencedStart,
                message: format!(
                    "hook {name} (run {run}) was started at {} by a {} that does not test its UID \
                     and gate",
                    event.completed, event.verb,
                ),
            });
        }
    }
}

fn order(
    events: &[Event],
    started: &[Start<'_>],
    hooks: &[Ran<'_>],
    violations: &mut Vec<Violation>,
) {
    let mut left: Vec<&Start<'_>> = started.iter().collect();
    // Each hook that must have ended before, with the UIDs of its objects and how it ends.
    let mut previous: Vec<(&str, Vec<&str>, bool)> = Vec::new();
    for hooks in hooks {
        let before = std::mem::take(&mut previous);
        let succeeds = !matches!(hooks, Ran::Ignored(_));
        for name in hooks.names() {
            let uids = started_after(name, &before, events, &mut left, violations);
            if !uids.is_empty() {
                previous.push((name, uids, succeeds));
            }
        }
        if previous.is_empty() {
            previous = before;
        }
    }
    violations.extend(left.into_iter().map(|start| Violation {
        kind: Kind::Surplus,
        message: format!(
            "hook {} was started at {} as run {}, once more than it should",
            start.name, start.event.completed, start.run,
        ),
    }));
}

/// Takes the starts of the hook `name` from `left`, and returns the UIDs of its objects.
fn started_after<'a>(
    name: &str,
    before: &[(&str, Vec<&str>, bool)],
    events: &[Event],
    left: &mut Vec<&Start<'a>>,
    violations: &mut Vec<Violation>,
) -> Vec<&'a str> {
    let Some(first) = left.iter().position(|start| start.name == name) else {
        violations.push(Violation {
            kind: Kind::NeverStarted,
            message: format!("hook {name} was never started"),
        });
        return Vec::new();
    };
    let first = left.remove(first);
    for (before, uids, succeeds) in before {
        let complete = events.iter().find(|event| verdict_of(event, uids) == Some(*succeeds));
        let early = match complete {
            None => Some("never was".to_owned()),
            Some(complete) if precedes(first.event, complete) => {
                Some(format!("was so only at {}", complete.completed))
            }
            Some(_) => None,
        };
        violations.extend(early.map(|when| Violation {
            kind: Kind::StartedEarly,
            message: format!(
                "hook {name} (run {}) was started at {}, but {before} must have ended before \
                     and {when}",
                first.run, first.event.completed,
            ),
        }));
    }
    // Later attempts belong to the same hook; `started_twice` reports a second start of the
    // same run.
    let mut uids = vec![first.uid];
    let mut run = first;
    left.retain(|start| {
        let retry = start.hook() == first.hook()
            && (start.run == run.run
                || events.iter().any(|event| verdict_of(event, &[run.uid]) == Some(false)));
        if retry {
            uids.push(start.uid);
            run = start;
        }
        !retry
    });
    uids
}

/// Returns whether `event` shows or leaves one of these objects succeeded (`true`) or failed
/// (`false`). Status writes of the cluster are logged without bodies, so reads are used.
fn verdict_of(event: &Event, uids: &[&str]) -> Option<bool> {
    let object = &event.response;
    let shows = matches!(&*event.verb, "get" | "create" | "update" | "patch");
    if !shows || !is_job_or_pod(event) || !event.succeeded() || event.is_dry_run() {
        return None;
    }
    if !uids.contains(&text(object, "/metadata/uid")?) {
        return None;
    }
    let condition = |name: &str| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|condition| {
            text(condition, "/type") == Some(name) && text(condition, "/status") == Some("True")
        })
    };
    let phase = text(object, "/status/phase");
    if condition("Complete") || phase == Some("Succeeded") {
        Some(true)
    } else {
        (condition("Failed") || phase == Some("Failed")).then_some(false)
    }
}

fn precedes(a: &Event, b: &Event) -> bool {
    let revision = |event: &Event| -> Option<u64> {
        text(&event.response, "/metadata/resourceVersion")?.parse().ok()
    };
    match (revision(a), revision(b)) {
        (Some(a), Some(b)) => a < b,
        _ => a.completed < b.completed,
    }
}

fn deletion(
    event: &Event,
    events: &[Event],
    started: &[Start<'_>],
    violations: &mut Vec<Violation>,
) {
    if !matches!(&*event.verb, "delete" | "deletecollection") || !event.has_bodies {
        return;
    }
    let named = text(&event.request, "/preconditions/uid");
    let what = format!("{}/{}", event.resource, event.name.as_deref().unwrap_or("*"));
    if named.is_none() {
        violations.push(Violation {
            kind: Kind::DeletedWithoutUid,
            message: format!("the DELETE of {what} at {} names no UID", event.completed),
        });
    }
    let uid = named
        .or_else(|| text(&event.response, "/metadata/uid"))
        .or_else(|| text(&event.response, "/details/uid"));
    let Some(start) = started.iter().find(|start| Some(start.uid) == uid) else {
        return;
    };
    // The answer to a DELETE is often a Status without revision, so times are used; they err on the
    // operator's side.
    let finished = events
        .iter()
        .any(|other| verdict_of(other, &[start.uid]).is_some() && other.received < event.completed);
    if event.succeeded() && event.resource == "jobs" && !finished {
        violations.push(Violation {
            kind: Kind::DeletedRunning,
            message: format!(
                "{what} (run {}), started at {}, was deleted at {} before it was finished",
                start.run, start.event.completed, event.completed,
            ),
        });
    }
}

fn creation(event: &Event, hooks: &[Ran<'_>], violations: &mut Vec<Violation>) {
    let Some(object) = written_hook(event).filter(|_| is_creation(event)) else {
        return;
    };
    let name = text(object, "/metadata/name").unwrap_or_default();
    let run = annotation(object, RUN);
    if run.is_none() && !hooks.iter().any(|hooks| hooks.names().contains(&name)) {
        return;
    }
    let mut lacks = Vec::new();
    if run.is_none() {
        lacks.push("run id");
    }
    if annotation(object, GATE) != Some("held") {
        lacks.push("held gate");
    }
    if !is_inert(event) {
        lacks.push(if event.resource == "jobs" { "suspend" } else { "scheduling gate" });
    }
    if !lacks.is_empty() {
        violations.push(Violation {
            kind: Kind::NotHeld,
            message: format!(
                "hook {name} was created at {} without {}",
                event.completed,
                lacks.join(" and "),
            ),
        });
    }
}
