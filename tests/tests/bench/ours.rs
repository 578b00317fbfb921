//! The operator: its release build, as it is shipped, in one namespace.

use std::{
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
use kube::{
    Api,
    api::{DeleteParams, WatchEvent},
    core::{ApiResource, GroupVersionKind, Object},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

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
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(namespace: &Namespace) -> Result<Self> {
        let operator = Self::launch(namespace)?;
        operator.wait_ready()?;
        Ok(operator)
    }

    fn launch(namespace: &Namespace) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = e2e::target().join("tmp/controllers").join(format!("{}.log", namespace.name));
        fs::create_dir_all(log.parent().context("a folder")?)?;
        // It must not outlive a bench that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program("releaselifecycle-controller")?)
            .args(["--listen", &address.to_string(), "--namespace", &namespace.name])
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
    namespace: &Namespace,
    operator: Operator,
    releases: usize,
) -> Result<(Operator, Restart)> {
    operator.stop()?;
    stage.requests()?;
    let (begun, zero) = (Instant::now(), Timestamp::now());
    let operator = Operator::launch(namespace)?;
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

fn releases(namespace: &Namespace) -> Api<Release> {
    let kind = GroupVersionKind::gvk("releaselifecycle.dev", "v1alpha1", "ReleaseLifecycle");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource)
}

/// Writes the releases, each with the objects and the rest of the spec that `spec` returns.
pub(crate) async fn write(
    namespace: &Namespace,
    names: &[String],
    spec: impl Fn(&str) -> (Vec<Value>, Value),
) -> Result<()> {
    let written = stream::iter(names).map(|name| {
        let (objects, more) = spec(name);
        async move { namespace.release(name, &objects, more).await }
    });
    written.buffer_unordered(AT_ONCE).try_collect().await
}

/// Writes the releases, and waits until each is deployed.
pub(crate) fn deploy(
    stage: &Stage,
    namespace: &Namespace,
    names: &[String],
    spec: impl Fn(&str) -> (Vec<Value>, Value),
) -> Result<()> {
    let api = releases(namespace);
    stage.runtime.block_on(async {
        let version = watching::now(&api).await?;
        let ready = watching::until(&api, version, names.len(), is_ready);
        tokio::try_join!(write(namespace, names, spec), ready)?;
        Ok(())
    })
}

/// Deletes the releases, and waits until they are gone.
pub(crate) fn delete(stage: &Stage, namespace: &Namespace, names: &[String]) -> Result<()> {
    let api = releases(namespace);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
