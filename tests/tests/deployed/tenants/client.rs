//! A tenant's own connection to the API server: its rights are those of its namespace.

use anyhow::Result;
use e2e::Namespace;
use http::{Method, Request, header::CONTENT_TYPE};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// The kinds that a tenant writes here.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Release,
    Job,
    Secret,
    ConfigMap,
}

impl Kind {
    fn path(self, namespace: &str) -> String {
        let (group, plural) = match self {
            Self::Release => ("/apis/releaselifecycle.dev/v1alpha1", "releaselifecycles"),
            Self::Job => ("/apis/batch/v1", "jobs"),
            Self::Secret => ("/api/v1", "secrets"),
            Self::ConfigMap => ("/api/v1", "configmaps"),
        };
        format!("{group}/namespaces/{namespace}/{plural}")
    }
}

pub(super) struct Tenant {
    client: Client,
    namespace: String,
}

impl Tenant {
    /// Acts as this `ServiceAccount` of the namespace.
    pub(super) async fn new(namespace: &Namespace, account: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(namespace.kubeconfig_of(account)?)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Self { client: Client::try_from(config)?, namespace: namespace.name.clone() })
    }

    /// Returns the text of the answer. A PATCH is a merge; a POST has no name.
    pub(super) async fn send(
        &self,
        method: Method,
        kind: Kind,
        name: &str,
        body: Vec<u8>,
    ) -> Result<String> {
        let path = kind.path(&self.namespace);
        let path = if name.is_empty() { path } else { format!("{path}/{name}") };
        let of_patch = method == Method::PATCH;
        let type_ = if of_patch { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, type_);
        Ok(self.client.request_text(request.body(body)?).await?)
    }
}
