//! The states of `tests/fixtures`: recorded from the operator as it is, and gone on with from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail, ensure};
use api::names::RUN_ANNOTATION;
use e2e::{
    AuditLog, Namespace,
    fixture::{Fixture, State, folder},
    kwok,
};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    prepared,
    scenario::{RELEASE, Scenario},
    state::{complete, load, matters, state, version},
    sweep::{IN_A_ROW, turn},
    verdict::{self, ALL, api},
};

/// The scenarios whose states are recorded.
const SCENARIOS: [(&str, Scenario); 13] = [
    ("install", Scenario::Install),
    ("upgrade", Scenario::Upgrade),
    ("rollback", Scenario::Rollback),
    ("test", Scenario::Test),
    ("delete", Scenario::Delete),
    ("held", Scenario::Held),
    ("approved", Scenario::Approved),
    ("ruled", Scenario::Ruled),
    ("retry", Scenario::Retry),
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
    scenario.reach(&namespace, &controller).await?;
    scenario.prepare(&namespace, &controller).await?;
    let begun = namespace.releases().get_opt(RELEASE).await?;
    let begun = begun.filter(|_| !first).and_then(|it| it.metadata.resource_version);
    let begun = begun.map_or(Ok(0), |version| version.parse())?;
    if !first {
        scenario.ask(&namespace).await?;
    }
    tokio::select! {
        over = scenario.until_over(&namespace, &controller) => over?,
        people = scenario.people(&namespace) => people?,
    }
    let mut fixture = Fixture::new(&namespace.name);
    let mut known = BTreeSet::new();
    let mut before = Value::Null;
    for (version, state) in history.end(&namespace).await? {
        let operation = &state.status["operation"];
        let waits = !state.status["plan"].is_null();
        if version <= begun {
            before = operation.clone();
        } else if (*operation != before || waits) && known.insert(state.at.clone()) {
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
            let key = (object["kind"].to_string(), object["metadata"]["name"].to_string());
            if removed || !matters(&object) {
                objects.remove(&key);
            } else {
                objects.insert(key, object);
            }
            states.extend(state(objects.values()).map(|state| (version, state)));
        }
        Ok(states)
    }
}

/// Continues from each state of the fixture, or from every so many of them; returns how many these
/// are, and what is wrong with their ends.
pub(crate) async fn go_on(
    path: &Path,
    fixture: &Fixture,
    every: usize,
) -> Result<(usize, Vec<String>)> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let known = SCENARIOS.iter().find(|(known, _)| *known == name);
    let (_, scenario) = *known.with_context(|| format!("{name} is not a scenario"))?;
    let states: Vec<_> = match std::env::var("STATES") {
        Ok(only) => fixture.states().filter(|state| state.at.contains(&only)).collect(),
        Err(_) => fixture.states().step_by(every).collect(),
    };
    let count = states.len();
    let ends = states.into_iter().map(async |state| {
        let (log, _turn) = turn().await?;
        let namespace = Namespace::new(kwok(), &format!("recorded-{name}")).await?;
        let wrong = match resumed(&namespace, scenario, fixture, &state, log).await {
            Ok(wrong) => wrong,
            Err(error) => vec![format!("{error:#}")],
        };
        if wrong.is_empty() {
            verdict::clear(&namespace).await?;
        }
        let head = format!("{}: {} in {}", path.display(), state.at, namespace.name);
        anyhow::Ok(wrong.into_iter().map(|what| format!("{head}:\n  {what}")).collect::<Vec<_>>())
    });
    let wrong: Vec<_> = stream::iter(ends).buffer_unordered(IN_A_ROW).try_collect().await?;
    Ok((count, wrong.concat()))
}

async fn resumed(
    namespace: &Namespace,
    scenario: Scenario,
    fixture: &Fixture,
    state: &State,
    log: &AuditLog,
) -> Result<Vec<String>> {
    let state = state.replaced(&[(fixture.namespace.clone(), namespace.name.clone())])?;
    scenario.surround(namespace).await?;
    let state = load(namespace, &state, fixture.recorded_at).await?;
    let controller = namespace.controller()?;
    let is_deleted = state.release["metadata"]["deleted"] == true;
    let waits = !state.status["plan"].is_null();
    // Without a record, nothing but the generation tells a configuration that was given up.
    let is_recorded = !state.plans()?.is_empty();
    if state.status["operation"]["phase"] == "Done" && is_recorded && !is_deleted && !waits {
        // So that it would be seen if something was to be done.
        prepared::settle(namespace, &controller).await?;
    }
    tokio::select! {
        reached = scenario.until_reached(namespace, &controller) => reached?,
        people = scenario.people(namespace) => people?,
    }
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
