//! The states of `tests/fixtures`: recorded from the operator as it is, and gone on with from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use api::names::{GATE_ANNOTATION, RUN_ANNOTATION, UID_LABEL};
use e2e::{
    AuditLog, Namespace,
    fixture::{Fixture, State, folder, postponed},
    kwok,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api,
    api::{
        DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent,
        WatchParams,
    },
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    scenario::{RELEASE, Scenario},
    sweep::WORKERS,
    verdict::{self, ALL, api},
};

/// The scenarios whose states are recorded.
const SCENARIOS: [(&str, Scenario); 9] = [
    ("install", Scenario::Install),
    ("upgrade", Scenario::Upgrade),
    ("rollback", Scenario::Rollback),
    ("test", Scenario::Test),
    ("delete", Scenario::Delete),
    ("chart", Scenario::Chart),
    ("take-over", Scenario::TakeOver),
    ("rolled-back", Scenario::RolledBack),
    ("uninstalled", Scenario::Uninstalled),
];

/// Records every state into `tests/fixtures/$FIXTURES`, which must not exist; how many of each
/// scenario.
pub(crate) async fn record() -> Result<Vec<(&'static str, usize)>> {
    let version = std::env::var("FIXTURES").context("FIXTURES names the folder")?;
    ensure!(!folder().join(&version).exists(), "tests/fixtures/{version} stays as it is");
    let mut counts = Vec::new();
    for (name, scenario) in SCENARIOS {
        let fixture = recorded(name, scenario).await.with_context(|| format!("record {name}"))?;
        counts.push((name, fixture.states().count()));
        fixture.write(&Path::new(&version).join(name).with_extension("json"))?;
    }
    Ok(counts)
}

/// The states in which the operation of `scenario` stands, one of each kind.
async fn recorded(name: &str, scenario: Scenario) -> Result<Fixture> {
    let namespace = Namespace::new(kwok(), &format!("recorded-{name}")).await?;
    let history = History::begin(&namespace).await?;
    let first = scenario == Scenario::Install;
    if first {
        scenario.ask(&namespace).await?;
    }
    let controller = namespace.controller()?;
    scenario.prepare(&namespace, &controller).await?;
    let begun = namespace.releases().get_opt(RELEASE).await?;
    let begun = begun.filter(|_| !first).and_then(|it| it.metadata.resource_version);
    let begun = begun.map_or(Ok(0), |version| version.parse())?;
    if !first {
        scenario.ask(&namespace).await?;
    }
    scenario.until_over(&namespace, &controller).await?;
    let mut fixture = Fixture::new(&namespace.name);
    let mut known = BTreeSet::new();
    let mut before = Value::Null;
    for (version, state) in history.end(&namespace).await? {
        let operation = &state.status["operation"]["id"];
        if version <= begun {
            before = operation.clone();
        } else if *operation != before && known.insert(state.at.clone()) {
            fixture.push(state);
        }
    }
    Ok(fixture)
}

/// Every version of every object of a namespace.
struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
    watches: JoinSet<Result<()>>,
}

/// An object that was stored, or its last version where it was removed.
struct Seen {
    version: u64,
    object: Value,
    removed: bool,
}

impl History {
    async fn begin(namespace: &Namespace) -> Result<Self> {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let mut watches = JoinSet::new();
        for (api_version, kind) in ALL {
            let api = api(namespace, api_version, kind);
            let mut events = api.watch(&WatchParams::default(), "0").await?.boxed();
            let seen = Arc::clone(&seen);
            watches.spawn(async move {
                while let Some(event) = events.try_next().await? {
                    let (object, removed) = match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                        WatchEvent::Deleted(object) => (object, true),
                        _ => continue,
                    };
                    let object = complete(object, api_version, kind)?;
                    let version = version(&object)?;
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(Seen { version, object, removed });
                }
                bail!("a watch ended")
            });
        }
        Ok(Self { seen, watches })
    }

    /// Every state that the namespace was in, with the version that made it, once all of them have
    /// been reported.
    async fn end(mut self, namespace: &Namespace) -> Result<Vec<(u64, State)>> {
        let mut present = 0;
        for (api_version, kind) in ALL {
            for object in api(namespace, api_version, kind).list(&ListParams::default()).await? {
                present = present.max(version(&complete(object, api_version, kind)?)?);
            }
        }
        let lock = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while lock().iter().all(|seen| seen.version < present) {
            if let Some(ended) = self.watches.try_join_next() {
                ended??;
            }
            tokio::task::yield_now().await;
        }
        let mut seen = std::mem::take(&mut *lock());
        seen.sort_by_key(|seen| seen.version);
        let mut objects = BTreeMap::new();
        let mut states = Vec::new();
        for Seen { version, object, removed } in seen {
            let metadata = &object["metadata"];
            let key = (object["kind"].to_string(), metadata["name"].to_string());
            let gone = removed
                || (object["kind"] != "ReleaseLifecycle"
                    && !metadata["deletionTimestamp"].is_null());
            if gone {
                objects.remove(&key);
            } else if metadata["ownerReferences"].is_null()
                && metadata["name"] != "kube-root-ca.crt"
            {
                objects.insert(key, object);
            }
            states.extend(state(objects.values()).map(|state| (version, state)));
        }
        Ok(states)
    }
}

fn complete(object: DynamicObject, api_version: &str, kind: &str) -> Result<Value> {
    let mut object = serde_json::to_value(object)?;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    Ok(object)
}

fn version(object: &Value) -> Result<u64> {
    let version = object["metadata"]["resourceVersion"].as_str().context("a version")?;
    Ok(version.parse()?)
}

/// `None` before there is a release.
fn state<'a>(all: impl Iterator<Item = &'a Value>) -> Option<State> {
    let (releases, objects): (Vec<_>, Vec<_>) =
        all.partition(|object| object["kind"] == "ReleaseLifecycle");
    let release = *releases.first()?;
    let status = release["status"].clone();
    let objects: Vec<_> = objects.into_iter().map(kept).collect();
    Some(State { at: at(&status, &objects), release: kept(release), status, objects })
}

/// What of an object makes it up again.
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
    let records = objects.iter().filter(|object| object["type"] == helm::record::SECRET_TYPE);
    let records = records.map(|record| text(&record["metadata"]["labels"]["status"]));
    words.push(format!("({})", records.collect::<Vec<_>>().join(", ")));
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// Goes on from every recorded state; what is wrong with the ends.
pub(crate) async fn go_on(only: &str) -> Result<(usize, Vec<String>)> {
    let log = &AuditLog::new(kwok().audit_log().to_owned(), |it| it.namespace.is_some());
    let mut all = Vec::new();
    for (path, fixture) in Fixture::all()? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let known = SCENARIOS.iter().find(|(known, _)| *known == name);
        let (_, scenario) = *known.with_context(|| format!("{name} is not a scenario"))?;
        let of = (fixture.namespace.clone(), fixture.recorded_at);
        all.extend(fixture.states().map(|state| (path.clone(), scenario, of.clone(), state)));
    }
    all.retain(|(path, _, _, state)| format!("{}: {}", path.display(), state.at).contains(only));
    let points = all.len();
    let ends = all.into_iter().enumerate().map(async |(n, (path, scenario, of, state))| {
        let head = |namespace: &str| format!("{}: {} in {namespace}", path.display(), state.at);
        let namespace = Namespace::new(kwok(), &format!("fixture-{n}")).await?;
        let wrong = match resumed(&namespace, scenario, &of, &state, log).await {
            Ok(wrong) => wrong,
            Err(error) => vec![format!("{error:#}")],
        };
        if wrong.is_empty() {
            verdict::clear(&namespace).await?;
        }
        let head = head(&namespace.name);
        anyhow::Ok(wrong.into_iter().map(|what| format!("{head}:\n  {what}")).collect::<Vec<_>>())
    });
    let wrong: Vec<_> = stream::iter(ends).buffer_unordered(WORKERS).try_collect().await?;
    Ok((points, wrong.concat()))
}

async fn resumed(
    namespace: &Namespace,
    scenario: Scenario,
    (recorded_in, recorded_at): &(String, Timestamp),
    state: &State,
    log: &AuditLog,
) -> Result<Vec<String>> {
    let state = state.replaced(&[(recorded_in.clone(), namespace.name.clone())])?;
    let state = load(namespace, &state, *recorded_at).await?;
    let controller = namespace.controller()?;
    let is_deleted = state.release["metadata"]["deleted"] == true;
    // Without a record, nothing but the generation tells a configuration that was given up.
    let is_recorded = !state.plans()?.is_empty();
    if state.status["operation"]["phase"] == "Done" && is_recorded && !is_deleted {
        // It is reconciled once more, so that it would be seen if something was to be done.
        let patch = Patch::Merge(json!({"spec": {"interval": "7m"}}));
        namespace.releases().patch(RELEASE, &PatchParams::default(), &patch).await?;
        namespace.wait_observed(RELEASE, &controller).await?;
    }
    scenario.until_reached(namespace, &controller).await?;
    verdict::until_none_is_held(namespace).await?;
    drop(controller);
    let events = log.take(|event| event.is_in(&namespace.name))?;
    let mut wrong = verdict::of_starts_in(&events)?;
    wrong.extend(verdict::of_end(namespace, scenario).await?);
    wrong.extend(repeated(&state, &events));
    Ok(wrong)
}

/// Hooks that the operator ran although the journal said that they had succeeded.
fn repeated(state: &State, events: &[testkit::audit::Event]) -> Vec<String> {
    let operation = state.status["operation"]["id"].as_str().unwrap_or_default();
    let hooks = state.status["hooks"].as_array().into_iter().flatten();
    let succeeded = hooks.filter(|hook| hook["phase"] == "Succeeded").filter(|hook| {
        // Those of earlier operations are of another event.
        let of_operation = |text: &Value| -> Option<lifecycle::event::HookEvent> {
            serde_json::from_value(text.clone()).ok()
        };
        let event = of_operation(&hook["event"]).map(lifecycle::event::HookEvent::operation);
        event.and_then(|event| serde_json::to_value(event).ok()).as_ref()
            == Some(&state.status["operation"]["event"])
    });
    let mut wrong = Vec::new();
    for hook in succeeded {
        let run = format!("{operation}/{}/", hook["index"]);
        let again = events.iter().filter(|event| {
            let annotations = &event.response["metadata"]["annotations"];
            let made = event.verb == "create" && event.impersonated.is_some() && event.succeeded();
            made && annotations[RUN_ANNOTATION].as_str().is_some_and(|it| it.starts_with(&run))
        });
        wrong.extend(
            again.map(|_| format!("hook {} had succeeded and was made again", hook["name"])),
        );
    }
    wrong
}

/// Makes up the state in a namespace of its own; the state as it is there.
async fn load(namespace: &Namespace, state: &State, recorded_at: Timestamp) -> Result<State> {
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
    for change in 1..=changes {
        let spec = if change == changes {
            recorded["spec"].clone()
        } else {
            json!({"serviceAccountName": "deployer", "source": {"objects": []},
                   "interval": format!("{change}h")})
        };
        if change == 1 {
            body["spec"] = spec;
            let object: DynamicObject = serde_json::from_value(body.clone())?;
            releases.create(&PostParams::default(), &object).await?;
        } else {
            let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]);
            let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
            releases.patch(RELEASE, &PatchParams::default(), &patch).await?;
        }
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
