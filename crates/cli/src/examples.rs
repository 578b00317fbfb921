//! The output, by examples. The statuses are those of examples/demo, as a controller wrote them.

use api::ReleaseLifecycle;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Outcome,
    state::State,
    table, timeline, transitions,
    watch::{Goal, Request},
    words::Look,
};

fn at(time: &str) -> Timestamp {
    format!("2026-11-22T{time}Z").parse().unwrap()
}

fn release(generation: i64, status: Value) -> ReleaseLifecycle {
    let objects = json!([
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {
            "name": "shop-migration", "annotations": {"helm.sh/hook": "pre-upgrade"}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop"}},
    ]);
    serde_json::from_value(json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1",
        "kind": "ReleaseLifecycle",
        "metadata": {"name": "shop", "namespace": "shop", "uid": "1", "generation": generation},
        "spec": {"source": {"objects": objects}},
        "status": status,
    }))
    .unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-22T11:02:10Z"})
}

/// An upgrade in `phase`, modified by `change`.
fn upgrade(phase: &str, message: &str, change: impl FnOnce(&mut Value)) -> ReleaseLifecycle {
    let hook = |index, event: &str, name: &str, weight| {
        json!({"index": index, "event": event, "kind": "Job", "name": name, "namespace": "shop",
            "weight": weight, "phase": "Pending", "attempt": 0})
    };
    let mut status = json!({
        "observedGeneration": 2,
        "revision": 1,
        "conditions": [condition("Ready", "Unknown", "Progressing", message)],
        "operation": {"id": "op2", "event": "Upgrade", "revision": 2, "generation": 2,
            "planDigest": "sha256:1", "phase": phase, "startedAt": "2026-11-22T11:02:09Z"},
        "hooks": [
            hook(0, "pre-upgrade", "shop-backup", -10),
            hook(1, "pre-upgrade", "shop-migration", -5),
            hook(2, "post-upgrade", "shop-verify", 0),
        ],
    });
    change(&mut status);
    release(2, status)
}

fn merge(value: &mut Value, more: Value) {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
}

fn backup_succeeded(status: &mut Value) {
    merge(
        &mut status["hooks"][0],
        json!({"phase": "Succeeded", "attempt": 1, "uid": "a",
            "startedAt": "2026-11-22T11:02:10Z", "completedAt": "2026-11-22T11:02:13.2Z"}),
    );
}

fn migrating(waiting: &str) -> ReleaseLifecycle {
    let message = format!(
        "waiting for hook Job/shop-migration (pre-upgrade, 2 of 2, attempt 1) since \
         2026-11-22T11:02:14Z, until 2026-11-22T11:04:14Z{waiting}"
    );
    upgrade("PreHooks", &message, |status| {
        backup_succeeded(status);
        merge(
            &mut status["hooks"][1],
            json!({"phase": "Running", "attempt": 1, "uid": "b",
                "startedAt": "2026-11-22T11:02:14Z"}),
        );
        status["operation"]["hook"] = json!({"index": 1, "attempt": 1, "step": "Run", "uid": "b",
            "startedAt": "2026-11-22T11:02:14Z", "deadline": "2026-11-22T11:04:14Z"});
    })
}

fn failed() -> ReleaseLifecycle {
    let message = "upgrade of revision 2 failed: pre-upgrade hook Job/shop-migration failed: \
                   BackoffLimitExceeded: Job has reached the specified backoff limit";
    upgrade("Done", message, |status| {
        backup_succeeded(status);
        merge(
            &mut status["hooks"][1],
            json!({"phase": "Failed", "attempt": 1, "uid": "b", "exitCode": 3,
                "reason": "BackoffLimitExceeded",
                "message": "Job has reached the specified backoff limit",
                "log": "migrating table 1 of 8\nno such column\u{1b}[31m: price\n",
                "startedAt": "2026-11-22T11:02:14Z", "completedAt": "2026-11-22T11:02:19Z"}),
        );
        merge(
            &mut status["operation"],
            json!({"completedAt": "2026-11-22T11:02:20Z", "failedIn": "PreHooks", "failure": {"reason": "HookFailed",
                "message": "pre-upgrade hook Job/shop-migration failed"}}),
        );
        status["conditions"] = json!([condition("Ready", "False", "HookFailed", message)]);
    })
}

fn succeeded() -> ReleaseLifecycle {
    let message = "upgrade of revision 2 succeeded with 3 hooks";
    upgrade("Done", message, |status| {
        for hook in status["hooks"].as_array_mut().unwrap() {
            merge(
                hook,
                json!({"phase": "Succeeded", "attempt": 1, "uid": "a",
                    "startedAt": "2026-11-22T11:02:10Z", "completedAt": "2026-11-22T11:03:15Z"}),
            );
        }
        status["operation"]["completedAt"] = json!("2026-11-22T11:03:16Z");
        status["conditions"] = json!([condition("Ready", "True", "UpgradeSucceeded", message)]);
    })
}

fn unobserved() -> ReleaseLifecycle {
    release(1, json!({"observedGeneration": -1}))
}

/// The new spec cannot be applied; the last operation was that of an older one.
fn blocked() -> ReleaseLifecycle {
    let mut object = succeeded();
    object.metadata.generation = Some(3);
    let status = object.status.as_mut().unwrap();
    status.observed_generation = Some(3);
    status.conditions[0].status = "False".to_owned();
    status.conditions[0].reason = "UnknownKind".to_owned();
    status.conditions[0].message = "Nonsense/x: the cluster does not know it".to_owned();
    object
}

#[track_caller]
fn check(object: &ReleaseLifecycle, now: &str, expected: &str) {
    let text = timeline::render(object, at(now), Look::PLAIN);
    assert!(text == expected, "expected:\n{expected}\nfound:\n{text}");
}

#[test]
fn a_running_hook_stands_between_what_was_and_what_will_be() {
    let expected = "\
shop/shop  upgrade of revision 2  Ready=Unknown Progressing  since 11:02:09Z, 10s…
  ✔ plan recorded
  ✔ pre-upgrade   Job/shop-backup     weight -10  attempt 1  3.2s  11:02:10Z
  ● pre-upgrade   Job/shop-migration  weight -5   attempt 1  5s…   running since 11:02:14Z, until 11:04:14Z
  ○ apply the objects
  ○ wait until they are ready
  ○ post-upgrade  Job/shop-verify     weight 0
  ○ close the record
";
    check(&migrating(""), "11:02:19", expected);
}

#[test]
fn what_is_waited_for_stands_below_the_step_that_waits() {
    let text = timeline::render(
        &migrating(": pod shop-migration-x7k2p ImagePullBackOff"),
        at("11:02:19"),
        Look::PLAIN,
    );
    assert!(
        text.contains("until 11:04:14Z\n      pod shop-migration-x7k2p ImagePullBackOff\n  ○"),
        "{text}"
    );
    let ready = upgrade(
        "Ready",
        "upgrade: waiting until 2026-11-22T11:05:00Z for the release's objects to be ready: \
         Deployment/shop: 0 of 1",
        |status| status["operation"]["deadline"] = json!("2026-11-22T11:05:00Z"),
    );
    let text = timeline::render(&ready, at("11:03:00"), Look::PLAIN);
    let expected =
        "  ● waiting until they are ready, until 11:05:00Z\n      Deployment/shop: 0 of 1\n  ○";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_failed_hook_shows_its_evidence_and_what_was_not_reached() {
    let expected = "\
shop/shop  upgrade of revision 2  Ready=False HookFailed  took 11s, ended 11:02:20Z
  upgrade of revision 2 failed: pre-upgrade hook Job/shop-migration failed: BackoffLimitExceeded: \
                    Job has reached the specified backoff limit
  ✔ plan recorded
  ✔ pre-upgrade   Job/shop-backup     weight -10  attempt 1  3.2s  11:02:10Z
  ✖ pre-upgrade   Job/shop-migration  weight -5   attempt 1  5.0s  11:02:14Z
      exit code 3, BackoffLimitExceeded: Job has reached the specified backoff limit
      │ migrating table 1 of 8
      │ no such column: price
      the whole log: `kubectl lifecycle logs shop -n shop Job/shop-migration`
  - apply the objects: not reached
  - wait until they are ready: not reached
  - post-upgrade  Job/shop-verify     weight 0                     not reached
  ✔ record closed
";
    check(&failed(), "11:03:00", expected);
}

#[test]
fn a_hook_of_an_operation_that_was_given_up_is_not_shown_as_running() {
    let mut object = migrating("");
    let operation = object.status.as_mut().unwrap().operation.as_mut().unwrap();
    operation.phase = lifecycle::journal::Phase::Done;
    operation.completed_at = Some(at("11:02:20"));
    operation.hook = None;
    operation.failure =
        serde_json::from_value(json!({"reason": "PlanChanged", "message": "another plan"}))
            .unwrap();
    let text = timeline::render(&object, at("11:03:00"), Look::PLAIN);
    let expected = "attempt 1        11:02:14Z, its end was not seen\n";
    assert!(
        text.contains("✖ pre-upgrade   Job/shop-migration") && text.contains(expected),
        "{text}"
    );
}

#[test]
fn an_object_that_nobody_looked_at_says_so() {
    let expected = "\
shop/shop  nothing observed yet
  No controller has observed it: is one running, and does it serve namespace shop?
";
    check(&unobserved(), "11:03:00", expected);
    let mut changed = succeeded();
    changed.metadata.generation = Some(3);
    let text = timeline::render(&changed, at("11:04:00"), Look::PLAIN);
    assert!(text.contains("No controller has observed generation 3 yet"), "{text}");
}

#[test]
fn what_blocks_a_release_stands_before_its_last_operation() {
    let text = timeline::render(&blocked(), at("11:04:00"), Look::PLAIN);
    let expected = "\
shop/shop  last: upgrade of revision 2  Ready=False UnknownKind  took 1m07s, ended 11:03:16Z
  Nonsense/x: the cluster does not know it
";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn colours_change_nothing_but_colours() {
    let plain = timeline::render(&failed(), at("11:03:00"), Look::PLAIN);
    let mut coloured =
        timeline::render(&failed(), at("11:03:00"), Look { colour: true, width: None });
    assert_ne!(plain, coloured);
    for code in ["1", "2", "31", "32", "33", "0"] {
        coloured = coloured.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, coloured);
}

#[test]
fn a_table_has_a_line_for_each() {
    let text = table::render(&[&failed(), &unobserved()], true, at("11:02:25"), Look::PLAIN);
    let expected = "\
NAMESPACE  NAME  READY    EVENT    REVISION  SINCE  STATUS
shop       shop  False    upgrade  2         5s     upgrade of revision 2 failed: pre-upgrade hook \
                    Job/shop-migration failed: BackoffLimitExceeded: Job has reached the specified \
                    backoff limit
shop       shop  Unknown  -        -         -      no controller has observed generation 1 yet
";
    assert!(text == expected, "expected:\n{expected}\nfound:\n{text}");
    let narrow = Look { colour: false, width: Some(60) };
    let text = table::render(&[&failed()], false, at("11:02:25"), narrow);
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
}

#[track_caller]
fn check_lines(before: Option<&ReleaseLifecycle>, after: &ReleaseLifecycle, expected: &[&str]) {
    assert_eq!(transitions::lines(before, after, at("11:02:20")), expected);
}

#[test]
fn each_change_is_a_line() {
    let (start, pulling) = (migrating(""), migrating(": pod x ImagePullBackOff"));
    // The first lines about a running operation contain all of it, each part at its own time.
    check_lines(
        None,
        &start,
        &[
            "11:02:09Z shop/shop upgrade of revision 2 began",
            "11:02:10Z shop/shop hook Job/shop-backup (pre-upgrade) started, attempt 1",
            "11:02:13Z shop/shop hook Job/shop-backup (pre-upgrade) succeeded after 3.2s",
            "11:02:14Z shop/shop hook Job/shop-migration (pre-upgrade) started, attempt 1, until \
             11:04:14Z",
        ],
    );
    check_lines(Some(&start), &start, &[]);
    check_lines(Some(&start), &pulling, &["11:02:20Z shop/shop pod x ImagePullBackOff"]);
    check_lines(
        Some(&start),
        &failed(),
        &[
            "11:02:19Z shop/shop hook Job/shop-migration (pre-upgrade) failed after 5.0s: exit \
             code 3, BackoffLimitExceeded: Job has reached the specified backoff limit",
            "11:02:19Z shop/shop Job/shop-migration | migrating table 1 of 8",
            "11:02:19Z shop/shop Job/shop-migration | no such column: price",
            "11:02:20Z shop/shop upgrade of revision 2 failed after 11s, Ready=False HookFailed: \
             pre-upgrade hook Job/shop-migration failed",
        ],
    );
}

#[test]
fn the_phases_between_the_hooks_are_lines_too() {
    let phase = |phase| {
        upgrade(phase, "", |status| {
            status["conditions"] = json!([]);
            status["operation"]["deadline"] = json!("2026-11-22T11:04:20Z");
        })
    };
    check_lines(
        Some(&phase("PreHooks")),
        &phase("Applying"),
        &["11:02:20Z shop/shop applying the objects"],
    );
    check_lines(
        Some(&phase("Applying")),
        &phase("Ready"),
        &["11:02:20Z shop/shop waiting until the objects are ready, until 11:04:20Z"],
    );
}

#[test]
fn what_has_no_operation_of_its_own_is_said_once() {
    check_lines(
        None,
        &unobserved(),
        &["11:02:20Z shop/shop generation 1 is not observed by a controller yet"],
    );
    let line =
        "11:02:20Z shop/shop Ready=False UnknownKind: Nonsense/x: the cluster does not know it";
    check_lines(None, &blocked(), &[line]);
    check_lines(Some(&succeeded()), &blocked(), &[line]);
    check_lines(Some(&blocked()), &blocked(), &[]);
    check_lines(
        None,
        &succeeded(),
        &["11:03:16Z shop/shop upgrade of revision 2 succeeded after 1m07s, Ready=True \
           UpgradeSucceeded"],
    );
}

#[test]
fn a_watch_ends_when_the_controller_is_done_with_what_was_asked() {
    let settled = |object: &ReleaseLifecycle, generation| State::new(object).is_settled(generation);
    assert!(!settled(&unobserved(), 1));
    assert!(!settled(&migrating(""), 2));
    assert!(settled(&succeeded(), 2) && settled(&failed(), 2) && settled(&blocked(), 3));
    // It continues by itself once the other is ready.
    let mut waiting = blocked();
    let status = waiting.status.as_mut().unwrap();
    let more = condition("Reconciling", "True", "DependencyNotReady", "db is not ready");
    status.conditions.push(serde_json::from_value(more).unwrap());
    assert!(!settled(&waiting, 3));
    // An upgrade that ended before the controller reconciled the newer spec is not the one.
    assert!(!settled(&succeeded(), 3));
}

/// Returns `object`, stalled until somebody acts.
fn stalled(object: ReleaseLifecycle) -> ReleaseLifecycle {
    with(object, |status| {
        let why = |type_, status| condition(type_, status, "Forbidden", "no rights");
        status["conditions"] = json!([why("Ready", "False"), why("Stalled", "True")]);
    })
}

/// Returns `object`, while `spec.suspend` holds something back.
fn suspended(object: ReleaseLifecycle) -> ReleaseLifecycle {
    let mut object = with(object, |status| {
        status["conditions"] = json!([condition("Ready", "Unknown", "Suspended", "held back")]);
    });
    object.spec.suspend = Some(true);
    object
}

#[test]
fn a_watch_ends_where_nothing_goes_on_until_somebody_changes_something() {
    let settled = |object: &ReleaseLifecycle, generation| State::new(object).is_settled(generation);
    for object in [stalled(migrating("")), suspended(migrating("")), suspended(succeeded())] {
        assert!(settled(&object, 2));
        assert_eq!(Goal::ready(&object).judge(&object), Outcome::Failed);
    }
    // The operation has the generation that it began with, before it was suspended.
    assert!(settled(&suspended(migrating("")), 3));
    // The newer spec may have nothing to hold back, or the permission may not be missing.
    assert!(!settled(&suspended(succeeded()), 3) && !settled(&stalled(migrating("")), 3));
    // It was resumed, and has not been reconciled since.
    let mut resumed = suspended(migrating(""));
    resumed.spec.suspend = None;
    assert!(!settled(&resumed, 2));
}

#[test]
fn what_stood_still_before_it_was_asked_for_is_not_waited_for_forever() {
    let retry = || Request { value: "now".to_owned(), handled: |it| &it.retry };
    for object in [stalled(blocked()), stalled(migrating("")), suspended(migrating(""))] {
        let goal = Goal::answer(&object, retry());
        assert!(!goal.is_reached(&object), "nobody has answered");
        assert!(goal.is_blocked(&object));
        assert!(Goal::tests(&object, asked_for_tests()).is_blocked(&object));
        let answered = with(object, |status| status["lastHandledRetryAt"] = json!("now"));
        assert!(goal.is_reached(&answered));
        assert_eq!(goal.judge(&answered), Outcome::Failed);
    }
    for object in [migrating(""), unobserved()] {
        assert!(!Goal::answer(&object, retry()).is_blocked(&object), "it goes on");
    }
    // The controller records that it has reconciled a newer spec, unless an operation runs.
    let newer = |object: ReleaseLifecycle| {
        let newer = release(4, serde_json::to_value(&object.status).unwrap());
        let goal = Goal::ready(&newer);
        assert!(!goal.is_reached(&newer));
        goal.is_blocked(&newer)
    };
    assert!(!newer(stalled(blocked())) && newer(stalled(migrating(""))));
}

/// A request that is answered once `lastHandledTestAt` says so.
fn asked_for_tests() -> Request {
    Request { value: "now".to_owned(), handled: |it| &it.test }
}

/// The object with this change of the status.
fn with(mut object: ReleaseLifecycle, change: impl FnOnce(&mut Value)) -> ReleaseLifecycle {
    let mut status = serde_json::to_value(&object.status).unwrap();
    change(&mut status);
    object.status = serde_json::from_value(status).unwrap();
    object
}

#[test]
fn a_request_is_waited_for_until_it_is_answered_or_refused() {
    let goal = Goal::tests(&succeeded(), asked_for_tests());
    assert!(!goal.is_reached(&succeeded()), "nobody has looked at it");
    let answered = |verdict: &str| {
        with(succeeded(), |status| {
            status["lastHandledTestAt"] = json!("now");
            let verdict = condition("TestSuccess", verdict, "", "");
            status["conditions"].as_array_mut().unwrap().push(verdict);
        })
    };
    for (verdict, outcome) in [("True", Outcome::Good), ("False", Outcome::Failed)] {
        let object = answered(verdict);
        assert!(goal.is_reached(&object));
        assert_eq!(goal.judge(&object), outcome);
    }
    // The tests that were requested now are blocked, and earlier ones succeeded.
    let standing = with(stalled(migrating("")), |status| {
        status["lastHandledTestAt"] = json!("now");
        status["conditions"].as_array_mut().unwrap().push(condition("TestSuccess", "True", "", ""));
    });
    assert!(goal.is_reached(&standing));
    assert_eq!(goal.judge(&standing), Outcome::Failed);
    let refused = with(standing, |status| {
        status["lastHandledTestAt"] = json!("before");
        status["operation"]["completedAt"] = json!("2026-11-22T11:03:16Z");
    });
    assert!(goal.is_reached(&refused));
    assert_eq!(goal.judge(&refused), Outcome::Failed);
    // A request that cannot begin is never answered.
    let stalled = stalled(succeeded());
    assert!(goal.is_reached(&stalled));
    assert_eq!(goal.judge(&stalled), Outcome::Failed);
    let same = Goal::answer(&stalled, asked_for_tests());
    assert!(!same.is_reached(&stalled), "that was so before it was asked for");
}

#[test]
fn a_cancelled_operation_is_told_from_one_that_ended_by_itself() {
    let running = migrating("");
    let goal =
        Goal::cancelled(&running, running.status.as_ref().unwrap().operation.as_ref().unwrap());
    assert!(!goal.is_reached(&running));
    let cancelled = with(failed(), |status| {
        status["operation"]["failure"]["reason"] = json!("Cancelled");
    });
    for (object, outcome) in
        [(cancelled, Outcome::Good), (failed(), Outcome::Failed), (succeeded(), Outcome::Failed)]
    {
        assert!(goal.is_reached(&object));
        assert_eq!(goal.judge(&object), outcome);
    }
    // The next one runs already; the outcome of the one before is known if it failed.
    let next = with(migrating(""), |status| {
        merge(&mut status["operation"], json!({"id": "op3", "revision": 3}));
    });
    assert!(goal.is_reached(&next));
    assert_eq!(goal.judge(&next), Outcome::Failed);
    let why = "the upgrade of revision 2 ended before it could be cancelled";
    assert_eq!(goal.missed(&next).as_deref(), Some(why));
    let next = with(next, |status| {
        status["lastAttempt"] = json!({"configDigest": "", "generation": 2, "event": "Upgrade",
            "revision": 2, "failures": 1, "reason": "Cancelled", "message": ""});
    });
    assert_eq!((goal.judge(&next), goal.missed(&next)), (Outcome::Good, None));
}

#[test]
fn what_has_not_failed_is_not_retried() {
    let can = |object: &ReleaseLifecycle| State::new(object).can_be_retried();
    assert!(can(&failed()) && can(&blocked()) && can(&unobserved()));
    assert!(!can(&succeeded()) && !can(&migrating("")));
    let standing = with(migrating(""), |status| {
        status["operation"]["hook"]["step"] = json!("Blocked");
    });
    assert!(can(&standing));
}

#[test]
fn tests_end_with_their_own_result() {
    let tested = |status: &str, reason: &str, message: &str| {
        with(succeeded(), |it| {
            merge(&mut it["operation"], json!({"id": "op3", "event": "Test"}));
            it["hooks"] = json!([]);
            let conditions = [
                condition("Ready", "Unknown", "Progressing", "the tests of revision 2 have ended"),
                condition("TestSuccess", status, reason, message),
            ];
            it["conditions"] = json!(conditions);
        })
    };
    for (status, reason, message) in [
        ("True", "TestSucceeded", "1 test of revision 2 succeeded"),
        ("False", "TestFailed", "test of revision 2 failed: no"),
        ("True", "NoTests", "revision 2 has no tests"),
    ] {
        let lines = transitions::lines(
            Some(&succeeded()),
            &tested(status, reason, message),
            at("11:03:20"),
        );
        let last = lines.last().unwrap();
        assert!(
            last.ends_with(&format!(", TestSuccess={status} {reason}: {message}")),
            "{lines:?}"
        );
        assert!(!last.contains("Ready="), "{last}");
    }
}
