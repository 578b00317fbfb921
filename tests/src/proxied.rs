use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use testkit::proxy::{Proxy, Upstream};

use crate::{Controller, Namespace, namespace::PATIENCE};

/// The fault proxy of one namespace, through which its controllers connect.
pub struct Proxied {
    /// The proxy, which is armed with faults, and counts.
    pub proxy: Proxy,
    namespace: String,
    kubeconfig: PathBuf,
}

impl Proxied {
    /// Starts a proxy before the cluster of `namespace`.
    ///
    /// # Errors
    /// If it cannot listen or its kubeconfig cannot be written.
    pub async fn new(namespace: &Namespace) -> Result<Self> {
        let cluster = namespace.cluster();
        let proxy = Proxy::start(Upstream {
            server: cluster.server().to_owned(),
            ca_pem: cluster.ca_pem().into(),
            token: cluster.token().to_owned(),
        })
        .await?;
        let kubeconfig = cluster.dir().join(format!("config/{}.json", namespace.name));
        proxy.kubeconfig(&kubeconfig)?;
        Ok(Self { proxy, namespace: namespace.name.clone(), kubeconfig })
    }

    /// Starts a controller that connects through it.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub fn controller(&self) -> Result<Controller> {
        self.controller_with(&[])
    }

    /// Does the same as [`Self::controller`], with these arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn controller_with(&self, args: &[&str]) -> Result<Controller> {
        Controller::start(&self.kubeconfig, &self.namespace, args)
    }

    /// Does the same as [`Self::controller`], but with this program.
    ///
    /// # Errors
    /// As [`Controller::launch`].
    pub fn launch(&self, path: &Path) -> Result<Controller> {
        Controller::launch(path, &self.kubeconfig, &self.namespace, &[])
    }

    /// Does the same as [`Namespace::replica`], but the controller connects through it.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub fn replica(&self, identity: &str) -> Result<Controller> {
        Controller::start(&self.kubeconfig, &self.namespace, &["--identity", identity])
    }
}

impl Namespace {
    /// Waits for an Event object with this reason.
    ///
    /// # Errors
    /// If there never is one.
    pub async fn wait_event(&self, reason: &str) -> Result<()> {
        self.wait_told(reason, "").await
    }

    /// Waits for an Event object with this reason whose message contains `what`.
    ///
    /// # Errors
    /// If there never is one.
    pub async fn wait_told(&self, reason: &str, what: &str) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.name);
        let params = WatchParams::default().fields(&format!("reason={reason}"));
        let seen = async {
            loop {
                let mut seen = events.watch(&params, "0").await?.boxed();
                while let Some(seen) = seen.try_next().await? {
                    if let WatchEvent::Added(event) | WatchEvent::Modified(event) = seen
                        && event.message.is_some_and(|said| said.contains(what))
                    {
                        return Ok::<_, kube::Error>(());
                    }
                }
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.with_context(|| format!("no Event object with reason {reason} says {what:?}"))??;
        Ok(())
    }
}
