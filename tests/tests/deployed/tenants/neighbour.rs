//! The other tenant: it upgrades its releases over and over. And what it would measure without any
//! operator: how slow the API server and the node are by themselves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    Namespace,
    manifests::{Manifest, config_map, job},
};
use http::Method;
use serde_json::{Value, json};

use super::client::{Kind, Tenant};
use crate::operator::{self, Operator};

/// The calls of one round of the control: about as many as an upgrade makes.
const CALLS: usize = 40;
/// The pause between two measurements.
const PAUSE: Duration = Duration::from_millis(500);
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) struct Neighbour<'a> {
    namespace: Namespace,
    operator: &'a Operator,
    tenant: Tenant,
    round: usize,
}

/// How long each took.
#[derive(Default)]
pub(super) struct Times {
    /// Upgrades whose hooks end at once: the operator's own work.
    pub(super) plain: Vec<Duration>,
    /// Upgrades with a Job as a hook.
    pub(super) job: Vec<Duration>,
    /// The controls of both, without an operator.
    pub(super) calls: Vec<Duration>,
    pub(super) bare_job: Vec<Duration>,
}

impl<'a> Neighbour<'a> {
    pub(super) async fn new(operator: &'a Operator) -> Result<Self> {
        let namespace = Namespace::new(operator.cluster, "neighbour").await?;
        operator::allow_in(&namespace)?;
        let tenant = Tenant::new(&namespace, "deployer").await?;
        Ok(Self { namespace, operator, tenant, round: 0 })
    }

    pub(super) fn name(&self) -> &str {
        &self.namespace.name
    }

    /// The UID of the release that the other tenant's forged objects name, too.
    pub(super) async fn uid(&self) -> Result<String> {
        self.namespace.releases().get("plain").await?.metadata.uid.context("a UID")
    }

    /// Installs both releases.
    pub(super) async fn install(&mut self) -> Result<()> {
        self.upgrade("plain").await?;
        self.upgrade("job").await.map(drop)
    }

    /// Upgrades and measures, one after the other, so that none delays the other, for this long.
    pub(super) async fn measure(&mut self, time: Duration) -> Result<Times> {
        let (begun, mut times) = (Instant::now(), Times::default());
        while begun.elapsed() < time || times.bare_job.is_empty() {
            times.plain.push(self.upgrade("plain").await?);
            times.calls.push(self.calls().await?);
            times.job.push(self.upgrade("job").await?);
            times.bare_job.push(self.bare_job().await?);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(times)
    }

    /// Upgrades the release, and returns how long it took until it was Ready.
    async fn upgrade(&mut self, name: &str) -> Result<Duration> {
        self.round += 1;
        let value = self.round.to_string();
        let hook = |at: &str| {
            let name = format!("{name}-{at}");
            let hook = if name.starts_with("job-pre") {
                job(&name).runs("true")
            } else {
                config_map(&name, &value)
            };
            hook.hook(&format!("{at}-install,{at}-upgrade"))
        };
        let objects = [hook("pre"), config_map(name, &value), hook("post")];
        let begun = Instant::now();
        self.namespace.release(name, &objects, json!({})).await?;
        self.namespace.wait_ready(name, self.operator).await?;
        Ok(begun.elapsed())
    }

    /// Calls as those of an upgrade, as the same identity: most of them read.
    async fn calls(&mut self) -> Result<Duration> {
        self.round += 1;
        let name = format!("control-{}", self.round);
        let text = config_map(&name, "1").to_string();
        let begun = Instant::now();
        self.tenant.send(Method::POST, Kind::ConfigMap, "", text.into_bytes()).await?;
        for call in 2..CALLS {
            if call % 4 == 0 {
                let patch = json!({"data": {"value": call.to_string()}}).to_string().into_bytes();
                self.tenant.send(Method::PATCH, Kind::ConfigMap, &name, patch).await?;
            } else {
                self.tenant.send(Method::GET, Kind::ConfigMap, &name, Vec::new()).await?;
            }
        }
        self.tenant.send(Method::DELETE, Kind::ConfigMap, &name, Vec::new()).await?;
        Ok(begun.elapsed())
    }

    /// A Job as that of the hook, by nobody's help.
    async fn bare_job(&mut self) -> Result<Duration> {
        self.round += 1;
        let name = format!("control-{}", self.round);
        let text = job(&name).runs("true").to_string().into_bytes();
        let begun = Instant::now();
        self.tenant.send(Method::POST, Kind::Job, "", text).await?;
        loop {
            let found = self.tenant.send(Method::GET, Kind::Job, &name, Vec::new()).await?;
            let found: Value = serde_json::from_str(&found)?;
            if found["status"]["succeeded"] == 1 {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "a Job does not end: {}", found["status"]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = begun.elapsed();
        let background = br#"{"propagationPolicy":"Background"}"#.to_vec();
        self.tenant.send(Method::DELETE, Kind::Job, &name, background).await?;
        Ok(took)
    }
}
