//! The tenant that does its worst: everything that it may write in its own namespace, all at once,
//! for as long as the test lasts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use e2e::{Namespace, manifests::config_map};
use http::Method;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior},
};

use super::{
    bombs::Bombs,
    client::{Kind, Tenant},
};

/// The releases that change each second.
const RELEASES: usize = 100;
/// So many tasks change them.
const WRITERS: usize = 4;
/// Jobs that look like hooks that are held back.
const FORGED: usize = 3000;
/// Releases that are reconciled without end, if something lets them.
const LOOPS: usize = 10;

pub(super) struct Attacker {
    tenant: Arc<Tenant>,
    namespace: String,
    bombs: Arc<Bombs>,
    /// The neighbour's release, and its UID: it is no secret what they are called.
    victim: (String, String),
    until: Instant,
    sent: Mutex<BTreeMap<&'static str, Sent>>,
}

/// A part of the attack; all run at once.
#[derive(Clone, Copy)]
pub(super) enum Part {
    HugeSpecs,
    PlanBombs,
    Histories,
    OddPlans,
    Values,
    Charts,
    LargeSources,
    Removals,
    ManyRecords,
    LongAnnotations,
    ForgedJobs,
    Slow,
    HotLoops,
    Churn,
}

impl Part {
    /// In an order in which what one leaves behind disturbs the next ones least.
    pub(super) const ALL: [Self; 14] = [
        Self::HugeSpecs,
        Self::PlanBombs,
        Self::Histories,
        Self::OddPlans,
        Self::Values,
        Self::Charts,
        Self::LargeSources,
        Self::Removals,
        Self::ManyRecords,
        Self::LongAnnotations,
        Self::ForgedJobs,
        Self::Slow,
        Self::HotLoops,
        Self::Churn,
    ];

    pub(super) fn what(self) -> &'static str {
        match self {
            Self::HugeSpecs => "specs of 1.3 MiB that take 130 MiB of memory",
            Self::PlanBombs => "plans of 15 MiB and of 130 000 objects in records of 32 and 480 kB",
            Self::Histories => "histories of twelve records with values that take 43 and 125 MiB",
            Self::OddPlans => "plans in records with objects that no manifest would be",
            Self::Values => "a chart with values of ten ConfigMaps of 1 MiB",
            Self::Charts => "charts that loop, take memory, print 200 MiB, look 1 MiB up 300 times",
            Self::LargeSources => "sources of 1 MiB: 11 000 objects; one of 100 MiB of memory",
            Self::Removals => "releases with large plans, removed by force while a hook runs",
            Self::ManyRecords => "200 records of other releases, with annotations of 240 kB",
            Self::LongAnnotations => "300 Jobs with the operator's annotations, of 240 kB",
            Self::ForgedJobs => "3000 Jobs that look like hooks, changed 50 times a second",
            Self::Slow => "hooks that never end, servers that never answer",
            Self::HotLoops => "ten releases with drift and new requests all the time",
            Self::Churn => "a hundred releases that change each second",
        }
    }
}

/// How many requests were accepted, and how many were refused.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) accepted: usize,
    pub(super) refused: usize,
}

/// A repetition until the end of the attack.
struct Pace {
    ticks: Interval,
    until: Instant,
    round: usize,
}

impl Pace {
    async fn next(&mut self) -> Option<usize> {
        self.ticks.tick().await;
        self.round += 1;
        (Instant::now() < self.until).then_some(self.round)
    }
}

/// A release with this source.
fn release(name: &str, source: &Value, more: Value) -> Value {
    let mut release = json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
        "metadata": {"name": name},
        "spec": {"serviceAccountName": "deployer", "source": source},
    });
    if let (Value::Object(spec), Value::Object(more)) = (&mut release["spec"], more) {
        spec.extend(more);
    }
    release
}

fn objects(name: &str, value: &str) -> Value {
    json!({"objects": [config_map(name, value)]})
}

impl Attacker {
    pub(super) async fn new(namespace: &Namespace, victim: (String, String)) -> Result<Self> {
        let tenant = Arc::new(Tenant::new(namespace, "attacker").await?);
        let (bombs, sent) = (Arc::new(Bombs::new()?), Mutex::default());
        let (namespace, until) = (namespace.name.clone(), Instant::now());
        Ok(Self { tenant, namespace, bombs, victim, until, sent })
    }

    /// The same attacker, for this long from now on.
    fn again(&self, time: Duration) -> Self {
        let (tenant, bombs) = (Arc::clone(&self.tenant), Arc::clone(&self.bombs));
        let (namespace, victim) = (self.namespace.clone(), self.victim.clone());
        Self {
            tenant,
            namespace,
            bombs,
            victim,
            until: Instant::now() + time,
            sent: Mutex::default(),
        }
    }

    /// Does all these parts at once, for this long.
    pub(super) async fn attack(
        &self,
        parts: &[Part],
        time: Duration,
    ) -> BTreeMap<&'static str, Sent> {
        let this = Arc::new(self.again(time));
        let mut tasks = JoinSet::new();
        for part in parts {
            for writer in 0..if matches!(part, Part::Churn) { WRITERS } else { 1 } {
                let (this, part) = (Arc::clone(&this), *part);
                tasks.spawn(async move { this.part(part, writer).await });
            }
        }
        while tasks.join_next().await.is_some() {}
        this.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn part(&self, part: Part, writer: usize) {
        let what = part.what();
        match part {
            Part::HugeSpecs => self.huge_specs(what).await,
            Part::PlanBombs => self.plan_bombs(what).await,
            Part::Histories => self.histories(what).await,
            Part::OddPlans => self.odd_plans(what).await,
            Part::Values => self.values(what).await,
            Part::Charts => self.charts(what).await,
            Part::LargeSources => self.large_sources(what).await,
            Part::Removals => self.removals_by_force(what).await,
            Part::ManyRecords => self.many_records(what).await,
            Part::LongAnnotations => self.long_annotations(what).await,
            Part::ForgedJobs => self.forged_jobs(what).await,
            Part::Slow => self.slow(what).await,
            Part::HotLoops => self.hot_loops(what).await,
            Part::Churn => self.churn(what, writer).await,
        }
    }

    fn pace(&self, every: Duration) -> Pace {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Pace { ticks, until: self.until, round: 0 }
    }

    async fn send(
        &self,
        what: &'static str,
        method: Method,
        kind: Kind,
        name: &str,
        body: String,
    ) -> Option<String> {
        // What is sent after the end would not be measured.
        if Instant::now() >= self.until {
            return None;
        }
        let answer = self.tenant.send(method, kind, name, body.into_bytes()).await.ok();
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sent.entry(what).or_default();
        if answer.is_some() {
            sent.accepted += 1;
        } else {
            sent.refused += 1;
        }
        answer
    }

    async fn create(&self, what: &'static str, kind: Kind, body: &impl ToString) {
        self.send(what, Method::POST, kind, "", body.to_string()).await;
    }

    async fn patch(&self, what: &'static str, kind: Kind, name: &str, body: &Value) {
        self.send(what, Method::PATCH, kind, name, body.to_string()).await;
    }

    async fn delete(&self, what: &'static str, kind: Kind, name: &str) {
        let background = json!({"propagationPolicy": "Background"});
        self.send(what, Method::DELETE, kind, name, background.to_string()).await;
    }

    /// Removes the release without the operator.
    async fn force(&self, what: &'static str, name: &str) {
        let free = json!({"metadata": {"finalizers": null}});
        self.patch(what, Kind::Release, name, &free).await;
        self.delete(what, Kind::Release, name).await;
    }

    /// A Job that looks like a hook that is held back: of a release of this UID and key.
    fn forged(name: &str, uid: &str, owner: &str, round: usize) -> Value {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": name, "labels": {"releaselifecycle.dev/uid": uid},
                "annotations": {
                    "releaselifecycle.dev/owner": owner, "releaselifecycle.dev/gate": "held",
                    "releaselifecycle.dev/service-account": "deployer",
                    "releaselifecycle.dev/run": format!("x/{round}/1")}},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "main", "image": "busybox:1", "command": ["true"]}]}}},
        })
    }

    /// S7a.
    async fn forged_jobs(&self, what: &'static str) {
        let name = |n: usize| format!("forged-{n}");
        let own = format!("{}/forged", self.namespace);
        self.create(what, Kind::Release, &release("forged", &objects("forged", "0"), json!({})))
            .await;
        let found = self.send(what, Method::GET, Kind::Release, "forged", String::new()).await;
        let found = found.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let uid = found.map(|it| it["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        let uid = uid.unwrap_or_default();
        let mut pace = self.pace(Duration::from_millis(10));
        while let Some(round) = pace.next().await {
            let (victim, of_victim) = (&self.victim.0, &self.victim.1);
            let (owner, uid) = match round % 4 {
                0 => (victim, of_victim.clone()),
                1 => (victim, format!("former-{round}")),
                2 => (&own, format!("former-{round}")),
                _ => (&own, uid.clone()),
            };
            if round <= FORGED {
                self.create(what, Kind::Job, &Self::forged(&name(round), &uid, owner, round)).await;
                continue;
            }
            let poked = json!({"metadata": {"annotations": {"poked": round.to_string()}}});
            self.patch(what, Kind::Job, &name(round % FORGED), &poked).await;
            // Each of them wakes the release that it names.
            if round % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Jobs with annotations of the operator that are as long as an annotation may be.
    async fn long_annotations(&self, what: &'static str) {
        let mut pace = self.pace(Duration::from_millis(500));
        while let Some(round) = pace.next().await {
            let owner = format!("{}/{round}-{}", self.namespace, "x".repeat(240_000));
            let job = Self::forged(&format!("long-{}", round % 300), "long", &owner, round);
            if round <= 300 {
                self.create(what, Kind::Job, &job).await;
            }
        }
    }

    /// Releases that change each second.
    async fn churn(&self, what: &'static str, writer: usize) {
        let name = |n: usize| format!("churn-{n}");
        let own = || (0..RELEASES).filter(|n| n % WRITERS == writer);
        for n in own() {
            self.create(
                what,
                Kind::Release,
                &release(&name(n), &objects(&name(n), "0"), json!({})),
            )
            .await;
        }
        let mut pace = self.pace(Duration::from_secs(1));
        while let Some(round) = pace.next().await {
            for n in own() {
                let changed = json!({"spec": {"source": objects(&name(n), &round.to_string())}});
                self.patch(what, Kind::Release, &name(n), &changed).await;
            }
        }
    }

    /// S7b, and releases that ask for another test, retry or restart all the time.
    async fn hot_loops(&self, what: &'static str) {
        let name = |n: usize| format!("hot-{n}");
        for n in 0..LOOPS {
            let more = json!({"interval": "2s", "driftDetection": {"mode": "enabled"},
                              "dependsOn": [{"name": name((n + 1) % LOOPS)}]});
            let more = if n % 2 == 0 { more } else { json!({"interval": "2s"}) };
            self.create(what, Kind::Release, &release(&name(n), &objects(&name(n), "0"), more))
                .await;
            let record = format!("sh.helm.release.v1.{}.v2", name(n));
            let record =
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": record}});
            self.create(what, Kind::Secret, &record).await;
        }
        let mut pace = self.pace(Duration::from_millis(250));
        while let Some(round) = pace.next().await {
            let (name, now) = (name(round % LOOPS), round.to_string());
            let drifted = json!({"data": {"value": now}});
            self.patch(what, Kind::ConfigMap, &name, &drifted).await;
            let requests = json!({"metadata": {"annotations": {
                "releaselifecycle.dev/retryAt": now, "releaselifecycle.dev/testAt": now,
                "releaselifecycle.dev/restartAt": now}}});
            self.patch(what, Kind::Release, &name, &requests).await;
        }
    }

    /// S2a.
    async fn huge_specs(&self, what: &'static str) {
        let name = |round: usize| format!("huge-{}", round % 4);
        let mut pace = self.pace(Duration::from_secs(5));
        while let Some(round) = pace.next().await {
            self.force(what, &name(round)).await;
            self.create(what, Kind::Release, &self.bombs.huge_spec(&name(round))).await;
            let poked = json!({"spec": {"suspend": round % 2 == 0}});
            self.patch(what, Kind::Release, &name(round + 1), &poked).await;
        }
    }

    /// S2b and S3.
    async fn plan_bombs(&self, what: &'static str) {
        let mut pace = self.pace(Duration::from_secs(5));
        while let Some(round) = pace.next().await {
            for (kind, bomb) in ["memory", "time"].into_iter().zip(&self.bombs.plans) {
                let name = format!("plan-{kind}");
                self.force(what, &name).await;
                let record = format!("sh.helm.release.v1.{name}.v1");
                self.delete(what, Kind::Secret, &record).await;
                self.create(what, Kind::Secret, bomb).await;
                let source = objects(&name, &round.to_string());
                self.create(what, Kind::Release, &release(&name, &source, json!({}))).await;
            }
        }
    }

    /// S2c.
    async fn histories(&self, what: &'static str) {
        let mut pace = self.pace(Duration::from_secs(10));
        while let Some(round) = pace.next().await {
            for (name, records) in &self.bombs.histories {
                if round == 1 {
                    for record in records {
                        self.create(what, Kind::Secret, record).await;
                    }
                }
                self.force(what, name).await;
                let source = objects(name, &round.to_string());
                self.create(what, Kind::Release, &release(name, &source, json!({}))).await;
            }
        }
    }

    /// Records of very many releases that nobody manages, with long annotations, watched as several
    /// `ServiceAccount`s.
    async fn many_records(&self, what: &'static str) {
        for n in 0..10 {
            let name = format!("watch-{n}");
            let account = json!({"serviceAccountName": format!("deployer-{n}")});
            let watching = release(&name, &objects(&name, "0"), account);
            self.create(what, Kind::Release, &watching).await;
        }
        let mut pace = self.pace(Duration::from_millis(500));
        while let Some(round) = pace.next().await {
            let name = format!("sh.helm.release.v1.other-{}.v1", round % 200);
            let by = format!("{round}{}", "x".repeat(240_000));
            let record = json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
                "metadata": {"name": name, "labels": {"owner": "helm"},
                             "annotations": {"releaselifecycle.dev/owner": by}}});
            if round <= 200 {
                self.create(what, Kind::Secret, &record).await;
            }
        }
    }

    /// `valuesFrom` of ten `ConfigMap`s of 1 MiB, of which one changes every two seconds.
    async fn values(&self, what: &'static str) {
        let name = |n: usize| format!("values-{n}");
        for n in 0..10 {
            self.create(what, Kind::ConfigMap, &self.bombs.values(&name(n))).await;
        }
        let from: Vec<_> = (0..10).map(|n| json!({"kind": "ConfigMap", "name": name(n)})).collect();
        let chart = super::bombs::chart("small");
        let large = release("values", &chart, json!({"valuesFrom": from, "interval": "2s"}));
        self.create(what, Kind::Release, &large).await;
        let mut pace = self.pace(Duration::from_secs(2));
        while let Some(round) = pace.next().await {
            let changed = json!({"data": {"more": round.to_string()}});
            self.patch(what, Kind::ConfigMap, &name(round % 10), &changed).await;
        }
    }

    /// S2d and S8f: charts that loop, take memory, or look a large Secret up 300 times. Their values
    /// change each second, so that each is another rendering.
    async fn charts(&self, what: &'static str) {
        self.create(what, Kind::Secret, &self.bombs.lines).await;
        for name in super::bombs::CHARTS {
            self.create(what, Kind::Release, &release(name, &super::bombs::chart(name), json!({})))
                .await;
        }
        let mut pace = self.pace(Duration::from_secs(1));
        while let Some(round) = pace.next().await {
            let name = super::bombs::CHARTS[round % super::bombs::CHARTS.len()];
            let changed = json!({"spec": {"values": {"round": round}}});
            self.patch(what, Kind::Release, name, &changed).await;
        }
    }

    /// `objectsFrom` of `ConfigMap`s of 1 MiB: of many objects, and of one that takes much memory.
    async fn large_sources(&self, what: &'static str) {
        for (name, source) in &self.bombs.sources {
            self.create(what, Kind::ConfigMap, source).await;
            let from = json!({"objectsFrom": [{"kind": "ConfigMap", "name": name}]});
            self.create(what, Kind::Release, &release(name, &from, json!({}))).await;
        }
        let mut pace = self.pace(Duration::from_secs(2));
        while let Some(round) = pace.next().await {
            for (name, _) in &self.bombs.sources {
                let changed = json!({"metadata": {"annotations": {"poked": round.to_string()}}});
                self.patch(what, Kind::ConfigMap, name, &changed).await;
            }
        }
    }

    /// S1: plans in records that are replaced by odd ones.
    async fn odd_plans(&self, what: &'static str) {
        let more = json!({"interval": "2s", "driftDetection": {"mode": "warn"}});
        self.create(what, Kind::Release, &release("odd", &objects("odd", "0"), more)).await;
        let mut pace = self.pace(Duration::from_secs(3));
        while let Some(round) = pace.next().await {
            let plan = self.bombs.odd_plans[round % self.bombs.odd_plans.len()].clone();
            let record = format!("sh.helm.release.v1.odd.v{}", 1 + round / 10);
            self.patch(what, Kind::Secret, &record, &json!({"data": {"plan": plan}})).await;
            if round % 10 == 0 {
                let changed = json!({"spec": {"source": objects("odd", &round.to_string())}});
                self.patch(what, Kind::Release, "odd", &changed).await;
            }
        }
    }

    /// S2f: releases with large plans that are removed by force while a hook runs.
    async fn removals_by_force(&self, what: &'static str) {
        let mut pace = self.pace(Duration::from_secs(10));
        while let Some(round) = pace.next().await {
            let name = format!("forced-{round}");
            self.create(what, Kind::Release, &Bombs::forced(&name)).await;
            tokio::time::sleep(Duration::from_secs(7)).await;
            self.force(what, &name).await;
            self.delete(what, Kind::Secret, &format!("sh.helm.release.v1.{name}.v1")).await;
            self.delete(what, Kind::Job, &name).await;
        }
    }

    /// Hooks that never end, and servers that never answer.
    async fn slow(&self, what: &'static str) {
        for n in 0..3 {
            self.create(what, Kind::Release, &Bombs::endless(&format!("endless-{n}"))).await;
        }
        // The last of the addresses for documentation: nobody answers.
        for n in 0..20 {
            let url = format!("http://203.0.113.{n}/charts");
            let chart =
                json!({"chart": {"repository": {"url": url, "name": "x", "version": "1.0.0"}}});
            let name = format!("silent-{n}");
            self.create(what, Kind::Release, &release(&name, &chart, json!({"interval": "5s"})))
                .await;
        }
        let mut pace = self.pace(Duration::from_secs(1));
        while let Some(round) = pace.next().await {
            let name = format!("silent-{}", round % 20);
            let url = format!("http://203.0.113.{}/{round}", round % 200);
            let changed = json!({"spec": {"source": {"chart": {"repository": {"url": url}}}}});
            self.patch(what, Kind::Release, &name, &changed).await;
        }
    }
}
