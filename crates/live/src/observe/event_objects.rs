//! The information that is only in Event objects: why a Job has no Pod, and why a Pod on its node
//! does not start.

use jiff::{SignedDuration, Timestamp};
use lifecycle::{observation::Cause, terminal};
use serde_json::Value;

use super::{clip, pods, text};

/// The time that a Job or a Pod needs to report by itself; before that, no Event objects are
/// requested.
const GRACE: SignedDuration = SignedDuration::from_secs(1);
/// The intervals of the requests: the first, and the last.
const OFTEN: SignedDuration = SignedDuration::from_secs(2);
const SELDOM: SignedDuration = SignedDuration::from_secs(30);
/// The interval once a reason is known; a watch reports its end.
const KNOWN: SignedDuration = SignedDuration::from_secs(10);
/// The kubelet tries a volume again after this time at the latest and reports it: a problem that it
/// has not reported since is over.
const RETRIED: SignedDuration = SignedDuration::from_secs(130);

/// The reasons why a Pod cannot start, and those that show that this is over.
const POD_HINDRANCES: [&str; 6] = [
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "FailedPrepareDynamicResources",
    "NetworkNotReady",
];
const POD_PROGRESS: [&str; 4] = ["Pulling", "Pulled", "Created", "Started"];

/// The subject whose Event objects explain why something does not continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A Job, or another object that makes Pods, without Pods.
    Maker { name: String, uid: String },
    /// A Pod on its node none of whose containers runs.
    Pod { name: String, uid: String },
}

impl Subject {
    pub fn uid(&self) -> &str {
        match self {
            Self::Maker { uid, .. } | Self::Pod { uid, .. } => uid,
        }
    }
}

/// Returns the subject to request for `object`, a hook, and its `pods`; none if a part of it runs.
pub fn subject(object: &Value, pods: &[Value]) -> Option<Subject> {
    let of = |object: &Value| {
        let field = |path: &str| text(object, path).to_owned();
        (field("/metadata/name"), field("/metadata/uid"))
    };
    if text(object, "/kind") == "Job" && pods::none_active(pods) {
        let (name, uid) = of(object);
        return Some(Subject::Maker { name, uid });
    }
    let (name, uid) = of(pods::unstarted(pods)?);
    Some(Subject::Pod { name, uid })
}

/// Returns since when nothing of a hook that was started at `started` runs. A Job whose Pods have
/// just ended will report the next step by itself.
pub fn idle_since(started: Timestamp, pods: &[Value]) -> Timestamp {
    // The end is reported in whole seconds.
    let ended = pods::last_ended(pods).and_then(|at| at.checked_add(GRACE).ok());
    ended.map_or(started, |ended| ended.max(started))
}

/// Returns when to request, if it is too early for a hook that is idle since `since`.
pub fn too_early(since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let at = since.checked_add(GRACE).ok()?;
    (now < at).then_some(at)
}

/// Returns when to request again: with back-off, since the API server has no index for such
/// requests.
pub fn again(since: Timestamp, now: Timestamp, known: bool) -> Option<Timestamp> {
    let least = if known { KNOWN } else { OFTEN };
    let waited = now.duration_since(since) / 2;
    now.checked_add(waited.clamp(least, SELDOM)).ok()
}

/// Reports a Pod of `job`, which failed by its own attempts, that is gone without a trace except in
/// `events`.
pub fn vanished_pod(job: &Value, events: &[Value]) -> Option<Cause> {
    let failed = super::condition(job, "Failed", "True")?;
    // A Job whose containers are restarted deletes its Pod itself.
    let never = text(job, "/spec/template/spec/restartPolicy") == "Never";
    if text(failed, "/reason") != "BackoffLimitExceeded" || !never {
        return None;
    }
    let made = current(events, &["SuccessfulCreate"], &[]);
    let pod = text(made.first()?.1, "/message").strip_prefix("Created pod: ")?.trim();
    let message = format!("pod {} was deleted before its end was seen", clip(pod.to_owned(), 253));
    Some(Cause { reason: None, message })
}

/// The kubelet's reports on a container's failing probe, newest first. Those on an earlier run,
/// which began at another time, are over.
pub fn unhealthy(events: &[Value], container: &str, since: Option<Timestamp>) -> Option<String> {
    let place = format!("{{{container}}}");
    let current = current(events, &["Unhealthy"], &[]);
    let (_, event) = current.into_iter().find(|(at, event)| {
        text(event, "/involvedObject/fieldPath").ends_with(&place)
            && since.is_none_or(|since| *at >= since)
    })?;
    let said = terminal::sentence(text(event, "/message"));
    Some(clip(pods::steady_ids(&said), 300))
}

/// The report of Event objects on a claim that is not bound.
#[derive(Debug, PartialEq, Eq)]
pub enum Unbound {
    Failing(String),
    Waiting(String),
}

impl Unbound {
    /// Returns the report, whichever it is.
    pub fn said(self) -> String {
        match self {
            Self::Failing(said) | Self::Waiting(said) => said,
        }
    }

    /// Returns the report of a failure.
    pub fn failing(self) -> Option<String> {
        match self {
            Self::Failing(said) => Some(said),
            Self::Waiting(_) => None,
        }
    }
}

/// The report of `events` on a claim that is not bound: a failure first.
pub fn unbound(events: &[Value]) -> Option<Unbound> {
    const FAILURES: [&str; 4] =
        ["ProvisioningFailed", "FailedBinding", "VolumeMismatch", "ClaimMisbound"];
    const WAITS: [&str; 4] =
        ["WaitForFirstConsumer", "WaitForPodScheduled", "ExternalProvisioning", "Provisioning"];
    let newest = |reasons: &[&str]| {
        let (_, event) = current(events, reasons, &["ProvisioningSucceeded"]).into_iter().next()?;
        let said = terminal::sentence(text(event, "/message"));
        Some(clip(format!("{}: {}", text(event, "/reason"), pods::steady_ids(&said)), 500))
    };
    newest(&FAILURES).map(Unbound::Failing).or_else(|| newest(&WAITS).map(Unbound::Waiting))
}

/// The reason why `subject` is blocked, by `events`, which are about it.
pub fn hindrance(subject: &Subject, events: &[Value]) -> Option<String> {
    match subject {
        Subject::Maker { name, .. } => {
            let newest = current(events, &["FailedCreate"], &["SuccessfulCreate"]);
            let (_, event) = newest.into_iter().next()?;
            Some(no_pod(name, text(event, "/message")))
        }
        Subject::Pod { name, .. } => {
            let current = current(events, &POD_HINDRANCES, &POD_PROGRESS);
            let (newest, event) = current.first()?;
            let reason = text(event, "/reason");
            let since = newest.checked_sub(RETRIED).ok()?;
            let mut messages: Vec<_> = current
                .iter()
                .filter(|(at, other)| *at >= since && text(other, "/reason") == reason)
                .map(|(_, event)| pods::steady_ids(text(event, "/message").trim()))
                .collect();
            if reason.ends_with("Volume") || reason == "FailedMount" {
                // Each volume is tried at its own time: they take turns at being the newest.
                messages.sort();
                messages.dedup();
                // The kubelet's report when it gave up for a while names no cause.
                if messages.iter().any(|message| !is_vague(message)) {
                    messages.retain(|message| !is_vague(message));
                }
            } else {
                messages.truncate(1);
            }
            messages.truncate(3);
            Some(clip(format!("pod {name} {reason}: {}", messages.join("; ")), 700))
        }
    }
}

fn is_vague(message: &str) -> bool {
    message.contains("timed out waiting for the condition")
        || message.contains("unmounted volumes=")
}

/// Returns those of `hindrances` that no `progress` followed, newest first. Times are reported in
/// whole seconds; those in the same second as progress are over.
fn current<'a>(
    events: &'a [Value],
    hindrances: &[&str],
    progress: &[&str],
) -> Vec<(Timestamp, &'a Value)> {
    let of = |reasons: &[&str]| -> Vec<(Timestamp, &'a Value)> {
        let events = events.iter().filter(|event| reasons.contains(&text(event, "/reason")));
        events.filter_map(|event| Some((told_at(event)?, event))).collect()
    };
    let progressed = of(progress).into_iter().map(|(at, _)| at).max();
    let mut current = of(hindrances);
    current.retain(|(at, event)| {
        // The kubelet does not know the objects that the Pod needs yet, and will in a moment.
        let warming_up = text(event, "/message").contains("failed to sync ");
        !warming_up && progressed.is_none_or(|progressed| *at > progressed)
    });
    current.sort_by(|(a, one), (b, other)| {
        b.cmp(a).then_with(|| text(one, "/message").cmp(text(other, "/message")))
    });
    current
}

fn told_at(event: &Value) -> Option<Timestamp> {
    let places = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"];
    places.into_iter().find_map(|place| text(event, place).parse().ok())
}

/// The reason why `maker` cannot make a Pod.
pub(super) fn no_pod(maker: &str, message: &str) -> String {
    format!("no Pod can be made: {}", refusal(maker, message))
}

/// The reason why a Pod of Job `job` was refused, without the words and the name that are new at
/// each attempt.
fn refusal(job: &str, message: &str) -> String {
    let message = message.strip_prefix("(combined from similar events): ").unwrap_or(message);
    let message = message.strip_prefix("Error creating: ").unwrap_or(message);
    // A StatefulSet: `create Pod web-0 in StatefulSet web failed error: `.
    let message = message
        .split_once(" failed error: ")
        .filter(|(what, _)| what.starts_with("create Pod "))
        .map_or(message, |(_, cause)| cause);
    let message = without_pod_names(job, message);
    let cause = message
        .split_once(" is forbidden: ")
        .filter(|(what, _)| what.starts_with("pods \"") && what.ends_with('"'))
        .map_or(&*message, |(_, cause)| cause);
    clip(cause.trim().to_owned(), 700)
}

/// `migrate-x7k2p` becomes `migrate-*`.
fn without_pod_names(job: &str, message: &str) -> String {
    /// The length of the random part that the API server adds, and the longest name it adds it to.
    const RANDOM: usize = 5;
    const BASE: usize = 58;
    const ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let is_pod = |word: &str| {
        let Some((base, random)) = word.split_at_checked(word.len().saturating_sub(RANDOM)) else {
            return false;
        };
        if random.chars().any(|c| !ALPHABET.contains(c)) {
            return false;
        }
        // An indexed Job puts the index between.
        let own = base.trim_end_matches('-').trim_end_matches(|c: char| c.is_ascii_digit());
        let full = format!("{job}-");
        base == full
            || (own == full && base.ends_with('-'))
            || (base.len() == BASE && full.starts_with(base))
    };
    let mut steady = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        if is_pod(word) {
            let end = word.len().saturating_sub(RANDOM);
            steady.push_str(word.get(..end).unwrap_or_default());
            steady.push('*');
        } else {
            steady.push_str(word);
        }
        let (other, after) = after.split_at(after.find(is_part).unwrap_or(after.len()));
        steady.push_str(other);
        rest = after;
    }
    steady
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(reason: &str, second: u32, message: &str) -> Value {
        json!({"reason": reason, "message": message,
               "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z")})
    }

    fn job() -> Subject {
        Subject::Maker { name: "migrate".to_owned(), uid: "u".to_owned() }
    }

    fn pod() -> Subject {
        Subject::Pod { name: "p".to_owned(), uid: "u".to_owned() }
    }

    #[test]
    fn why_no_pod_can_be_made_is_said_without_what_is_new_at_each_try() {
        let quota = "exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0";
        let refused = |pod: &str| format!("Error creating: pods \"{pod}\" is forbidden: {quota}");
        let one = hindrance(&job(), &[event("FailedCreate", 1, &refused("migrate-x7k2p"))]);
        let combined = format!("(combined from similar events): {}", refused("migrate-0-b9z4q"));
        assert_eq!(one, hindrance(&job(), &[event("FailedCreate", 9, &combined)]));
        assert_eq!(one.unwrap(), format!("no Pod can be made: {quota}"));
        let webhook = "Error creating: Pod \"migrate-x7k2p\" is invalid: migrate-check";
        assert_eq!(
            hindrance(&job(), &[event("FailedCreate", 1, webhook)]).unwrap(),
            "no Pod can be made: Pod \"migrate-*\" is invalid: migrate-check"
        );
    }

    #[test]
    fn names_of_pods_are_known_by_their_jobs() {
        let long = "a".repeat(60);
        assert_eq!(
            without_pod_names(&long, &format!("{}-x7k2p", "a".repeat(58))),
            format!("{}-x7k2p", "a".repeat(58)),
            "no API server makes such a name"
        );
        assert_eq!(
            without_pod_names(&long, &format!("\"{}x7k2p\"", "a".repeat(58))),
            format!("\"{}*\"", "a".repeat(58))
        );
        assert_eq!(without_pod_names("a", "a-0-x7k2p a-b-x7k2p é"), "a-0-* a-b-x7k2p é");
    }

    #[test]
    fn what_is_over_is_not_said() {
        let events = [event("FailedCreate", 1, "Error creating: x")];
        assert!(hindrance(&job(), &events).is_some());
        let events = [events[0].clone(), event("SuccessfulCreate", 2, "Created pod: y")];
        assert_eq!(hindrance(&job(), &events), None);
        let mount = "MountVolume.SetUp failed for volume \"c\" : secret \"s\" not found";
        let events = [
            event("Scheduled", 1, "assigned"),
            event("FailedMount", 1, mount),
            event("FailedMount", 1, "failed to sync configmap cache: timed out"),
        ];
        assert_eq!(hindrance(&pod(), &events).unwrap(), format!("pod p FailedMount: {mount}"));
        let events = [events[1].clone(), event("Pulling", 5, "pulling")];
        assert_eq!(hindrance(&pod(), &events), None);
        assert_eq!(hindrance(&pod(), &[]), None);
    }

    #[test]
    fn why_a_stateful_set_makes_no_pod_is_said_as_of_a_job() {
        let web = Subject::Maker { name: "web".to_owned(), uid: "u".to_owned() };
        let cause =
            "error looking up service account prod/absent: serviceaccount \"absent\" not found";
        for message in [
            format!(
                "create Pod web-0 in StatefulSet web failed error: pods \"web-0\" is forbidden: {cause}"
            ),
            format!("Error creating: pods \"web-x7k2p\" is forbidden: {cause}"),
        ] {
            let said = hindrance(&web, &[event("FailedCreate", 1, &message)]).unwrap();
            assert_eq!(said, format!("no Pod can be made: {cause}"));
        }
    }

    #[test]
    fn a_probe_that_fails_is_that_of_the_container_as_it_runs_now() {
        let of = |second: u32, container: &str, message: &str| {
            let mut event = event("Unhealthy", second, message);
            event["involvedObject"] =
                json!({"fieldPath": format!("spec.containers{{{container}}}")});
            event
        };
        let events = [
            of(5, "web", "Readiness probe failed: \u{1b}[31mcannot\u{1b}[0m connect\n"),
            of(9, "proxy", "Startup probe failed: x"),
        ];
        let at = |second: i8| {
            jiff::civil::date(2026, 1, 1)
                .at(0, 0, second, 0)
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
        };
        let said = unhealthy(&events, "web", Some(at(3))).unwrap();
        assert_eq!(said, "Readiness probe failed: cannot connect");
        assert_eq!(unhealthy(&events, "web", Some(at(6))), None, "that was another run");
        assert_eq!(unhealthy(&events, "other", None), None);
    }

    #[test]
    fn what_fails_of_a_claim_comes_before_what_is_waited_for() {
        let wait = event("WaitForFirstConsumer", 9, "waiting for first consumer to be created");
        let failure = event("ProvisioningFailed", 5, "storageclass \"none\" not found");
        let waits = "WaitForFirstConsumer: waiting for first consumer to be created".to_owned();
        assert_eq!(unbound(std::slice::from_ref(&wait)), Some(Unbound::Waiting(waits)));
        let fails = "ProvisioningFailed: storageclass \"none\" not found".to_owned();
        assert_eq!(unbound(&[wait, failure]), Some(Unbound::Failing(fails)));
        assert_eq!(unbound(&[event("ProvisioningSucceeded", 9, "done")]), None);
    }

    #[test]
    fn a_pod_that_nobody_saw_end_is_named_by_what_made_it() {
        let job = |reason: &str, policy: &str| {
            json!({"spec": {"template": {"spec": {"restartPolicy": policy}}},
                   "status": {"conditions": [
                       {"type": "Failed", "status": "True", "reason": reason}]}})
        };
        let events = [
            event("SuccessfulCreate", 1, "Created pod: hook-a"),
            event("SuccessfulCreate", 5, "Created pod: hook-b"),
        ];
        let said = |job: &Value| vanished_pod(job, &events).map(|cause| cause.message);
        let backoff = "BackoffLimitExceeded";
        assert_eq!(
            said(&job(backoff, "Never")).unwrap(),
            "pod hook-b was deleted before its end was seen"
        );
        assert_eq!(said(&job(backoff, "OnFailure")), None, "the Job itself deletes it");
        assert_eq!(said(&job("DeadlineExceeded", "Never")), None);
        assert_eq!(vanished_pod(&job(backoff, "Never"), &[]), None);
    }

    #[test]
    fn volumes_that_take_turns_make_one_steady_message() {
        let mounts = |first: u32, second: u32| {
            hindrance(
                &pod(),
                &[
                    event("FailedMount", first, "secret \"a\" not found"),
                    event("FailedMount", second, "configmap \"b\" not found"),
                    event(
                        "FailedMount",
                        30,
                        "Unable to attach or mount volumes: unmounted \
                                              volumes=[a b]: timed out waiting for the condition",
                    ),
                ],
            )
        };
        assert_eq!(mounts(1, 2), mounts(4, 3));
        assert_eq!(
            mounts(1, 2).unwrap(),
            "pod p FailedMount: configmap \"b\" not found; secret \"a\" not found"
        );
    }

    #[test]
    fn nobody_is_asked_about_what_runs() {
        let job = json!({"kind": "Job", "metadata": {"name": "j", "uid": "u"}});
        let pod = |phase: &str, state: &str| {
            json!({"kind": "Pod", "metadata": {"name": "p", "uid": "v"}, "spec": {"nodeName": "n"},
                   "status": {"phase": phase, "containerStatuses": [{"name": "a", "state": {state: {}}}]}})
        };
        let uid =
            |object: &Value, pods: &[Value]| subject(object, pods).map(|it| it.uid().to_owned());
        assert_eq!(uid(&job, &[]).as_deref(), Some("u"));
        assert_eq!(uid(&job, &[pod("Failed", "terminated")]).as_deref(), Some("u"));
        assert_eq!(uid(&job, &[pod("Running", "running")]), None);
        let waits = pod("Pending", "waiting");
        assert_eq!(uid(&job, std::slice::from_ref(&waits)).as_deref(), Some("v"));
        assert_eq!(uid(&waits, std::slice::from_ref(&waits)).as_deref(), Some("v"));
        assert_eq!(uid(&job, &[waits, pod("Running", "running")]), None);
    }

    #[test]
    fn it_is_asked_ever_more_seldom() {
        let start = Timestamp::UNIX_EPOCH;
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(too_early(start, start), Some(at(1)));
        assert_eq!(too_early(start, at(1)), None);
        let pod = json!({"status": {"containerStatuses": [
            {"state": {"terminated": {"finishedAt": "1970-01-01T00:00:07Z"}}}]}});
        assert_eq!(idle_since(start, &[]), start);
        assert_eq!(idle_since(start, std::slice::from_ref(&pod)), at(8));
        assert_eq!(idle_since(at(9), &[pod]), at(9));
        let wait = |now, known| again(start, at(now), known).unwrap().as_second() - now;
        assert_eq!([wait(1, false), wait(10, false), wait(1000, false)], [2, 5, 30]);
        assert_eq!([wait(1, true), wait(1000, true)], [10, 30]);
    }
}
