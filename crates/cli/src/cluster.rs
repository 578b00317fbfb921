//! The way to the cluster, and what to do where it is closed.

use std::time::Duration;

use anyhow::{Context as _, Error, anyhow, bail};
use api::ReleaseLifecycle;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::timeout;

use crate::args::Place;

/// For one question. A watch is not bound by it.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    client: Client,
    url: String,
    /// `None`: all.
    namespace: Option<String>,
}

impl Cluster {
    pub(crate) async fn find(place: &Place) -> anyhow::Result<Self> {
        let mut config = config(place).await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        let url = config.cluster_url.to_string();
        let namespace = match (&place.namespace, place.all_namespaces) {
            (_, true) => None,
            (Some(namespace), _) => Some(namespace.clone()),
            (None, _) => Some(config.default_namespace.clone()),
        };
        let client = Client::try_from(config)
            .with_context(|| format!("making a client for the cluster at {url}"))?;
        Ok(Self { client, url, namespace })
    }

    pub(crate) fn has_all_namespaces(&self) -> bool {
        self.namespace.is_none()
    }

    /// `namespace shop`, or `any namespace`.
    pub(crate) fn scope(&self) -> String {
        self.namespace
            .as_ref()
            .map_or("any namespace".to_owned(), |namespace| format!("namespace {namespace}"))
    }

    pub(crate) fn api(&self) -> Api<ReleaseLifecycle> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    pub(crate) async fn get(&self, name: &str) -> anyhow::Result<ReleaseLifecycle> {
        let what = format!("reading ReleaseLifecycle {name} in {}", self.scope());
        let Ok(answer) = timeout(DEADLINE, self.api().get_opt(name)).await else {
            bail!("{}", self.silent(&what));
        };
        match answer {
            Ok(Some(object)) => Ok(object),
            // A missing CustomResourceDefinition is a 404 too.
            Ok(None) => Err(self.missing(name, self.list().await?)),
            Err(error) => Err(self.explain(error, &what)),
        }
    }

    /// By namespace and name.
    pub(crate) async fn list(&self) -> anyhow::Result<Vec<ReleaseLifecycle>> {
        let what = format!("listing ReleaseLifecycles in {}", self.scope());
        let Ok(answer) = timeout(DEADLINE, self.api().list(&ListParams::default())).await else {
            bail!("{}", self.silent(&what));
        };
        Ok(answer.map_err(|error| self.explain(error, &what))?.items)
    }

    fn missing(&self, name: &str, others: Vec<ReleaseLifecycle>) -> Error {
        let scope = self.scope();
        let mut names: Vec<_> = others.iter().map(ReleaseLifecycle::name_any).collect();
        if names.is_empty() {
            return anyhow!(
                "ReleaseLifecycle {name} does not exist, nor any other in {scope}; list those of \
                 all namespaces with `kubectl lifecycle status -A`"
            );
        }
        let more = names.len().saturating_sub(10);
        names.truncate(10);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        anyhow!(
            "ReleaseLifecycle {name} does not exist in {scope}; there: {}{more}",
            names.join(", ")
        )
    }

    fn silent(&self, what: &str) -> String {
        format!("{what}: no answer from {} within {} s", self.url, DEADLINE.as_secs())
    }

    /// What was tried, what was answered, and what to do about it.
    pub(crate) fn explain(&self, error: kube::Error, what: &str) -> Error {
        let remedy = match &error {
            kube::Error::Api(status) => match status.code {
                404 => {
                    "the cluster does not know ReleaseLifecycles: is it the right one (`kubectl \
                     config current-context`)? Install the operator's definition with `kubectl \
                     apply --server-side -f crds/`"
                }
                401 => "the cluster does not take these credentials: log in again",
                403 => {
                    "ask for a role with the verbs get, list and watch of releaselifecycles in \
                     group releaselifecycle.dev"
                }
                _ => "look at the API server's log",
            },
            kube::Error::SerdeError(_) => {
                "the controller is of another version: use the kubectl-lifecycle that belongs to it"
            }
            _ => "is the cluster running, and KUBECONFIG or --kubeconfig the right file?",
        };
        anyhow!("{what} at {}: {}; {remedy}", self.url, words(&error))
    }
}

/// What the cluster said, without the types that carried it here.
pub(crate) fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.trim().to_owned();
    }
    let mut source: &dyn std::error::Error = error;
    // The innermost one says what happened: `Connection refused`.
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

async fn config(place: &Place) -> anyhow::Result<Config> {
    let options =
        KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &place.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("reading {} (--kubeconfig)", path.display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        return config.with_context(|| format!("using {} (--kubeconfig)", path.display()));
    }
    if let Some(context) = &place.context {
        let config = Config::from_kubeconfig(&options).await;
        return config.with_context(|| format!("finding context {context} (--context)"));
    }
    let kubeconfig = match Config::from_kubeconfig(&options).await {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    // As kubectl does in a Pod.
    Config::incluster().map_err(|_| {
        anyhow!(kubeconfig)
            .context("no cluster is known: set KUBECONFIG, or name a file with --kubeconfig")
    })
}
