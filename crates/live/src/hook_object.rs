//! The object that is sent for a hook, and the patches that start and stop it. Pure.

use api::names;
use helm::ownership::{MANAGED_BY, MANAGED_BY_LABEL};
use lifecycle::plan::{HookKind, Plan, PlannedHook};
use manifests::json;
use serde_json::{Map, Value, json};

use crate::observe::gating;

/// Returns the object to POST for `attempt` of the hook at `index`: held back, marked, and
/// otherwise as its source has it. It is never decoded into a type, which would drop newer fields.
pub fn build(
    plan: &Plan,
    index: usize,
    attempt: i32,
    hook: &PlannedHook,
    owner_namespace: &str,
    account: Option<&str>,
) -> Value {
    let mut object = hook.manifest.clone();
    let name = plan.object(index, attempt).name;
    let owner = format!("{owner_namespace}/{}", plan.owner.name);
    let metadata = map(&mut object, "metadata");
    metadata.insert("name".to_owned(), json!(name));
    metadata.remove("generateName");
    if let Some(namespace) = &hook.object.namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    let labels = map_in(metadata, "labels");
    labels.entry(MANAGED_BY_LABEL).or_insert(json!(MANAGED_BY));
    labels.insert(names::UID_LABEL.to_owned(), json!(plan.owner.uid));
    labels.insert(names::NAME_LABEL.to_owned(), json!(plan.owner.name));
    labels.insert(names::REVISION_LABEL.to_owned(), json!(plan.revision.to_string()));
    labels.insert(names::HOOK_LABEL.to_owned(), json!(hook.event.as_str()));
    let annotations = map_in(metadata, "annotations");
    annotations.insert(names::RUN_ANNOTATION.to_owned(), json!(plan.run_id(index, attempt)));
    annotations.insert(names::OWNER_ANNOTATION.to_owned(), json!(owner));
    if let Some(account) = account {
        annotations.insert(names::ACCOUNT_ANNOTATION.to_owned(), json!(account));
    }
    if can_be_held(hook) {
        annotations.insert(names::GATE_ANNOTATION.to_owned(), json!(names::HELD));
    } else {
        // A manifest that was copied from a live object may have it.
        annotations.remove(names::GATE_ANNOTATION);
    }
    match hook.kind() {
        HookKind::Job => {
            let held = can_be_held(hook);
            let spec = map(&mut object, "spec");
            if held {
                spec.insert("suspend".to_owned(), json!(true));
            }
            // Held back until the outcome is recorded.
            spec.remove("ttlSecondsAfterFinished");
            // It lets the Pods' events reach the operator.
            let template = map_in(map_in(spec, "template"), "metadata");
            map_in(template, "labels").insert(names::UID_LABEL.to_owned(), json!(plan.owner.uid));
            map_in(template, "annotations")
                .insert(names::OWNER_ANNOTATION.to_owned(), json!(owner));
        }
        HookKind::Pod if can_be_held(hook) => {
            let spec = map(&mut object, "spec");
            let mut gates = vec![json!({"name": names::SCHEDULING_GATE})];
            if let Some(Value::Array(others)) = spec.get_mut("schedulingGates").map(Value::take) {
                gates.extend(others);
            }
            spec.insert("schedulingGates".to_owned(), Value::Array(gates));
        }
        HookKind::Pod | HookKind::Crd | HookKind::Awaited | HookKind::Other => {}
    }
    object
}

/// Returns whether the operator can hold the hook's object back until its UID is journalled. It
/// cannot hold a Job that its author or another controller starts, nor a Pod that no scheduler
/// handles.
pub fn can_be_held(hook: &PlannedHook) -> bool {
    let manifest = &hook.manifest;
    match hook.kind() {
        HookKind::Job => {
            let suspended = manifest.pointer("/spec/suspend") == Some(&json!(true));
            !suspended && !gating::is_started_by_others(manifest)
        }
        HookKind::Pod => {
            manifest.pointer("/spec/nodeName").and_then(Value::as_str).is_none_or(str::is_empty)
        }
        HookKind::Crd | HookKind::Awaited | HookKind::Other => false,
    }
}

/// Returns the JSON patch that opens the gate: refused if the UID is another or the gate is open.
/// `live` is the present object if it is known to be more than [`build`] made: admission webhooks
/// may have given it a queue, another manager, or scheduling gates. A Job that another controller
/// now starts stays suspended; without `live`, the patch is refused for it.
pub fn start_patch(kind: HookKind, uid: &str, live: Option<&Value>) -> Value {
    let gate = "/metadata/annotations/releaselifecycle.dev~1gate";
    let test = |path: &str, value: Value| json!({"op": "test", "path": path, "value": value});
    let mut patch = vec![
        test("/metadata/uid", json!(uid)),
        test(gate, json!(names::HELD)),
        json!({"op": "replace", "path": gate, "value": names::OPEN}),
    ];
    if kind == HookKind::Pod {
        let gate =
            format!("/spec/schedulingGates/{}", live.and_then(gating::own_gate).unwrap_or(0));
        patch.push(test(&format!("{gate}/name"), json!(names::SCHEDULING_GATE)));
        patch.push(json!({"op": "remove", "path": gate}));
        return Value::Array(patch);
    }
    // A webhook may have put it back. An `add` of nothing removes it, and is harmless otherwise.
    let ttl = "/spec/ttlSecondsAfterFinished";
    patch.push(json!({"op": "add", "path": ttl, "value": null}));
    if live.is_none() {
        patch.extend(gating::STARTED_BY_OTHERS.map(|path| test(path, Value::Null)));
    }
    if !live.is_some_and(gating::is_started_by_others) {
        patch.push(json!({"op": "replace", "path": "/spec/suspend", "value": false}));
    }
    Value::Array(patch)
}

/// Returns the annotations that `sent` had and `answer` lacks, without which the object is not
/// recognized.
pub fn removed_annotations(sent: &Value, answer: &Value) -> Vec<&'static str> {
    let of = |object: &Value, name: &str| {
        object.pointer("/metadata/annotations")?.get(name)?.as_str().map(str::to_owned)
    };
    [names::RUN_ANNOTATION, names::OWNER_ANNOTATION, names::GATE_ANNOTATION]
        .into_iter()
        .filter(|name| of(sent, name) != of(answer, name))
        .collect()
}

/// Returns the JSON patch that ends a started Job for good. Suspending would not: a late start
/// undoes it.
pub fn stop_patch(uid: &str) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1},
    ])
}

/// Returns the JSON patch that gives a Job the time to live that was held back.
pub fn ttl_patch(uid: &str, seconds: i64) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": seconds},
    ])
}

/// Returns the object under `key`, created if it is missing.
fn map<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    map_in(json::object(object), key)
}

fn map_in<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    json::object(object.entry(key).or_insert(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::{
        event::{Event, HookEvent},
        testing,
    };

    fn plan(manifest: Value) -> Plan {
        let object = testing::object(manifest["kind"].as_str().unwrap(), "hook");
        let hook = testing::hook(HookEvent::PreUpgrade, object);
        Plan { hooks: vec![PlannedHook { manifest, ..hook }], ..testing::plan(Event::Upgrade) }
    }

    fn built(manifest: Value) -> Value {
        let plan = plan(manifest);
        build(&plan, 0, 1, &plan.hooks[0], "prod", Some("deployer"))
    }

    #[test]
    fn a_job_is_made_suspended_and_without_its_time_to_live() {
        let job = built(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "hook"},
            "spec": {"ttlSecondsAfterFinished": 0, "newField": 1, "template": {"spec": {}}},
        }));
        assert_eq!(job["spec"]["suspend"], true);
        assert_eq!(job["spec"]["newField"], 1);
        assert!(job["spec"].get("ttlSecondsAfterFinished").is_none());
        assert_eq!(job["metadata"]["annotations"][names::RUN_ANNOTATION], "op/0/1");
        assert_eq!(job["metadata"]["annotations"][names::GATE_ANNOTATION], "held");
        assert_eq!(job["metadata"]["labels"]["helm.sh/hook"], "pre-upgrade");
        assert_eq!(job["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
        assert_eq!(job["spec"]["template"]["metadata"]["labels"][names::UID_LABEL], "uid-1");
        assert!(job["metadata"].get("ownerReferences").is_none());
    }

    #[test]
    fn what_the_api_server_was_to_name_is_named_from_its_run() {
        let manifest = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"generateName": "hook-"},
            "spec": {"template": {"spec": {}}},
        });
        let mut plan = plan(manifest);
        plan.hooks[0].object.name = "hook-".to_owned();
        let names: Vec<_> = [1, 1, 2]
            .into_iter()
            .map(|attempt| {
                build(&plan, 0, attempt, &plan.hooks[0], "prod", None)["metadata"].clone()
            })
            .map(|metadata| {
                assert!(metadata.get("generateName").is_none(), "{metadata}");
                metadata["name"].as_str().unwrap().to_owned()
            })
            .collect();
        assert!(names[0].starts_with("hook-") && names[0].len() == 13, "{names:?}");
        assert!(names[0] == names[1] && names[1] != names[2], "{names:?}");
    }

    #[test]
    fn a_pod_gets_our_gate_first() {
        let pod = built(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hook"},
            "spec": {"schedulingGates": [{"name": "other"}]},
        }));
        assert_eq!(pod["spec"]["schedulingGates"][0]["name"], names::SCHEDULING_GATE);
        assert_eq!(pod["spec"]["schedulingGates"][1]["name"], "other");
    }

    #[test]
    fn what_others_start_is_not_held() {
        let job = |spec: Value, labels: Value| {
            json!({"apiVersion": "batch/v1", "kind": "Job",
                   "metadata": {"name": "hook", "labels": labels}, "spec": spec})
        };
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hook"},
                         "spec": {"nodeName": "node-1"}});
        for manifest in [
            job(json!({"suspend": true}), json!({})),
            job(json!({"managedBy": "example.com/x"}), json!({})),
            job(json!({}), json!({"kueue.x-k8s.io/queue-name": "q"})),
            pod,
        ] {
            let object = built(manifest);
            let annotations = &object["metadata"]["annotations"];
            assert!(annotations.get(names::GATE_ANNOTATION).is_none(), "{object}");
            assert!(object["spec"].get("schedulingGates").is_none(), "{object}");
        }
    }

    #[test]
    fn a_job_of_the_clusters_own_controller_is_held() {
        let job = built(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "hook"},
            "spec": {"managedBy": "kubernetes.io/job-controller"},
        }));
        assert_eq!(job["metadata"]["annotations"][names::GATE_ANNOTATION], "held");
    }

    fn touches(patch: &Value, field: &str) -> bool {
        patch.as_array().unwrap().iter().any(|it| it["path"] == field && it["op"] != "test")
    }

    #[test]
    fn a_job_that_a_webhook_queued_is_let_go_and_not_resumed() {
        let suspend = "/spec/suspend";
        let blind = start_patch(HookKind::Job, "u", None);
        assert!(touches(&blind, suspend));
        let absent = |path: &str| json!({"op": "test", "path": path, "value": null});
        for path in ["/metadata/labels/kueue.x-k8s.io~1queue-name", "/spec/managedBy"] {
            assert!(blind.as_array().unwrap().contains(&absent(path)), "{blind}");
        }
        let queued = json!({"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "q"}}});
        let managed = json!({"spec": {"managedBy": "example.com/x"}});
        for live in [queued, managed] {
            let patch = start_patch(HookKind::Job, "u", Some(&live));
            assert!(!touches(&patch, suspend), "{patch}");
            assert!(touches(&patch, "/metadata/annotations/releaselifecycle.dev~1gate"), "{patch}");
        }
        let own = json!({"spec": {"managedBy": "kubernetes.io/job-controller"}});
        assert!(touches(&start_patch(HookKind::Job, "u", Some(&own)), suspend));
    }

    #[test]
    fn the_gate_is_found_behind_those_of_webhooks() {
        let gate = |index: usize| format!("/spec/schedulingGates/{index}");
        assert!(touches(&start_patch(HookKind::Pod, "u", None), &gate(0)));
        let live = json!({"spec": {"schedulingGates": [
            {"name": "other"}, {"name": names::SCHEDULING_GATE}]}});
        let patch = start_patch(HookKind::Pod, "u", Some(&live));
        assert!(touches(&patch, &gate(1)) && !touches(&patch, &gate(0)), "{patch}");
    }

    #[test]
    fn what_a_webhook_removed_is_told() {
        let sent = json!({"metadata": {"annotations": {
            names::RUN_ANNOTATION: "op/0/1", names::OWNER_ANNOTATION: "prod/shop"}}});
        assert_eq!(removed_annotations(&sent, &sent), [""; 0]);
        let answer = json!({"metadata": {"annotations": {names::OWNER_ANNOTATION: "prod/shop"}}});
        assert_eq!(removed_annotations(&sent, &answer), [names::RUN_ANNOTATION]);
        let both = [names::RUN_ANNOTATION, names::OWNER_ANNOTATION];
        assert_eq!(removed_annotations(&sent, &json!({})), both);
    }
}
