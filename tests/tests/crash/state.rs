//! The content of a namespace at one moment, and how it is made up in another one.

use anyhow::{Context, Result, ensure};
use api::names::{GATE_ANNOTATION, RUN_ANNOTATION, UID_LABEL};
use e2e::{
    Namespace,
    fixture::{State, postponed},
};
use jiff::Timestamp;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    scenario::RELEASE,
    verdict::{self, ALL, api},
};

/// Returns what is in the namespace now.
pub(crate) async fn present(namespace: &Namespace) -> Result<State> {
    let mut objects = Vec::new();
    for (api_version, kind) in ALL {
        for object in api(namespace, api_version, kind).list(&ListParams::default()).await? {
            objects.push(complete(object, api_version, kind)?);
        }
    }
    state(objects.iter().filter(|object| matters(object))).context("there is a release")
}

/// Returns whether it was made by the release or for it, and is not going.
pub(crate) fn matters(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["ownerReferences"].is_null()
        && metadata["name"] != "kube-root-ca.crt"
        && (object["kind"] == "ReleaseLifecycle" || metadata["deletionTimestamp"].is_null())
}

pub(crate) fn complete(object: DynamicObject, api_version: &str, kind: &str) -> Result<Value> {
    let mut object = serde_json::to_value(object)?;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    Ok(object)
}

pub(crate) fn version(object: &Value) -> Result<u64> {
    let version = object["metadata"]["resourceVersion"].as_str().context("a version")?;
    Ok(version.parse()?)
}

/// `None` before there is a release.
pub(crate) fn state<'a>(all: impl Iterator<Item = &'a Value>) -> Option<State> {
    let (releases, objects): (Vec<_>, Vec<_>) =
        all.partition(|object| object["kind"] == "ReleaseLifecycle");
    let release = *releases.first()?;
    let status = release["status"].clone();
    let objects: Vec<_> = objects.into_iter().map(kept).collect();
    Some(State { at: at(&status, &objects), release: kept(release), status, objects })
}

/// Returns what of an object makes it up again.
fn kept(object: &Value) -> Value {
    let mut kept = json!({"metadata": {}});
    for key in ["apiVersion", "kind", "type", "data", "spec"] {
        if let Some(value) = object.get(key) {
            kept[key] = value.clone();
        }
    }
    let metadata = &object["metadata"];
    let is_release = object["kind"] == "ReleaseLifecycle";
    for key in ["name", "uid", "labels", "annotations", "finalizers"] {
        if let Some(value) = metadata.get(key) {
            kept["metadata"][key] = value.clone();
        }
    }
    if is_release {
        kept["metadata"]["generation"] = metadata["generation"].clone();
        kept["metadata"]["deleted"] = metadata["deletionTimestamp"].is_string().into();
    } else if metadata["labels"][UID_LABEL].is_null() && object["kind"] != "Secret" {
        let mut managers = metadata["managedFields"].as_array().cloned().unwrap_or_default();
        managers.retain(|of| of["manager"] == "helm" && of["subresource"].is_null());
        kept["metadata"]["managedFields"] = managers.into();
    }
    // What the cluster has filled in is not its maker's to give.
    if object["kind"] == "Job" {
        remove(&mut kept["spec"], "selector");
        for at in ["/metadata/labels", "/spec/template/metadata/labels"] {
            for label in ["controller-uid", "job-name"] {
                if let Some(labels) = kept.pointer_mut(at) {
                    remove(labels, label);
                    remove(labels, &format!("batch.kubernetes.io/{label}"));
                }
            }
        }
    }
    if object["kind"] == "Pod" {
        remove(&mut kept["spec"], "nodeName");
    }
    if verdict::outcome(object) == true {
        kept["status"] = match object["kind"].as_str() {
            Some("Job") => json!({"conditions": [{"type": "Complete", "status": "True"}]}),
            _ => json!({"phase": "Succeeded"}),
        };
    }
    kept
}

fn remove(object: &mut Value, key: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(key);
    }
}

/// The moment, such as `Upgrade PreHooks Job Run open, 1 superseded 2 pending-upgrade`.
fn at(status: &Value, objects: &[Value]) -> String {
    let operation = &status["operation"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut words = vec![text(&operation["event"]), text(&operation["phase"])];
    let cursor = &operation["hook"];
    let hooks = status["hooks"].as_array().into_iter().flatten();
    let mut of_cursor = hooks.filter(|hook| !cursor.is_null() && hook["index"] == cursor["index"]);
    if let Some(hook) = of_cursor.next() {
        words.extend([text(&hook["kind"]), text(&cursor["step"])]);
        let object = objects.iter().find(|object| {
            object["kind"] == hook["kind"] && object["metadata"]["name"] == hook["name"]
        });
        let id = text(&operation["id"]);
        words.push(match object {
            None => "without object".to_owned(),
            Some(object) => {
                let annotations = &object["metadata"]["annotations"];
                let own = text(&annotations[RUN_ANNOTATION]).starts_with(&id);
                let gate = text(&annotations[GATE_ANNOTATION]);
                let ended = if object["status"].is_null() { "" } else { ", ended" };
                format!("{}{gate}{ended}", if own { "" } else { "leftover " })
            }
        });
    } else {
        // What there is tells how far a phase of the objects got.
        let is_own =
            |object: &&Value| !["Job", "Pod", "Secret"].iter().any(|it| object["kind"] == *it);
        let own = objects.iter().filter(is_own);
        let own = own.map(|it| {
            let (name, value) = (text(&it["metadata"]["name"]), text(&it["data"]["value"]));
            if value.is_empty() { name } else { format!("{name}={value}") }
        });
        words.push(own.collect::<Vec<_>>().join(" "));
    }
    if !status["plan"].is_null() {
        words.push("waiting for approval".to_owned());
    }
    // Hooks side by side, of which the cursor is only one.
    let beside = operation["beside"].as_array().into_iter().flatten();
    words.extend(
        beside.map(|cursor| format!("beside {} {}", cursor["index"], text(&cursor["step"]))),
    );
    let records = objects.iter().filter(|object| object["type"] == helm::record::SECRET_TYPE);
    let records = records.map(|record| text(&record["metadata"]["labels"]["status"]));
    words.push(format!("({})", records.collect::<Vec<_>>().join(", ")));
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// Makes up the state in a namespace of its own; the state as it is there.
pub(crate) async fn load(
    namespace: &Namespace,
    state: &State,
    recorded_at: Timestamp,
) -> Result<State> {
    let uid = release(namespace, &state.release).await?;
    let recorded_uid = uid_of(&state.release)?;
    let mut state = state.replaced(&[(recorded_uid, uid)])?;
    let mut uids = Vec::new();
    for object in &state.objects {
        let made = make(namespace, object).await?;
        uids.push((uid_of(object)?, made));
    }
    for object in state.objects.iter().filter(|object| !object["status"].is_null()) {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let (kind, name) = (kind.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
        let ended = |now: Option<&Value>| {
            // Of what is listed, no item says its kind.
            now.is_some_and(|now| {
                verdict::outcome(&json!({"kind": kind, "status": now["status"]})) == true
            })
        };
        namespace.wait_object(kind, name, "ended", ended).await?;
    }
    state = state.replaced(&uids)?;
    postponed(&mut state.status, Timestamp::now().duration_since(recorded_at))?;
    let releases = api(namespace, "releaselifecycle.dev/v1alpha1", "ReleaseLifecycle");
    let status = Patch::Merge(json!({"status": state.status}));
    releases.patch_status(RELEASE, &PatchParams::default(), &status).await?;
    if state.release["metadata"]["deleted"] == true {
        releases.delete(RELEASE, &DeleteParams::default()).await?;
    }
    let loaded = releases.get(RELEASE).await?.metadata.generation;
    ensure!(state.release["metadata"]["generation"] == json!(loaded), "generation {loaded:?}");
    Ok(state)
}

fn uid_of(object: &Value) -> Result<String> {
    Ok(object["metadata"]["uid"].as_str().context("a UID")?.to_owned())
}

/// Creates the release and changes its spec as often as it was; its UID.
async fn release(namespace: &Namespace, recorded: &Value) -> Result<String> {
    let releases = api(namespace, "releaselifecycle.dev/v1alpha1", "ReleaseLifecycle");
    let mut body = recorded.clone();
    let deleted = i64::from(body["metadata"]["deleted"] == true);
    let generation = body["metadata"]["generation"].as_i64().context("a generation")?;
    for key in ["generation", "deleted", "uid"] {
        remove(&mut body["metadata"], key);
    }
    let changes = generation - deleted;
    let params = PatchParams::apply("e2e").force();
    for change in 1..=changes {
        body["spec"] = recorded["spec"].clone();
        if change < changes {
            body["spec"]["interval"] = format!("{change}h").into();
        }
        releases.patch(RELEASE, &params, &Patch::Apply(&body)).await?;
    }
    releases.get(RELEASE).await?.metadata.uid.context("a UID")
}

/// Creates an object of the release or one of its records; its UID.
async fn make(namespace: &Namespace, recorded: &Value) -> Result<String> {
    let text = |key: &str| recorded[key].as_str().unwrap_or_default();
    let api: Api<DynamicObject> = api(namespace, text("apiVersion"), text("kind"));
    let mut body = recorded.clone();
    for key in ["uid", "managedFields"] {
        remove(&mut body["metadata"], key);
    }
    remove(&mut body, "status");
    let params = PostParams { field_manager: Some("helm".to_owned()), ..PostParams::default() };
    let made = api.create(&params, &serde_json::from_value(body)?).await?;
    let name = made.metadata.name.unwrap_or_default();
    let managers = &recorded["metadata"]["managedFields"];
    if managers.as_array().is_some_and(|managers| !managers.is_empty()) {
        let patch = Patch::Merge(json!({"metadata": {"managedFields": managers}}));
        api.patch(&name, &PatchParams::default(), &patch).await?;
    }
    made.metadata.uid.context("a UID")
}
