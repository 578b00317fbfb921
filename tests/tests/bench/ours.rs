//! The operator: its release build, as it is shipped, in one namespace or in all.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use e2e::Namespace;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent},
    core::{ApiResource, GroupVersionKind, Object},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use crate::{
    measure::{self, Sampler, Watched},
    requests::{Delays, Tool, count},
    stage::{Figures, Stage, program},
    watching,
};

/// The number of objects that the bench writes at once.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(20);
/// The longest time for a start.
const PATIENCE: Duration = Duration::from_mins(10);

/// A running operator.
pub(crate) struct Operator {
    child: Child,
    address: SocketAddr,
}

impl Operator {
    /// Starts it for the releases in `namespaces`: in one alone, or else in all that there are. Waits until
    /// it is ready.
    pub(crate) fn start(namespaces: &[Namespace]) -> Result<Self> {
        let operator = Self::launch(namespaces)?;
        operator.wait_ready()?;
        Ok(operator)
    }

    fn launch(namespaces: &[Namespace]) -> Result<Self> {
        let namespace = namespaces.first().context("a namespace")?;
        let scope = if namespaces.len() == 1 { "--namespace" } else { "--lease-namespace" };
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = e2e::target().join("tmp/controllers").join(format!("{}.log", namespace.name));
        fs::create_dir_all(log.parent().context("a folder")?)?;
        // It must not outlive a bench that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program("releaselifecycle-controller")?)
            .args(["--listen", &address.to_string(), scope, &namespace.name])
            // The next one is the same replica, and need not wait for the lease.
            .args(["--identity", "bench"])
            .arg("--engine")
            .arg(program("releaselifecycle-engine")?)
            .env("RELEASELIFECYCLE_KUBECONFIG", namespace.cluster().kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .spawn()
            .context("start the operator")?;
        Ok(Self { child, address })
    }

    fn wait_ready(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.is_ready() {
            ensure!(begun.elapsed() < PATIENCE, "the operator is not ready after {PATIENCE:?}");
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            write!(stream, "GET /readyz HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns it as what a sampler watches.
    pub(crate) fn watched(&self) -> Watched {
        let watched = Watched::default();
        watched.add(self.pid());
        watched
    }

    /// Measures `work` of it.
    pub(crate) fn measure(
        &self,
        stage: &mut Stage,
        names: &[String],
        work: impl FnOnce(&Stage) -> Result<()>,
    ) -> Result<Figures> {
        let cpu = || measure::cpu(self.pid());
        stage.measure(Tool::Ours, names, &self.watched(), cpu, work)
    }

    /// Sends SIGTERM, and waits until it has ended.
    pub(crate) fn stop(mut self) -> Result<()> {
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        ensure!(sent.success(), "the operator had ended by itself");
        self.child.wait().context("wait for the operator")?;
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cost of a start when nothing is to be done.
pub(crate) struct Restart {
    /// In seconds, until it was ready.
    pub(crate) ready: f64,
    /// The wall time is that until its last request.
    pub(crate) figures: Figures,
}

/// Stops the operator, and starts it again where all is in sync.
pub(crate) fn restart(
    stage: &mut Stage,
    namespaces: &[Namespace],
    operator: Operator,
    releases: usize,
) -> Result<(Operator, Restart)> {
    operator.stop()?;
    stage.requests()?;
    let (begun, zero) = (Instant::now(), Timestamp::now());
    let operator = Operator::launch(namespaces)?;
    let sampler = Sampler::start(operator.watched());
    operator.wait_ready()?;
    let ready = begun.elapsed().as_secs_f64();
    let (events, rest) = stage.rest(zero)?;
    let figures = Figures {
        tool: Tool::Ours,
        releases,
        wall: rest,
        rest,
        cpu: measure::cpu(operator.pid())?,
        peak_mib: sampler.stop()?,
        requests: count(events.iter().filter(|event| Tool::Ours.sent(event))),
        delays: Delays::default(),
    };
    Ok((operator, Restart { ready, figures }))
}

/// The fields of a release that the bench waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Brief {
    observed_generation: Option<i64>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

type Release = Object<IgnoredAny, Brief>;

fn is_ready(event: &WatchEvent<Release>) -> Option<bool> {
    let (WatchEvent::Added(release) | WatchEvent::Modified(release)) = event else { return None };
    let Some(status) = &release.status else { return Some(false) };
    let ready = status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
    Some(ready && status.observed_generation == release.metadata.generation)
}

fn is_gone(event: &WatchEvent<Release>) -> Option<bool> {
    matches!(event, WatchEvent::Deleted(_)).then_some(true)
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "releaselifecycle.dev",
        "v1alpha1",
        "ReleaseLifecycle",
    ))
}

/// Returns the releases of the namespaces.
fn releases(namespaces: &[Namespace]) -> Result<Api<Release>> {
    let first = namespaces.first().context("a namespace")?;
    let client = first.client.clone();
    Ok(match namespaces {
        [one] => Api::namespaced_with(client, &one.name, &resource()),
        _ => Api::all_with(client, &resource()),
    })
}

/// Writes the releases, as many in each of the namespaces, with the objects and the rest of the spec that
/// `spec` returns.
pub(crate) async fn write(
    namespaces: &[Namespace],
    names: &[String],
    spec: impl Fn(&str) -> (Vec<Value>, Value),
) -> Result<()> {
    let each = names.len().div_ceil(namespaces.len().max(1)).max(1);
    let places = names.chunks(each).zip(namespaces);
    let all = places.flat_map(|(names, namespace)| names.iter().map(move |name| (name, namespace)));
    let written = stream::iter(all).map(|(name, namespace)| {
        let (objects, more) = spec(name);
        async move { namespace.release(name, &objects, more).await }
    });
    written.buffer_unordered(AT_ONCE).try_collect().await
}

/// Writes the releases, and waits until each is deployed.
pub(crate) fn deploy(
    stage: &Stage,
    namespaces: &[Namespace],
    names: &[String],
    spec: impl Fn(&str) -> (Vec<Value>, Value),
) -> Result<()> {
    let api = releases(namespaces)?;
    stage.runtime.block_on(async {
        let version = watching::now(&api).await?;
        let ready = watching::until(&api, version, names.len(), is_ready);
        tokio::try_join!(write(namespaces, names, spec), ready)?;
        Ok(())
    })
}

/// Deletes the releases of a namespace, and waits until they are gone.
pub(crate) fn delete(stage: &Stage, namespace: &Namespace, names: &[String]) -> Result<()> {
    let api = releases(std::slice::from_ref(namespace))?;
    stage.runtime.block_on(async {
        let version = watching::now(&api).await?;
        let gone = watching::until(&api, version, names.len(), is_gone);
        let deleted = stream::iter(names).map(|name| async {
            api.delete(name, &DeleteParams::default()).await?;
            anyhow::Ok(())
        });
        let deleted = deleted.buffer_unordered(AT_ONCE).try_collect::<()>();
        tokio::try_join!(deleted, gone)?;
        Ok(())
    })
}

/// Removes what earlier scenarios have left, without an operator: one for all namespaces would serve it,
/// too.
pub(crate) fn clear(stage: &Stage) -> Result<()> {
    let namespace = stage.another_namespace("clear")?;
    let client = &namespace.client;
    stage.runtime.block_on(async {
        let left = Api::<Release>::all_with(client.clone(), &resource());
        let left = left.list_metadata(&ListParams::default()).await?;
        let removed = stream::iter(left.items).map(|release| async move {
            let place = release.metadata.namespace.unwrap_or_default();
            let name = release.metadata.name.unwrap_or_default();
            let api = Api::<Release>::namespaced_with(client.clone(), &place, &resource());
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            api.patch_metadata(&name, &PatchParams::default(), &free).await?;
            api.delete(&name, &DeleteParams::default()).await?;
            anyhow::Ok(())
        });
        removed.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let (jobs, background) = (Api::<Job>::all(client.clone()), DeleteParams::background());
        let places = jobs.list_metadata(&ListParams::default()).await?.items;
        let places: BTreeSet<_> =
            places.into_iter().filter_map(|it| it.metadata.namespace).collect();
        for place in places {
            let jobs = Api::<Job>::namespaced(client.clone(), &place);
            jobs.delete_collection(&background, &ListParams::default()).await?;
        }
        let pods = Api::<Pod>::all(client.clone());
        let begun = Instant::now();
        while !pods.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
            ensure!(begun.elapsed() < PATIENCE, "Pods of earlier scenarios are left");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: i64, observed: i64, ready: &str) -> Option<bool> {
        let release = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "r", "generation": generation},
            "spec": {"anything": 1},
            "status": {"observedGeneration": observed,
                       "conditions": [{"type": "Ready", "status": ready, "reason": "InSync"}]},
        });
        is_ready(&WatchEvent::Modified(serde_json::from_value(release).unwrap()))
    }

    #[test]
    fn a_release_is_ready_in_its_present_generation() {
        assert_eq!(seen(2, 2, "True"), Some(true));
        assert_eq!(seen(2, 1, "True"), Some(false));
        assert_eq!(seen(2, 2, "False"), Some(false));
    }
}
