//! `plan` shows what the operator then freezes: a hundred releases, planned both ways for every
//! event of their lives.

mod frozen;
mod made;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use e2e::{Chart, Controller, Namespace, kwok};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use helm::manifest::to_yaml;
use kube::api::DeleteParams;
use lifecycle::{
    event::{Event, Work},
    hooks::DeletePolicy,
    object::ObjectRef,
    plan::{Plan, PlannedHook},
};
use serde_json::{Value, json};

use self::{
    frozen::Frozen,
    made::{objects, rest},
};
use super::Cli;

const RELEASES: u32 = 100;
/// The revision to which each release is rolled back.
const TARGET: u32 = 1;

/// The steps of an event, in order. Objects are a kind and a name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Done {
    before: Vec<Value>,
    applied: Vec<Value>,
    /// The time for which it is waited until they are ready.
    wait: Option<Value>,
    /// By a deletion, or because an earlier revision had them.
    deleted: Vec<Value>,
    kept: Vec<Value>,
    after: Vec<Value>,
}

impl Done {
    /// As `plan` shows it. Its own words on what is pruned name no objects.
    fn shown(plan: &Value, event: Event) -> Result<Self> {
        let events = plan["events"].as_array().context("there are events")?;
        let event = events.iter().find(|it| it["event"] == event.facts().word);
        let steps = event.context("it is planned")?["steps"].as_array().context("it has steps")?;
        let hooks = |steps: &[Value]| {
            let fields = [
                "hookEvent",
                "kind",
                "name",
                "generateName",
                "weight",
                "deletePolicies",
                "timeout",
            ];
            let hook = |step: &Value| fields.iter().map(|field| step[*field].clone()).collect();
            let hooks = steps.iter().filter(|step| step["step"] == "hook");
            hooks.map(hook).collect::<Vec<Value>>()
        };
        let objects = |word: &str| {
            let steps = steps.iter().filter(|step| step["step"] == word);
            let objects = steps.flat_map(|step| step["objects"].as_array().into_iter().flatten());
            objects.map(|it| json!([it["kind"], it["name"]])).collect::<Vec<_>>()
        };
        let work = steps.iter().take_while(|step| step["step"] == "hook").count();
        let wait = steps.iter().find(|step| step["step"] == "wait");
        Ok(Self {
            before: hooks(&steps[..work]),
            applied: objects("apply"),
            wait: wait.map(|step| step["timeout"].clone()),
            deleted: objects("delete"),
            kept: objects("keep"),
            after: hooks(&steps[work..]),
        })
    }

    /// As the operator has frozen it. `live` are the objects that there were.
    fn frozen(plan: &Plan, live: &[Value]) -> Self {
        let timeout = json!(format!("{}m", plan.timeout_seconds / 60));
        let hook = |hook: &PlannedHook| {
            let policies: Vec<_> =
                DeletePolicy::ALL.into_iter().filter(|policy| hook.has(*policy)).collect();
            let (object, is_named_by_run) = (&hook.object, hook.is_named_by_run());
            json!([
                hook.event,
                object.kind,
                object.name,
                is_named_by_run,
                hook.weight,
                policies,
                timeout
            ])
        };
        let named = |object: &ObjectRef| json!([object.kind, object.name]);
        let (before, after): (Vec<_>, Vec<_>) =
            plan.hooks.iter().partition(|hook| hook.event == plan.event.pre());
        let deleted: Vec<_> = plan.prune.iter().map(named).collect();
        let is_deletion = plan.event.facts().work == Work::Delete;
        let kept = live.iter().filter(|object| is_deletion && !deleted.contains(object));
        Self {
            before: before.into_iter().map(hook).collect(),
            applied: plan.objects.iter().map(|it| named(&it.object)).collect(),
            wait: (plan.wait && !plan.objects.is_empty()).then(|| timeout.clone()),
            kept: kept.cloned().collect(),
            deleted,
            after: after.into_iter().map(hook).collect(),
        }
    }

    /// Adds what is pruned of the objects `before`: the last kind that was applied goes first.
    fn pruning(mut self, before: &[Value]) -> Self {
        let gone: Vec<_> = before.iter().filter(|it| !self.applied.contains(it)).collect();
        let kinds: Vec<_> = gone.chunk_by(|one, other| one[0] == other[0]).collect();
        self.deleted = kinds.into_iter().rev().flatten().copied().cloned().collect();
        self
    }
}

/// The number of comparisons, and of things that were the same.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    plans: usize,
    hooks: usize,
    applied: usize,
    deleted: usize,
    kept: usize,
}

type Total = BTreeMap<&'static str, Compared>;

struct Story<'a> {
    namespace: &'a Namespace,
    controller: &'a Controller,
    cli: &'a Cli<'a>,
    frozen: &'a Frozen,
    number: u32,
    name: String,
    total: Total,
    /// The objects of the newest revision.
    live: Vec<Value>,
}

impl Story<'_> {
    /// Leads a release through all events. Returns the objects that remain.
    async fn run(mut self) -> Result<(Total, Vec<Value>)> {
        let first = self.planned(1).await?;
        let second = self.planned(2).await?;
        let shown = |plan, event| Done::shown(plan, event);

        self.deploy(1, 1, None).await?;
        self.compare(Event::Install, 1, shown(&first, Event::Install)?).await?;
        self.compare_tests(1, &first).await?;

        self.deploy(2, 2, None).await?;
        let upgrade = shown(&second, Event::Upgrade)?.pruning(&self.live);
        self.compare(Event::Upgrade, 2, upgrade).await?;
        self.compare_tests(2, &second).await?;

        self.deploy(2, 3, Some(TARGET)).await?;
        let mut rollback = shown(&first, Event::Rollback)?.pruning(&self.live);
        if rest(self.number)["rollback"]["hooksFrom"] == "Current" {
            let current = shown(&second, Event::Rollback)?;
            rollback = Done { before: current.before, after: current.after, ..rollback };
        }
        self.compare(Event::Rollback, 3, rollback).await?;
        self.compare_tests(3, &first).await?;

        self.namespace.releases().delete(&self.name, &DeleteParams::default()).await?;
        self.namespace.wait_released(&self.name, self.controller).await?;
        let deletion = shown(&first, Event::Delete)?;
        let mut kept = deletion.kept.clone();
        let restored = self.live.clone();
        self.compare(Event::Delete, 3, deletion).await?;
        // What the rollback pruned stays, too, if it is to be kept.
        let kept_by_rollback = shown(&second, Event::Delete)?.kept.into_iter();
        kept.extend(kept_by_rollback.filter(|object| !restored.contains(object)));
        Ok((self.total, kept))
    }

    /// Returns what `plan` shows of a revision.
    async fn planned(&self, revision: u32) -> Result<Value> {
        let mut spec = rest(self.number);
        spec["serviceAccountName"] = json!("deployer");
        spec["source"] = self.source(revision).await?;
        let manifest = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": self.name, "namespace": self.namespace.name}, "spec": spec,
        });
        let file = format!("{}-{revision}.json", self.name);
        let file = self.cli.write(&file, &manifest.to_string())?;
        let mut command = vec!["plan".to_owned(), "-f".to_owned(), file.to_string_lossy().into()];
        if let Some(chart) = self.chart(revision)? {
            command.extend(["--chart".to_owned(), chart.archive()?.to_string_lossy().into()]);
        }
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        self.cli.json(&command)
    }

    /// Returns the source of a revision: its chart, or its objects.
    async fn source(&self, revision: u32) -> Result<Value> {
        let Some(chart) = self.chart(revision)? else {
            return Ok(json!({"objects": objects(self.number, revision)}));
        };
        chart.put(self.namespace).await?;
        Ok(chart.source()["source"].clone())
    }

    /// Returns the chart of the objects of a revision, for every fourth release.
    fn chart(&self, revision: u32) -> Result<Option<Chart>> {
        if !self.number.is_multiple_of(4) {
            return Ok(None);
        }
        let mut chart = Chart::new(self.namespace, &format!("c{}-{revision}", self.number))?;
        for (index, object) in objects(self.number, revision).iter().enumerate() {
            chart = chart.file(&format!("templates/{index}.yaml"), &to_yaml(object))?;
        }
        Ok(Some(chart))
    }

    /// Waits until the release has this revision, and it was tested if it is to be.
    async fn deploy(&self, source: u32, revision: i32, pin: Option<u32>) -> Result<()> {
        let mut spec = rest(self.number);
        let is_tested = self.is_tested(revision);
        spec["test"]["enable"] = json!(is_tested);
        if let Some(pin) = pin {
            spec["pinRevision"] = json!(pin);
        }
        spec["source"] = self.source(source).await?;
        self.namespace.release(&self.name, &[], spec).await?;
        let what = format!("at revision {revision}, and tested: {is_tested}");
        self.namespace
            .wait(&self.name, self.controller, &what, |release| {
                release.status.as_ref().is_some_and(|status| {
                    status.revision == Some(revision)
                        && (!is_tested || status.tested_revision == Some(revision))
                })
            })
            .await?;
        Ok(())
    }

    /// One of three revisions of each release is tested: a test takes as long as an upgrade.
    fn is_tested(&self, revision: i32) -> bool {
        revision.unsigned_abs() == self.number % 3 + 1
    }

    async fn compare_tests(&mut self, revision: i32, plan: &Value) -> Result<()> {
        if !self.is_tested(revision) {
            return Ok(());
        }
        self.compare(Event::Test, revision, Done::shown(plan, Event::Test)?).await
    }

    async fn compare(&mut self, event: Event, revision: i32, shown: Done) -> Result<()> {
        let plan = self.frozen.plan(&self.name, event, revision).await?;
        let frozen = Done::frozen(&plan, &self.live);
        let name = &self.name;
        ensure!(shown == frozen, "{event} of {name}:\nshown {shown:#?},\nfrozen {frozen:#?}");
        let total = self.total.entry(event.facts().word).or_default();
        total.plans += 1;
        total.hooks += shown.before.len() + shown.after.len();
        total.applied += shown.applied.len();
        total.deleted += shown.deleted.len();
        total.kept += shown.kept.len();
        if event.makes_revision() {
            self.live = shown.applied;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_plan_shows_is_what_the_operator_freezes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "planned").await?;
    let frozen = Frozen::watch(&namespace).await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let story = |number| {
        let story = Story {
            namespace: &namespace,
            controller: &controller,
            cli: &cli,
            frozen: &frozen,
            number,
            name: format!("r{number}"),
            total: Total::new(),
            live: Vec::new(),
        };
        story.run()
    };
    let all = stream::iter(1..=RELEASES).map(story).buffer_unordered(12);
    let all: Vec<_> = all.try_collect().await?;

    let mut total = Total::new();
    let mut kept = BTreeSet::new();
    for (one, objects) in all {
        for (event, more) in one {
            let total = total.entry(event).or_default();
            total.plans += more.plans;
            total.hooks += more.hooks;
            total.applied += more.applied;
            total.deleted += more.deleted;
            total.kept += more.kept;
        }
        kept.extend(objects.iter().map(Value::to_string));
    }
    let plans = usize::try_from(RELEASES)?;
    for event in Event::ALL {
        let compared = total.get(event.facts().word).copied().unwrap_or_default();
        assert!(compared.plans >= plans && compared.hooks >= 50, "{event}: {total:?}");
        let is_changed = !matches!(event, Event::Install | Event::Test);
        assert!(!is_changed || compared.deleted >= 50, "{event}: {total:?}");
    }
    assert!(kept.len() >= 50, "few objects are kept: {kept:?}");

    let kinds = "configmaps,secrets,serviceaccounts,services";
    let left: Value =
        serde_json::from_str(&namespace.kubectl(&["get", kinds, "--output", "json"])?)?;
    let left: BTreeSet<_> = left["items"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|it| (&it["kind"], &it["metadata"]["name"]))
        .filter(|(_, name)| name.as_str().is_some_and(|name| name.contains("-o")))
        .map(|(kind, name)| json!([kind, name]).to_string())
        .collect();
    assert_eq!(left, kept, "the objects that stayed, and those that `plan` says are kept");
    Ok(())
}
