//! Two tenants of the operator as `deploy/multi-tenant` ships it: one does its worst for ten minutes,
//! the other upgrades its releases meanwhile. `make tenants`; `MINUTES=1` is a shorter one.

mod attacker;
mod bombs;
mod client;
mod container;
mod neighbour;

use std::{collections::BTreeMap, fmt::Write, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{Logs as _, Namespace, containers};

use crate::{
    image,
    operator::{self, Operator},
};
use attacker::{Attacker, Part, Sent};
use container::{Container, Sampler, Seen};
use neighbour::{Neighbour, Times};

/// How long the neighbour is measured alone.
const ALONE: Duration = Duration::from_mins(1);
/// How long each part of the attack is tried by itself.
const EACH: Duration = Duration::from_secs(15);
/// So many times as long an upgrade may take under attack, beyond what the API server and the node are
/// slower.
const MOST_SLOWER: f64 = 2.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "it takes more than ten minutes: make tenants"]
async fn a_tenant_that_does_its_worst_harms_no_other() -> Result<()> {
    let minutes: u64 = std::env::var("MINUTES").map_or(Ok(10), |text| text.parse())?;
    let profile = std::env::var("PROFILE").unwrap_or_else(|_| "release".to_owned());
    let Some(cluster) = containers() else { return Ok(()) };
    image::load(cluster, &profile)?;
    let operator = Operator::deploy(cluster, &operator::shipped("multi-tenant"))?;

    let mut neighbour = Neighbour::new(&operator).await?;
    neighbour.install().await?;
    let bad = Namespace::new(cluster, "attacker").await?;
    set_up(&bad).await?;
    let leader = operator.leader()?.context("nobody leads")?;
    let container = Container::find(&operator, operator::pod_of(&leader))?;
    let sampler = Sampler::start(container.clone());
    let alone = neighbour.measure(ALONE).await?;
    let seen_alone = sampler.end()?;

    let time = Duration::from_secs(minutes * 60);
    let before = lease(&operator)?;
    let victim = (format!("{}/plain", neighbour.name()), neighbour.uid().await?);
    let attacker = Attacker::new(&bad, victim).await?;
    let mut parts = Vec::new();
    for part in Part::ALL {
        let sampler = Sampler::start(container.clone());
        attacker.attack(&[part], EACH).await;
        parts.push((part.what(), sampler.end()?));
    }
    let (sampler, cpu) = (Sampler::start(container.clone()), container.cpu()?);
    let (sent, disturbed) =
        tokio::join!(attacker.attack(&Part::ALL, time), neighbour.measure(time));
    let seen = sampler.end()?;
    let restarts = restarts(&operator)?;
    let disturbed = disturbed.with_context(|| {
        // A tenant chooses how long they are.
        let log: Vec<String> =
            operator.log_tail().lines().map(|it| it.chars().take(400).collect()).collect();
        format!("the neighbour under attack; {restarts:?}; the log:\n{}", log.join("\n"))
    })?;
    let found = Found {
        limit: container.limit()?,
        cpu: (container.cpu()?.saturating_sub(cpu)).as_secs_f64() / time.as_secs_f64(),
        transitions: [before, lease(&operator)?],
        panics: panics(&container)?,
        seen_alone,
        parts,
        sent,
        alone,
        attacked: disturbed,
        seen,
        restarts,
    };
    let cores = thread::available_parallelism()?;
    println!(
        "{minutes} minutes of attack, {cores} cores, {profile} profile\n\n{}",
        found.report()?
    );
    found.check()
}

/// Returns what an administrator gives a tenant: everything in its namespace.
async fn set_up(namespace: &Namespace) -> Result<()> {
    operator::allow_in(namespace)?;
    bombs::put_charts(namespace).await?;
    for n in 0..10 {
        let name = format!("deployer-{n}");
        namespace.kubectl(&["create", "serviceaccount", &name])?;
        let account = format!("--serviceaccount={}:{name}", namespace.name);
        let role = "--clusterrole=releaselifecycle-deployer";
        namespace.kubectl(&["create", "rolebinding", &name, role, &account])?;
    }
    namespace.kubectl(&["create", "serviceaccount", "attacker"])?;
    let account = format!("--serviceaccount={}:attacker", namespace.name);
    let bind = ["create", "rolebinding", "attacker", "--clusterrole=admin", &account];
    namespace.kubectl(&bind)?;
    for resource in ["releaselifecycles.releaselifecycle.dev", "jobs.batch", "secrets"] {
        namespace.wait_may("attacker", "create", resource, true).await?;
    }
    Ok(())
}

/// The holder of the lease, and how often it changed.
fn lease(operator: &Operator) -> Result<String> {
    let path = "jsonpath={.spec.holderIdentity} {.spec.leaseTransitions}";
    operator.kubectl(&["get", "lease", "releaselifecycle-controller", "-o", path])
}

/// How often the container of each replica was restarted.
fn restarts(operator: &Operator) -> Result<Vec<u32>> {
    let path = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
    let counts = operator.kubectl(&["get", "pods", "-o", path])?;
    counts.split_whitespace().map(|count| Ok(count.parse()?)).collect()
}

fn panics(container: &Container) -> Result<String> {
    let metrics = container.ask(8081, "/metrics")?.0;
    let count = metrics.lines().find_map(|it| it.strip_prefix("releaselifecycle_panics_total "));
    Ok(count.context("the metric of panics")?.to_owned())
}

/// Everything that was measured.
struct Found {
    alone: Times,
    attacked: Times,
    /// Before the attack, each part of it by itself, and all together.
    seen_alone: Seen,
    parts: Vec<(&'static str, Seen)>,
    seen: Seen,
    limit: u64,
    /// Cores that the operator and its engines used under attack.
    cpu: f64,
    restarts: Vec<u32>,
    transitions: [String; 2],
    panics: String,
    sent: BTreeMap<&'static str, Sent>,
}

/// The measurement of one thing, alone and under attack.
struct Compared {
    alone: [Duration; 2],
    attacked: [Duration; 2],
    counts: [usize; 2],
}

impl Compared {
    fn new(alone: &[Duration], attacked: &[Duration]) -> Self {
        Self {
            alone: median_and_most(alone),
            attacked: median_and_most(attacked),
            counts: [alone.len(), attacked.len()],
        }
    }

    fn ratio(&self) -> f64 {
        self.attacked[0].as_secs_f64() / self.alone[0].as_secs_f64()
    }
}

fn median_and_most(times: &[Duration]) -> [Duration; 2] {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    [at(times.len() / 2), at(times.len().saturating_sub(1))]
}

impl Found {
    /// Returns what is compared: an upgrade, and beside it what is as slow without an operator.
    fn compared(&self) -> [(&'static str, Compared); 4] {
        let (alone, attacked) = (&self.alone, &self.attacked);
        [
            ("upgrade with two ConfigMaps as hooks", Compared::new(&alone.plain, &attacked.plain)),
            ("control: 40 calls, no operator", Compared::new(&alone.calls, &attacked.calls)),
            ("upgrade with a Job as a hook", Compared::new(&alone.job, &attacked.job)),
            ("control: that Job, no operator", Compared::new(&alone.bare_job, &attacked.bare_job)),
        ]
    }

    fn report(&self) -> Result<String> {
        let mut text = String::from(
            "| | number | p50 alone | max alone | p50 | max | p50 is |\n|---|--:|--:|--:|--:|--:|--:|\n",
        );
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        for (what, it) in self.compared() {
            let times = it.alone.into_iter().chain(it.attacked).map(seconds).collect::<Vec<_>>();
            let ([before, since], ratio) = (it.counts, it.ratio());
            let times = times.join(" | ");
            writeln!(text, "| {what} | {before}, {since} | {times} | × {ratio:.2} |")?;
        }
        for (what, ratio) in self.controlled() {
            writeln!(text, "| {what}, beyond its control | | | | | | × {ratio:.2} |")?;
        }
        text.push_str("\n| | alone | under attack |\n|---|--:|--:|\n");
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let (alone, seen) = (&self.seen_alone, &self.seen);
        let mut both = |what: &str, of: &dyn Fn(&Seen) -> String| {
            writeln!(text, "| {what} | {} | {} |", of(alone), of(seen))
        };
        both("memory of the container, at most", &|seen| mib(seen.anonymous))?;
        both("with files, as the kernel counts it, since its start", &|seen| mib(seen.peak))?;
        both("the operator's process", &|seen| mib(seen.operator))?;
        both("the largest engine", &|seen| mib(seen.engine))?;
        both("all engines at once", &|seen| mib(seen.engines))?;
        both("answers of /livez", &|seen| seen.livez.len().to_string())?;
        both("their p50", &|seen| format!("{:.1?}", median_and_most(&seen.livez)[0]))?;
        both("their max", &|seen| format!("{:.1?}", median_and_most(&seen.livez)[1]))?;
        both("later than 1 s", &|seen| seen.late.to_string())?;
        let mut row = |what: &str, value: String| writeln!(text, "| {what} | | {value} |");
        row("limit of the memory", mib(self.limit))?;
        row("cores that the container used", format!("{:.2}", self.cpu))?;
        row("restarts of each replica", format!("{:?}", self.restarts))?;
        row("panics", self.panics.clone())?;
        row("transitions of the lease", format!("{:?}", self.transitions))?;
        text.push_str("\n| by itself | operator | engines | livez |\n|---|--:|--:|--:|\n");
        for (what, seen) in &self.parts {
            let (operator, engines) = (mib(seen.operator), mib(seen.engines));
            let slowest = median_and_most(&seen.livez)[1];
            writeln!(text, "| {what} | {operator} | {engines} | {slowest:.1?} |")?;
        }
        text.push_str("\n| what the attacker sent | accepted | refused |\n|---|--:|--:|\n");
        for (what, Sent { accepted, refused }) in &self.sent {
            writeln!(text, "| {what} | {accepted} | {refused} |")?;
        }
        Ok(text)
    }

    /// How many times as long an upgrade takes, beyond what its control takes longer. That of a Job
    /// has the same calls, and waits for a Job besides.
    fn controlled(&self) -> [(&'static str, f64); 2] {
        let [(what, upgrade), (_, calls), (with_job, job), (_, bare_job)] = self.compared();
        let slower = |controls: &[&Compared]| {
            let sum = |of: fn(&Compared) -> Duration| -> Duration {
                controls.iter().map(|it| of(it)).sum()
            };
            let (alone, attacked) = (sum(|it| it.alone[0]), sum(|it| it.attacked[0]));
            (attacked.as_secs_f64() / alone.as_secs_f64()).max(1.0)
        };
        let of_job = job.ratio() / slower(&[&calls, &bare_job]);
        [(what, upgrade.ratio() / slower(&[&calls])), (with_job, of_job)]
    }

    fn check(&self) -> Result<()> {
        for (what, ratio) in self.controlled() {
            ensure!(ratio <= MOST_SLOWER, "{what}: × {ratio:.2} beyond its control");
        }
        // Without files: what is read of them counts, too, and is forgotten when memory is short.
        ensure!(self.seen.anonymous < self.limit, "the memory reached its limit");
        ensure!(self.restarts == [0, 0], "restarts: {:?}", self.restarts);
        ensure!(self.transitions[0] == self.transitions[1], "the lease: {:?}", self.transitions);
        ensure!(self.panics == "0", "{} panics", self.panics);
        ensure!(self.seen.late == 0, "{} late answers of /livez", self.seen.late);
        Ok(())
    }
}
