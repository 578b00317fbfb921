//! The floor of `make bench`: the least that a client can do for a release. It makes the Jobs and the
//! objects that the others make, in the same order, and waits for the Jobs by one watch. It keeps no
//! record, does not survive a crash, and checks nothing.
//!
//! `floor KUBECONFIG NAMESPACE install|upgrade|delete PLAN`: the plan is JSON, a list of releases. It
//! prints the peak of its memory in KiB.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::api::{batch::v1::Job, core::v1::ConfigMap};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

/// The number of requests that are sent at once.
const AT_ONCE: usize = 64;

/// A release. Its objects are of the kind `ConfigMap`.
#[derive(Deserialize)]
struct Release {
    before: Vec<Job>,
    objects: Vec<Value>,
    after: Vec<Job>,
}

#[derive(Clone, Copy, PartialEq)]
enum Event {
    Install,
    Upgrade,
    Delete,
}

/// Who waits for which Job.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<bool>>>>;

struct Floor {
    jobs: Api<Job>,
    objects: Api<ConfigMap>,
    permits: Semaphore,
    waiting: Waiting,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<_> = env::args().skip(1).collect();
    let [kubeconfig, namespace, event, plan] = &args[..] else {
        bail!("usage: floor KUBECONFIG NAMESPACE install|upgrade|delete PLAN");
    };
    let event = match event.as_str() {
        "install" => Event::Install,
        "upgrade" => Event::Upgrade,
        "delete" => Event::Delete,
        other => bail!("{other} is no event"),
    };
    let plan = fs::read(plan).with_context(|| format!("read {plan}"))?;
    let releases: Vec<Release> = serde_json::from_slice(&plan).context("read the plan")?;
    let client = connect(Path::new(kubeconfig)).await?;
    let floor = Floor {
        jobs: Api::namespaced(client.clone(), namespace),
        objects: Api::namespaced(client, namespace),
        permits: Semaphore::new(AT_ONCE),
        waiting: Waiting::default(),
    };
    if releases.iter().any(|it| !it.before.is_empty() || !it.after.is_empty()) {
        let params = ListParams::default().limit(1);
        let version = floor.jobs.list(&params).await?.metadata.resource_version;
        let version = version.context("a list has a version")?;
        tokio::spawn(watch(floor.jobs.clone(), version, Arc::clone(&floor.waiting)));
    }
    try_join_all(releases.iter().map(|release| floor.run(event, release))).await?;
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    writeln!(io::stdout(), "{}", peak(&status).context("the kernel reports VmHWM")?)?;
    Ok(())
}

/// Returns the peak of the memory in KiB, by the text of `/proc/self/status`.
fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

async fn connect(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    config.headers.push((USER_AGENT, HeaderValue::from_static("floor")));
    Ok(Client::try_from(config)?)
}

impl Floor {
    async fn run(&self, event: Event, release: &Release) -> Result<()> {
        if event == Event::Delete {
            for object in &release.objects {
                let _permit = self.permits.acquire().await?;
                self.objects.delete(name(object)?, &DeleteParams::background()).await?;
            }
            return Ok(());
        }
        for job in &release.before {
            self.hook(event, job).await?;
        }
        let params = PatchParams::apply("floor").force();
        for object in &release.objects {
            let _permit = self.permits.acquire().await?;
            self.objects.patch(name(object)?, &params, &Patch::Apply(object)).await?;
        }
        for job in &release.after {
            self.hook(event, job).await?;
        }
        Ok(())
    }

    /// Makes the Job, in place of the one of the last event, and waits until it is complete.
    async fn hook(&self, event: Event, job: &Job) -> Result<()> {
        let name = job.name_any();
        let (done, wait) = oneshot::channel();
        {
            let _permit = self.permits.acquire().await?;
            if event == Event::Upgrade {
                self.jobs.delete(&name, &DeleteParams::background()).await?;
            }
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), done);
            self.jobs.create(&PostParams::default(), job).await?;
        }
        let succeeded = wait.await.with_context(|| format!("the watch ended before Job {name}"))?;
        if !succeeded {
            bail!("Job {name} failed");
        }
        Ok(())
    }
}

fn name(object: &Value) -> Result<&str> {
    object.pointer("/metadata/name").and_then(Value::as_str).context("an object has a name")
}

/// Tells who waits for a Job that it has ended. If the watch fails, it forgets them all, and so their
/// waits fail.
async fn watch(jobs: Api<Job>, version: String, waiting: Waiting) {
    if let Err(error) = follow(&jobs, version, &waiting).await {
        eprintln!("the watch of Jobs failed: {error:#}");
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

async fn follow(jobs: &Api<Job>, mut version: String, waiting: &Waiting) -> Result<()> {
    loop {
        let mut events = jobs.watch(&WatchParams::default(), &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(job) | WatchEvent::Modified(job) => {
                    if let Some(succeeded) = outcome(&job)
                        && let Some(wait) = waiting
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .remove(&job.name_any())
                    {
                        // Nobody may wait any more.
                        let _ = wait.send(succeeded);
                    }
                    version = job.resource_version().unwrap_or(version);
                }
                WatchEvent::Deleted(job) => version = job.resource_version().unwrap_or(version),
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(status) => bail!("{}", status.message),
            }
        }
    }
}

/// Returns whether the Job succeeded; `None` while it has not ended.
fn outcome(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let is = |type_: &str| conditions.iter().any(|it| it.type_ == type_ && it.status == "True");
    if is("Complete") { Some(true) } else { is("Failed").then_some(false) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: Value) -> Job {
        serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
    }

    #[test]
    fn the_peak_is_read() {
        assert_eq!(peak("VmPeak:\t 9 kB\nVmHWM:\t   17 kB\n"), Some(17));
        assert_eq!(peak("VmPeak:\t 9 kB\n"), None);
    }

    #[test]
    fn a_job_has_ended_when_it_is_complete_or_failed() {
        assert_eq!(outcome(&job(json!([{"type": "SuccessCriteriaMet", "status": "True"}]))), None);
        assert_eq!(outcome(&job(json!([{"type": "Complete", "status": "False"}]))), None);
        assert_eq!(outcome(&job(json!([{"type": "Complete", "status": "True"}]))), Some(true));
        assert_eq!(outcome(&job(json!([{"type": "Failed", "status": "True"}]))), Some(false));
    }
}
