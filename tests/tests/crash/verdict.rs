//! Faults of a run: by the audit log, which neither the operator nor this test can
//! colour, and by how the release ended.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use api::names::{GATE_ANNOTATION, HELD, OPEN, RUN_ANNOTATION, UID_LABEL};
use e2e::{AuditLog, Namespace};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Value, json};
use testkit::audit::{self, Event};

use crate::scenario::{RENDERED, Scenario, TIME_TO_LIVE};

/// The kinds of hooks that can be held.
const HOOKS: [(&str, &str); 2] = [("batch/v1", "Job"), ("v1", "Pod")];
/// Every kind that the release is made of.
pub(crate) const ALL: [(&str, &str); 6] = [
    ("batch/v1", "Job"),
    ("v1", "Pod"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("apps/v1", "Deployment"),
    ("releaselifecycle.dev/v1alpha1", "ReleaseLifecycle"),
];

/// Everything that is wrong in `namespace` after `scenario`.
pub(crate) async fn of(
    namespace: &Namespace,
    scenario: Scenario,
    log: &AuditLog,
) -> Result<Vec<String>> {
    let mut events = log.take(|event| event.is_in(&namespace.name))?;
    // What it began with was not made by the operator.
    events.retain(|event| event.verb != "create" || event.impersonated.is_some());
    let tenant = format!("system:serviceaccount:{}:deployer", namespace.name);
    let operator = |event: &Event| event.impersonated.as_deref() == Some(&tenant);
    let judged = audit::judge(&events, operator, &scenario.own_hooks());
    let mut wrong: Vec<_> = judged.iter().map(ToString::to_string).collect();
    unjournalled(&events, &mut wrong);
    wrong.extend(of_end(namespace, scenario).await?);
    Ok(wrong)
}

/// How the release in `namespace` is otherwise than `scenario` ends.
pub(crate) async fn of_end(namespace: &Namespace, scenario: Scenario) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let found = end(&objects(namespace, &ALL).await?)?;
    let expected = expected(scenario);
    for (what, expected) in expected.as_object().into_iter().flatten() {
        if found[what] != *expected {
            wrong.push(format!("{what}: {}; expected {expected}", found[what]));
        }
    }
    Ok(wrong)
}

/// Returns what is wrong in `namespace` whatever was asked for: a run that was started twice, or before it was
/// journalled.
pub(crate) fn of_starts(namespace: &Namespace, log: &AuditLog) -> Result<Vec<String>> {
    of_starts_in(&log.take(|event| event.is_in(&namespace.name))?)
}

/// As [`of_starts`], of these requests.
pub(crate) fn of_starts_in(events: &[Event]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    unjournalled(events, &mut wrong);
    let mut runs = BTreeMap::<&str, usize>::new();
    for start in starts(events) {
        let annotations = &start.response["metadata"]["annotations"];
        let run = annotations[RUN_ANNOTATION].as_str().context("a run that was started")?;
        *runs.entry(run).or_default() += 1;
    }
    let twice = runs.into_iter().filter(|(_, times)| *times > 1);
    wrong.extend(twice.map(|(run, times)| format!("run {run} was started {times} times")));
    Ok(wrong)
}

/// The requests that opened a gate.
fn starts(events: &[Event]) -> impl Iterator<Item = &Event> {
    let gate = format!("/metadata/annotations/{}", GATE_ANNOTATION.replace('/', "~1"));
    let step = json!({"op": "replace", "path": gate, "value": OPEN});
    events.iter().filter(move |event| {
        let opens = event.request.as_array().is_some_and(|steps| steps.contains(&step));
        event.succeeded() && opens
    })
}

/// Waits until nothing is held that a late request made: the operator removes it by itself.
pub(crate) async fn until_none_is_held(namespace: &Namespace) -> Result<()> {
    let none = async {
        while objects(namespace, &HOOKS).await?.iter().any(is_held) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    let none = tokio::time::timeout(Duration::from_secs(30), none).await;
    none.context("a hook object is still held after 30 s")?
}

/// Removes the hooks, since every controller of the cluster lists and watches all of them.
pub(crate) async fn clear(namespace: &Namespace) -> Result<()> {
    for (api_version, kind) in HOOKS {
        let params = DeleteParams::background().grace_period(0);
        api(namespace, api_version, kind)
            .delete_collection(&params, &ListParams::default())
            .await?;
    }
    Ok(())
}

/// A hook may be started only when status names the UID of its object.
fn unjournalled(events: &[Event], wrong: &mut Vec<String>) {
    let version = |event: &Event| -> Option<u64> {
        event.response.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
    };
    for start in starts(events) {
        let uid = start.response.pointer("/metadata/uid");
        let journalled = events.iter().any(|event| {
            event.resource == "releaselifecycles"
                && event.subresource.as_deref() == Some("status")
                && event.succeeded()
                && event.response.pointer("/status/operation/hook/uid") == uid
                && version(event) < version(start)
        });
        if !journalled {
            let name = start.name.as_deref().unwrap_or_default();
            wrong.push(format!("hook {name} was started before status named its UID {uid:?}"));
        }
    }
}

/// The objects of these kinds in the namespace.
async fn objects(namespace: &Namespace, kinds: &[(&str, &str)]) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (api_version, kind) in kinds {
        for object in api(namespace, api_version, kind).list(&ListParams::default()).await? {
            let mut object = serde_json::to_value(object)?;
            object["kind"] = json!(kind);
            objects.push(object);
        }
    }
    Ok(objects)
}

pub(crate) fn api(namespace: &Namespace, api_version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource)
}

fn is_held(object: &Value) -> bool {
    object["metadata"]["annotations"][GATE_ANNOTATION] == HELD
}

/// How it ended, in the terms of [`expected`].
fn end(objects: &[Value]) -> Result<Value> {
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    // The Pods of hook Jobs carry the label too, and have an owner.
    let hooks = objects.iter().filter(|object| {
        let metadata = &object["metadata"];
        metadata["labels"][UID_LABEL].is_string() && metadata["ownerReferences"].is_null()
    });
    let hooks: Vec<_> =
        hooks.map(|hook| json!([hook["kind"], hook["metadata"]["name"], outcome(hook)])).collect();
    let own = |name: &Value| name != "kube-root-ca.crt";
    let config_maps: Vec<_> = of_kind("ConfigMap")
        .map(|map| json!([map["metadata"]["name"], map["data"]["value"]]))
        .filter(|map| own(&map[0]))
        .collect();
    let migrate = of_kind("Job").find(|job| job["metadata"]["name"] == "migrate");
    let rendered = migrate.and_then(|job| job["metadata"]["annotations"][RENDERED].as_str());
    let mut as_recorded = true;
    let mut records = Vec::new();
    for secret in of_kind("Secret").filter(|secret| secret["type"] == helm::record::SECRET_TYPE) {
        let (release, _) = helm::secret::from_secret(secret)?;
        let ran = release.hooks.iter().filter(|hook| hook.last_run.phase.is_some()).count();
        if let Some(rendered) = rendered {
            let hook = release.hooks.iter().find(|hook| hook.name == "migrate");
            as_recorded &= hook.is_some_and(|hook| hook.manifest.contains(rendered));
        }
        records.push(json!([release.version, release.info.status.as_str(), ran]));
        let label = &secret["metadata"]["labels"]["status"];
        anyhow::ensure!(
            label == release.info.status.as_str(),
            "the record of revision {} says {} and its label {label}",
            release.version,
            release.info.status.as_str()
        );
    }
    let status = of_kind("ReleaseLifecycle").next().map_or(&Value::Null, |it| &it["status"]);
    let steps = status["hooks"].as_array().into_iter().flatten();
    let steps: Vec<_> =
        steps.map(|hook| json!([hook["name"], hook["phase"], hook["attempt"]])).collect();
    let plans = of_kind("Secret").filter(|secret| secret["type"] == helm::pending::SECRET_TYPE);
    Ok(json!({
        "plans that wait": plans.count(),
        "as recorded": as_recorded,
        "hook objects": hooks,
        "time to live": migrate.map(|job| &job["spec"]["ttlSecondsAfterFinished"]),
        "Deployments": of_kind("Deployment").count(),
        "ConfigMaps": config_maps,
        "records": records,
        "status.revision": status["revision"],
        "status.operation.phase": status["operation"]["phase"],
        "status.hooks": steps,
    }))
}

pub(crate) fn outcome(hook: &Value) -> Value {
    let conditions = hook["status"]["conditions"].as_array().into_iter().flatten();
    match hook["kind"].as_str() {
        Some("Job") => conditions
            .filter(|condition| condition["status"] == "True")
            .any(|condition| condition["type"] == "Complete")
            .into(),
        _ => (hook["status"]["phase"] == "Succeeded").into(),
    }
}

/// Nothing is left of the release; `phase` and `hooks` are in the status of its object, if that stays.
fn gone(phase: Value, hooks: Vec<Value>) -> Value {
    json!({
        "time to live": null,
        "Deployments": 0,
        "status.operation.phase": phase,
        "hook objects": [],
        "ConfigMaps": [],
        "records": [],
        "status.revision": null,
        "status.hooks": hooks,
    })
}

/// The end of the upgrade by rules, after what ran before it.
fn ruled(before: &[Value]) -> Value {
    let own = [
        json!(["backup", "Succeeded", 1]),
        json!(["migrate", "Succeeded", 1]),
        json!(["check", "Failed", 2]),
        json!(["flag", "Succeeded", 1]),
        json!(["notify", "Skipped", 0]),
        json!(["smoke", "Succeeded", 1]),
    ];
    json!({
        "hook objects": [["Job", "backup", true], ["Job", "check", false], ["Job", "migrate", true],
                         ["Pod", "smoke", true], ["ConfigMap", "flag", false]],
        "ConfigMaps": [["flag", "2"], ["settings", "2"]],
        "records": [[1, "superseded", 2], [2, "deployed", 5]],
        "status.revision": 2,
        "status.hooks": ([&own[..], before].concat()),
    })
}

/// The end of the upgrade that goes on at its second hook, after what ran before it.
fn retried(before: &[Value]) -> Value {
    let own = [
        json!(["backup", "Succeeded", 1]),
        json!(["fragile", "Succeeded", 2]),
        json!(["smoke", "Succeeded", 1]),
    ];
    json!({
        "hook objects": [["Job", "fragile", true], ["Job", "migrate", true],
                         ["Pod", "smoke", true]],
        "ConfigMaps": [["settings", "2"]],
        "records": [[1, "superseded", 2], [2, "deployed", 3]],
        "status.revision": 2,
        "status.hooks": ([&own[..], before].concat()),
    })
}

/// How every run has to end, in the order in which objects are listed.
fn expected(scenario: Scenario) -> Value {
    let common = json!({
        "as recorded": true, "time to live": TIME_TO_LIVE, "Deployments": 1, "status.operation.phase": "Done",
    });
    let maps = |value: &str| match value {
        "1" => json!([["obsolete", "1"], ["settings", "1"]]),
        value => json!([["settings", value]]),
    };
    let ran = |hooks: [(&str, i32); 2]| -> Vec<_> {
        hooks.iter().map(|(name, attempt)| json!([name, "Succeeded", attempt])).collect()
    };
    let of_install = ran([("migrate", 1), ("welcome", 1)]);
    let of_upgrade =
        json!([["backup", "Succeeded", 1], ["migrate", "Succeeded", 1], ["smoke", "Succeeded", 1]]);
    let with = |own: Vec<Value>, older: &[Value]| [&own[..], older].concat();
    let own = match scenario {
        Scenario::Install | Scenario::Chart => json!({
            "hook objects": [["Job", "migrate", true]],
            "ConfigMaps": maps("1"),
            "records": [[1, "deployed", 2]],
            "status.revision": 1,
            "status.hooks": of_install,
        }),
        Scenario::HandOver => json!({
            "hook objects": [["Job", "migrate", true]],
            "ConfigMaps": maps("1"),
            "records": [[1, "deployed", 2]],
            "status.operation.phase": null,
            "status.revision": null,
            "status.hooks": [],
        }),
        Scenario::Upgrade | Scenario::Approved | Scenario::TakeOver => json!({
            "plans that wait": 0,
            "hook objects": [["Job", "migrate", true], ["Pod", "smoke", true]],
            "ConfigMaps": maps("2"),
            "records": [[1, "superseded", 2], [2, "deployed", 3]],
            "status.revision": 2,
            "status.hooks": match scenario {
                // What Helm has run stands in its record alone.
                Scenario::TakeOver => of_upgrade,
                _ => with(of_upgrade.as_array().cloned().unwrap_or_default(), &of_install).into(),
            },
        }),
        Scenario::Ruled => ruled(&of_install),
        Scenario::Rollback => json!({
            "hook objects": [["Job", "migrate", true], ["Pod", "recheck", true],
                             ["Pod", "smoke", true]],
            "ConfigMaps": maps("1"),
            "records": [[1, "superseded", 2], [2, "superseded", 3], [3, "deployed", 4]],
            "status.revision": 3,
            "status.hooks": with(
                ran([("restore", 1), ("recheck", 1)]),
                &with(of_upgrade.as_array().cloned().unwrap_or_default(), &of_install),
            ),
        }),
        Scenario::Test => json!({
            "hook objects": [["Job", "migrate", true], ["Job", "probe", true]],
            "ConfigMaps": maps("1"),
            "records": [[1, "deployed", 4]],
            "status.revision": 1,
            "status.hooks": with(ran([("ping", 1), ("probe", 1)]), &of_install),
        }),
        Scenario::Retry => retried(&of_install),
        Scenario::RolledBack => json!({
            "hook objects": [["Job", "migrate", true], ["Pod", "recheck", true]],
            "ConfigMaps": maps("1"),
            "records": [[1, "superseded", 2], [2, "failed", 2], [3, "deployed", 4]],
            "status.revision": 3,
            "status.hooks": with(
                ran([("restore", 1), ("recheck", 1)]),
                &with(
                    vec![json!(["backup", "Succeeded", 1]), json!(["migrate", "Succeeded", 1]),
                         json!(["smoke", "Pending", 0])],
                    &of_install,
                ),
            ),
        }),
        Scenario::Uninstalled => gone(
            "Done".into(),
            with(
                ran([("export", 1), ("goodbye", 1)]),
                &[json!(["migrate", "Succeeded", 1]), json!(["welcome", "Pending", 0])],
            ),
        ),
        Scenario::Delete | Scenario::Held => gone(Value::Null, Vec::new()),
    };
    let both = [common, own];
    both.iter()
        .filter_map(Value::as_object)
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}
