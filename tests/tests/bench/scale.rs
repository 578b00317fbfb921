//! The operator alone, with very many releases or hooks.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use e2e::{
    Namespace,
    manifests::{Manifest as _, config_map, job},
};
use kube::{
    Api,
    api::WatchEvent,
    core::{ApiResource, GroupVersionKind, Object},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use crate::{
    measure,
    ours::{self, Operator, Restart},
    requests::{Tool, is_background},
    stage::{Figures, Stage, names},
    watching,
};

/// The number of releases in a namespace.
const PER_NAMESPACE: usize = 100;

/// Releases of one object each, in sync.
pub(crate) struct InSync {
    pub(crate) install: Figures,
    pub(crate) restart: Restart,
    pub(crate) idle: Idle,
}

/// The cost of nothing to do.
pub(crate) struct Idle {
    /// In seconds, for each minute.
    pub(crate) cpu: f64,
    pub(crate) memory_mib: f64,
    /// For each minute, without watches and the lease.
    pub(crate) requests: f64,
}

pub(crate) fn in_sync(stage: &mut Stage, releases: usize) -> Result<InSync> {
    let names = names(releases);
    let namespaces = namespaces(stage, "in-sync", releases)?;
    let operator = Operator::start(&namespaces)?;
    let install = operator.measure(stage, &names, |stage| {
        let spec = |name: &str| (vec![config_map(name, "1")], json!({}));
        ours::deploy(stage, &namespaces, &names, spec)
    })?;
    let (operator, restart) = ours::restart(stage, &namespaces, operator, releases)?;
    let idle = idle(stage, &operator)?;
    operator.stop()?;
    Ok(InSync { install, restart, idle })
}

/// Makes the namespaces of so many releases, on a control plane without any others.
fn namespaces(stage: &Stage, prefix: &str, releases: usize) -> Result<Vec<Namespace>> {
    ours::clear(stage)?;
    eprintln!("bench: {prefix}");
    // With a single one, the operator would serve that alone.
    let count = releases.div_ceil(PER_NAMESPACE).max(2);
    (0..count).map(|_| stage.another_namespace(prefix)).collect()
}

fn idle(stage: &mut Stage, operator: &Operator) -> Result<Idle> {
    let seconds = stage.knobs.idle_seconds;
    stage.requests()?;
    let before = measure::cpu(operator.pid())?;
    thread::sleep(Duration::from_secs(seconds));
    let cpu = measure::cpu(operator.pid())? - before;
    let events = stage.requests()?;
    let work = events.iter().filter(|event| Tool::Ours.sent(event) && !is_background(event));
    let requests = u32::try_from(work.count()).map_or(f64::MAX, f64::from);
    let minutes = Duration::from_secs(seconds).as_secs_f64() / 60.0;
    let memory_mib = measure::memory_mib(operator.pid());
    Ok(Idle { cpu: cpu / minutes, memory_mib, requests: requests / minutes })
}

/// Hooks that run all at once, and do not end.
pub(crate) struct Live {
    pub(crate) start: Figures,
    pub(crate) idle: Idle,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobStatus {
    active: u32,
}

fn is_active(event: &WatchEvent<Object<IgnoredAny, JobStatus>>) -> Option<bool> {
    let (WatchEvent::Added(job) | WatchEvent::Modified(job)) = event else { return None };
    Some(job.status.as_ref().is_some_and(|status| status.active > 0))
}

pub(crate) fn live(stage: &mut Stage, hooks: usize) -> Result<Live> {
    let names = names(hooks);
    let namespaces = namespaces(stage, "live-hooks", hooks)?;
    let operator = Operator::start(&namespaces)?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("batch", "v1", "Job"));
    let client = namespaces.first().context("a namespace")?.client.clone();
    let jobs: Api<Object<IgnoredAny, JobStatus>> = Api::all_with(client, &resource);
    let start = operator.measure(stage, &names, |stage| {
        let spec = |name: &str| {
            let hook = job(&format!("{name}-pre")).hook("pre-install").never_ends();
            (vec![hook], json!({"timeout": "24h"}))
        };
        stage.runtime.block_on(async {
            let version = watching::now(&jobs).await?;
            let active = watching::until(&jobs, version, names.len(), is_active);
            tokio::try_join!(ours::write(&namespaces, &names, spec), active)?;
            Ok(())
        })
    })?;
    let idle = idle(stage, &operator)?;
    operator.stop()?;
    Ok(Live { start, idle })
}
