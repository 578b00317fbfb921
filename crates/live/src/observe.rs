//! The observation of a hook: from its object, its Pods and the Event objects about them. Pure:
//! JSON in, observation out.

pub mod digest;
pub mod event_objects;
pub mod gating;
pub mod pods;
pub mod quiet;
pub mod runs;
pub mod stopped;
pub mod unready;
pub mod unstarted;

use api::names;
use helm::ownership;
use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    observation::{Evidence, Gate, HookObservation, Verdict},
    plan::{HookKind, Plan, PlannedHook},
    reason::Reason,
};
use serde_json::Value;

/// The time before the author's own deadline at which evidence is collected: the Job controller
/// deletes the Pod before it reports `Failed`.
const BEFORE_DEADLINE: SignedDuration = SignedDuration::from_secs(2);

/// Returns the observation of `object`, which has the name of `hook`.
pub fn hook(
    plan: &Plan,
    hook: &PlannedHook,
    object: &Value,
    release: &str,
    namespace: &str,
) -> HookObservation {
    let annotation = |name: &str| {
        object.pointer("/metadata/annotations")?.get(name)?.as_str().map(str::to_owned)
    };
    let verdict = match hook.kind() {
        HookKind::Job => job_verdict(object),
        HookKind::Pod => pod_verdict(object),
        HookKind::Crd => condition(object, "Established", "True").map(|_| Verdict::Succeeded),
        // Its readiness is another question, which may take more than the object.
        HookKind::Awaited => None,
        HookKind::Other => Some(Verdict::Succeeded),
    };
    // Objects of other kinds are never held back, whatever their annotations say.
    let can_be_held = matches!(hook.kind(), HookKind::Job | HookKind::Pod);
    let gate = match annotation(names::GATE_ANNOTATION).as_deref().filter(|_| can_be_held) {
        // A Job with nothing to do is complete without a start.
        Some(names::HELD) if verdict.is_none() => Gate::Held,
        Some(names::HELD | names::OPEN) => Gate::Open,
        _ => Gate::None,
    };
    let terminating = is_terminating(object);
    let owner = format!("{namespace}/{}", plan.owner.name);
    // An object of the release that became a hook has only Helm's marks.
    let of_release = ownership::check(object, release, namespace).is_ok();
    let mark = annotation(names::OWNER_ANNOTATION);
    // Helm marks no hooks: one in a record of the release belongs to the release, unless it has
    // another's mark.
    let of_helm = hook.recorded && mark.is_none() && ownership::owner(object).is_none();
    HookObservation {
        uid: text(object, "/metadata/uid").to_owned(),
        run: annotation(names::RUN_ANNOTATION),
        gate,
        foreign: foreign(mark.as_deref(), &owner).filter(|_| !of_release && !of_helm),
        terminating,
        stopping: object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64) == Some(1),
        verdict,
        waiting: match hook.kind() {
            _ if terminating => deletion(object),
            HookKind::Job | HookKind::Pod => gating::suspended(object, gate),
            HookKind::Crd | HookKind::Awaited | HookKind::Other => None,
        },
        evidence: Evidence::default(),
        unstarted: None,
        look_again_at: own_deadline(object),
    }
}

/// The reason why an object that is being deleted remains.
fn deletion(object: &Value) -> Option<String> {
    let finalizers = names_of(object.pointer("/metadata/finalizers"));
    if !finalizers.is_empty() {
        return Some(format!("it is being deleted and held by finalizer {finalizers}"));
    }
    (text(object, "/kind") == "Pod").then(|| "it is being deleted".to_owned())
}

/// Returns whether the object of a hook has ended; a held one may have, too.
pub fn has_ended(object: &Value) -> bool {
    match text(object, "/kind") {
        "Job" => job_verdict(object).is_some(),
        "Pod" => pod_verdict(object).is_some(),
        _ => false,
    }
}

fn foreign(found: Option<&str>, owner: &str) -> Option<String> {
    match found {
        Some(found) if found == owner => None,
        Some(found) => Some(format!("annotation {} is {found}", names::OWNER_ANNOTATION)),
        None => Some(format!("it has no annotation {}", names::OWNER_ANNOTATION)),
    }
}

/// The verdict by Helm's `jobConditions`: only `Complete` and `Failed` count.
fn job_verdict(job: &Value) -> Option<Verdict> {
    if let Some(failed) = condition(job, "Failed", "True") {
        return Some(Verdict::Failed {
            reason: non_empty(text(failed, "/reason"), Reason::JobFailed.as_str()),
            message: text(failed, "/message").to_owned(),
        });
    }
    condition(job, "Complete", "True").map(|_| Verdict::Succeeded)
}

/// The verdict by Helm's `podConditions`; but a Pod that was ordered to stop has failed.
fn pod_verdict(pod: &Value) -> Option<Verdict> {
    let succeeded = match text(pod, "/status/phase") {
        "Succeeded" => true,
        "Failed" => false,
        _ => return None,
    };
    Some(match stopped::stop_of(pod) {
        Some((reason, message)) => Verdict::Failed { reason, message },
        None if succeeded => Verdict::Succeeded,
        None => {
            let (reason, message) = pods::failure(pod);
            Verdict::Failed { reason, message }
        }
    })
}

fn own_deadline(object: &Value) -> Option<Timestamp> {
    let seconds = object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64)?;
    let started: Timestamp = text(object, "/status/startTime").parse().ok()?;
    let at = started.checked_add(SignedDuration::from_secs(seconds)).ok()?;
    at.checked_sub(BEFORE_DEADLINE).ok()
}

/// Returns whether the Job controller is about to delete the Pods, the author's deadline is near,
/// or the object itself is being deleted.
pub fn evidence_fades(object: &Value, now: Timestamp) -> bool {
    condition(object, "FailureTarget", "True").is_some()
        || is_terminating(object)
        || own_deadline(object).is_some_and(|at| now >= at)
}

fn condition<'a>(object: &'a Value, type_: &str, status: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| text(condition, "/type") == type_ && text(condition, "/status") == status)
}

fn is_terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

fn names_of(list: Option<&Value>) -> String {
    let items = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(", ")
}

/// Returns the text at the JSON pointer; empty if there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Cuts the text to at most `bytes`: the text of others has no bound.
fn clip(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}

fn non_empty(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use lifecycle::{
        event::{Event, HookEvent},
        object::ObjectRef,
        testing::{self, object},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_judged_by_complete_and_failed_alone() {
        let job = |type_: &str| {
            json!({"status": {"conditions": [
                {"type": type_, "status": "True", "reason": "BackoffLimitExceeded", "message": "m"},
            ]}})
        };
        assert_eq!(job_verdict(&job("Complete")), Some(Verdict::Succeeded));
        assert_eq!(job_verdict(&job("SuccessCriteriaMet")), None);
        assert_eq!(job_verdict(&job("FailureTarget")), None);
        assert!(matches!(job_verdict(&job("Failed")), Some(Verdict::Failed { .. })));
    }

    #[test]
    fn only_a_job_and_a_pod_are_held_back_and_suspended() {
        let of = |api_version: &str, kind: &str| {
            let object = ObjectRef { api_version: api_version.to_owned(), ..object(kind, "a") };
            let planned = testing::hook(HookEvent::PreInstall, object);
            let live = json!({
                "kind": kind,
                "metadata": {"annotations": {names::GATE_ANNOTATION: names::HELD}},
                "spec": {"suspend": true},
            });
            let seen = hook(&testing::plan(Event::Install), &planned, &live, "shop", "prod");
            (seen.gate, seen.waiting)
        };
        assert_eq!(of("batch/v1", "Job").0, Gate::Held);
        for (api_version, kind) in [("batch/v1", "CronJob"), ("v1", "ConfigMap")] {
            assert_eq!(of(api_version, kind), (Gate::None, None), "{kind}");
        }
    }

    #[test]
    fn a_pod_is_judged_by_its_phase_and_says_why() {
        assert_eq!(pod_verdict(&json!({"status": {"phase": "Running"}})), None);
        let pod = json!({"status": {"phase": "Succeeded"}});
        assert_eq!(pod_verdict(&pod), Some(Verdict::Succeeded));
        let pod = json!({"status": {"phase": "Failed", "reason": "OutOfcpu", "message": "m "}});
        let (reason, message) = ("OutOfcpu".to_owned(), "m".to_owned());
        assert_eq!(pod_verdict(&pod), Some(Verdict::Failed { reason, message }));
    }

    #[test]
    fn the_evidence_of_what_is_being_deleted_fades() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(!evidence_fades(&json!({}), now));
        let deleted = json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:30Z"}});
        assert!(evidence_fades(&deleted, now));
        let limited = json!({"spec": {"activeDeadlineSeconds": 10},
                             "status": {"startTime": "1969-12-31T23:59:52Z"}});
        assert!(evidence_fades(&limited, now), "two seconds are left");
    }
}
