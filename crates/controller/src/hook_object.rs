//! The object that is sent for a hook, and the patches that start and stop it. Pure.

use api::names;
use helm::ownership::{MANAGED_BY, MANAGED_BY_LABEL};
use lifecycle::plan::{HookKind, Plan, PlannedHook};
use serde_json::{Map, Value, json};

/// The object to POST for `attempt` of the hook at `index`: held back, marked, and otherwise as
/// its source has it. It is never decoded into a type, which would drop newer fields.
pub(crate) fn build(
    plan: &Plan,
    index: usize,
    attempt: i32,
    hook: &PlannedHook,
    owner_namespace: &str,
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
    if can_be_held(hook) {
        annotations.insert(names::GATE_ANNOTATION.to_owned(), json!(names::HELD));
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
            // So that the Pods' events reach the operator.
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
        HookKind::Pod | HookKind::Crd | HookKind::Other => {}
    }
    object
}

/// Whether the operator can hold the hook's object back until its UID is journalled. Not a Job
/// that its author or another controller starts, nor a Pod that no scheduler looks at.
fn can_be_held(hook: &PlannedHook) -> bool {
    let manifest = &hook.manifest;
    match hook.kind() {
        HookKind::Job => {
            let suspended = manifest.pointer("/spec/suspend") == Some(&json!(true));
            let managed = manifest.pointer("/spec/managedBy").is_some_and(|by| !by.is_null());
            let queued = manifest.pointer("/metadata/labels/kueue.x-k8s.io~1queue-name").is_some();
            !suspended && !managed && !queued
        }
        HookKind::Pod => {
            manifest.pointer("/spec/nodeName").and_then(Value::as_str).is_none_or(str::is_empty)
        }
        HookKind::Crd | HookKind::Other => false,
    }
}

/// The JSON patch that opens the gate: refused where the UID is another or the gate is open.
pub(crate) fn start_patch(kind: HookKind, uid: &str) -> Value {
    let gate = "/metadata/annotations/releaselifecycle.dev~1gate";
    let mut patch = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": uid}),
        json!({"op": "test", "path": gate, "value": names::HELD}),
        json!({"op": "replace", "path": gate, "value": names::OPEN}),
    ];
    if kind == HookKind::Pod {
        let name = "/spec/schedulingGates/0/name";
        patch.push(json!({"op": "test", "path": name, "value": names::SCHEDULING_GATE}));
        patch.push(json!({"op": "remove", "path": "/spec/schedulingGates/0"}));
    } else {
        patch.push(json!({"op": "replace", "path": "/spec/suspend", "value": false}));
    }
    Value::Array(patch)
}

/// The JSON patch that ends a started Job for good. Suspending would not: a late start undoes it.
pub(crate) fn stop_patch(uid: &str) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 1},
    ])
}

/// The JSON patch that gives a Job the time to live that was held back.
pub(crate) fn ttl_patch(uid: &str, seconds: i64) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/spec/ttlSecondsAfterFinished", "value": seconds},
    ])
}

/// The object under `key`, made where it is missing.
fn map<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let object = object.as_object_mut().expect("it was just made an object");
    map_in(object, key)
}

fn map_in<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = object.entry(key).or_insert(json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made an object")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::{
        event::Event,
        hooks::HookEvent,
        plan::{ObjectRef, Owner},
    };

    fn plan(manifest: Value) -> Plan {
        let text = |pointer: &str| manifest.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        Plan {
            operation: "op".to_owned(),
            owner: Owner { uid: "uid-1".to_owned(), name: "shop".to_owned() },
            event: Event::Upgrade,
            revision: 2,
            target: None,
            first_deployed: None,
            config_digest: String::new(),
            config_key: String::new(),
            timeout_seconds: 300,
            wait: true,
            hooks: vec![PlannedHook {
                event: HookEvent::PreUpgrade,
                object: ObjectRef {
                    api_version: text("/apiVersion"),
                    kind: text("/kind"),
                    namespace: Some("prod".to_owned()),
                    name: "hook".to_owned(),
                },
                weight: 0,
                delete_policies: Vec::new(),
                manifest,
            }],
            objects: Vec::new(),
            prune: Vec::new(),
        }
    }

    fn built(manifest: Value) -> Value {
        let plan = plan(manifest);
        build(&plan, 0, 1, &plan.hooks[0], "prod")
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
            .map(|attempt| build(&plan, 0, attempt, &plan.hooks[0], "prod")["metadata"].clone())
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
}
