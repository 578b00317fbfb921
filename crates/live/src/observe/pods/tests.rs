use serde_json::json;

use super::*;

fn ended(name: &str, code: i32, second: u32) -> Value {
    json!({"name": name, "state": {"terminated": {
        "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
        "finishedAt": format!("2026-01-01T00:00:{second:02}Z")}}})
}

fn failed(name: &str, statuses: &Value) -> Value {
    json!({"metadata": {"name": name},
           "status": {"phase": "Failed", "containerStatuses": statuses}})
}

fn message(pods: &[Value]) -> String {
    cause(pods, failed_container(pods).as_ref()).unwrap().message
}

#[test]
fn the_container_that_failed_last_is_the_culprit() {
    let pods = [json!({
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [
            ended("a", 1, 1),
            {"name": "b", "state": {"running": {}},
             "lastState": {"terminated": {"exitCode": 7, "finishedAt": "2026-01-01T00:00:02Z"}}},
            ended("c", 0, 3),
        ]},
    })];
    let culprit = failed_container(&pods).unwrap();
    assert_eq!(
        (culprit.container.as_str(), culprit.exit_code, culprit.previous),
        ("b", Some(7), true)
    );
    assert_eq!(running_container(&pods).unwrap().container, "b");
}

#[test]
fn of_an_indexed_job_it_is_the_last_in_any_pod_and_init_containers_count() {
    let init = json!({"metadata": {"name": "p-1"}, "status": {
        "initContainerStatuses": [ended("prepare", 4, 30)],
        "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }});
    let pods = [failed("p-0", &json!([ended("main", 3, 20)])), init];
    assert_eq!(message(&pods), "pod p-1 container prepare ended with exit code 4");
    // One that was killed because the Job had failed already is not one of its causes.
    let mut killed = failed("p-2", &json!([ended("main", 137, 40)]));
    killed["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:39Z");
    let pods = [pods[0].clone(), killed];
    assert_eq!(message(&pods), "pod p-0 container main ended with exit code 3");
}

#[test]
fn a_sidecar_that_is_ended_with_its_pod_is_not_the_culprit() {
    let mut pod = failed("p", &json!([ended("main", 3, 20)]));
    pod["spec"]["initContainers"] = json!([{"name": "proxy", "restartPolicy": "Always"}]);
    pod["status"]["initContainerStatuses"] = json!([ended("proxy", 143, 21)]);
    assert_eq!(message(&[pod]), "pod p container main ended with exit code 3");
}

#[test]
fn what_befell_a_pod_is_named_before_its_exit_code() {
    let mut pod = failed("p", &json!([ended("main", 137, 20)]));
    pod["status"]["reason"] = json!("Evicted");
    pod["status"]["message"] = json!("The node was low on resource: memory. ");
    let pods = [pod];
    assert_eq!(
        message(&pods),
        "pod p Evicted: The node was low on resource: memory.; container main ended with exit \
         code 137"
    );
    assert_eq!(
        failure(&pods[0]),
        (
            "Evicted".to_owned(),
            "The node was low on resource: memory.; container main ended with exit code 137"
                .to_owned()
        )
    );
}

#[test]
fn a_disruption_is_known_by_its_condition_while_the_pod_still_runs() {
    let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running", "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
         "message": "Eviction API: evicting", "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
    let pods = [pod];
    let found = cause(&pods, None).unwrap();
    assert_eq!(found.reason.as_deref(), Some("Evicted"));
    assert_eq!(found.message, "pod p Evicted: Eviction API: evicting");
    // A later Pod failed by itself, and that is why the Job failed.
    let pods = [pods[0].clone(), failed("q", &json!([ended("main", 3, 20)]))];
    assert_eq!(message(&pods), "pod q container main ended with exit code 3");
}

#[test]
fn running_out_of_memory_is_named() {
    let killed = json!([{"name": "main", "state": {"terminated": {
        "exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:01Z"}}}]);
    let pod = failed("p", &killed);
    let (reason, message) = failure(&pod);
    assert_eq!(reason, "OOMKilled");
    assert_eq!(message, "container main ended with exit code 137 (OOMKilled)");
    let other = failure(&failed("p", &json!([ended("main", 3, 1)])));
    assert_eq!(other.0, "PodFailed");
    assert_eq!(other.1, "container main ended with exit code 3");
    assert_eq!(failure(&json!({})).1, "a container of the Pod failed");
}

#[test]
fn what_holds_a_pod_up_is_named_without_a_ticking_count() {
    let pod = |message: &str| {
        json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
            {"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": message}}},
        ]}})
    };
    let one = stuck(&[pod("back-off 20s restarting failed container=a")]);
    assert_eq!(one, stuck(&[pod("back-off 40s restarting failed container=a")]));
    assert_eq!(one.unwrap(), "pod p container a CrashLoopBackOff: restarting failed container=a");
}

fn crashing(state: &Value, code: i32, restarts: i64) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Always",
           "containers": [{"name": "a"}]},
           "status": {"phase": "Running", "containerStatuses": [
        {"name": "a", "restartCount": restarts, "state": state,
         "lastState": {"terminated": {"exitCode": code, "reason": "Error",
                                      "finishedAt": "2026-01-01T00:00:01Z"}}}]}})
}

#[test]
fn the_last_end_of_a_container_stays_while_it_runs_again() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff",
                                     "message": "back-off 20s restarting failed container=a"}});
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:09Z"}});
    let said = |state: &Value, restarts| {
        let pods = [crashing(state, 3, restarts)];
        assert_eq!(stuck(&pods), None, "it is said once");
        restarting(&pods).unwrap().1
    };
    let text = "pod p container a CrashLoopBackOff: 3 tries failed, last: exit code 3";
    assert_eq!(said(&waiting, 2), text);
    assert_eq!(said(&running, 3), text, "nothing has ended since");
    let first = "pod p container a: 1 try failed, last: exit code 3";
    assert_eq!(said(&running, 1), first);
    // Before the kubelet has decided what follows.
    let mut ended =
        crashing(&crashing(&running, 3, 0)["status"]["containerStatuses"][0]["lastState"], 3, 0);
    ended["status"]["containerStatuses"][0]["lastState"] = json!({});
    assert_eq!(restarting(std::slice::from_ref(&ended)).unwrap().1, first);
    ended["spec"]["restartPolicy"] = json!("Never");
    assert_eq!(restarting(&[ended]), None);
    // One that ends well is not meant to end either, except the first time.
    let well = restarting(&[crashing(&waiting, 0, 2)]).unwrap().1;
    assert_eq!(well, "pod p container a CrashLoopBackOff: 3 tries failed, last: exit code 0");
    assert_eq!(restarting(&[crashing(&running, 0, 1)]), None);
}

#[test]
fn the_tries_of_a_job_are_counted_while_the_next_one_runs() {
    let job = |limit: Value, failed: i64| json!({"spec": {"backoffLimit": limit}, "status": {"failed": failed}});
    let next = json!({"metadata": {"name": "q"}, "status": {"phase": "Running",
        "containerStatuses": [{"name": "main", "state": {"running": {}}}]}});
    let pods = [failed("p", &json!([ended("main", 1, 20)])), next.clone()];
    assert_eq!(
        tries(&job(json!(6), 2), &pods, None).unwrap(),
        "2 of 7 tries failed, last: exit code 1 in pod p container main"
    );
    // Its Pod is gone, and the noted cause stays.
    let noted = |reason: Option<&str>, message: &str| Cause {
        reason: reason.map(str::to_owned),
        message: message.to_owned(),
    };
    let before = noted(None, "pod p container main ended with exit code 1");
    assert_eq!(
        tries(&job(json!(6), 2), std::slice::from_ref(&next), Some(&before)).unwrap(),
        "2 of 7 tries failed, last: pod p container main ended with exit code 1"
    );
    let evicted = noted(Some("Evicted"), "pod p Evicted: memory");
    assert_eq!(
        tries(&job(Value::Null, 1), &pods, Some(&evicted)).unwrap(),
        "1 try failed, last: pod p Evicted: memory"
    );
    assert_eq!(tries(&job(json!(6), 1), &[next], None).unwrap(), "1 of 7 tries failed");
    assert_eq!(tries(&job(json!(0), 1), &pods, None), None, "no other comes after it");
    assert_eq!(tries(&job(json!(i64::MAX), 0), &pods, None), None);
    assert_eq!(tries(&json!({}), &[], None), None);
}

#[test]
fn a_pod_of_a_job_that_somebody_deleted_is_named() {
    let job = |conditions: Value| json!({"status": {"conditions": conditions}});
    let target =
        |reason: &str| job(json!([{"type": "FailureTarget", "status": "True", "reason": reason}]));
    let mut pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:39Z"},
                         "status": {"phase": "Running"}});
    let said = "pod p was deleted before it had ended";
    let found = |job: &Value, pod: &Value| {
        deleted(job, std::slice::from_ref(pod)).map(|cause| cause.message)
    };
    assert_eq!(found(&job(json!([])), &pod).unwrap(), said);
    assert_eq!(found(&target("BackoffLimitExceeded"), &pod).unwrap(), said);
    for reason in ["DeadlineExceeded", "PodFailurePolicy", "SuccessPolicy"] {
        assert_eq!(found(&target(reason), &pod), None, "the Job's controller did it: {reason}");
    }
    // Killed once it was deleted.
    pod["status"]["containerStatuses"] = json!([ended("main", 137, 50)]);
    assert_eq!(found(&target("BackoffLimitExceeded"), &pod).unwrap(), said);
    pod["status"]["conditions"] = json!([
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
    assert_eq!(found(&job(json!([])), &pod), None, "that is named otherwise");
    // Another one has failed, and this one is only cleared away.
    let pods = [crashing(&json!({"running": {}}), 3, 1), pod];
    assert_eq!(deleted(&target("BackoffLimitExceeded"), &pods), None);
    assert_eq!(deleted(&json!({"spec": {"suspend": true}}), &pods[1..]), None);
}

#[test]
fn a_pod_that_outlived_its_job_is_named() {
    let pod = |owners: Value, phase: &str| {
        [json!({"metadata": {"name": "p", "namespace": "prod", "ownerReferences": owners},
                "status": {"phase": phase}})]
    };
    let said = orphan(&pod(Value::Null, "Running")).unwrap();
    assert!(said.ends_with("remove it with kubectl delete pod p -n prod"), "{said}");
    assert_eq!(orphan(&pod(json!([{"uid": "u"}]), "Running")), None, "it is being removed");
    assert_eq!(orphan(&pod(json!([]), "Succeeded")), None);
}

#[test]
fn a_scheduling_gate_of_somebody_else_is_named() {
    let pod = |gates: Value| {
        json!({"metadata": {"name": "p"}, "spec": {"schedulingGates": gates},
               "status": {"conditions": [
                   {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}})
    };
    let other = json!({"name": "example.com/later"});
    assert_eq!(
        stuck(&[pod(json!([other]))]).unwrap(),
        "pod p is held back by scheduling gate example.com/later"
    );
    assert_eq!(stuck(&[pod(json!([{"name": names::SCHEDULING_GATE}]))]), None);
}

#[test]
fn a_sidecar_that_keeps_the_pod_from_ending_is_named() {
    let running = json!({"name": "proxy", "state": {"running": {}}});
    let pod = |statuses: Value| {
        [json!({"metadata": {"name": "p"},
                "status": {"phase": "Running", "containerStatuses": statuses}})]
    };
    assert_eq!(
        lingering(&pod(json!([ended("main", 0, 1), running]))).unwrap(),
        "pod p container main ended with exit code 0, container proxy still runs"
    );
    assert_eq!(lingering(&pod(json!([running]))), None);
    assert_eq!(lingering(&pod(json!([ended("main", 0, 1)]))), None);
}

#[test]
fn ids_of_a_runtime_are_left_out_and_words_are_not() {
    let id = "3f0e".repeat(16);
    assert_eq!(
        steady_ids(&format!("sandbox \"{id}\": bad decade faced")),
        "sandbox \"…\": bad decade faced"
    );
    assert_eq!(steady_ids("schön: é"), "schön: é");
}

#[test]
fn pods_that_wait_are_told_from_those_that_have_run() {
    let pod = |phase: &str, state: Value| {
        json!({"metadata": {"name": "p"}, "status": {"phase": phase,
               "containerStatuses": [{"name": "main", "state": state}]}})
    };
    let waits = pod("Pending", json!({"waiting": {"reason": "ContainerCreating"}}));
    let runs = pod("Running", json!({"running": {}}));
    let stops = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"},
                       "status": {"phase": "Pending"}});
    assert!(none_started(std::slice::from_ref(&waits)));
    for pods in [vec![], vec![runs.clone()], vec![waits, runs], vec![stops]] {
        assert!(!none_started(&pods), "{pods:?}");
    }
}
