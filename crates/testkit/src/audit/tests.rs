use std::io::Write as _;

use serde_json::json;

use super::*;

/// An audit log in the making. Each line is one millisecond and one revision after the last.
#[derive(Default)]
struct Log {
    lines: Vec<Value>,
}

impl Log {
    fn push(&mut self, verb: &str, resource: &str, name: &str, code: u16, bodies: [Value; 2]) {
        let [request, response] = bodies;
        let tick = self.lines.len();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let mut line = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
            "auditID": format!("audit-{tick}"), "stage": "ResponseComplete",
            "requestURI": format!("/{resource}/{name}"), "verb": verb,
            "user": {"username": "admin", "groups": ["system:masters"]},
            "userAgent": "operator/1",
            "objectRef": {"resource": resource, "namespace": "n", "name": name},
            "responseStatus": {"metadata": {}, "code": code},
            "requestObject": request, "responseObject": response,
            "requestReceivedTimestamp": format!("2026-11-22T10:00:00.{tick:03}100Z"),
            "stageTimestamp": format!("2026-11-22T10:00:00.{tick:03}900Z"),
        });
        if resource == "jobs" {
            line["objectRef"]["apiGroup"] = "batch".into();
        }
        if !subresource.is_empty() {
            line["objectRef"]["subresource"] = subresource.into();
        }
        self.lines.push(line);
    }

    fn object(&self, name: &str, run: &str, gate: &str, spec: Value, status: Value) -> Value {
        json!({
            "metadata": {
                "name": name, "uid": format!("uid-{run}"),
                "resourceVersion": (self.lines.len() + 9).to_string(),
                "annotations": {"releaselifecycle.dev/run": run, "releaselifecycle.dev/gate": gate},
            },
            "spec": spec, "status": status,
        })
    }

    fn create(&mut self, name: &str, run: &str) -> &mut Self {
        let object = self.object(name, run, "held", json!({"suspend": true}), Value::Null);
        self.push("create", "jobs", name, 201, [object.clone(), object]);
        self
    }

    fn start(&mut self, name: &str, run: &str) -> &mut Self {
        let object = self.object(name, run, "open", json!({"suspend": false}), Value::Null);
        self.push("patch", "jobs", name, 200, [start_patch(run), object]);
        self
    }

    fn condition(&mut self, name: &str, run: &str, kind: &str) -> &mut Self {
        let status = json!({"conditions": [
            {"type": "Suspended", "status": "False"}, {"type": kind, "status": "True"},
        ]});
        let object = self.object(name, run, "open", json!({"suspend": false}), status);
        self.push("update", "jobs/status", name, 200, [Value::Null, object]);
        self.last()["user"]["username"] = "system:serviceaccount:kube-system:job-controller".into();
        self
    }

    fn run(&mut self, name: &str, run: &str) -> &mut Self {
        self.create(name, run).start(name, run).condition(name, run, "Complete")
    }

    fn delete(&mut self, name: &str, run: &str) -> &mut Self {
        let uid = format!("uid-{run}");
        let options = json!({"kind": "DeleteOptions", "preconditions": {"uid": uid}});
        let answer = json!({"kind": "Status", "status": "Success", "details": {"uid": uid}});
        self.push("delete", "jobs", name, 200, [options, answer]);
        self
    }

    fn last(&mut self) -> &mut Value {
        self.lines.last_mut().unwrap()
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn events(&self) -> Vec<Event> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(self.text().as_bytes()).unwrap();
        read_from(file.path(), 0).unwrap().0
    }

    fn violations(&self, hooks: &[&str]) -> Vec<Violation> {
        let hooks: Vec<_> = hooks.iter().copied().map(Ran::Alone).collect();
        judge(&self.events(), |event| event.user == "admin", &hooks)
    }

    #[track_caller]
    fn check(&self, hooks: &[&str], kinds: &[Kind]) -> String {
        let violations = self.violations(hooks);
        let found: Vec<_> = violations.iter().map(|violation| violation.kind).collect();
        assert_eq!(found, kinds, "{violations:#?}");
        violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn start_patch(run: &str) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": format!("uid-{run}")},
        {"op": "test", "path": "/metadata/annotations/releaselifecycle.dev~1gate", "value": "held"},
        {"op": "replace", "path": "/metadata/annotations/releaselifecycle.dev~1gate",
         "value": "open"},
        {"op": "replace", "path": "/spec/suspend", "value": false},
    ])
}

fn good() -> Log {
    let mut log = Log::default();
    log.run("a", "op/0/1").run("b", "op/1/1").delete("a", "op/0/1");
    log
}

#[test]
fn the_protocol_followed_is_no_violation() {
    let mut log = good();
    // A replay is refused, and a repeated create too.
    log.start("b", "op/1/1").last()["responseStatus"]["code"] = 422.into();
    log.create("b", "op/1/1").last()["responseStatus"]["code"] = 409.into();
    // An object that was never started may be deleted and created again.
    log.create("c", "op/2/1").delete("c", "op/2/1").run("c", "op/2/1");
    for line in log.lines.iter_mut().rev().take(3) {
        let text = line.to_string().replace("uid-op/2/1", "another");
        *line = serde_json::from_str(&text).unwrap();
    }
    log.check(&["a", "b", "c"], &[]);
    let starts = starts(&log.events());
    let expected = [("op/0/1", 1), ("op/1/1", 1), ("op/2/1", 1)];
    assert_eq!(starts, expected.map(|(run, count)| (run.to_owned(), count)).into());
}

#[test]
fn two_objects_for_one_run() {
    let mut log = good();
    log.create("b", "op/1/1").start("b", "op/1/1");
    for line in log.lines.iter_mut().rev().take(2) {
        *line = serde_json::from_str(&line.to_string().replace("uid-", "other-")).unwrap();
    }
    let said = log.check(&["a", "b"], &[Kind::StartedTwice]);
    assert!(said.contains("run op/1/1 of hook b was started 2 times: uid-op/1/1 at"), "{said}");
    assert!(said.contains("other-op/1/1"), "{said}");
    assert_eq!(starts(&log.events())["op/1/1"], 2);
}

#[test]
fn started_before_the_previous_was_complete() {
    let mut log = Log::default();
    log.create("a", "op/0/1").start("a", "op/0/1").run("b", "op/1/1");
    let said = log.check(&["a", "b"], &[Kind::StartedEarly]);
    assert!(said.contains("a must have ended before and never was"), "{said}");

    log.condition("a", "op/0/1", "Complete");
    let said = log.check(&["a", "b"], &[Kind::StartedEarly]);
    assert!(said.contains("was so only at 2026-11-22T10:00:00.0059Z"), "{said}");
}

#[test]
fn hooks_side_by_side_start_in_any_order_and_end_before_the_next() {
    let hooks = [Ran::Beside(&["a", "b"]), Ran::Ignored("c"), Ran::Alone("d")];
    let check = |log: &Log, kinds: &[Kind]| {
        let violations = judge(&log.events(), |event| event.user == "admin", &hooks);
        let found: Vec<_> = violations.iter().map(|violation| violation.kind).collect();
        assert_eq!(found, kinds, "{violations:#?}");
    };
    let mut log = Log::default();
    log.create("b", "op/1/1").start("b", "op/1/1").run("a", "op/0/1");
    log.condition("b", "op/1/1", "Complete");
    log.create("c", "op/2/1").start("c", "op/2/1").condition("c", "op/2/1", "Failed");
    log.run("d", "op/3/1");
    check(&log, &[]);

    let mut log = Log::default();
    log.create("b", "op/1/1").start("b", "op/1/1").run("a", "op/0/1");
    log.create("c", "op/2/1").start("c", "op/2/1").run("d", "op/3/1");
    // Neither b nor c had ended.
    check(&log, &[Kind::StartedEarly, Kind::StartedEarly]);
}

#[test]
fn a_read_shows_that_the_previous_was_complete() {
    let mut log = good();
    // Writes of the Job controller are logged without bodies.
    let object = std::mem::take(&mut log.lines[2]["responseObject"]);
    log.check(&["a", "b"], &[Kind::StartedEarly, Kind::DeletedRunning]);
    log.lines[3]["verb"] = "get".into();
    log.lines[3]["objectRef"]["name"] = "a".into();
    log.lines[3]["responseObject"] = object;
    log.check(&["a", "b"], &[]);
}

#[test]
fn resource_versions_order_what_times_do_not() {
    let mut log = good();
    // The Job controller's own request was answered late: the operator was faster.
    log.lines[2]["stageTimestamp"] = "2026-11-22T10:00:01Z".into();
    log.check(&["a", "b"], &[]);
    log.lines[2]["responseObject"]["metadata"]["resourceVersion"] = "99".into();
    log.check(&["a", "b"], &[Kind::StartedEarly]);
}

#[test]
fn never_started() {
    let mut log = good();
    let said = log.check(&["a", "b", "c"], &[Kind::NeverStarted]);
    assert_eq!(said, "NeverStarted: hook c was never started");
    // An object that was only created is not started.
    log.create("c", "op/2/1");
    log.check(&["a", "b", "c"], &[Kind::NeverStarted]);
    // The others' order is still judged.
    log.check(&["x", "b", "a"], &[Kind::NeverStarted, Kind::StartedEarly]);
}

#[test]
fn a_hook_that_ran_again_under_another_run() {
    let mut log = good();
    log.run("a", "op2/0/1");
    let said = log.check(&["a", "b"], &[Kind::Surplus]);
    assert!(said.contains("as run op2/0/1, once more than it should"), "{said}");
    log.check(&["a", "b", "a"], &[]);

    let mut log = good();
    log.run("a", "op/0/2");
    log.check(&["a", "b"], &[Kind::Surplus]);
}

#[test]
fn a_failed_attempt_may_be_repeated() {
    let mut log = Log::default();
    log.create("a", "op/0/1").start("a", "op/0/1").condition("a", "op/0/1", "Failed");
    log.create("a", "op/0/2").start("a", "op/0/2");
    let mut early = Log { lines: log.lines.clone() };
    log.condition("a", "op/0/2", "Complete").run("b", "op/1/1");
    log.check(&["a", "b"], &[]);
    early.run("b", "op/1/1");
    early.check(&["a", "b"], &[Kind::StartedEarly]);
}

#[test]
fn running_job_deleted() {
    let mut log = Log::default();
    log.create("a", "op/0/1").start("a", "op/0/1").delete("a", "op/0/1");
    let said = log.check(&["a"], &[Kind::DeletedRunning]);
    assert!(said.contains("jobs/a (run op/0/1)"), "{said}");
    log.condition("a", "op/0/1", "Complete");
    log.check(&["a"], &[Kind::DeletedRunning]);

    log.lines[2]["user"]["username"] = "system:serviceaccount:kube-system:ttl".into();
    log.check(&["a"], &[]);
    log.lines[2]["user"]["username"] = "admin".into();
    log.lines[2]["responseStatus"]["code"] = 409.into();
    log.check(&["a"], &[]);
}

#[test]
fn delete_without_uid() {
    let mut log = good();
    log.last()["requestObject"] = json!({"propagationPolicy": "Background"});
    let said = log.check(&["a", "b"], &[Kind::DeletedWithoutUid]);
    assert!(said.contains("the DELETE of jobs/a at 2026"), "{said}");
    log.last()["requestObject"] = Value::Null;
    log.check(&["a", "b"], &[Kind::DeletedWithoutUid]);
    log.last()["objectRef"]["resource"] = "configmaps".into();
    log.check(&["a", "b"], &[Kind::DeletedWithoutUid]);
    // A body that is not logged is not absent.
    log.last()["level"] = "Metadata".into();
    log.check(&["a", "b"], &[]);
}

#[test]
fn created_without_being_held() {
    let mut log = good();
    let object = |log: &mut Log| log.lines[0]["responseObject"].take();
    let held = object(&mut log);
    for (path, value, lack) in [
        ("/metadata/annotations", json!({"releaselifecycle.dev/gate": "held"}), "run id"),
        ("/metadata/annotations", json!({"releaselifecycle.dev/run": "op/0/1"}), "held gate"),
        ("/spec/suspend", json!(null), "suspend"),
    ] {
        let mut object = held.clone();
        *object.pointer_mut(path).unwrap() = value;
        log.lines[0]["responseObject"] = object;
        let said = log.violations(&["a", "b"]);
        let [first, ..] = &said[..] else { panic!("nothing about {lack}") };
        assert_eq!(first.kind, if lack == "suspend" { Kind::StartedTwice } else { Kind::NotHeld });
        let found = said.iter().find(|violation| violation.kind == Kind::NotHeld).unwrap();
        assert!(found.message.ends_with(lack), "{found}");
    }
    // A dry run creates nothing, and an object of the Job controller is not a hook.
    log.lines[0]["requestURI"] = "/x?dryRun=All".into();
    log.check(&["a", "b"], &[]);
    log.lines[0]["requestURI"] = "/x".into();
    log.lines[0]["responseObject"]["metadata"]["ownerReferences"] = json!([{"uid": "x"}]);
    log.check(&["a", "b"], &[]);
}

#[test]
fn start_without_fences() {
    let merge = json!({"spec": {"suspend": false}});
    let mut no_uid = start_patch("op/0/1");
    no_uid[0]["value"] = "uid-other".into();
    let mut no_gate = start_patch("op/0/1");
    no_gate.as_array_mut().unwrap().remove(1);
    for patch in [merge, no_uid, no_gate] {
        let mut log = good();
        log.lines[1]["requestObject"] = patch;
        let said = log.check(&["a", "b"], &[Kind::UnfencedStart]);
        assert!(said.contains("hook a (run op/0/1)"), "{said}");
    }
}

#[test]
fn pods_are_held_by_scheduling_gates() {
    let mut log = Log::default();
    let gates = json!({"schedulingGates": [{"name": "releaselifecycle.dev/hook"}]});
    let held = log.object("p", "op/0/1", "held", gates, Value::Null);
    log.push("create", "pods", "p", 201, [held.clone(), held]);
    let open = log.object("p", "op/0/1", "open", json!({}), Value::Null);
    let mut patch = start_patch("op/0/1");
    patch[3] = json!({"op": "remove", "path": "/spec/schedulingGates"});
    log.push("patch", "pods", "p", 200, [patch, open]);
    let mut early = Log { lines: log.lines.clone() };
    let done = log.object("p", "op/0/1", "open", json!({}), json!({"phase": "Succeeded"}));
    log.push("patch", "pods/status", "p", 200, [Value::Null, done]);
    log.run("b", "op/1/1").check(&["p", "b"], &[]);
    early.run("b", "op/1/1").check(&["p", "b"], &[Kind::StartedEarly]);

    log.lines[0]["responseObject"]["spec"] = json!({});
    log.check(&["p", "b"], &[Kind::StartedTwice, Kind::NotHeld]);
}

#[test]
fn reads_on_from_an_offset_and_leaves_half_a_line() {
    let mut log = good();
    log.lines[0]["stage"] = "ResponseStarted".into();
    log.lines[1]["impersonatedUser"] = json!({"username": "tenant"});
    log.lines[1]["objectRef"]["namespace"] = "other".into();
    let text = log.text();
    let half = text.len() - 20;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&text.as_bytes()[..half]).unwrap();
    let (events, next) = read_from(file.path(), 0).unwrap();
    assert_eq!(events.len(), log.lines.len() - 2);
    assert_eq!(events[0].impersonated.as_deref(), Some("tenant"));
    assert_eq!(events[0].code, 200);
    assert_eq!(events[1].subresource.as_deref(), Some("status"));
    assert_eq!(in_namespace(&events, "n").len(), events.len() - 1);

    file.write_all(&text.as_bytes()[half..]).unwrap();
    let (events, end) = read_from(file.path(), next).unwrap();
    assert_eq!((events.len(), end), (1, text.len() as u64));
    assert_eq!(events[0].verb, "delete");
    assert!(read_from(file.path(), end).unwrap().0.is_empty());

    let error = read_from(file.path(), end + 1).unwrap_err();
    assert!(format!("{error:#}").contains("fewer than the offset"), "{error:#}");
    file.write_all(b"{}\n").unwrap();
    let error = read_from(file.path(), end).unwrap_err();
    assert!(error.to_string().contains(&format!("no audit event at byte {end}")), "{error:#}");
}
