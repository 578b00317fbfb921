//! The part of a hook's Job or Pod that an observation depends on. A watch reports every change, such as
//! the address of a Pod, which most of the time is none of that part.

use std::hash::{DefaultHasher, Hash, Hasher};

use api::names;
use lifecycle::plan::HookKind;
use serde_json::Value;

use super::{condition, is_terminating, pods, text};

/// The digest of an object that reports nothing: it was made, and waits or runs.
pub const NOTHING: u64 = 0;

/// Returns the digest of what `object`, a Job or a Pod, reports; [`NOTHING`] if it is on its way, or
/// ended in a manner that its Job reports too. As long as it is the same, so is the observation of the
/// hook, but for what only Event objects say.
pub fn of(kind: HookKind, object: &Value) -> u64 {
    let mut said = Said::default();
    if is_terminating(object) {
        said.say("deleted", text(object, "/metadata/deletionTimestamp"));
        said.say("finalizers", &super::names_of(object.pointer("/metadata/finalizers")));
    }
    match kind {
        HookKind::Job => job(object, &mut said),
        HookKind::Pod => pod(object, &mut said),
        HookKind::Crd | HookKind::Awaited | HookKind::Other => {}
    }
    said.digest()
}

/// Returns the UID of the hook of `object`, a Job or a Pod: of the Job that made it, or its own.
pub fn hook_of(object: &Value) -> &str {
    match job_of(object) {
        Some(owner) => text(owner, "/uid"),
        None => text(object, "/metadata/uid"),
    }
}

/// Returns whether something of `object`, a Pod, has run.
pub fn has_started(object: &Value) -> bool {
    pods::any_started(std::slice::from_ref(object))
}

fn job(job: &Value, said: &mut Said) {
    for type_ in ["Complete", "Failed", "FailureTarget"] {
        said.condition(job, type_);
    }
    let gate = job.pointer("/metadata/annotations").and_then(|all| all.get(names::GATE_ANNOTATION));
    let is_held = gate.and_then(Value::as_str) == Some(names::HELD);
    if !is_held && job.pointer("/spec/suspend") == Some(&Value::Bool(true)) {
        said.say("suspended", "");
    }
    said.own_deadline(job);
    let number = |path: &str| job.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let failed = number("/status/failed");
    if failed > 0 {
        said.say("failed", &failed.to_string());
    }
    // The next of several Pods may be refused, which only Event objects say.
    if number("/spec/completions") > 1 && number("/status/succeeded") > 0 {
        said.say("succeeded", &number("/status/succeeded").to_string());
    }
}

fn pod(pod: &Value, said: &mut Said) {
    let phase = text(pod, "/status/phase");
    // Of one that was ordered to stop it counts what ended before.
    let is_stopped = is_terminating(pod);
    let is_hook = !is_of_job(pod);
    if phase == "Failed" || (phase == "Succeeded" && (is_stopped || is_hook)) {
        said.say(phase, text(pod, "/status/message"));
    }
    if is_hook {
        said.own_deadline(pod);
    }
    if let Some((reason, message)) = pods::befell(pod) {
        said.say(&reason, &message);
    }
    if let Some(why) = pods::unscheduled(pod) {
        said.say("unscheduled", &why);
    }
    for path in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        let list = pod.pointer(path).and_then(Value::as_array);
        let statuses = list.map(Vec::as_slice).unwrap_or_default();
        // Those that go on without the others are named.
        let running: Vec<_> = statuses.iter().filter(|status| pods::runs(status)).collect();
        let has_ended = |status: &Value| status.pointer("/state/terminated").is_some();
        let goes_on = path == "/status/containerStatuses"
            && !running.is_empty()
            && statuses.iter().any(has_ended);
        for status in running.into_iter().filter(|_| goes_on) {
            said.say("goes on", text(status, "/name"));
        }
        for status in statuses {
            container(status, goes_on || is_stopped, said);
        }
    }
}

fn container(status: &Value, each_end: bool, said: &mut Said) {
    let name = text(status, "/name");
    let restarts = status.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
    let was_restarted = restarts > 0 || status.pointer("/lastState/terminated").is_some();
    if was_restarted {
        said.say(name, &format!("restarted {restarts}, runs: {}", pods::runs(status)));
    }
    if let Some(waiting) = status.pointer("/state/waiting")
        && let Some(why) = pods::stuck_for(waiting)
    {
        said.say(name, &why);
    }
    for path in ["/state/terminated", "/lastState/terminated"] {
        let Some(end) = status.pointer(path) else { continue };
        let code = end.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
        if code != 0 || each_end || was_restarted {
            said.say(name, &format!("{path} {code} {}", text(end, "/finishedAt")));
            said.say(text(end, "/reason"), text(end, "/message"));
        }
    }
}

/// Returns whether a Job made the Pod, and reports its success.
fn is_of_job(pod: &Value) -> bool {
    job_of(pod).is_some()
}

/// Returns the reference to the Job that made the Pod.
fn job_of(pod: &Value) -> Option<&Value> {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().find(|owner| {
        text(owner, "/apiVersion") == "batch/v1"
            && text(owner, "/kind") == "Job"
            && owner.get("controller") == Some(&Value::Bool(true))
    })
}

#[derive(Default)]
struct Said {
    hasher: DefaultHasher,
    any: bool,
}

impl Said {
    fn say(&mut self, what: &str, text: &str) {
        (what, text).hash(&mut self.hasher);
        self.any = true;
    }

    fn condition(&mut self, object: &Value, type_: &str) {
        let Some(found) = condition(object, type_, "True") else { return };
        self.say(type_, text(found, "/reason"));
        self.say(type_, text(found, "/message"));
    }

    /// Shortly before it, the operator checks what still runs.
    fn own_deadline(&mut self, object: &Value) {
        let seconds = object.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64);
        if let Some(seconds) = seconds {
            self.say("deadline", &format!("{seconds} {}", text(object, "/status/startTime")));
        }
    }

    fn digest(&self) -> u64 {
        if self.any { self.hasher.finish().max(1) } else { NOTHING }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*, sample::select};
    use serde_json::json;

    use super::{super::stopped, *};

    fn set(object: &Value, path: &str, value: Value) -> Value {
        let mut object = object.clone();
        let (parent, field) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value;
        object
    }

    fn conditions(all: &[(&str, &str)]) -> Value {
        let all = all.iter().map(|(type_, status)| json!({"type": type_, "status": status}));
        all.collect()
    }

    fn new_job() -> Value {
        json!({"metadata": {"annotations": {names::GATE_ANNOTATION: names::HELD}},
               "spec": {"suspend": true}, "status": {}})
    }

    #[test]
    fn what_a_job_does_until_it_ends_is_no_news() {
        let mut job = new_job();
        let is_quiet = |job: &mut Value, path: &str, value: Value| {
            *job = set(job, path, value);
            assert_eq!(of(HookKind::Job, job), NOTHING, "{path}");
        };
        is_quiet(&mut job, "/status/conditions", conditions(&[("Suspended", "True")]));
        is_quiet(&mut job, "/metadata/annotations", json!({names::GATE_ANNOTATION: names::HELD}));
        is_quiet(&mut job, "/spec/suspend", json!(false));
        is_quiet(&mut job, "/metadata/annotations", json!({names::GATE_ANNOTATION: names::OPEN}));
        is_quiet(&mut job, "/status/startTime", json!("2026-01-01T00:00:00Z"));
        is_quiet(&mut job, "/status/active", json!(1));
        is_quiet(&mut job, "/status/ready", json!(1));
        is_quiet(&mut job, "/status/uncountedTerminatedPods", json!({"succeeded": ["u"]}));
        is_quiet(&mut job, "/status/conditions", conditions(&[("SuccessCriteriaMet", "True")]));
        for (path, value) in [
            ("/status/conditions", conditions(&[("Complete", "True")])),
            ("/status/conditions", conditions(&[("Failed", "True")])),
            ("/status/conditions", conditions(&[("FailureTarget", "True")])),
            ("/status/failed", json!(1)),
            ("/spec/suspend", json!(true)),
            ("/spec/activeDeadlineSeconds", json!(1)),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ] {
            assert_ne!(of(HookKind::Job, &set(&job, path, value)), NOTHING, "{path}");
        }
    }

    #[test]
    fn the_start_of_a_job_with_a_deadline_of_its_own_is_news() {
        let job = set(&new_job(), "/spec/activeDeadlineSeconds", json!(60));
        let started = set(&job, "/status/startTime", json!("2026-01-01T00:00:00Z"));
        assert_ne!(of(HookKind::Job, &job), of(HookKind::Job, &started));
    }

    fn new_pod() -> Value {
        let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "controller": true});
        json!({"metadata": {"ownerReferences": [owner]}, "spec": {}, "status": {}})
    }

    #[test]
    fn what_a_pod_does_until_it_fails_is_no_news() {
        let mut pod = new_pod();
        let is_quiet = |pod: &mut Value, path: &str, value: Value| {
            *pod = set(pod, path, value);
            assert_eq!(of(HookKind::Pod, pod), NOTHING, "{path}");
        };
        let state = |state: Value| json!([{"name": "main", "restartCount": 0, "state": state}]);
        let gated =
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
        is_quiet(&mut pod, "/spec/schedulingGates", json!([{"name": names::SCHEDULING_GATE}]));
        is_quiet(&mut pod, "/status/conditions", gated);
        is_quiet(&mut pod, "/status/phase", json!("Pending"));
        is_quiet(&mut pod, "/spec/nodeName", json!("node"));
        is_quiet(
            &mut pod,
            "/status/conditions",
            conditions(&[("PodScheduled", "True"), ("Ready", "False")]),
        );
        is_quiet(
            &mut pod,
            "/status/initContainerStatuses",
            state(json!({"terminated": {"exitCode": 0}})),
        );
        is_quiet(
            &mut pod,
            "/status/containerStatuses",
            state(json!({"waiting": {"reason": "PodInitializing"}})),
        );
        is_quiet(&mut pod, "/status/podIP", json!("10.0.0.1"));
        is_quiet(&mut pod, "/status/containerStatuses", state(json!({"running": {}})));
        is_quiet(&mut pod, "/status/phase", json!("Running"));
        let pull = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        let others_gate = json!([{"type": "PodScheduled", "status": "False",
                                  "reason": "Unschedulable", "message": "0/1 nodes"}]);
        let beside = json!([{"name": "main", "state": {"terminated": {"exitCode": 0}}},
                            {"name": "proxy", "state": {"running": {}}}]);
        for (path, value) in [
            ("/status/phase", json!("Failed")),
            ("/status/containerStatuses", state(json!({"terminated": {"exitCode": 1}}))),
            ("/status/initContainerStatuses", state(json!({"terminated": {"exitCode": 1}}))),
            ("/status/containerStatuses", state(pull)),
            ("/status/containerStatuses", beside),
            ("/status/conditions", others_gate),
            ("/status/conditions", conditions(&[("DisruptionTarget", "True")])),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ] {
            assert_ne!(of(HookKind::Pod, &set(&pod, path, value)), NOTHING, "{path}");
        }
        is_quiet(
            &mut pod,
            "/status/containerStatuses",
            state(json!({"terminated": {"exitCode": 0}})),
        );
        is_quiet(&mut pod, "/status/phase", json!("Succeeded"));
        let of_nobody = set(&pod, "/metadata/ownerReferences", json!([]));
        assert_ne!(of(HookKind::Pod, &of_nobody), NOTHING, "the hook is the Pod itself");
    }

    #[test]
    fn a_pod_shows_that_its_hook_has_started() {
        let running = json!([{"name": "main", "state": {"running": {}}}]);
        let of_job = set(&new_pod(), "/metadata/ownerReferences/0/uid", json!("job"));
        assert!(!has_started(&of_job));
        assert!(has_started(&set(&of_job, "/status/containerStatuses", running)));
        let named = set(&of_job, "/metadata/uid", json!("pod"));
        assert_eq!(hook_of(&named), "job");
        assert_eq!(hook_of(&set(&named, "/metadata/ownerReferences", json!([]))), "pod");
    }

    #[test]
    fn each_try_is_news_and_the_back_off_that_counts_up_is_not() {
        let waits = |restarts: u32, message: &str| {
            let waiting = json!({"reason": "CrashLoopBackOff", "message": message});
            let last = json!({"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}});
            let status = json!([{"name": "main", "restartCount": restarts,
                                 "state": {"waiting": waiting}, "lastState": last}]);
            of(HookKind::Pod, &set(&new_pod(), "/status/containerStatuses", status))
        };
        assert_eq!(waits(2, "back-off 10s restarting"), waits(2, "back-off 20s restarting"));
        assert_ne!(waits(2, "back-off 10s restarting"), waits(3, "back-off 10s restarting"));
    }

    /// The observation of a Pod of a hook, as far as it is not of Event objects.
    fn observed(pod: &Value) -> impl PartialEq + std::fmt::Debug + use<> {
        let pods = std::slice::from_ref(pod);
        let failed = pods::failed_container(pods);
        let cause = pods::cause(pods, failed.as_ref());
        let verdict = super::super::pod_verdict(pod).filter(|_| !is_of_job(pod));
        let tries = pods::tries(&json!({"status": {"failed": 1}}), pods, cause.as_ref());
        let running = json!({"status": {}});
        let deadline = super::super::own_deadline(pod).filter(|_| !is_of_job(pod));
        (
            (verdict, failed, cause, tries, deadline),
            (pods::stuck(pods), pods::lingering(pods), pods::deleted(&running, pods)),
            (stopped::pod_of_job(&running, pods), is_terminating(pod)),
        )
    }

    fn any_state() -> impl Strategy<Value = Value> {
        let waiting = |reason| json!({"waiting": {"reason": reason}});
        let ended = |code: i64, second: u32| {
            let at = format!("2026-01-01T00:00:0{second}Z");
            json!({"terminated": {"exitCode": code, "finishedAt": at}})
        };
        prop_oneof![
            Just(json!({})),
            Just(json!({"running": {}})),
            select(vec!["ContainerCreating", "ImagePullBackOff", "CrashLoopBackOff"])
                .prop_map(waiting),
            (0..2_i64, 0..9_u32).prop_map(move |(code, second)| ended(code, second)),
        ]
    }

    fn any_container(name: &'static str) -> impl Strategy<Value = Value> {
        let last =
            option::of((0..2_i64).prop_map(|code| json!({"terminated": {"exitCode": code}})));
        (any_state(), last, 0..2_u32).prop_map(move |(state, last, restarts)| {
            let mut status = json!({"name": name, "state": state, "restartCount": restarts});
            if let Some(last) = last {
                status["lastState"] = last;
            }
            status
        })
    }

    fn of_path(path: &'static str) -> impl Fn(Value) -> (&'static str, Value) {
        move |value| (path, value)
    }

    /// A change of one part of a running Pod: its path and value.
    fn any_change() -> impl Strategy<Value = (&'static str, Value)> {
        let phases = vec!["", "Pending", "Running", "Succeeded", "Failed"];
        let told = "2026-01-01T00:00:05Z";
        let condition = |(type_, status, reason): (&str, &str, &str)| json!([{"type": type_, "status": status, "reason": reason}]);
        let said = vec![
            ("PodScheduled", "False", "Unschedulable"),
            ("PodScheduled", "False", "SchedulingGated"),
            ("PodScheduled", "True", ""),
            ("DisruptionTarget", "True", "EvictionByEvictionAPI"),
            ("Ready", "True", ""),
        ];
        prop_oneof![
            select(phases).prop_map(Value::from).prop_map(of_path("/status/phase")),
            select(vec!["", "NodeLost"]).prop_map(Value::from).prop_map(of_path("/status/reason")),
            select(said).prop_map(condition).prop_map(of_path("/status/conditions")),
            select(vec![Value::Null, told.into()]).prop_map(of_path("/metadata/deletionTimestamp")),
            select(vec![names::SCHEDULING_GATE, "example.com/gate"])
                .prop_map(|name| json!([{"name": name}]))
                .prop_map(of_path("/spec/schedulingGates")),
            select(vec!["", "2026-01-01T00:00:01Z"])
                .prop_map(Value::from)
                .prop_map(of_path("/status/startTime")),
            (any_container("main"), any_container("proxy"), any_container("log"))
                .prop_map(|(one, two, three)| json!([one, two, three]))
                .prop_map(of_path("/status/containerStatuses")),
            any_container("init")
                .prop_map(|one| json!([one]))
                .prop_map(of_path("/status/initContainerStatuses")),
        ]
    }

    fn new_pods() -> Vec<Value> {
        let containers = json!([{"name": "main"}, {"name": "proxy"}, {"name": "log"}]);
        let named =
            set(&set(&new_pod(), "/metadata/name", json!("p")), "/spec/containers", containers);
        let of_nobody = set(&named, "/metadata/ownerReferences", json!([]));
        let always = set(&of_nobody, "/spec/restartPolicy", json!("Always"));
        let limited = set(&of_nobody, "/spec/activeDeadlineSeconds", json!(30));
        vec![named, of_nobody, always, limited]
    }

    proptest! {
        #[test]
        fn pods_of_one_digest_are_observed_alike(
            new in select(new_pods()),
            changes in proptest::collection::vec(any_change(), 0..6),
            last in any_change(),
        ) {
            let mut pod = new;
            for (path, value) in changes {
                pod = set(&pod, path, value);
            }
            let changed = set(&pod, last.0, last.1);
            if of(HookKind::Pod, &pod) == of(HookKind::Pod, &changed) {
                prop_assert_eq!(observed(&pod), observed(&changed));
            }
        }
    }
}
